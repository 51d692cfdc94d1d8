#include "tools/vaultctl/pem_file.h"

#include <gtest/gtest.h>

#include <string>

namespace vaultfs {
namespace {

std::vector<std::string> blocks_of(const std::string& text) {
  std::vector<std::string> blocks;
  for (const ByteView block : pem_blocks(bytes_of(text))) blocks.emplace_back(text_of(block));
  return blocks;
}

TEST(PemFile, ABundleIsTakenApart) {
  const std::string one = "-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----";
  const std::string two = "-----BEGIN PRIVATE KEY-----\nBBBB\n-----END PRIVATE KEY-----";
  EXPECT_EQ(blocks_of(one + "\n"), std::vector<std::string>{one});
  EXPECT_EQ(blocks_of("friendlyName: kek\n" + one + "\n\nnotes\n" + two), (std::vector<std::string>{one, two}));
  EXPECT_TRUE(pem_is_encrypted(bytes_of(one)));
  EXPECT_FALSE(pem_is_encrypted(bytes_of(two)));
}

TEST(PemFile, WhatIsNoneOrCutShortIsLeftToTheParser) {
  EXPECT_EQ(blocks_of("no key"), std::vector<std::string>{"no key"});
  EXPECT_EQ(blocks_of("-----BEGIN PRIVATE KEY-----\nAAAA"),
            std::vector<std::string>{"-----BEGIN PRIVATE KEY-----\nAAAA"});
}

}  // namespace
}  // namespace vaultfs
