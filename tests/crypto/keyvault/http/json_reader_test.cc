#include "crypto/keyvault/http/json_reader.h"

#include <gtest/gtest.h>

#include <string>
#include <string_view>

#include "crypto/keyvault/azure/answers.h"
#include "crypto/keyvault/transit/answers.h"
#include "crypto/memory/base64.h"
#include "tests/crypto/keyvault/freed_heap.h"
#include "tests/crypto/keyvault/outcome.h"

namespace vaultfs {
namespace {

std::optional<AnswerJson> read(std::string_view text, std::size_t depth = 8, std::size_t values = 100) {
  return JsonReader(text, depth, values).read();
}

TEST(JsonReaderTest, ReadsWhatTheLibraryReads) {
  for (const std::string_view text : {R"({})",
                                      R"([])",
                                      R"(null)",
                                      R"(true)",
                                      R"(false)",
                                      R"("")",
                                      R"(0)",
                                      R"(-0)",
                                      R"(17)",
                                      R"(-17)",
                                      R"(1.5e3)",
                                      R"(1E-2)",
                                      R"(18446744073709551615)",
                                      R"(18446744073709551616)",
                                      R"(-9223372036854775808)",
                                      R"(-9223372036854775809)",
                                      R"( { "a" : [ 1 , { "b" : null } ] , "c" : "d" } )",
                                      R"({"a":1,"a":{"b":2}})",
                                      R"("\"\\\/\b\f\n\r\t\u0041\u00fc\u20ac\ud83d\ude00\u0000")",
                                      "\"\xC3\xBC\xE2\x82\xAC\xF0\x9F\x98\x80\"",
                                      "\xEF\xBB\xBF{}",
                                      R"([[[[[[[[]]]]]]]])"}) {
    const auto value = read(text);
    ASSERT_TRUE(value) << text;
    EXPECT_TRUE(*value == AnswerJson::parse(text)) << text;
    // Whether an integer is signed decides which answers are taken for numbers.
    EXPECT_EQ(value->type(), AnswerJson::parse(text).type()) << text;
  }
}

TEST(JsonReaderTest, RefusesWhatIsNoJson) {
  for (const std::string_view text : {"",
                                      " ",
                                      "{",
                                      "}",
                                      "[",
                                      "[1",
                                      "[1,",
                                      "[1,]",
                                      "[,]",
                                      "[1 2]",
                                      R"({"a"})",
                                      R"({"a":})",
                                      R"({"a":1,})",
                                      R"({a:1})",
                                      R"({"a":1 "b":2})",
                                      R"({1:2})",
                                      "{} {}",
                                      "{},",
                                      "nul",
                                      "truex",
                                      "NaN",
                                      "Infinity",
                                      "+1",
                                      "01",
                                      ".5",
                                      "1.",
                                      "1e",
                                      "1e+",
                                      "-",
                                      "--1",
                                      "0x1",
                                      "1e999",
                                      "-1e999",
                                      R"(")",
                                      R"("a)",
                                      R"("\)",
                                      R"("\")",
                                      R"("\x")",
                                      R"("\u12")",
                                      R"("\u12g4")",
                                      R"("\u+123")",
                                      R"("\ud800")",
                                      R"("\ud800\u0041")",
                                      R"("\udc00")",
                                      "\"\n\"",
                                      "\"\x1f\"",
                                      "\"\x80\"",
                                      "\"\xC3\"",
                                      "\"\xC0\xAF\"",
                                      "\"\xE0\x80\xAF\"",
                                      "\"\xED\xA0\x80\"",
                                      "\"\xF0\x80\x80\x80\"",
                                      "\"\xF4\x90\x80\x80\"",
                                      "\"\xF5\x80\x80\x80\"",
                                      "\xEF\xBB{}",
                                      "/**/{}",
                                      "'a'"}) {
    EXPECT_FALSE(read(text)) << text;
    EXPECT_TRUE(AnswerJson::parse(text, nullptr, false).is_discarded()) << text;
  }
  EXPECT_FALSE(read(std::string("{}\0", 3)));
}

TEST(JsonReaderTest, KeepsToItsLimits) {
  EXPECT_TRUE(read("[[[1]]]", 3));
  EXPECT_FALSE(read("[[[1]]]", 2));
  EXPECT_FALSE(read(R"({"a":{"b":{}}})", 2));
  EXPECT_TRUE(read("[[],[],[]]", 2));  // beside each other
  EXPECT_TRUE(read("[1,2,3]", 8, 4));
  EXPECT_FALSE(read("[1,2,3]", 8, 3));
  EXPECT_FALSE(read(R"({"a":1,"a":2,"a":3})", 8, 3));
  EXPECT_FALSE(read(std::string(1'000'000, '['), 32, 50'000));
}

// The library's own parser leaves each text in a buffer of the ordinary heap that it does not wipe.
TEST(JsonReaderTest, LeavesNoSecretInTheHeap) {
  const std::string secret = to_base64(bytes_of("a keyring key and what belongs to it, 65 bytes in all or so it is."));
  LockedText body(R"({"data":{"plaintext":")");
  body.append(secret).append(R"("}})");
  {
    const FreedHeapWatch watch(secret.substr(0, 16));
    ASSERT_TRUE(AnswerJson::parse(body.begin(), body.end()).is_object());
    ASSERT_GT(FreedHeapWatch::sightings(), 0) << "the watch sees nothing";
  }
  const FreedHeapWatch watch(secret.substr(0, 16));
  value_of(parse_transit_plaintext(body));
  body = LockedText(R"({"auth":{"client_token":")").append(secret).append(R"(","lease_duration":1}})");
  value_of(parse_transit_login(body));
  body = LockedText(R"({"access_token":")").append(secret).append(R"(","token_type":"Bearer","expires_in":1})");
  value_of(parse_azure_token(body));
  // What turns out not to be JSON only afterwards, and what is escaped.
  body = LockedText(R"({"plaintext":")").append(secret).append(R"(\/\u0041",)");
  EXPECT_FALSE(parse_transit_plaintext(body).ok());
  EXPECT_EQ(FreedHeapWatch::sightings(), 0);
}

}  // namespace
}  // namespace vaultfs
