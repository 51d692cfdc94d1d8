#include "tools/vaultctl/progress_line.h"

#include <gtest/gtest.h>
#include <pty.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>

#include "tests/support/units.h"

namespace vaultfs {
namespace {

constexpr std::uint64_t kTiB = std::uint64_t{1} << 40;

TEST(ProgressLine, SaysAsMuchAsFits) {
  const ProgressText half{512 * kMiB, 1024 * kMiB, 100.0 * kMiB};
  EXPECT_EQ(progress_text(half, 80), "512.0 MiB of 1.0 GiB (50 %), 100.0 MiB/s, 5 s left");
  EXPECT_EQ(progress_text(half, 50), "512.0 MiB of 1.0 GiB (50 %), 100.0 MiB/s");
  EXPECT_EQ(progress_text(half, 40), "512.0 MiB of 1.0 GiB (50 %)");
  EXPECT_EQ(progress_text(half, 20), "50 %");
  EXPECT_EQ(progress_text(half, 4), "");
  EXPECT_EQ(progress_text(half, 0), "");
  EXPECT_EQ(progress_text({512 * kMiB, 0, 1.0 * kMiB}, 80), "512.0 MiB, 1.0 MiB/s");
  EXPECT_EQ(progress_text({512 * kMiB, 0, 1.0 * kMiB}, 12), "512.0 MiB");
}

TEST(ProgressLine, NeverWrapsAndNeverRoundsUpToAHundred) {
  for (const std::uint64_t total : {std::uint64_t{0}, std::uint64_t{1}, 7 * kMiB, kTiB, ~std::uint64_t{0}}) {
    for (const std::uint64_t done : {std::uint64_t{0}, total / 3, total - total / 1000, total}) {
      for (const double rate : {0.0, 1e-9, 3.5, 1e9, 1e18}) {
        for (unsigned columns = 0; columns < 120; ++columns) {
          const std::string text = progress_text({done, total, rate}, columns);
          EXPECT_TRUE(text.empty() || text.size() < columns) << text;
          EXPECT_TRUE(std::ranges::all_of(text, [](char c) { return c >= ' ' && c <= '~'; })) << text;
        }
      }
    }
  }
  EXPECT_NE(progress_text({kTiB - 1, kTiB, 1e9}, 80).find("(99 %)"), std::string::npos);
  EXPECT_NE(progress_text({kTiB, kTiB, 1e9}, 80).find("(100 %)"), std::string::npos);
  EXPECT_EQ(progress_text({1, kTiB, 0}, 80).find("left"), std::string::npos) << "nothing moves";
  EXPECT_EQ(progress_text({1, kTiB, 2}, 80).find("left"), std::string::npos) << "17,000 years";
}

TEST(ProgressLine, TheTerminalsWidthOrTheVariablesWhicheverIsLess) {
  int master = -1;
  int slave = -1;
  ASSERT_EQ(::openpty(&master, &slave, nullptr, nullptr, nullptr), 0);
  const auto width = [&](unsigned short columns, const char* variable) {
    winsize size{};
    size.ws_col = columns;
    EXPECT_EQ(::ioctl(slave, TIOCSWINSZ, &size), 0);
    variable == nullptr ? ::unsetenv("COLUMNS") : ::setenv("COLUMNS", variable, 1);
    return terminal_columns(slave);
  };
  EXPECT_EQ(width(0, nullptr), 80U);
  EXPECT_EQ(width(20, nullptr), 20U);
  EXPECT_EQ(width(0, "40"), 40U);
  EXPECT_EQ(width(20, "40"), 20U);
  EXPECT_EQ(width(40, "20"), 20U);
  for (const char* none : {"", "0", "-5", "x"}) EXPECT_EQ(width(0, none), 80U) << none;
  ::unsetenv("COLUMNS");
  ::close(master);
  ::close(slave);
}

}  // namespace
}  // namespace vaultfs
