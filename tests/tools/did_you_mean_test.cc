#include "tools/did_you_mean.h"

#include <gtest/gtest.h>

namespace vaultfs {
namespace {

TEST(DidYouMean, FindsWhatDiffersInFewLetters) {
  const std::vector<std::string> commands{"vault", "backup", "restore", "verify", "recovery-point", "activity"};
  EXPECT_EQ(closest_word("bakcup", commands), "backup");
  EXPECT_EQ(closest_word("backups", commands), "backup");
  EXPECT_EQ(closest_word("valt", commands), "vault");
  EXPECT_EQ(closest_word("recovery-piont", commands), "recovery-point");
  EXPECT_EQ(closest_word("recoverypoint", commands), "recovery-point");
  EXPECT_EQ(closest_word("snapshot", commands), "");
  EXPECT_EQ(closest_word("x", commands), "");
  EXPECT_EQ(closest_word("", commands), "");
  EXPECT_EQ(closest_word(std::string(10'000, 'x'), commands), "");
}

TEST(DidYouMean, SaysNothingWhereTwoAreAsNear) {
  EXPECT_EQ(closest_word("lost", {"list", "last"}), "");
  EXPECT_EQ(did_you_mean("lisst", {"list", "last"}), "; did you mean list?");
}

}  // namespace
}  // namespace vaultfs
