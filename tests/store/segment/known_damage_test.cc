// What a store tells of damage, and what it takes for it.
#include <algorithm>
#include <string>
#include <vector>

#include "store/index/segment_format.h"
#include "tests/store/store_fixture.h"
#include "tests/support/assert_ok.h"
#include "tests/support/env_wrapper.h"

namespace vaultfs {
namespace {

class KnownDamageTest : public testing::Test {
 protected:
  void SetUp() override {
    ASSERT_OK(vault_.open());
    for (std::uint64_t i = 0; i < 4; ++i) {
      contents_.push_back(random_content(200'000, i));
      ids_.push_back(vault_.must_put(contents_[i]));
    }
    ASSERT_OK(vault_.store->close_segment());
    segment_ = *vault_.store->segment_of(ids_[0]);
    EXPECT_TRUE(vault_.store->take_damage().empty());
  }

  [[nodiscard]] Env::Path path() const { return "/vault/" + closed_segment_name(segment_); }
  [[nodiscard]] ChunkIndex::Key key(std::size_t i) const { return ChunkIndex::key_of(ids_[i]); }
  SegmentStore& store() { return *vault_.store; }
  void reopen(bool with_index) {
    ASSERT_OK(vault_.close_and_save());
    if (!with_index) {
      for (const Env::Path& file : vault_.env.files("/vault/index")) vault_.env.remove(file);
    }
    ASSERT_OK(vault_.open());
  }
  [[nodiscard]] std::uint64_t middle_of(std::size_t i) { return store().place_of(key(i))->offset + 100'000; }
  bool stored_anew(std::size_t i) {
    const auto put = store().put(RecordType::chunk, contents_[i]);
    return put.ok() && put->stored;
  }

  TestVault vault_;
  std::vector<Bytes> contents_;
  std::vector<ChunkId> ids_;
  ContainerNumber segment_;
};

TEST_F(KnownDamageTest, AReadTellsOnceWhatItFound) {
  vault_.env.flip_bit(path(), 8 * middle_of(1));
  EXPECT_FALSE(vault_.get(ids_[1]).ok());
  EXPECT_FALSE(vault_.get(ids_[1]).ok());
  EXPECT_TRUE(vault_.get(ids_[0]).ok());
  EXPECT_EQ(store().take_damage(), (std::vector<DamagedChunk>{{key(1), RecordType::chunk, segment_}}));
  EXPECT_TRUE(store().take_damage().empty());
  EXPECT_TRUE(stored_anew(1));
  EXPECT_FALSE(stored_anew(0));
}

// The marks of an index go with it; what is known elsewhere is laid over a new one.
TEST_F(KnownDamageTest, WhatIsKnownIsStoredAnewAlsoWithoutTheIndex) {
  vault_.env.flip_bit(path(), 8 * middle_of(1));
  reopen(false);
  EXPECT_FALSE(stored_anew(1)) << "nobody knows yet";
  store().lay_damage({{key(1), RecordType::chunk, segment_}, {key(2), RecordType::chunk, segment_.next()}});
  EXPECT_FALSE(store().contains(ids_[1]));
  EXPECT_TRUE(store().contains(ids_[2])) << "it lies in another segment than where it was found damaged";
  EXPECT_TRUE(store().take_damage().empty()) << "it is known already";
  EXPECT_TRUE(stored_anew(1));
  EXPECT_NE(*store().segment_of(ids_[1]), segment_);
  // And stays known where it lies now.
  store().lay_damage({{key(1), RecordType::chunk, segment_}});
  EXPECT_TRUE(store().contains(ids_[1]));
  EXPECT_TRUE(vault_.get(ids_[1]).ok());
}

TEST_F(KnownDamageTest, AProbeMarksAndTakesMarksAway) {
  const std::uint64_t at = middle_of(2);
  vault_.env.flip_bit(path(), 8 * at);
  auto sound = store().probe(key(2));
  ASSERT_OK(sound);
  EXPECT_FALSE(*sound);
  EXPECT_TRUE(store().place_of(key(2))->damaged);
  vault_.env.flip_bit(path(), 8 * at);
  sound = store().probe(key(2));
  ASSERT_OK(sound);
  EXPECT_TRUE(*sound);
  EXPECT_TRUE(store().contains(ids_[2]));
  // Also of a record whose header does not say any more what it is.
  vault_.env.flip_bit(path(), 8 * (store().place_of(key(3))->offset + 40));
  sound = store().probe(key(3));
  ASSERT_OK(sound);
  EXPECT_FALSE(*sound);
  EXPECT_FALSE(*store().probe(ChunkIndex::Key{}));
  EXPECT_EQ(store().keys_in({segment_}).size(), 4U);
  EXPECT_TRUE(store().keys_in({segment_.next()}).empty());
}

TEST_F(KnownDamageTest, OfACutSegmentOnlyWhatLayBehindIsDamaged) {
  reopen(true);
  ASSERT_OK(vault_.close_and_save());
  vault_.env.cut(path(), 450'000);  // two whole records before it
  ASSERT_OK(vault_.open());
  std::vector<ChunkIndex::Key> told;
  for (const DamagedChunk& chunk : store().take_damage()) told.push_back(chunk.key);
  ASSERT_EQ(told.size(), 2U);
  for (std::size_t i = 0; i < 4; ++i) {
    const bool lost = std::ranges::count(told, key(i)) > 0;
    EXPECT_EQ(vault_.get(ids_[i]).ok(), !lost);
    EXPECT_EQ(stored_anew(i), lost);
    EXPECT_TRUE(vault_.get(ids_[i]).ok());
  }
}

TEST_F(KnownDamageTest, AMissingSegmentIsDamageOfAllItsChunks) {
  reopen(true);
  ASSERT_OK(vault_.close_and_save());
  vault_.env.remove(path());
  ASSERT_OK(vault_.open());
  EXPECT_EQ(store().take_damage().size(), 4U);
  EXPECT_TRUE(store().all_segments_looked_at());
  EXPECT_FALSE(*store().probe(key(0)));
}

TEST_F(KnownDamageTest, ASegmentWhoseFolderIsAwayIsNotDamaged) {
  reopen(true);
  store().drop_ciphers();  // and open files with them
  vault_.env.remove("/vault/segments");
  EXPECT_EQ(vault_.get(ids_[0]).code(), ErrorCode::SegmentMissing);
  EXPECT_TRUE(store().take_damage().empty());
  EXPECT_FALSE(store().place_of(key(0))->damaged);
}

TEST_F(KnownDamageTest, ADiskThatReadsNothingAnyMoreIsNotDamage) {
  reopen(true);
  vault_.env.fail_reads(path());
  EXPECT_EQ(vault_.get(ids_[0]).code(), ErrorCode::IoError);
  EXPECT_TRUE(store().take_damage().empty());
  EXPECT_EQ(store().probe(key(0)).code(), ErrorCode::IoError);
  vault_.env.clear_faults();
  EXPECT_FALSE(stored_anew(0));
}

TEST_F(KnownDamageTest, ASegmentThatTheDiskDoesNotGiveAtTheOpeningIsTold) {
  for (const Env::Path& file : vault_.env.files("/vault/index")) vault_.env.remove(file);
  vault_.env.fail_reads(path());
  ASSERT_OK(vault_.open());
  EXPECT_FALSE(store().all_segments_looked_at());
}

// Nor is anything "not there" because of that, and the disk's return is noticed.
TEST_F(KnownDamageTest, ASegmentThatTheDiskDidNotGiveIsLookedAtAgain) {
  for (const Env::Path& file : vault_.env.files("/vault/index")) vault_.env.remove(file);
  vault_.env.fail_reads(path());
  ASSERT_OK(vault_.open());
  EXPECT_EQ(vault_.get(ids_[0]).code(), ErrorCode::IoError);
  EXPECT_EQ(store().segment_of(ids_[1]).code(), ErrorCode::IoError);
  EXPECT_EQ(store().read_verified(RecordType::chunk, ids_[1]).code(), ErrorCode::IoError);
  EXPECT_EQ(store().probe(key(0)).code(), ErrorCode::IoError);
  vault_.env.clear_faults();
  EXPECT_EQ(vault_.get(ids_[0]).code(), ErrorCode::IoError) << "not asked each time";
  vault_.env.sim_clock().advance_seconds(11);
  for (std::size_t i = 0; i < 4; ++i) EXPECT_TRUE(vault_.get(ids_[i]).ok());
  EXPECT_TRUE(store().all_segments_looked_at());
  EXPECT_EQ(vault_.get(ChunkId()).code(), ErrorCode::ChunkMissing);
  EXPECT_FALSE(stored_anew(0));
  EXPECT_GT(store().segments().front().file_bytes, 800'000U);
}

// The record that stands in for a damaged one may lie where the disk gives nothing just now.
TEST_F(KnownDamageTest, OtherRecordsAreSearchedAgain) {
  store().lay_damage({{key(1), RecordType::chunk, segment_}});
  ASSERT_TRUE(stored_anew(1));
  const ContainerNumber second = *store().segment_of(ids_[1]);
  reopen(false);
  ASSERT_EQ(*store().segment_of(ids_[1]), second);
  vault_.env.flip_bit("/vault/" + closed_segment_name(second), 8 * middle_of(1));
  vault_.env.fail_reads(path());
  EXPECT_FALSE(vault_.get(ids_[1]).ok());
  vault_.env.clear_faults();
  vault_.env.sim_clock().advance_seconds(11);
  EXPECT_TRUE(vault_.get(ids_[1]).ok());
  EXPECT_EQ(*store().segment_of(ids_[1]), segment_);
  // Or in a segment whose footer is lost.
  reopen(false);
  vault_.env.flip_bit(path(), 8 * (vault_.env.read(path()).size() - 20));
  reopen(false);
  vault_.env.flip_bit("/vault/" + closed_segment_name(second), 8 * (middle_of(1) + 1));
  EXPECT_TRUE(vault_.get(ids_[1]).ok());
}

// A disk with one bad sector.
class BadSectorEnv final : public EnvWrapper {
 public:
  explicit BadSectorEnv(Env& disk) : EnvWrapper(disk) {}
  Result<std::unique_ptr<File>> open(const Path& path, OpenMode mode) override {
    VAULTFS_ASSIGN_OR_RETURN(std::unique_ptr<File> file, EnvWrapper::open(path, mode));
    if (path != bad_file) return file;
    return std::unique_ptr<File>(std::make_unique<BadFile>(std::move(file), bad_offset));
  }
  Path bad_file;
  std::uint64_t bad_offset = 0;

 private:
  class BadFile final : public FileWrapper {
   public:
    BadFile(std::unique_ptr<File> file, std::uint64_t bad) : FileWrapper(std::move(file)), bad_(bad) {}
    Result<std::size_t> read_at(std::uint64_t offset, MutableByteView out) override {
      if (offset <= bad_ && bad_ < offset + out.size()) return Error{ErrorCode::IoError, "a bad sector"};
      return FileWrapper::read_at(offset, out);
    }

   private:
    const std::uint64_t bad_;
  };
};

TEST_F(KnownDamageTest, OneBadSectorIsDamageOfWhatLiesThere) {
  BadSectorEnv env(vault_.env);
  env.bad_file = path();
  env.bad_offset = middle_of(1);
  ASSERT_OK(vault_.close_and_save());
  const auto blobs = make_directory_blob_store(env, "/vault");
  auto opened = SegmentStore::open(env, "/vault", *blobs, vault_.keys, vault_.options, vault_.recovery);
  ASSERT_OK(opened);
  vault_.store = std::move(*opened);
  EXPECT_EQ(vault_.get(ids_[1]).code(), ErrorCode::IoError);
  EXPECT_EQ(store().take_damage().size(), 1U);
  EXPECT_FALSE(*store().probe(key(1)));
  EXPECT_TRUE(stored_anew(1));
  EXPECT_TRUE(vault_.get(ids_[1]).ok());
  vault_.store.reset();
}

}  // namespace
}  // namespace vaultfs
