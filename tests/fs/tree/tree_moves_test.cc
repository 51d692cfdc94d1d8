// What may be moved where, and what a new owner does not inherit.
#include <gtest/gtest.h>

#include "tests/fs/tree/tree_under_test.h"

namespace vaultfs {
namespace {

class TreeMovesTest : public testing::Test {
 protected:
  void SetUp() override {
    ASSERT_OK(TreeUnderTest::create(env));
    ASSERT_OK(tree.open());
    item = tree->make_directory(kRootInode, "vm", 0755, {})->number;
    file = make("file");
  }
  InodeNumber make(const std::string& name, std::uint32_t mode = 0644) {
    return tree->make_node(item, name, InodeType::file, mode, 0, {})->number;
  }
  static ErrorCode code(const Status& status) { return status.ok() ? ErrorCode::Internal : status.code(); }

  SimEnv env;
  TreeUnderTest tree{env};
  InodeNumber item, file;
};

TEST_F(TreeMovesTest, AnExchangeMovesNoDirectoryIntoItself) {
  const InodeNumber outer = tree->make_directory(item, "outer", 0755, {})->number;
  const InodeNumber inner = tree->make_directory(outer, "inner", 0755, {})->number;
  ASSERT_OK(tree->make_node(inner, "leaf", InodeType::file, 0644, 0, {}));
  constexpr auto kExchange = WorkingTree::RenameMode::exchange;
  EXPECT_EQ(code(tree->rename(inner, "leaf", item, "outer", kExchange)), ErrorCode::InvalidArgument);
  EXPECT_EQ(code(tree->rename(item, "outer", inner, "leaf", kExchange)), ErrorCode::InvalidArgument);
  EXPECT_TRUE(tree->lookup(inner, "leaf").ok());
}

TEST_F(TreeMovesTest, AnExchangedDirectoryHasItsNewParent) {
  const InodeNumber one = tree->make_directory(item, "one", 0755, {})->number;
  const InodeNumber two = tree->make_directory(item, "two", 0755, {})->number;
  const InodeNumber moved = tree->make_directory(two, "moved", 0755, {})->number;
  ASSERT_OK(tree->make_node(one, "leaf", InodeType::file, 0644, 0, {}));
  ASSERT_OK(tree->rename(one, "leaf", two, "moved", WorkingTree::RenameMode::exchange));
  EXPECT_EQ(tree->parent(moved).value(), one);
  EXPECT_EQ(tree->attributes(one)->link_count, 3U);
  EXPECT_EQ(tree->attributes(two)->link_count, 2U);
  // Which decides what may be moved where.
  EXPECT_EQ(code(tree->rename(item, "one", moved, "x", WorkingTree::RenameMode::replace)), ErrorCode::InvalidArgument);
  ASSERT_OK(tree->rename(item, "two", moved, "x", WorkingTree::RenameMode::replace));
}

// What somebody has open still exists, but nothing in it would ever be found again.
TEST_F(TreeMovesTest, NothingIsMovedIntoADirectoryThatWasRemoved) {
  const InodeNumber gone = tree->make_directory(item, "gone", 0755, {})->number;
  const auto handle = tree->open(gone, false);
  ASSERT_OK(handle);
  ASSERT_OK(tree->remove_directory(item, "gone"));
  EXPECT_EQ(code(tree->rename(item, "file", gone, "file", WorkingTree::RenameMode::replace)), ErrorCode::NotFound);
  EXPECT_EQ(tree->make_link(file, gone, "file").code(), ErrorCode::NotFound);
  EXPECT_TRUE(tree->lookup(item, "file").ok());
  tree->release(*handle);
}

TEST_F(TreeMovesTest, ANewOwnerTakesTheRightToRunAsTheOldOneAway) {
  AttributeChange owner;
  owner.uid = 7;
  const InodeNumber tool = make("tool", 06755);
  EXPECT_EQ(tree->set_attributes(tool, owner)->mode, 0755U);
  const InodeNumber locked = make("locked", 06745);  // without the group's right to execute, its bit is another thing
  EXPECT_EQ(tree->set_attributes(locked, owner)->mode, 02745U);
  AttributeChange group;
  group.gid = 7;
  const InodeNumber other = make("other", 06755);
  EXPECT_EQ(tree->set_attributes(other, group)->mode, 0755U);
}

}  // namespace
}  // namespace vaultfs
