#include <gtest/gtest.h>

#include "store/segment/file/segment_writer.h"
#include "tests/store/index/patch_fixture.h"

namespace vaultfs {
namespace {

class PatchDamageTest : public PatchStoreTest {
 protected:
  struct Crafted {
    RecordType type;
    Bytes plaintext;
  };
  // A closed segment of authentic records that this program would not write. Gives the ids.
  std::vector<ChunkId> craft(std::uint64_t number, const std::vector<Crafted>& records) {
    ContainerHeader header;
    const auto cipher =
        ContainerCipher::create(vault_.env, vault_.keys, ContainerKind::segment, ContainerNumber(number), header);
    Bytes file(ContainerHeader::kEncodedBytes);
    file = header.encode();
    std::vector<SegmentEntry> entries;
    std::uint64_t nonce = 0;
    std::vector<ChunkId> ids;
    for (const Crafted& record : records) {
      RecordDraft draft;
      draft.type = record.type;
      draft.frame_log2 = record.type == RecordType::patch ? kPatchFrameLog2 : kDefaultFrameLog2;
      draft.id = test_chunk_id(record.type, record.plaintext);
      draft.nonce_base = nonce;
      nonce += frame_count_of(record.plaintext.size(), draft.frame_log2);
      const std::uint64_t offset = file.size();
      EXPECT_TRUE(seal_record(**cipher, draft, record.plaintext, file).ok());
      entries.push_back({draft.id, record.type, offset, static_cast<std::uint32_t>(file.size() - offset),
                         static_cast<std::uint32_t>(record.plaintext.size())});
      ids.push_back(draft.id);
    }
    vault_.env.write(seg(number), file);
    const auto opened = vault_.env.open(seg(number), OpenMode::read_write);
    EXPECT_TRUE(write_segment_end(**opened, **cipher, nonce, entries, entries.size(), file.size()).ok());
    return ids;
  }
};

INSTANTIATE_TEST_SUITE_P(Suites, PatchDamageTest, testing::Values(Suite::aes_gcm, Suite::aes_gcm_in_xchacha));

TEST_P(PatchDamageTest, DamageOfTheBaseHurtsOnlyWhatNeedsIt) {
  const Bytes base = random_content(kMiB, 1);
  const Bytes content = random_content(kMiB, 2);
  PatchPages pages;
  // All frames of the base's second 64 KiB, and every other page from there on: many ranges of the base in one read.
  for (std::uint32_t page = 16; page < 32; ++page) pages.set(page);
  for (std::uint32_t page = 32; page < 64; page += 2) pages.set(page);
  const ChunkId base_id = vault_.must_put(base);
  ASSERT_TRUE(vault_.store->close_segment().ok());
  const ChunkId id = must_put(base_id, content, pages);
  ASSERT_TRUE(vault_.close_and_save().ok());
  const Bytes intact = vault_.env.read(seg(1));
  vault_.env.flip_bit(seg(1), (160 + 1000 + 65536 + 20'000) * 8);  // within the base's second 64 KiB
  must_open();
  EXPECT_TRUE(read(id, 0, 64 * kPage).ok()) << "the damaged frame is patched as a whole";
  EXPECT_TRUE(read(id, 0, kMiB).ok());
  const auto verified = vault_.store->read_verified(RecordType::chunk, id);
  EXPECT_TRUE(is_named_damage(verified.code())) << "but verification wants all of the base";

  vault_.env.write(seg(1), intact);
  vault_.env.flip_bit(seg(1), (160 + 1000 + 2 * 65536 + 6'000) * 8);  // the first behind that
  must_open();
  EXPECT_TRUE(read(id, 0, 32 * kPage).ok());
  EXPECT_TRUE(read(id, 32 * kPage, kPage).ok());
  EXPECT_EQ(read(id, 33 * kPage, 1).code(), ErrorCode::AuthenticationFailed);
  EXPECT_EQ(read(id, 0, kMiB).code(), ErrorCode::AuthenticationFailed);
  EXPECT_TRUE(vault_.store->contains(id)) << "the patch itself is whole";
  EXPECT_FALSE(vault_.store->contains(base_id));
  EXPECT_TRUE(vault_.store->put(RecordType::chunk, base)->stored);
  expect_content(id, laid(base, content, pages));

  ASSERT_TRUE(vault_.store->close_segment().ok());
  vault_.store.reset();
  for (const Env::Path& file : vault_.env.files("/vault/segments")) {
    if (file != Env::Path(seg(2))) vault_.env.remove(file);
  }
  vault_.env.remove("/vault/index");
  must_open();
  EXPECT_TRUE(read(id, 16 * kPage, 17 * kPage).ok());
  EXPECT_EQ(read(id, 0, 1).code(), ErrorCode::ChunkMissing);
  EXPECT_EQ(vault_.store->read_verified(RecordType::chunk, id).code(), ErrorCode::ChunkMissing);
  EXPECT_EQ(put(id, content, pages_of({0})).code(), ErrorCode::ChunkMissing);
}

TEST_P(PatchDamageTest, DamagedPatchIsStoredAnew) {
  const Bytes base = text_content(kMiB, 1);
  const Bytes content = random_content(kMiB, 2);
  const ChunkId base_id = vault_.must_put(base);
  ASSERT_TRUE(vault_.store->close_segment().ok());
  const PatchPages pages = pages_of({4, 5});
  const ChunkId id = must_put(base_id, content, pages);
  ASSERT_TRUE(vault_.close_and_save().ok());
  const Bytes intact = vault_.env.read(seg(2));
  const std::size_t record_bytes = RecordHeader::decode(ByteView(intact).subspan(160))->stored_bytes();
  // The last of the two pages; the header's frame.
  for (const std::size_t byte : {160 + record_bytes - 500, std::size_t{160 + 88 + 12 + 3}}) {
    SCOPED_TRACE(byte);
    vault_.env.write(seg(2), intact);
    vault_.env.flip_bit(seg(2), byte * 8);
    if (vault_.env.exists(seg(3))) vault_.env.remove(seg(3));
    vault_.env.remove("/vault/index");
    vault_.env.make_directories("/vault/index");
    must_open();
    const bool header = byte < 300;
    EXPECT_EQ(read(id, 0, 4 * kPage).ok(), !header);
    EXPECT_EQ(read(id, 4 * kPage, kPage).ok(), !header);
    EXPECT_EQ(read(id, 5 * kPage, 1).code(), ErrorCode::AuthenticationFailed);
    EXPECT_EQ(vault_.store->read_verified(RecordType::chunk, id).code(), ErrorCode::AuthenticationFailed);
    EXPECT_FALSE(vault_.store->contains(id));
    EXPECT_FALSE(verify(2).empty());
    EXPECT_TRUE((*put(base_id, content, pages))->stored);
    expect_content(id, laid(base, content, pages));
    ASSERT_TRUE(vault_.close_and_save().ok());
  }
}

// Every bit: never other bytes than were put, never an abort.
TEST_P(PatchDamageTest, EveryFlippedBitIsNoticedOrHarmless) {
  const Bytes base = text_content(9000, 1);
  Bytes content = text_content(9000, 2);
  const ChunkId base_id = vault_.must_put(base);
  const ChunkId id = must_put(base_id, content, pages_of({1}));
  const Bytes expected = laid(base, content, pages_of({1}));
  ASSERT_TRUE(vault_.close_and_save().ok());
  const Bytes intact = vault_.env.read(seg(1));
  for (std::size_t bit = 0; bit < intact.size() * 8; bit += 5) {
    Bytes bad = intact;
    bad[bit / 8] ^= static_cast<std::byte>(1U << (bit % 8));
    vault_.env.write(seg(1), bad);
    must_open();
    const auto got = vault_.get(id);
    if (got.ok()) {
      ASSERT_TRUE(*got == expected) << bit;
    } else {
      ASSERT_TRUE(is_named_damage(got.code())) << bit;
    }
  }
}

TEST_P(PatchDamageTest, AuthenticButMalformedRecordsAreRefused) {
  const Bytes chunk = random_content(10'000, 1);
  const ChunkId chunk_id = test_chunk_id(RecordType::chunk, chunk);
  const Bytes good = plaintext_of({chunk_id, 10'000, pages_of({1})}, random_content(kPage, 2));
  const ChunkId good_id = test_chunk_id(RecordType::patch, good);
  const Bytes map_page = random_content(8192, 3);
  Bytes unpadded = plaintext_of({chunk_id, 10'000, pages_of({2})}, random_content(kPage, 4));
  const auto ids =
      craft(1, {{RecordType::chunk, chunk},
                {RecordType::patch, good},
                {RecordType::map_page, map_page},
                {RecordType::patch, plaintext_of({good_id, 10'000, pages_of({0})}, random_content(kPage, 5))},
                {RecordType::patch, plaintext_of({test_chunk_id(RecordType::map_page, map_page), 10'000, pages_of({0})},
                                                 random_content(kPage, 6))},
                {RecordType::patch, plaintext_of({chunk_id, 10'000, pages_of({0, 3})}, random_content(2 * kPage, 7))},
                {RecordType::patch, plaintext_of({chunk_id, 10'000, pages_of({0, 1})}, random_content(kPage, 8))},
                {RecordType::patch, random_content(3 * kPage, 9)},
                {RecordType::patch, random_content(100, 10)},
                {RecordType::patch, unpadded}});
  must_open();
  EXPECT_TRUE(vault_.recovery.damaged.empty());
  EXPECT_TRUE(vault_.get(ids[1]).ok());
  EXPECT_EQ(vault_.store->read_verified(RecordType::map_page, ids[1]).code(), ErrorCode::ChunkMismatch);
  for (const std::size_t wrong_base : {3U, 4U}) {
    EXPECT_TRUE(read(ids[wrong_base], 0, kPage).ok());
    EXPECT_EQ(read(ids[wrong_base], kPage, 1).code(), ErrorCode::ChunkMismatch);
    EXPECT_EQ(vault_.store->read_verified(RecordType::chunk, ids[wrong_base]).code(), ErrorCode::ChunkMismatch);
    EXPECT_EQ(put(ids[wrong_base], chunk, pages_of({0})).code(), ErrorCode::ChunkMismatch);
  }
  for (std::size_t malformed = 5; malformed <= 8; ++malformed) {
    SCOPED_TRACE(malformed);
    EXPECT_EQ(vault_.store->length(ids[malformed]).code(), ErrorCode::DamagedRecord);
    EXPECT_EQ(read(ids[malformed], 0, 1).code(), ErrorCode::DamagedRecord);
    EXPECT_FALSE(vault_.store->contains(ids[malformed]));
  }
  EXPECT_EQ(vault_.store->read_verified(RecordType::chunk, ids[9]).code(), ErrorCode::DamagedRecord);
  // Of the file itself: the four malformed ones and the one that is not padded. Bases are the business of whoever
  // follows references.
  EXPECT_EQ(verify(1).size(), 5U);
}

}  // namespace
}  // namespace vaultfs
