#include "fs/points/recovery_point_tree.h"

#include "tests/fs/engine/engine_fixture.h"
#include "tests/support/units.h"

namespace vaultfs {
namespace {

class RecoveryPointTreeTest : public VaultEngineTest {
 protected:
  void SetUp() override {
    VaultEngineTest::SetUp();
    if (!HasFatalFailure()) engine_ = open_session();
    ASSERT_NE(engine_, nullptr);
  }
  void TearDown() override {
    if (engine_ == nullptr) return;
    EXPECT_TRUE(engine_->close().ok());
  }
  void commit_and_open() {
    const auto outcome = engine_->commit("vm");
    ASSERT_OK(outcome);
    ASSERT_TRUE(outcome->point.has_value());
    auto opened = open_point_tree(engine_->vault(), *outcome->point, root_);
    ASSERT_OK(opened);
    point_ = std::move(*opened);
  }
  [[nodiscard]] InodeNumber inode(const std::string& path) {
    const auto found = resolve_path(*point_, root_, path);
    EXPECT_TRUE(found.ok()) << path;
    return found.ok() ? found->number : InodeNumber{};
  }

  std::unique_ptr<VaultEngine> engine_;
  std::unique_ptr<FileTree> point_;
  InodeNumber root_;
};

TEST_F(RecoveryPointTreeTest, ShowsTheTreeAsItWas) {
  WorkingTree& tree = engine_->tree();
  const InodeNumber disk = tree_file(tree, "vm", "disk");
  tree_write(tree, disk, 0, random_bytes(1, 10'000));
  const auto item = tree.lookup(kRootInode, "vm");
  ASSERT_OK(item);
  const auto directory = tree.make_directory(item->number, "conf", 0751, {7, 8});
  ASSERT_OK(directory);
  ASSERT_OK(tree.make_symlink(directory->number, "link", "../disk", {}));
  ASSERT_OK(tree.make_link(disk, directory->number, "same"));
  ASSERT_OK(tree.make_node(directory->number, "fifo", InodeType::fifo, 0600, 0, {}));
  AttributeChange change;
  change.mtime = UnixNanos{1'234'567'890'123'456'789};
  change.mode = 04711;
  ASSERT_OK(tree.set_attributes(disk, change));
  commit_and_open();
  tree_write(tree, disk, 0, random_bytes(2, 20'000));
  ASSERT_OK(tree.unlink(directory->number, "fifo"));

  const auto entries = point_->list(root_);
  ASSERT_OK(entries);
  ASSERT_EQ(entries->size(), 2U);
  EXPECT_EQ(entries->at(0).name, "conf");
  EXPECT_EQ(entries->at(0).type, InodeType::directory);
  EXPECT_EQ(entries->at(1).name, "disk");
  const auto found = point_->lookup(root_, "disk");
  ASSERT_OK(found);
  EXPECT_EQ(found->size, 10'000U);
  EXPECT_EQ(found->mode, 04711U);
  EXPECT_EQ(found->link_count, 2U);
  EXPECT_EQ(found->mtime.value, 1'234'567'890'123'456'789);
  EXPECT_EQ(found->allocated_bytes, 12'288U);
  EXPECT_EQ(tree_bytes(*point_, found->number), random_bytes(1, 10'000));
  EXPECT_EQ(inode("conf/same"), found->number);
  const auto conf = point_->lookup(root_, "conf");
  ASSERT_OK(conf);
  EXPECT_EQ(conf->mode, 0751U);
  EXPECT_EQ(conf->uid, 7U);
  EXPECT_EQ(conf->gid, 8U);
  EXPECT_EQ(*point_->read_link(inode("conf/link")), "../disk");
  EXPECT_EQ(point_->attributes(inode("conf/link"))->size, 7U);
  EXPECT_EQ(point_->attributes(inode("conf/fifo"))->type, InodeType::fifo);

  EXPECT_EQ(point_->lookup(root_, "nothing").code(), ErrorCode::NotFound);
  EXPECT_EQ(point_->lookup(found->number, "x").code(), ErrorCode::NotADirectory);
  EXPECT_EQ(point_->list(found->number).code(), ErrorCode::NotADirectory);
  Bytes one(1);
  EXPECT_EQ(point_->read(root_, 0, one).code(), ErrorCode::IsADirectory);
  EXPECT_EQ(point_->attributes(InodeNumber{999'999}).code(), ErrorCode::NotFound);
  EXPECT_EQ(point_->read_link(found->number).code(), ErrorCode::InvalidArgument);
}

TEST_F(RecoveryPointTreeTest, ReadsAnyRangeAcrossChunksHolesAndPages) {
  const std::uint64_t size = 300 * kMiB + 123;
  const InodeNumber disk = tree_file(engine_->tree(), "vm", "disk");
  ASSERT_OK(engine_->tree().truncate(disk, size));
  const Bytes low = random_bytes(1, 2 * kMiB + 500);
  const Bytes high = random_bytes(2, kMiB);
  tree_write(engine_->tree(), disk, kMiB - 100, low);
  tree_write(engine_->tree(), disk, 299 * kMiB + 123, high);
  commit_and_open();
  const InodeNumber file = inode("disk");
  const auto expected = [&](std::uint64_t at) -> std::byte {
    if (at >= kMiB - 100 && at < kMiB - 100 + low.size()) return low[at - (kMiB - 100)];
    if (at >= 299 * kMiB + 123) return high[at - (299 * kMiB + 123)];
    return std::byte{0};
  };
  std::mt19937_64 random(3);
  for (int i = 0; i < 300; ++i) {
    const std::uint64_t base = i % 3 == 0 ? 0 : i % 3 == 1 ? 298 * kMiB : 255 * kMiB;
    const std::uint64_t offset = base + random() % (3 * kMiB);
    Bytes out(1 + random() % 200'000, std::byte{0xee});
    const auto read = point_->read(file, offset, out);
    ASSERT_OK(read);
    const std::uint64_t left = offset >= size ? 0 : size - offset;
    ASSERT_EQ(*read, std::min<std::uint64_t>(out.size(), left)) << offset;
    for (std::size_t at = 0; at < *read; at += 97) ASSERT_EQ(out[at], expected(offset + at)) << offset + at;
  }
  EXPECT_EQ(*point_->seek_data(file, 0), 0U);
  EXPECT_EQ(*point_->seek_hole(file, 0), 4 * kMiB);
  EXPECT_EQ(*point_->seek_data(file, 4 * kMiB), 299 * kMiB);
  EXPECT_EQ(*point_->seek_data(file, 299 * kMiB + 7), 299 * kMiB + 7);
  EXPECT_EQ(*point_->seek_hole(file, 299 * kMiB), size);
  EXPECT_EQ(point_->seek_data(file, size).code(), ErrorCode::OutOfRange);
  EXPECT_EQ(point_->seek_hole(file, size + 1).code(), ErrorCode::OutOfRange);
  EXPECT_EQ(point_->attributes(file)->allocated_bytes, 5 * kMiB + 4096);
  EXPECT_TRUE((*point_->chunk_at(file, ChunkIndexInFile{5}))->is_zero());
  EXPECT_FALSE((*point_->chunk_at(file, ChunkIndexInFile{299}))->is_zero());
}

// The last chunk of the file that it was is shorter than its place in the file that it has become.
TEST_F(RecoveryPointTreeTest, AShortChunkInAFileThatHasGrownEndsInZeros) {
  const InodeNumber disk = tree_file(engine_->tree(), "vm", "disk");
  Bytes content = random_bytes(1, 70'000);
  tree_write(engine_->tree(), disk, 0, content);
  commit_and_open();
  ASSERT_OK(engine_->tree().truncate(disk, 2 * kMiB));
  commit_and_open();
  content.resize(2 * kMiB);
  const InodeNumber file = inode("disk");
  for (const auto& [offset, size] : {std::pair<std::size_t, std::size_t>{0, kMiB},
                                     {0, 2 * kMiB},
                                     {69'900, 200},
                                     {60'000, kMiB},
                                     {70'000, 5'000},
                                     {kMiB - 10, 20}}) {
    Bytes out(size, std::byte{0xee});
    const auto read = point_->read(file, offset, out);
    ASSERT_OK(read);
    ASSERT_EQ(*read, size);
    EXPECT_TRUE(bytes_equal(out, ByteView(content).subspan(offset, size))) << offset;
  }
}

TEST_F(RecoveryPointTreeTest, AFileOfHolesOnlyHasNoData) {
  const InodeNumber disk = tree_file(engine_->tree(), "vm", "disk");
  ASSERT_OK(engine_->tree().truncate(disk, 2000 * kMiB));
  commit_and_open();
  const InodeNumber file = inode("disk");
  EXPECT_EQ(point_->seek_data(file, 0).code(), ErrorCode::OutOfRange);
  EXPECT_EQ(*point_->seek_hole(file, 77), 77U);
  EXPECT_EQ(point_->attributes(file)->allocated_bytes, 0U);
}

}  // namespace
}  // namespace vaultfs
