// Where content ends: a chunk longer than its file, a file that goes on behind a copy, a change that brings no growth.
#include <gtest/gtest.h>
#include <unistd.h>

#include <functional>
#include <utility>

#include "crypto/memory/plaintext_memory.h"
#include "crypto/memory/secret_buffer.h"
#include "tests/fs/tree/tree_under_test.h"
#include "tests/support/own_memory.h"
#include "tests/support/units.h"

namespace vaultfs {
namespace {

class ContentEdgesTest : public testing::Test {
 protected:
  void SetUp() override {
    ASSERT_OK(TreeUnderTest::create(env));
    ASSERT_OK(tree.open());
    item = tree->make_directory(kRootInode, "vm", 0755, {})->number;
    file = make("disk");
  }
  InodeNumber make(const std::string& name) {
    return tree->make_node(item, name, InodeType::file, 0644, 0, {})->number;
  }
  void crash() {
    tree.drop();
    env.crash(1, CrashMode::drop_all_unsynced);
    ASSERT_OK(tree.open());
  }
  void wait_until_stored() {
    for (int i = 0; i < 500 && tree->statistics().dirty_bytes > 0; ++i) ::usleep(2000);
    ASSERT_EQ(tree->statistics().dirty_bytes, 0U);
  }

  SimEnv env;
  TreeUnderTest tree{env};
  InodeNumber item, file;
};

// The chunk is in the journal as soon as it is stored, the growth that shows it is not.
TEST_F(ContentEdgesTest, WhatALostGrowthWouldHaveShownWithinAChunkDoesNotShowLater) {
  ASSERT_OK(tree->write(file, 0, 0, noise(100, 1)));
  ASSERT_OK(tree->fsync(file, 0));
  ASSERT_OK(tree->write(file, 0, 0, noise(kMiB, 2)));
  wait_until_stored();
  ASSERT_OK(tree.vault().journal().commit());
  crash();
  ASSERT_EQ(tree->attributes(file)->size, 100U);
  ASSERT_OK(tree->truncate(file, kMiB));
  Bytes rest(kMiB - 100);
  ASSERT_OK(tree->read(file, 100, rest));
  EXPECT_TRUE(is_all_zero(rest));
  ASSERT_OK(tree->fsync(file, 0));
  crash();
  ASSERT_OK(tree->read(file, 100, rest));
  EXPECT_TRUE(is_all_zero(rest));
}

// A write in place is all that the journal has of it: the next owner must know that the item has changed.
TEST_F(ContentEdgesTest, AnOverwriteIsAChangeOfItsItemAlsoAfterACrash) {
  ASSERT_OK(tree->write(file, 0, 0, noise(5000, 1)));
  ASSERT_OK(tree->fsync(file, 0));
  ASSERT_OK(tree->checkpoint());
  const auto snapshot = tree->snapshot("vm");
  ASSERT_OK(snapshot);
  ASSERT_FALSE(tree->changed_since("vm", snapshot->cut));
  ASSERT_OK(tree->write(file, 0, 100, noise(100, 2)));
  ASSERT_OK(tree->fsync(file, 0));
  ASSERT_TRUE(tree->changed_since("vm", snapshot->cut));
  crash();
  EXPECT_TRUE(tree->changed_since("vm", snapshot->cut));
}

// Reads as another tree does, and lets something happen before it says what a chunk is.
class WatchedTree final : public FileTree {
 public:
  WatchedTree(FileTree& inner, std::function<void()> before_chunk)
      : inner_(inner), before_chunk_(std::move(before_chunk)) {}
  Result<Attributes> lookup(InodeNumber parent, const std::string& name) override {
    return inner_.lookup(parent, name);
  }
  Result<Attributes> attributes(InodeNumber inode) override { return inner_.attributes(inode); }
  Result<InodeNumber> parent(InodeNumber directory) override { return inner_.parent(directory); }
  Result<std::vector<DirectoryEntry>> list(InodeNumber directory) override { return inner_.list(directory); }
  Result<std::string> read_link(InodeNumber inode) override { return inner_.read_link(inode); }
  std::vector<InodeNumber> inode_numbers() override { return inner_.inode_numbers(); }
  Result<Bytes> extended_attribute(InodeNumber inode, const std::string& name) override {
    return inner_.extended_attribute(inode, name);
  }
  Result<std::vector<std::string>> extended_names(InodeNumber inode) override { return inner_.extended_names(inode); }
  Result<std::size_t> read(InodeNumber inode, std::uint64_t offset, MutableByteView out) override {
    return inner_.read(inode, offset, out);
  }
  Result<std::uint64_t> seek_data(InodeNumber inode, std::uint64_t offset) override {
    return inner_.seek_data(inode, offset);
  }
  Result<std::uint64_t> seek_hole(InodeNumber inode, std::uint64_t offset) override {
    return inner_.seek_hole(inode, offset);
  }
  Result<std::optional<ChunkId>> chunk_at(InodeNumber inode, ChunkIndexInFile index) override {
    if (auto once = std::exchange(before_chunk_, nullptr)) once();
    return inner_.chunk_at(inode, index);
  }

 private:
  FileTree& inner_;
  std::function<void()> before_chunk_;
};

// The source's last chunk may be shared as a whole only where nothing follows in the target, also a moment later.
TEST_F(ContentEdgesTest, ACopyTakesNothingFromATargetThatGrowsMeanwhile) {
  const Bytes source = noise(5000, 1);
  const Bytes behind = noise(3000, 2);
  ASSERT_OK(tree->write(file, 0, 0, source));
  ASSERT_OK(tree->fsync(file, 0));
  ASSERT_OK(tree->snapshot("vm"));  // its chunk is stored
  const InodeNumber target = make("target");
  WatchedTree watched(*tree, [&] { ASSERT_OK(tree->write(target, 0, 6000, behind)); });
  const auto copied = tree->copy_range(watched, {file, 0}, {target, 0}, 0, source.size());
  ASSERT_OK(copied);
  EXPECT_EQ(*copied, source.size());
  Bytes expected = source;
  expected.resize(6000);
  expected.insert(expected.end(), behind.begin(), behind.end());
  const auto content = read_all(*tree, target);
  ASSERT_OK(content);
  EXPECT_TRUE(*content == expected);
}

// Frames opened for small reads are kept for the next ones, with their memory.
TEST_F(ContentEdgesTest, ASealedTreeKeepsNoFrameThatWasReadInPart) {
  Bytes marker =
      noise(32, 0x6d61726b6572);  // of its own: other tests of the process may have left random bytes of a SimEnv
  const OwnMemorySearch search(Bytes(marker.rbegin(), marker.rend()));
  {
    Bytes content(kMiB, std::byte{'a'});  // large frames, as it compresses well
    std::copy(marker.begin(), marker.end(), content.begin() + 1000);
    ASSERT_OK(tree->write(file, 0, 0, content));
    wipe(content);
    wipe(marker);
  }
  ASSERT_OK(tree->fsync(file, 0));
  wait_until_stored();
  Bytes piece(100);
  ASSERT_OK(tree->read(file, 3000, piece));
  ASSERT_OK(tree->read(file, 5000, piece));
  EXPECT_GT(search.places(), 0);
  tree->vault_sealed();
  wipe_plaintext_memory();
  EXPECT_EQ(search.places(), 0);
}

}  // namespace
}  // namespace vaultfs
