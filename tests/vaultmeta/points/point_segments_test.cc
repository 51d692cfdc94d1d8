#include "vaultmeta/points/point_segments.h"

#include <gtest/gtest.h>

#include <map>
#include <memory>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "tests/store/store_fixture.h"
#include "tests/support/assert_ok.h"
#include "tests/support/env_wrapper.h"

namespace vaultfs {
namespace {

// Counts the reads of each file.
class ReadCountingEnv final : public EnvWrapper {
 public:
  explicit ReadCountingEnv(Env& disk) : EnvWrapper(disk) {}
  Result<std::unique_ptr<File>> open(const Path& path, OpenMode mode) override {
    VAULTFS_ASSIGN_OR_RETURN(std::unique_ptr<File> file, EnvWrapper::open(path, mode));
    return std::unique_ptr<File>(std::make_unique<Counted>(std::move(file), reads[path.string()]));
  }

  std::map<std::string, int> reads;

 private:
  class Counted final : public FileWrapper {
   public:
    Counted(std::unique_ptr<File> file, int& reads) : FileWrapper(std::move(file)), reads_(reads) {}
    Result<std::size_t> read_at(std::uint64_t offset, MutableByteView out) override {
      ++reads_;
      return FileWrapper::read_at(offset, out);
    }

   private:
    int& reads_;
  };
};

// A store with bases, patches over them and map pages, each kind in segments of its own. Its caches are emptied before
// each point, as those of an image with more patches than they hold would be: what a point reads of the patches'
// segment is what nobody remembers.
class PointSegmentsTest : public ::testing::Test {
 protected:
  static constexpr std::uint32_t kPatches = 40;
  static constexpr std::uint32_t kBytes = 20'000;

  void SetUp() override {
    ASSERT_OK(open());
    for (std::uint32_t i = 0; i < kPatches; ++i) {
      bases_.push_back(vault_.must_put(random_content(kBytes, i)));
    }
    base_segment_ = next_kind(bases_.front());
    for (std::uint32_t i = 0; i < kPatches; ++i) {
      const Bytes changed = random_content(kBytes, 1000 + i);
      const auto patch = store().put_patch({bases_[i], kBytes, patch_pages_of(4096, 8192), changed});
      ASSERT_OK(patch);
      ASSERT_TRUE(patch->has_value());
      patches_.push_back((*patch)->id);
    }
    patch_segment_ = next_kind(patches_.front());
  }

  Status open() {
    vault_.blobs = make_directory_blob_store(env_, "/vault");
    VAULTFS_ASSIGN_OR_RETURN(
        vault_.store, SegmentStore::open(env_, "/vault", *vault_.blobs, vault_.keys, vault_.options, vault_.recovery));
    return ok_status();
  }
  SegmentStore& store() { return *vault_.store; }
  // Closes the segment in which `of` lies, so that what comes next lies in another one.
  ContainerNumber next_kind(const ChunkId& of) {
    EXPECT_TRUE(store().close_segment().ok());
    const auto segment = store().segment_of(of);
    EXPECT_TRUE(segment.ok());
    return segment.ok() ? *segment : ContainerNumber(0);
  }
  // A file of all patches and, so that no two of its pages are alike, one chunk more.
  InodeRecord image(std::uint64_t version) {
    MapPage page;
    page.entries = patches_;
    page.entries.push_back(vault_.must_put(random_content(100, 5000 + version)));
    const ChunkId id = vault_.must_put(page.encode(), RecordType::map_page);
    page_segment_ = next_kind(id);
    InodeRecord file;
    file.number = InodeNumber(3);
    file.pages = {id};
    return file;
  }
  static InodeRecord small_file(const ChunkId& chunk) {
    InodeRecord file;
    file.number = InodeNumber(4);
    file.chunks = {chunk};
    return file;
  }
  [[nodiscard]] int reads_of(ContainerNumber segment) { return env_.reads["/vault/" + closed_segment_name(segment)]; }
  // The segments that a point needs, and how often it read of the patches'.
  struct Found {
    std::set<ContainerNumber> segments;
    int patch_reads = 0;
    bool operator==(const Found&) const = default;
  };
  Found find(PointSegments& segments, const InodeRecord& inode) {
    store().drop_ciphers();
    const int before = reads_of(patch_segment_);
    const auto inventory = segments.of({inode});
    EXPECT_TRUE(inventory.ok());
    Found found;
    if (!inventory.ok()) return found;
    for (const auto& needed : *inventory) found.segments.insert(needed.number);
    found.patch_reads = reads_of(patch_segment_) - before;
    return found;
  }

  TestVault vault_;
  ReadCountingEnv env_{vault_.env};
  std::vector<ChunkId> bases_;
  std::vector<ChunkId> patches_;
  ContainerNumber base_segment_;
  ContainerNumber patch_segment_;
  ContainerNumber page_segment_;
};

// What the patches lie over is known to the store: from putting them, from a first look at their headers, and from the
// index file.
TEST_F(PointSegmentsTest, ReadsTheHeadersOfPatchesOnceAtMost) {
  const InodeRecord first = image(1);
  const InodeRecord second = image(2);  // a page that has changed, whose patches have not
  const std::set<ContainerNumber> needed{base_segment_, patch_segment_, page_segment_};
  const auto with_page = [&](const InodeRecord& inode) {
    return std::set<ContainerNumber>{base_segment_, patch_segment_, *store().segment_of(inode.pages[0])};
  };
  {
    PointSegments segments(store());
    EXPECT_EQ(find(segments, first), (Found{with_page(first), 0})) << "who put them knows";
  }

  ASSERT_OK(open());
  ASSERT_TRUE(vault_.recovery.index_rebuilt);
  {
    PointSegments segments(store());
    const Found read = find(segments, first);
    EXPECT_EQ(read.segments, with_page(first));
    EXPECT_GE(read.patch_reads, static_cast<int>(kPatches)) << "the footers do not tell";
    EXPECT_EQ(find(segments, second), (Found{needed, 0}));
    PointSegments other(store());
    EXPECT_EQ(find(other, second), (Found{needed, 0})) << "it is the store's memory";
  }

  ASSERT_OK(vault_.save_index());
  ASSERT_OK(open());
  ASSERT_FALSE(vault_.recovery.index_rebuilt);
  PointSegments segments(store());
  EXPECT_EQ(find(segments, second), (Found{needed, 0})) << "the index file tells";
  EXPECT_EQ(find(segments, small_file(patches_[7])), (Found{{base_segment_, patch_segment_}, 0}));
}

// A patch whose record is known to be damaged is no better for what was known of it.
TEST_F(PointSegmentsTest, ADamagedPatchIsNotCountedOn) {
  const std::string file = "/vault/" + closed_segment_name(patch_segment_);
  const Bytes whole = vault_.env.read(file);
  store().drop_ciphers();
  vault_.env.write(file, Bytes(whole.size(), std::byte{0}));
  Bytes out(16);
  ASSERT_FALSE(store().read(patches_[0], 0, out).ok());
  PointSegments strict(store());
  EXPECT_FALSE(strict.of({small_file(patches_[0])}).ok());
}

TEST_F(PointSegmentsTest, RemembersWholePages) {
  PointSegments segments(store());
  const InodeRecord inode = image(1);
  const Found read = find(segments, inode);
  const int before = reads_of(page_segment_);
  EXPECT_EQ(find(segments, inode), (Found{read.segments, 0}));
  EXPECT_EQ(reads_of(page_segment_), before);
}

TEST_F(PointSegmentsTest, ForgetsAfterChunksHaveMoved) {
  PointSegments segments(store());
  const InodeRecord inode = image(1);
  EXPECT_EQ(find(segments, inode).segments, (std::set<ContainerNumber>{base_segment_, patch_segment_, page_segment_}));

  // Compaction takes the bases elsewhere, and their segment away.
  store().begin_collection();
  for (const ChunkId& id : inode.pages) ASSERT_OK(store().retain(id));
  for (const ChunkId& id : patches_) ASSERT_OK(store().retain(id));
  CompactionLimits limits;
  limits.least_dead_percent = 0;
  ASSERT_OK(store().compact({patch_segment_, page_segment_}, limits));
  ASSERT_OK(store().close_segment());
  const ContainerNumber moved = *store().segment_of(bases_[0]);
  ASSERT_NE(moved, base_segment_) << "nothing was moved, so nothing is shown";
  segments.forget();
  const std::set<ContainerNumber> needed{moved, patch_segment_, page_segment_};
  EXPECT_EQ(find(segments, inode), (Found{needed, 0})) << "where a base lies is not what is remembered of it";
}

TEST_F(PointSegmentsTest, WhatWasSkippedIsNotRemembered) {
  const InodeRecord inode = image(1);
  const std::string page_file = "/vault/" + closed_segment_name(page_segment_);
  const Bytes whole = vault_.env.read(page_file);
  store().drop_ciphers();
  vault_.env.write(page_file, Bytes(whole.size(), std::byte{0}));
  PointSegments segments(store(), PointSegments::Damage::skipped);
  for (int time = 0; time < 2; ++time) {
    bool skipped = false;
    ASSERT_OK(segments.of({inode}, skipped));
    EXPECT_TRUE(skipped) << "each point that has this page is to be told";
  }
  PointSegments strict(store());
  EXPECT_FALSE(strict.of({inode}).ok());
}

}  // namespace
}  // namespace vaultfs
