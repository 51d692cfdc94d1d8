#include "crypto/keyvault/key_ref.h"

#include <gtest/gtest.h>

#include "tests/crypto/keyvault/outcome.h"

namespace vaultfs {
namespace {

const std::string kVersion = "0123456789abcdef0123456789abcdef";

TEST(KeyRef, ParsesAndPrintsBothForms) {
  const KeyRef follows = value_of(KeyRef::parse("local/kek"));
  EXPECT_EQ(follows, (KeyRef{"local", "kek", std::nullopt}));
  EXPECT_FALSE(follows.pinned());
  EXPECT_EQ(follows.to_string(), "local/kek");
  const KeyRef pinned = value_of(KeyRef::parse("local/kek/" + kVersion));
  EXPECT_EQ(pinned, (KeyRef{"local", "kek", kVersion}));
  EXPECT_TRUE(pinned.pinned());
  EXPECT_EQ(value_of(KeyRef::parse(pinned.to_string())), pinned);
  EXPECT_EQ(value_of(KeyRef::parse("local/kek/0123456789ABCDEF0123456789abcdeF")), pinned);
  // As their providers call them: a Transit engine, a KMIP server, a token. Only 32 hex digits are the same in both
  // cases.
  for (const std::string& version : {std::string("3"), std::string("E9a-1.b_2"), std::string(127, 'A')}) {
    EXPECT_EQ(value_of(KeyRef::parse("hsm/kek/" + version)), (KeyRef{"hsm", "kek", version}));
  }
}

TEST(KeyRef, RefusesEveryOtherForm) {
  const std::string longest(127, 'a');
  EXPECT_TRUE(KeyRef::parse(longest + "/" + longest).ok());
  for (const std::string& text : {std::string(),
                                  std::string("/"),
                                  std::string("//"),
                                  std::string("local"),
                                  std::string("local/"),
                                  std::string("/kek"),
                                  std::string("local//kek"),
                                  "local/kek/" + kVersion + "/",
                                  "local/kek/" + longest + "a",
                                  std::string("local/kek/.."),
                                  std::string("local/kek/-3"),
                                  std::string("local/kek/3 4"),
                                  std::string("local/kek/3\n"),
                                  std::string("local/kek/"),
                                  std::string("../kek"),
                                  std::string("local/.."),
                                  std::string("local/-kek"),
                                  std::string("-l/kek"),
                                  std::string("lo cal/kek"),
                                  std::string("local/k\nek"),
                                  std::string("local/kek\n"),
                                  std::string("local/k\0k", 9),
                                  std::string("local/k\xc3\xa9k"),
                                  std::string("local/k_k"),
                                  longest + "a/kek",
                                  "local/" + std::string(300, 'k')}) {
    EXPECT_TRUE(fails(KeyRef::parse(text), ErrorCode::InvalidKeyRef)) << text;
  }
}

TEST(KeyRef, MessagesHoldNoControlCharactersAndAreBounded) {
  const auto parsed = KeyRef::parse("a\n\x1b[31m/" + std::string(100'000, 'x'));
  ASSERT_FALSE(parsed.ok());
  EXPECT_EQ(parsed.error().message.find_first_of("\n\x1b"), std::string::npos);
  EXPECT_LT(parsed.error().message.size(), 400U);
}

TEST(KeyRef, NameCheckNamesTheKind) {
  succeed(check_key_name("key", "kek-1"));
  EXPECT_TRUE(fails(check_key_name("key vault", "a/b"), ErrorCode::InvalidName, "key vault"));
}

}  // namespace
}  // namespace vaultfs
