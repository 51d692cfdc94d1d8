// A record that a recovery point's segment has damaged, and the copy of it that was stored anew since: the point needs
// the copy, whatever the working tree needs.
#include <algorithm>
#include <string>
#include <vector>

#include "store/index/segment_format.h"
#include "tests/store/store_fixture.h"

namespace vaultfs {
namespace {

// Says which blobs were opened for reading ranges.
class WatchedBlobs final : public BlobStore {
 public:
  explicit WatchedBlobs(std::unique_ptr<BlobStore> blobs) : blobs_(std::move(blobs)) {}
  Status put(const std::string& name, ByteView bytes) override { return blobs_->put(name, bytes); }
  Result<Bytes> get(const std::string& name, std::uint64_t limit) override { return blobs_->get(name, limit); }
  Result<std::unique_ptr<File>> open(const std::string& name) override {
    opened.push_back(name);
    return blobs_->open(name);
  }
  Result<std::vector<std::string>> list(const std::string& folder) override { return blobs_->list(folder); }
  Status remove(const std::string& name) override { return blobs_->remove(name); }
  Status set_aside(const std::string& name) override { return blobs_->set_aside(name); }
  Status adopt(const Env::Path& file, const std::string& name) override { return blobs_->adopt(file, name); }

  std::vector<std::string> opened;

 private:
  std::unique_ptr<BlobStore> blobs_;
};

class HealedRecordTest : public testing::Test {
 protected:
  void SetUp() override {
    auto watched = std::make_unique<WatchedBlobs>(std::move(vault_.blobs));
    blobs_ = watched.get();
    vault_.blobs = std::move(watched);
    ASSERT_EQ(message(vault_.open()), "");
    content_ = random_content(300'000, 1);
    id_ = vault_.must_put(content_);
    beside_ = vault_.must_put(random_content(50'000, 2));
    close();
    old_ = *vault_.store->segment_of(id_);
  }

  void close() { ASSERT_EQ(message(vault_.store->close_segment()), ""); }
  void reopen() {
    ASSERT_EQ(message(vault_.close_and_save()), "");
    ASSERT_EQ(message(vault_.open()), "");
    ASSERT_FALSE(vault_.recovery.index_rebuilt);
  }
  void reopen_without_index() {
    ASSERT_EQ(message(vault_.close_and_save()), "");
    for (const Env::Path& file : vault_.env.files("/vault/index")) vault_.env.remove(file);
    ASSERT_EQ(message(vault_.open()), "");
    ASSERT_TRUE(vault_.recovery.index_rebuilt);
  }
  static Env::Path path_of(ContainerNumber number) { return "/vault/" + closed_segment_name(number); }

  // The content of the record in the old segment changes, and a read finds out.
  void damage_record() {
    vault_.env.flip_bit(path_of(old_), 8 * 100'000);
    ASSERT_TRUE(is_named_damage(vault_.get(id_).code()));
  }
  // Somebody writes the same again, in a segment with something else.
  void store_anew() {
    ASSERT_EQ(vault_.must_put(content_), id_);
    garbage_ = vault_.must_put(random_content(400'000, 3));
    close();
    ASSERT_NE(*vault_.store->segment_of(id_), old_);
  }
  // Removes all that it may; the old segment is a point's. The tree needs nothing.
  void compact(const std::set<ContainerNumber>& kept) {
    close();
    vault_.store->begin_collection();
    blobs_->opened.clear();
    const auto outcome = vault_.store->compact(kept, {0, 1ULL << 40});
    ASSERT_TRUE(outcome.ok()) << outcome.error().message;
  }
  void expect_readable() {
    const auto got = vault_.get(id_);
    ASSERT_TRUE(got.ok()) << error_name(got.code()) << ": " << got.error().message;
    EXPECT_TRUE(bytes_equal(*got, content_));
  }
  [[nodiscard]] std::size_t looked_at(ContainerNumber number) const {
    return static_cast<std::size_t>(std::ranges::count(blobs_->opened, closed_segment_name(number)));
  }

  TestVault vault_;
  WatchedBlobs* blobs_ = nullptr;
  Bytes content_;
  ChunkId id_;
  ChunkId beside_;  // in the old segment, too
  ChunkId garbage_;
  ContainerNumber old_;
};

TEST_F(HealedRecordTest, StaysAsLongAsAKeptSegmentHasTheDamagedOne) {
  damage_record();
  store_anew();
  const ContainerNumber first = *vault_.store->segment_of(id_);
  compact({old_});
  expect_readable();
  EXPECT_FALSE(vault_.store->contains(garbage_));
  EXPECT_FALSE(vault_.env.exists(path_of(first))) << "it moved, and stays what it was:";
  compact({old_});
  expect_readable();
  EXPECT_TRUE(vault_.get(beside_).ok());
  reopen();
  compact({old_});
  expect_readable();
  reopen_without_index();
  compact({old_});
  expect_readable();
  reopen();
  compact({old_});
  expect_readable();
  compact({});
  EXPECT_EQ(vault_.get(id_).code(), ErrorCode::ChunkMissing);
  EXPECT_TRUE(vault_.store->segments().empty());
}

TEST_F(HealedRecordTest, GoesAtOnceWhenNoKeptSegmentHasTheDamagedOne) {
  ChunkId other;  // before and behind the one that is looked for
  for (std::uint64_t seed = 10; seed < 20; ++seed) other = vault_.must_put(random_content(10'000, seed));
  close();
  const ContainerNumber unrelated = *vault_.store->segment_of(other);
  damage_record();
  store_anew();
  compact({unrelated});
  EXPECT_EQ(looked_at(unrelated), 1U);
  EXPECT_FALSE(vault_.store->contains(id_));
  EXPECT_EQ(vault_.store->segments().size(), 1U);
}

TEST_F(HealedRecordTest, CountsAsNeededWhereItIsAskedWhetherALookPays) {
  damage_record();
  ASSERT_EQ(vault_.must_put(content_), id_);
  close();
  const ContainerNumber copy = *vault_.store->segment_of(id_);
  vault_.store->begin_collection();
  const auto outcome = vault_.store->compact({old_}, {50, 1ULL << 40});
  ASSERT_TRUE(outcome.ok());
  EXPECT_EQ(outcome->moved_bytes, 0U);
  ASSERT_TRUE(vault_.store->contains(id_));
  EXPECT_EQ(*vault_.store->segment_of(id_), copy);
  for (const SegmentInfo& segment : vault_.store->segments()) {
    EXPECT_LT(segment.unused_bytes, 10'000U) << segment.number.value;
  }
}

TEST_F(HealedRecordTest, WithoutOneNoFooterIsRead) {
  garbage_ = vault_.must_put(random_content(400'000, 3));
  compact({old_});
  EXPECT_FALSE(vault_.store->contains(garbage_));
  EXPECT_EQ(looked_at(old_), 0U);
  // Nor for one that the tree needs.
  damage_record();
  store_anew();
  vault_.store->begin_collection();
  ASSERT_EQ(message(vault_.store->retain(id_)), "");
  blobs_->opened.clear();
  ASSERT_TRUE(vault_.store->compact({old_}, {0, 1ULL << 40}).ok());
  EXPECT_EQ(looked_at(old_), 0U);
  expect_readable();
}

TEST_F(HealedRecordTest, StaysWhereAKeptSegmentDoesNotSayWhatItHas) {
  damage_record();
  store_anew();
  const std::uint64_t size = vault_.env.read(path_of(old_)).size();
  vault_.env.flip_bit(path_of(old_), 8 * (size - 5));
  compact({old_});
  expect_readable();
  vault_.env.remove(path_of(old_));
  compact({old_});
  expect_readable();
}

TEST_F(HealedRecordTest, ASegmentThatIsGoneIsStoodInFor) {
  reopen();  // the index tells what was in it
  ASSERT_EQ(message(vault_.close_and_save()), "");
  vault_.env.remove(path_of(old_));
  ASSERT_EQ(message(vault_.open()), "");
  ASSERT_EQ(vault_.get(id_).code(), ErrorCode::SegmentMissing);
  store_anew();
  compact({old_});
  expect_readable();
}

TEST_F(HealedRecordTest, AFailedSyncDoesNotForgetWhatItStoodInFor) {
  damage_record();
  ASSERT_EQ(vault_.must_put(content_), id_);
  vault_.env.fail_next_sync(1);
  ASSERT_FALSE(vault_.store->sync().ok());
  ASSERT_FALSE(vault_.store->contains(id_));
  store_anew();
  compact({old_});
  expect_readable();
}

TEST_F(HealedRecordTest, AFailedReencryptionLeavesItWhereItWas) {
  damage_record();
  store_anew();
  const ContainerNumber copy = *vault_.store->segment_of(id_);
  fill_keys(vault_.keys, 2, copy);
  const auto renewed = vault_.store->reencrypt(id_, EpochNumber(2));
  ASSERT_TRUE(renewed.ok()) << renewed.error().message;
  ASSERT_EQ(renewed->records, 1U);
  vault_.env.fail_next_sync(1);
  ASSERT_FALSE(vault_.store->sync_reencrypted().ok());
  EXPECT_EQ(*vault_.store->segment_of(id_), copy);
  expect_readable();
  compact({old_});
  expect_readable();
}

// The copy's own segment was cut off, so that its footer is read instead of the index, and is cut off, too.
TEST_F(HealedRecordTest, ACopyThatIsLostItselfIsStoodInFor) {
  damage_record();
  store_anew();
  const ContainerNumber copy = *vault_.store->segment_of(id_);
  ASSERT_EQ(message(vault_.close_and_save()), "");
  vault_.env.cut(path_of(copy), 50'000);
  ASSERT_EQ(message(vault_.open()), "");
  ASSERT_FALSE(vault_.get(id_).ok());
  ASSERT_EQ(vault_.must_put(content_), id_);
  ASSERT_GT(*vault_.store->segment_of(id_), copy);
  reopen();
  compact({old_});
  expect_readable();
}

}  // namespace
}  // namespace vaultfs
