#include "base/rfc3339.h"

#include <gtest/gtest.h>

#include <limits>

namespace vaultfs {
namespace {

TEST(Rfc3339, ReadsTimesOfAnyZone) {
  EXPECT_EQ(parse_rfc3339("1994-11-06T08:49:37Z"), 784111777);
  EXPECT_EQ(parse_rfc3339("1994-11-06T08:49:37.123456789Z"), 784111777);
  EXPECT_EQ(parse_rfc3339("1994-11-06T10:49:37+02:00"), 784111777);
  EXPECT_EQ(parse_rfc3339("1994-11-06T05:19:37.5-03:30"), 784111777);
  for (const char* const text : {"",
                                 "1994-11-06",
                                 "1994-11-06T08:49:37",
                                 "1994-11-06T08:49:37.Z",
                                 "1994-13-06T08:49:37Z",
                                 "1994-11-06T08:49:37+2:00",
                                 "1994-11-06T08:49:37.5",
                                 "1994-11-06T08:49:37+02:00x",
                                 "1994-11-06 08:49:37Z",
                                 "1994-11-31T08:49:37Z",
                                 "1994-11-06T24:00:00Z",
                                 "1994-11-06T08:60:00Z",
                                 "1994-11-06T08:-9:37Z",
                                 "1994-11-06T08:49:37+24:00",
                                 "1994-11-06T08:49:37+02:60",
                                 "1994-11-06T08:49:37*02:00",
                                 "1969-12-31T23:59:59Z",
                                 "01994-11-06T08:49:37Z",
                                 " 1994-11-06T08:49:37Z",
                                 "1994-11-06T08:49:37.5.5Z"}) {
    EXPECT_EQ(parse_rfc3339(text), std::nullopt) << text;
  }
  EXPECT_EQ(parse_rfc3339("1994-11-06t08:49:37z"), 784111777);
  EXPECT_EQ(parse_rfc3339("1970-01-01T00:00:00Z"), 0);
  EXPECT_EQ(parse_rfc3339("1970-01-01T00:00:00+23:59"), -86340);
  EXPECT_EQ(parse_rfc3339("9999-12-31T23:59:59Z"), 253402300799);
  // A leap second is the one behind it; what is no leap year has no 29th.
  EXPECT_EQ(parse_rfc3339("2016-12-31T23:59:60Z"), parse_rfc3339("2017-01-01T00:00:00Z"));
  EXPECT_EQ(parse_rfc3339("2024-02-29T00:00:00Z"), 1709164800);
  EXPECT_EQ(parse_rfc3339("2023-02-29T00:00:00Z"), std::nullopt);
  EXPECT_EQ(parse_rfc3339("2021-10-01T12:00:00." + std::string(60, '1') + "Z"), std::nullopt);
}

TEST(Rfc3339, WritesTimesOfFourDigitYears) {
  EXPECT_EQ(to_rfc3339(784111777), "1994-11-06T08:49:37Z");
  EXPECT_EQ(to_rfc3339(0), "1970-01-01T00:00:00Z");
  EXPECT_EQ(to_rfc3339(-1), "1969-12-31T23:59:59Z");
  EXPECT_EQ(to_rfc3339_day(-1), "1969-12-31");
  EXPECT_EQ(to_rfc3339(253402300799), "9999-12-31T23:59:59Z");
  EXPECT_EQ(to_rfc3339(253402300800), std::nullopt);
  EXPECT_EQ(to_rfc3339(-62167219200), "0000-01-01T00:00:00Z");
  EXPECT_EQ(to_rfc3339(-62167219201), std::nullopt);
  EXPECT_EQ(to_rfc3339(std::numeric_limits<std::int64_t>::max()), std::nullopt);
  EXPECT_EQ(to_rfc3339_day(std::numeric_limits<std::int64_t>::min()), std::nullopt);
}

}  // namespace
}  // namespace vaultfs
