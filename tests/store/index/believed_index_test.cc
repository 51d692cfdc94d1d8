// What an index file says counts only where it is of this history, and a first look at the record agrees; what a file's
// name says counts only where its header is authentic.
#include "store/index/chunk_index_file.h"
#include "store/index/segment_format.h"
#include "store/record/container.h"
#include "store/record/file_origin.h"
#include "store/record/stream.h"
#include "tests/store/store_fixture.h"

namespace vaultfs {
namespace {

class BelievedIndex : public testing::Test {
 protected:
  BelievedIndex() {
    if (!vault_.open().ok()) std::abort();
    for (std::uint64_t n = 1; n <= 4; ++n) ids_.push_back(vault_.must_put(text_content(5000, n)));
    if (!vault_.close_and_save().ok()) std::abort();
  }
  void must_open() { ASSERT_EQ(message(vault_.open()), ""); }
  Env::Path index_file() { return vault_.env.files("/vault/index").at(0); }
  // The index file with other content, sealed as the owner would.
  void replace_index(ByteView content) {
    const auto sealed = seal_stream(vault_.env, vault_.keys, ContainerKind::index, ContainerNumber(1), content);
    ASSERT_TRUE(sealed.ok());
    vault_.env.write("/vault/index/0000000000000001.index", *sealed);
  }
  Bytes index_content() {
    auto stream = open_stream(vault_.keys, ContainerKind::index, ContainerNumber(1), vault_.env.read(index_file()),
                              ErrorCode::DamagedSegment);
    EXPECT_TRUE(stream.ok());
    return stream->content;
  }
  bool stores_anew(std::uint64_t n) {
    const auto put = vault_.store->put(RecordType::chunk, text_content(5000, n));
    EXPECT_TRUE(put.ok());
    return put.ok() && put->stored;
  }
  void expect_all_there() {
    for (std::uint64_t n = 1; n <= 4; ++n) {
      const auto read = vault_.store->read_verified(RecordType::chunk, ids_[n - 1]);
      ASSERT_TRUE(read.ok()) << n << ": " << read.error().message;
      EXPECT_EQ(*read, text_content(5000, n));
    }
  }
  bool tells_of(const std::string& file) {
    for (const auto& [name, error] : vault_.recovery.damaged) {
      if (name == file) return true;
    }
    return false;
  }

  TestVault vault_;
  std::vector<ChunkId> ids_;
};

TEST_F(BelievedIndex, CountsAfterACleanClose) {
  must_open();
  EXPECT_FALSE(vault_.recovery.index_rebuilt);
  EXPECT_EQ(vault_.recovery.index_entries, 4U);
  expect_all_there();
}

TEST_F(BelievedIndex, OfAHeadThatIsNotInTheChainItDoesNotCount) {
  vault_.newest_head.digest.mutable_view()[3] = std::byte{1};
  must_open();
  EXPECT_TRUE(vault_.recovery.index_rebuilt);
  EXPECT_EQ(vault_.recovery.index_entries, 0U);
  expect_all_there();
}

TEST_F(BelievedIndex, OfAnEpochThatIsNotTheCurrentOneItDoesNotCount) {
  fill_keys(vault_.keys, 2, ContainerNumber(1));
  must_open();
  EXPECT_TRUE(vault_.recovery.index_rebuilt);
  EXPECT_EQ(vault_.recovery.index_entries, 0U);
  expect_all_there();
  ASSERT_EQ(message(vault_.close_and_save()), "");
  EXPECT_EQ(vault_.env.files("/vault/index").size(), 1U) << "the old one has made room";
  must_open();
  EXPECT_FALSE(vault_.recovery.index_rebuilt);
}

TEST_F(BelievedIndex, OfTheFirstFormItIsBuiltAnewOnce) {
  replace_index(ByteView(index_content()).subspan(4 + 8 + Digest::kSize));
  must_open();
  EXPECT_TRUE(vault_.recovery.index_rebuilt);
  EXPECT_TRUE(vault_.recovery.damaged.empty());
  expect_all_there();
  ASSERT_EQ(message(vault_.close_and_save()), "");
  must_open();
  EXPECT_FALSE(vault_.recovery.index_rebuilt);
}

// A branch that had the head in common and then made a segment of the same number and length.
TEST_F(BelievedIndex, SaysNothingOfSegmentsThatItsHeadDoesNotKnow) {
  vault_.highest_segment = ContainerNumber(0);
  must_open();
  EXPECT_EQ(vault_.recovery.index_entries, 0U);
  EXPECT_TRUE(vault_.recovery.damaged.empty());
  expect_all_there();
}

// Of these entries the records are not there, or are others': the first put of the content notices.
TEST_F(BelievedIndex, AFirstHitLooksAtTheRecord) {
  ChunkIndex index;
  const auto file = ChunkIndexFile::decode(index_content());
  ASSERT_TRUE(file.ok());
  for (const auto& entry : file->entries) index.insert(entry.key, entry.place);
  const ChunkId planted = test_chunk_id(RecordType::chunk, text_content(5000, 9));
  const ChunkPlace first = *index.find(ids_[0]);
  index.insert(planted, first);  // another's record
  ChunkPlace nowhere = *index.find(ids_[1]);
  nowhere.offset += 8;
  index.insert(ids_[1], nowhere);
  ChunkPlace longer = *index.find(ids_[2]);
  ++longer.plaintext_bytes;
  index.insert(ids_[2], longer);
  replace_index(ChunkIndexFile::encode(vault_.newest_head, file->segments, {}, index, {}));
  must_open();
  ASSERT_EQ(vault_.recovery.index_entries, 5U);
  EXPECT_FALSE(stores_anew(1));
  for (const std::uint64_t n : {9U, 2U, 3U}) {
    EXPECT_TRUE(stores_anew(n)) << n;
    EXPECT_FALSE(stores_anew(n)) << n;
  }
  EXPECT_FALSE(stores_anew(4));
  expect_all_there();
}

TEST_F(BelievedIndex, ARecordIsLookedAtOnceOnly) {
  must_open();
  EXPECT_FALSE(stores_anew(1));
  vault_.env.fail_reads("/vault/segments/0000000000000001.seg");
  EXPECT_FALSE(stores_anew(1)) << "known";
  EXPECT_TRUE(stores_anew(2)) << "what can't be looked at is stored, not taken for stored";
  vault_.env.clear_faults();
}

TEST_F(BelievedIndex, APatchOverWhatIsNotThereIsRefused) {
  ChunkIndex index;
  const auto file = ChunkIndexFile::decode(index_content());
  ASSERT_TRUE(file.ok());
  for (const auto& entry : file->entries) index.insert(entry.key, entry.place);
  const ChunkId planted = test_chunk_id(RecordType::chunk, text_content(5000, 9));
  index.insert(planted, *index.find(ids_[0]));
  replace_index(ChunkIndexFile::encode(vault_.newest_head, file->segments, {}, index, {}));
  must_open();
  const Bytes content = text_content(5000, 10);
  PatchDraft draft;
  draft.base = planted;
  draft.length = 5000;
  draft.pages.set(0);
  draft.content = content;
  const auto refused = vault_.store->put_patch(draft);
  ASSERT_FALSE(refused.ok());
  EXPECT_EQ(refused.code(), ErrorCode::ChunkMissing);
  draft.base = ids_[1];
  EXPECT_TRUE(vault_.store->put_patch(draft).ok());
}

// Names with the highest numbers there are, of files that are nothing, noise, or another vault's.
TEST_F(BelievedIndex, ANameAloneDrivesNoNumber) {
  TestVault other(Suite::aes_gcm, 7);
  fill_keys(other.keys, 1, std::nullopt, 0x77);
  ASSERT_EQ(message(other.open()), "");
  other.must_put(text_content(5000, 1));
  ASSERT_EQ(message(other.close_and_save()), "");
  const Bytes foreign_segment = other.env.read("/vault/segments/0000000000000001.seg");
  const Bytes foreign_index = other.env.read("/vault/index/0000000000000001.index");
  const auto whole = vault_.env.snapshot();
  const std::vector<std::string> names{"segments/00000000ffffffff.open", "segments/00000000ffffffff.seg",
                                       "segments/0000000000000002.seg",  "segments/0000000000000002.open",
                                       "segments/fffffffffffffffe.open", "index/fffffffffffffffe.index",
                                       "index/ffffffffffffffff.index",   "index/0000000000000002.index"};
  for (const std::string& name : names) {
    const bool of_index = name.starts_with("index");
    for (const Bytes& bytes : {Bytes{}, random_content(3000, 4), of_index ? foreign_index : foreign_segment}) {
      SCOPED_TRACE(name + " of " + std::to_string(bytes.size()) + " bytes");
      vault_.env.restore(whole);
      vault_.options.minimum_next_segment = ContainerNumber(2);
      vault_.env.write("/vault/" + name, bytes);
      must_open();
      // One that a crash may have left is removed as ever.
      const bool left_by_a_crash = name == "segments/0000000000000002.open" && bytes != foreign_segment;
      EXPECT_EQ(tells_of(name), !left_by_a_crash);
      EXPECT_FALSE(vault_.recovery.index_rebuilt);
      expect_all_there();
      EXPECT_TRUE(stores_anew(20));
      EXPECT_LE(vault_.store->next_segment(), ContainerNumber(4));
      ASSERT_EQ(message(vault_.close_and_save()), "");
      EXPECT_EQ(vault_.env.exists("/vault/" + name), !left_by_a_crash);
      if (!left_by_a_crash) {
        EXPECT_EQ(vault_.env.read("/vault/" + name), bytes);
      }
      must_open();
      EXPECT_FALSE(vault_.recovery.index_rebuilt);
      EXPECT_FALSE(stores_anew(20));
      expect_all_there();
    }
  }
}

// Whoever holds the key of a closed epoch can make files with any number.
TEST_F(BelievedIndex, AnOldKeyDrivesNoNumberEither) {
  const auto forged = seal_stream(vault_.env, vault_.keys, ContainerKind::index, ContainerNumber(~0ULL - 1), {});
  ContainerHeader header;
  ASSERT_TRUE(
      ContainerCipher::create(vault_.env, vault_.keys, ContainerKind::segment, ContainerNumber(0xffffffff), header)
          .ok());
  ASSERT_TRUE(forged.ok());
  fill_keys(vault_.keys, 2, ContainerNumber(1));
  vault_.env.write("/vault/index/fffffffffffffffe.index", *forged);
  vault_.env.write("/vault/segments/00000000ffffffff.open", header.encode());
  must_open();
  EXPECT_TRUE(tells_of("segments/00000000ffffffff.open"));
  EXPECT_TRUE(stores_anew(20));
  EXPECT_EQ(vault_.store->next_segment(), ContainerNumber(3));
  ASSERT_EQ(message(vault_.close_and_save()), "");
  EXPECT_EQ(index_file(), "/vault/index/0000000000000002.index");
}

TEST_F(BelievedIndex, AStrangerThatComesWhileTheVaultIsOpenIsSteppedOver) {
  must_open();
  vault_.env.write("/vault/segments/0000000000000002.seg", bytes_of("x"));
  vault_.env.write("/vault/segments/0000000000000003.open", bytes_of("y"));
  EXPECT_TRUE(stores_anew(20));
  EXPECT_EQ(*vault_.store->segment_of(test_chunk_id(RecordType::chunk, text_content(5000, 20))), ContainerNumber(4));
  ASSERT_EQ(message(vault_.close_and_save()), "");
}

// An empty file in the final name of the segment that was open when the owner was killed.
TEST_F(BelievedIndex, AStrangerDoesNotHideTheOpenSegmentOfItsNumber) {
  must_open();
  const ChunkId late = vault_.must_put(text_content(5000, 20));
  ASSERT_EQ(message(vault_.store->sync()), "");
  vault_.env.kill_process();
  vault_.env.write("/vault/segments/0000000000000002.seg", {});
  must_open();
  EXPECT_TRUE(tells_of("segments/0000000000000002.seg"));
  EXPECT_TRUE(vault_.store->read_verified(RecordType::chunk, late).ok());
  expect_all_there();
}

TEST(FreeNumber, GoesUpAndThenAround) {
  constexpr std::uint64_t kLast = ~0ULL;
  EXPECT_EQ(free_number(0, {}), 1U);
  EXPECT_EQ(free_number(7, {8, 9, 11}), 10U);
  EXPECT_EQ(free_number(kLast, {1}), 2U);
  EXPECT_EQ(free_number(kLast - 1, {kLast, 1, 2}), 3U);
}

TEST(StrongNumber, TheLastOneIsNotFollowedByNone) {
  EXPECT_EQ(ContainerNumber(~0ULL).next(), ContainerNumber(~0ULL));
  EXPECT_EQ(ContainerNumber(~0ULL - 1).next(), ContainerNumber(~0ULL));
}

}  // namespace
}  // namespace vaultfs
