// Unfinished segments: what is done to them between two openings is damage with a name, never a record that was not
// there; and what closes them burns no nonce twice.
#include <algorithm>

#include "crypto/committed_key.h"
#include "store/index/segment_format.h"
#include "store/record/checksum.h"
#include "store/record/record.h"
#include "store/record/record_scanner.h"
#include "store/segment/file/segment_writer.h"
#include "tests/store/store_fixture.h"

namespace vaultfs {
namespace {

class OpenSegmentAttackTest : public testing::Test {
 protected:
  void SetUp() override { ASSERT_EQ(message(vault_.open()), ""); }
  // The owner is killed, what he wrote stays.
  void kill() {
    ASSERT_EQ(message(vault_.store->sync()), "");
    vault_.store.reset();
    vault_.env.kill_process();
  }
  [[nodiscard]] std::size_t offset_of(const ChunkId& id) const {
    const Bytes file = vault_.env.read(kOpen);
    for (std::size_t at = ContainerHeader::kEncodedBytes; at + RecordHeader::kEncodedBytes <= file.size(); at += 8) {
      const auto header = RecordHeader::decode(ByteView(file).subspan(at));
      if (header.ok() && header->id == id) return at;
    }
    ADD_FAILURE() << "no such record";
    return 0;
  }
  [[nodiscard]] bool names_damage(ErrorCode code) const {
    return std::ranges::any_of(vault_.recovery.damaged, [&](const auto& one) { return one.second.code == code; });
  }

  const Env::Path kOpen = "/vault/" + open_segment_name(ContainerNumber(1));
  const Env::Path kClosed = "/vault/" + closed_segment_name(ContainerNumber(1));
  TestVault vault_;
};

// Its checksums are right, so that no crash has left it.
TEST_F(OpenSegmentAttackTest, AWholeRecordThatDoesNotOpenIsDamageAndNotMissing) {
  const ChunkId first = vault_.must_put(random_content(3000, 1));
  const ChunkId forged = vault_.must_put(random_content(3000, 2));
  const ChunkId last = vault_.must_put(random_content(3000, 3));
  kill();
  Bytes file = vault_.env.read(kOpen);
  const std::size_t at = offset_of(forged);
  const auto header = RecordHeader::decode(ByteView(file).subspan(at));
  ASSERT_TRUE(header.ok());
  const std::size_t covered = RecordHeader::kEncodedBytes + header->payload_bytes;
  file[at + covered - 1] ^= std::byte{1};
  std::ranges::copy(checksum128(ByteView(file).subspan(at, covered)),
                    file.begin() + static_cast<std::ptrdiff_t>(at + covered));
  vault_.env.write(kOpen, file);
  for (const bool read_only : {true, false}) {
    SCOPED_TRACE(read_only);
    vault_.options.read_only = read_only;
    ASSERT_EQ(message(vault_.open()), "");
    EXPECT_TRUE(names_damage(ErrorCode::AuthenticationFailed));
    EXPECT_TRUE(vault_.get(first).ok());
    EXPECT_TRUE(vault_.get(last).ok());
    EXPECT_FALSE(vault_.store->contains(forged));
  }
}

// An older state of the file, put beside the closed one, takes nothing of it away.
TEST_F(OpenSegmentAttackTest, AnOldOpenFileBesideTheClosedOneIsPassedOver) {
  const ChunkId first = vault_.must_put(random_content(3000, 1));
  ASSERT_EQ(message(vault_.store->sync()), "");
  const Bytes old = vault_.env.read(kOpen);
  const ChunkId second = vault_.must_put(random_content(3000, 2));
  ASSERT_EQ(message(vault_.store->close_segment()), "");
  vault_.store.reset();
  vault_.env.write(kOpen, old);
  ASSERT_EQ(message(vault_.open()), "");
  EXPECT_TRUE(names_damage(ErrorCode::DamagedSegment));
  EXPECT_TRUE(vault_.get(first).ok());
  EXPECT_TRUE(vault_.get(second).ok());
  EXPECT_EQ(vault_.env.read(kOpen), old) << "it stays as it is";
}

// Whoever has a data key seals what he likes, but a segment holds no such thing.
TEST_F(OpenSegmentAttackTest, ARecordLargerThanItsKindIsDamage) {
  ChunkIndex index;
  auto made =
      SegmentWriter::create(vault_.env, "/vault", vault_.keys, ContainerNumber(1), std::uint64_t{16} << 20, index);
  ASSERT_TRUE(made.ok());
  const Bytes content = random_content(kMaxChunkBytes + 1, 1);
  RecordDraft draft;
  draft.id = test_chunk_id(RecordType::chunk, content);
  Bytes sealed;
  ASSERT_EQ(message(seal_record(**(*made)->cipher(), draft, content, sealed)), "");
  ASSERT_EQ(message((*made)->file()->write_at(ContainerHeader::kEncodedBytes, sealed)), "");
  made->reset();
  ASSERT_EQ(message(vault_.open()), "");
  EXPECT_TRUE(names_damage(ErrorCode::DamagedSegment));
  EXPECT_FALSE(vault_.store->contains(draft.id));
}

// The numbers of segments that the index alone tells of were given: they are not given again.
TEST_F(OpenSegmentAttackTest, TheNumberOfAMissingSegmentIsNotGivenAgain) {
  const ChunkId lost = vault_.must_put(random_content(3000, 1));
  ASSERT_EQ(message(vault_.close_and_save()), "");
  vault_.env.remove(kClosed);
  ASSERT_EQ(message(vault_.open()), "");
  EXPECT_EQ(vault_.get(lost).code(), ErrorCode::SegmentMissing);
  const ChunkId next = vault_.must_put(random_content(3000, 2));
  EXPECT_EQ(vault_.store->segment_of(next)->value, 2U);
}

// In containers of version 1 all records have one key, so that two footers must not share a nonce, and no footer one
// with a record. A recovery that crashes before its end is durable is done a second time.
TEST_F(OpenSegmentAttackTest, EveryRecoveryOfAnOldSegmentHasNoncesOfItsOwn) {
  ContainerHeader header;
  ASSERT_TRUE(
      ContainerCipher::create(vault_.env, vault_.keys, ContainerKind::segment, ContainerNumber(1), header).ok());
  header.version = 1;
  const auto key = derive_committed_key(test_secret(0x11), header.salt, "vaultfs/1 container key", header.context());
  ASSERT_TRUE(key.ok());
  header.commitment = key->commitment;
  const auto cipher =
      ContainerCipher::open(vault_.keys, header, ContainerKind::segment, ContainerNumber(1), vault_.env);
  ASSERT_TRUE(cipher.ok());
  Bytes file = header.encode();
  RecordDraft draft;
  const Bytes content = random_content(3000, 1);
  draft.id = test_chunk_id(RecordType::chunk, content);
  ASSERT_EQ(message(seal_record(**cipher, draft, content, file)), "");
  std::set<std::uint64_t> nonces;
  for (int recovery = 0; recovery < 8; ++recovery) {
    vault_.store.reset();
    if (vault_.env.exists(kClosed)) vault_.env.remove(kClosed);
    vault_.env.write(kOpen, file);
    ASSERT_EQ(message(vault_.open()), "");
    ASSERT_TRUE(vault_.env.exists(kClosed));
    const Bytes closed = vault_.env.read(kClosed);
    const auto trailer = SegmentTrailer::decode(ByteView(closed).last(SegmentTrailer::kEncodedBytes));
    ASSERT_TRUE(trailer.ok());
    const auto footer = RecordHeader::decode(ByteView(closed).subspan(trailer->footer_offset));
    ASSERT_TRUE(footer.ok());
    EXPECT_TRUE(nonces.insert(footer->nonce_base).second) << "a nonce was used twice under one key";
    EXPECT_GE(footer->nonce_base, 1ULL << 63U) << "a lost record may have burnt it";
    EXPECT_TRUE(vault_.get(draft.id).ok());
  }
}

}  // namespace
}  // namespace vaultfs
