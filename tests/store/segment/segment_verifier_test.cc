#include "store/segment/segment_verifier.h"

#include "store/index/segment_format.h"
#include "store/record/stream.h"
#include "store/segment/file/segment_recovery.h"
#include "store/segment/file/segment_writer.h"
#include "tests/store/store_fixture.h"

namespace vaultfs {
namespace {

class VerifierTest : public testing::TestWithParam<bool> {
 protected:
  // What verify says of a file; with keys if the test's parameter says so.
  std::vector<Damage> verify(const std::string& name, bool may_have_gaps = false) {
    counts_ = {};
    std::vector<Damage> damage;
    const auto file = vault_.env.open("/vault/" + name, OpenMode::read_only);
    EXPECT_TRUE(file.ok());
    const Status status =
        verify_container(**file, name, GetParam() ? &vault_.keys : nullptr, may_have_gaps, counts_, damage);
    EXPECT_TRUE(status.ok()) << message(status);
    return damage;
  }
  void make_segment() {
    ASSERT_TRUE(vault_.open().ok());
    vault_.must_put(text_content(300, 1));
    vault_.must_put(random_content(120, 2), RecordType::map_page);
    ASSERT_TRUE(vault_.store->close_segment().ok());
  }
  const std::string kSegment = closed_segment_name(ContainerNumber(1));
  TestVault vault_;
  VerifyCounts counts_;
};

INSTANTIATE_TEST_SUITE_P(KeylessAndKeyed, VerifierTest, testing::Bool());

TEST_P(VerifierTest, EveryBitAndByteOfASegmentCounts) {
  make_segment();
  EXPECT_TRUE(verify(kSegment).empty());
  EXPECT_EQ(counts_.records, 3U);
  const Bytes good = vault_.env.read("/vault/" + kSegment);
  EXPECT_EQ(counts_.bytes, good.size());
  for (std::size_t bit = 0; bit < good.size() * 8; ++bit) {
    vault_.env.flip_bit("/vault/" + kSegment, bit);
    ASSERT_FALSE(verify(kSegment).empty()) << "bit " << bit;
    vault_.env.flip_bit("/vault/" + kSegment, bit);
  }
  for (std::size_t size = 0; size < good.size(); ++size) {
    vault_.env.cut("/vault/" + kSegment, size);
    ASSERT_FALSE(verify(kSegment).empty()) << "size " << size;
    vault_.env.write("/vault/" + kSegment, good);
  }
  Bytes longer = good;
  longer.resize(longer.size() + 8);
  vault_.env.write("/vault/" + kSegment, longer);
  EXPECT_FALSE(verify(kSegment).empty());
}

TEST_P(VerifierTest, RecordZeroedAsAWholeIsMissed) {
  make_segment();
  Bytes file = vault_.env.read("/vault/" + kSegment);
  const auto size = RecordHeader::decode(ByteView(file).subspan(160))->stored_bytes();
  std::fill_n(file.begin() + 160, size, std::byte{0});
  vault_.env.write("/vault/" + kSegment, file);
  EXPECT_FALSE(verify(kSegment).empty());
}

TEST_P(VerifierTest, FileUnderAnotherNumberIsNamed) {
  make_segment();
  const std::string other = closed_segment_name(ContainerNumber(2));
  vault_.env.copy("/vault/" + kSegment, "/vault/" + other);
  ASSERT_FALSE(verify(other).empty());
  EXPECT_EQ(verify(other)[0].error.code, ErrorCode::DamagedHeader);
}

TEST_P(VerifierTest, TornTailOfAnOpenSegmentIsNoDamage) {
  ASSERT_TRUE(vault_.open().ok());
  vault_.must_put(text_content(3000, 1));
  vault_.must_put(random_content(3000, 2));
  vault_.store.reset();
  const std::string open = open_segment_name(ContainerNumber(1));
  EXPECT_TRUE(verify(open, true).empty());
  EXPECT_EQ(counts_.records, 2U);
  vault_.env.cut("/vault/" + open, vault_.env.read("/vault/" + open).size() - 100);
  EXPECT_TRUE(verify(open, true).empty());
  EXPECT_EQ(counts_.records, 1U);
}

TEST_P(VerifierTest, RecoveredSegmentWithAGapIsGood) {
  ASSERT_TRUE(vault_.open().ok());
  for (std::uint64_t i = 0; i < 3; ++i) vault_.must_put(random_content(2000, i));
  vault_.store.reset();
  const std::string open = "/vault/" + open_segment_name(ContainerNumber(1));
  vault_.env.flip_bit(open, (160 + 2500) * 8);  // in the second record
  ASSERT_TRUE(vault_.open().ok());
  EXPECT_EQ(vault_.store->chunk_count(), 2U);
  EXPECT_TRUE(verify(kSegment).empty());
}

TEST_P(VerifierTest, EveryBitOfAStreamCounts) {
  const auto file = seal_stream(vault_.env, vault_.keys, ContainerKind::manifest, ContainerNumber(1),
                                text_content(500, 1), bytes_of("inventory"));
  ASSERT_TRUE(file.ok());
  const std::string name = "points/0000000000000001.point";
  vault_.env.write("/vault/" + name, *file);
  EXPECT_TRUE(verify(name).empty());
  for (std::size_t bit = 0; bit < file->size() * 8; ++bit) {
    vault_.env.flip_bit("/vault/" + name, bit);
    ASSERT_FALSE(verify(name).empty()) << "bit " << bit;
    vault_.env.flip_bit("/vault/" + name, bit);
  }
  for (std::size_t size = 0; size < file->size(); ++size) {
    vault_.env.write("/vault/" + name, ByteView(*file).first(size));
    ASSERT_FALSE(verify(name).empty()) << "size " << size;
  }
}

// The footer is what an opening goes by: one that names another record than stands there hides that one.
TEST_P(VerifierTest, AFooterThatListsOtherRecordsIsNamed) {
  make_segment();
  const auto file = vault_.env.open("/vault/" + kSegment, OpenMode::read_write);
  ASSERT_TRUE(file.ok());
  const auto right = load_segment_footer(**file, vault_.keys, ContainerNumber(1));
  ASSERT_TRUE(right.ok());
  ASSERT_EQ(right->size(), 2U);
  const auto header = ContainerHeader::read(**file);
  const auto cipher = ContainerCipher::open(vault_.keys, *header, ContainerKind::segment, ContainerNumber(1));
  ASSERT_TRUE(cipher.ok());
  const auto rewrite = [&](const std::vector<SegmentEntry>& entries) {
    const std::uint64_t end = right->back().offset + right->back().stored_bytes;
    ASSERT_TRUE(write_segment_end(**file, **cipher, 1'000, entries, entries.size(), end).ok());
  };
  rewrite(*right);
  EXPECT_TRUE(verify(kSegment).empty());
  std::vector<SegmentEntry> wrong = *right;
  wrong.front().id = test_chunk_id(RecordType::chunk, random_content(10, 5));
  rewrite(wrong);
  EXPECT_EQ(verify(kSegment).empty(), !GetParam()) << "without keys nobody reads it";
  wrong = *right;
  wrong.back().type = RecordType::chunk;
  rewrite(wrong);
  EXPECT_EQ(verify(kSegment).empty(), !GetParam());
}

}  // namespace
}  // namespace vaultfs
