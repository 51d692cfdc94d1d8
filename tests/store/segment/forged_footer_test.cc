// Footers and headers of records by somebody who has the keys: what a reader believes of their lengths and places.
#include <functional>
#include <limits>

#include "base/byte_codec.h"
#include "crypto/aead.h"
#include "crypto/committed_key.h"
#include "store/index/segment_format.h"
#include "store/record/checksum.h"
#include "store/record/record.h"
#include "store/segment/file/segment_writer.h"
#include "store/segment/segment_verifier.h"
#include "tests/store/store_fixture.h"
#include "tests/support/units.h"

namespace vaultfs {
namespace {

constexpr std::uint64_t kFooterAt = 100'000;

SegmentEntry entry_at(std::uint64_t offset) {
  return {test_chunk_id(RecordType::chunk, bytes_of("x")), RecordType::chunk, offset, 5'000, 4'900};
}

ErrorCode footer_code(const std::vector<SegmentEntry>& entries) {
  const auto decoded = decode_segment_footer(encode_segment_footer(entries), kFooterAt);
  return decoded.ok() ? ErrorCode::Internal : decoded.code();
}

TEST(ForgedFooterTest, EntriesLieInOrderWithoutOverlap) {
  EXPECT_EQ(footer_code({entry_at(160), entry_at(5'160)}), ErrorCode::Internal);
  EXPECT_EQ(footer_code({entry_at(160), entry_at(5'152)}), ErrorCode::DamagedSegment);
  EXPECT_EQ(footer_code({entry_at(5'160), entry_at(160)}), ErrorCode::DamagedSegment);
  EXPECT_EQ(footer_code({entry_at(152)}), ErrorCode::DamagedSegment) << "in the container's header";
}

TEST(ForgedFooterTest, EntriesEndBeforeTheFooter) {
  EXPECT_EQ(footer_code({entry_at(kFooterAt - 5'000)}), ErrorCode::Internal);
  EXPECT_EQ(footer_code({entry_at(kFooterAt - 4'992)}), ErrorCode::DamagedSegment);
  EXPECT_EQ(footer_code({entry_at(kFooterAt + 8)}), ErrorCode::DamagedSegment);
}

TEST(ForgedFooterTest, EntriesAreAsLargeAsTheirKindCanBe) {
  SegmentEntry entry = entry_at(160);
  entry.stored_bytes = 8'000;
  entry.plaintext_bytes = kMaxChunkBytes;
  EXPECT_EQ(footer_code({entry}), ErrorCode::Internal);
  entry.plaintext_bytes = kMaxChunkBytes + 1;
  EXPECT_EQ(footer_code({entry}), ErrorCode::DamagedSegment);
  entry.type = RecordType::map_page;
  EXPECT_EQ(footer_code({entry}), ErrorCode::Internal);
  entry.type = RecordType::segment_footer;
  EXPECT_EQ(footer_code({entry}), ErrorCode::DamagedSegment);
  entry = entry_at(160);
  entry.plaintext_bytes = 100;
  EXPECT_EQ(footer_code({entry}), ErrorCode::DamagedSegment) << "far more stored than that takes";
}

TEST(ForgedRecordHeaderTest, CountsItsFrames) {
  const auto code_with = [](std::uint32_t frames) {
    RecordHeader header;
    header.plaintext_bytes = 3 * header.frame_bytes();
    header.frame_count = frames;
    header.payload_bytes = header.plaintext_bytes;
    Bytes encoded(RecordHeader::kEncodedBytes);
    header.encode(encoded);
    const auto decoded = RecordHeader::decode(encoded);
    return decoded.ok() ? ErrorCode::Internal : decoded.code();
  };
  EXPECT_EQ(code_with(3), ErrorCode::Internal);
  EXPECT_EQ(code_with(2), ErrorCode::DamagedRecord);
  EXPECT_EQ(code_with(4), ErrorCode::DamagedRecord);
}

// verify recomputes what an id says: the footer and the keys vouch for nothing but themselves.
TEST(ForgedContentTest, VerifyFindsAChunkThatIsNotWhatItsIdSays) {
  TestVault vault;
  ChunkIndex index;
  auto writer = SegmentWriter::create(vault.env, "/vault", vault.keys, ContainerNumber(1), 1 << 20, index);
  ASSERT_TRUE(writer.ok());
  const Bytes content = random_content(3000, 1);
  const auto admission = (*writer)->admit(1, 8000);
  ASSERT_TRUE(admission.ok() && admission->has_value());
  SegmentEntry entry;
  entry.id = test_chunk_id(RecordType::chunk, bytes_of("something else"));
  entry.plaintext_bytes = 3000;
  RecordDraft draft;
  draft.id = entry.id;
  Bytes sealed;
  ASSERT_EQ(message(seal_record(*(*admission)->cipher, draft, content, sealed)), "");
  entry.stored_bytes = static_cast<std::uint32_t>(sealed.size());
  ASSERT_EQ(message((*writer)->write(**admission, entry, sealed)), "");
  (*writer)->detach();
  ASSERT_TRUE((*writer)->close(*vault.blobs).ok());
  const std::string name = closed_segment_name(ContainerNumber(1));
  const auto file = vault.env.open("/vault/" + name, OpenMode::read_only);
  VerifyCounts counts;
  std::vector<Damage> damage;
  ASSERT_EQ(message(verify_container(**file, name, &vault.keys, false, counts, damage)), "");
  ASSERT_EQ(damage.size(), 1U);
  EXPECT_EQ(damage[0].error.code, ErrorCode::ChunkMismatch);
}

// docs/format.md, section 2.4, computed here by hand: what another program would do to read a record of suite 2.
TEST(RecordFormatTest, BothLayersBindSaltContextHeaderAndFrame) {
  SimEnv env;
  EpochKeys keys(test_vault_id(), Suite::aes_gcm_in_xchacha);
  fill_keys(keys);
  ContainerHeader header;
  const auto cipher = ContainerCipher::create(env, keys, ContainerKind::segment, ContainerNumber(1), header);
  ASSERT_TRUE(cipher.ok());
  RecordDraft draft;
  const Bytes content = random_content(100'000, 1);  // two frames
  draft.id = test_chunk_id(RecordType::chunk, content);
  draft.nonce_base = 7;
  draft.compression = Compression::off;
  Bytes stored;
  ASSERT_EQ(message(seal_record(**cipher, draft, content, stored)), "");
  const auto record = RecordHeader::decode(stored);
  ASSERT_TRUE(record.ok());
  const auto table = FrameTable::decode(*record, ByteView(stored).subspan(RecordHeader::kEncodedBytes, 8), 32);
  ASSERT_TRUE(table.ok());
  const auto outer_key =
      derive_committed_key(test_secret(0xf1), header.salt, "vaultfs/1 infrastructure key", header.context());
  const auto outer = make_xchacha20_poly1305(outer_key->key);
  ASSERT_TRUE(outer.ok());
  for (std::uint32_t frame = 0; frame < 2; ++frame) {
    Bytes aad = to_bytes(header.context());
    append(aad, ByteView(stored).first(72));
    Bytes nonce = to_bytes(record->salt);
    ByteWriter numbers;
    numbers.u32(frame);
    numbers.u32(table->frames[frame].entry);
    append(aad, numbers.view());
    ByteWriter counter;
    counter.u64(7 + frame);
    append(nonce, counter.view());
    Bytes inner(table->frames[frame].sealed_bytes - kAeadTagBytes);
    const ByteView sealed = ByteView(stored).subspan(table->frames[frame].offset, table->frames[frame].sealed_bytes);
    EXPECT_EQ(message((*outer)->open(nonce, aad, sealed, inner)), "") << "frame " << frame;
  }
}

}  // namespace
}  // namespace vaultfs
