// What a crash may bring back of a tree goes only behind a checkpoint.
#include <gtest/gtest.h>

#include "fs/upkeep/compactor.h"
#include "tests/fs/tree/snapshot_bytes.h"
#include "tests/fs/tree/tree_under_test.h"
#include "tests/support/units.h"

namespace vaultfs {
namespace {

// A file is cut, which only the journal's buffer knows; nothing in memory needs its content any more, the durable state
// does.
TEST(CompactionCrashTest, RemovesNothingThatTheDurableStateRefersTo) {
  SimEnv env;
  ASSERT_OK(TreeUnderTest::create(env));
  TreeUnderTest tree{env};
  ASSERT_OK(tree.open());
  const InodeNumber item = tree->make_directory(kRootInode, "vm", 0755, {})->number;
  const InodeNumber file = tree->make_node(item, "disk", InodeType::file, 0644, 0, {})->number;
  const Bytes content = noise(3 * kMiB, 1);
  ASSERT_OK(tree->write(file, 0, 0, content));
  ASSERT_OK(tree->fsync(file, 0));
  ASSERT_OK(tree->checkpoint());
  ASSERT_OK(tree.vault().segments().close_segment());
  ASSERT_OK(tree->truncate(file, 0));
  const auto done = Compactor(tree.vault(), *tree).give_back();
  ASSERT_OK(done);
  ASSERT_TRUE(*done);
  tree.drop();
  env.crash(1, CrashMode::drop_all_unsynced);
  ASSERT_OK(tree.open());
  const auto read = read_all(*tree, file);
  ASSERT_OK(read);
  EXPECT_TRUE(read->empty() || *read == content);
}

}  // namespace
}  // namespace vaultfs
