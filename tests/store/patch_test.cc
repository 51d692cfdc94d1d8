#include "store/patch.h"

#include <functional>

#include "store/patch_cache.h"
#include "store/segment_verifier.h"
#include "store/segment_writer.h"
#include "tests/store/store_fixture.h"
#include "tests/support/units.h"

namespace vaultfs {
namespace {

constexpr std::uint32_t kPage = kPatchPageBytes;

PatchPages pages_of(std::initializer_list<std::uint32_t> pages) {
  PatchPages out;
  for (const std::uint32_t page : pages) out.set(page);
  return out;
}

Bytes plaintext_of(const PatchHeader& header, const Bytes& pages) {
  Bytes out = header.encode();
  out.insert(out.end(), pages.begin(), pages.end());
  return out;
}

TEST(PatchHeader, IsWhatTheFormatSays) {
  PatchHeader header;
  header.base = test_chunk_id(RecordType::chunk, text_content(10, 1));
  header.length = 0x0003'0203;
  header.pages = pages_of({0, 9, 48});
  const Bytes encoded = header.encode();
  ASSERT_EQ(encoded.size(), kPage);
  EXPECT_TRUE(bytes_equal(ByteView(encoded).first(32), header.base.view()));
  EXPECT_EQ(to_hex(ByteView(encoded).subspan(32, 8)), "0302030000000000");
  EXPECT_EQ(to_hex(ByteView(encoded).subspan(40, 8)), "0102000000000100");
  EXPECT_TRUE(is_all_zero(ByteView(encoded).subspan(48)));
  EXPECT_EQ(header.offset_of(0), 1 * kPage);
  EXPECT_EQ(header.offset_of(9), 2 * kPage);
  EXPECT_EQ(header.offset_of(48), 3 * kPage);
  const auto decoded = PatchHeader::decode(encoded, 4 * kPage);
  ASSERT_TRUE(decoded.ok());
  EXPECT_EQ(*decoded, header);
  EXPECT_EQ(patch_pages_of(0, 0).count(), 0U);
  EXPECT_EQ(patch_pages_of(4095, 4097), pages_of({0, 1}));
  EXPECT_EQ(patch_pages_of(0, kMiB).count(), kPatchPages);
}

TEST(PatchHeader, RefusesEveryMalformedField) {
  PatchHeader header{ChunkId(), 5 * kPage - 100, pages_of({1, 4})};
  const Bytes good = header.encode();
  ASSERT_TRUE(PatchHeader::decode(good, 3 * kPage).ok());
  const auto refused = [&](std::size_t at, std::uint8_t value, std::uint32_t plaintext = 3 * kPage) {
    Bytes bad = good;
    bad[at] = static_cast<std::byte>(value);
    return PatchHeader::decode(bad, plaintext).code() == ErrorCode::DamagedRecord;
  };
  EXPECT_TRUE(refused(36, 1)) << "the zero word";
  EXPECT_TRUE(refused(72, 1)) << "behind the bitmap";
  EXPECT_TRUE(refused(4095, 1));
  EXPECT_TRUE(refused(40, 0)) << "nothing set";
  EXPECT_TRUE(refused(40, 0x32, 4 * kPage)) << "page 5 begins behind the length";
  EXPECT_TRUE(refused(41, 1, 4 * kPage));
  EXPECT_TRUE(refused(35, 1)) << "longer than a chunk";
  EXPECT_TRUE(refused(40, 0x13)) << "more pages than the record has";
  EXPECT_EQ(PatchHeader::decode(good, 2 * kPage).code(), ErrorCode::DamagedRecord);
  EXPECT_EQ(PatchHeader::decode(ByteView(good).first(kPage - 1), 3 * kPage).code(), ErrorCode::DamagedRecord);
  EXPECT_EQ(PatchHeader::decode({}, 0).code(), ErrorCode::DamagedRecord);
  header.length = 0;
  EXPECT_EQ(PatchHeader::decode(header.encode(), 3 * kPage).code(), ErrorCode::DamagedRecord);
  Bytes whole = plaintext_of({ChunkId(), 5 * kPage - 100, pages_of({1, 4})}, Bytes(2 * kPage));
  EXPECT_TRUE(PatchHeader::decode_whole(whole).ok());
  whole.back() = std::byte{1};
  EXPECT_EQ(PatchHeader::decode_whole(whole).code(), ErrorCode::DamagedRecord);
}

TEST(PatchCache, StaysBoundedAndKeepsWhatIsUsed) {
  PatchCache cache;
  const auto id = [](std::uint64_t n) {
    ChunkId out;
    std::memcpy(out.data(), &n, sizeof n);
    return out;
  };
  for (std::uint64_t n = 1; n <= 40'000; ++n) {
    cache.insert(id(n), {ChunkId(), static_cast<std::uint32_t>(n), pages_of({0})});
    ASSERT_TRUE(cache.find(id(1)).has_value()) << n;
  }
  EXPECT_FALSE(cache.find(id(2)).has_value());
  EXPECT_EQ(cache.find(id(39'999))->length, 39'999U);
  cache.clear();
  EXPECT_FALSE(cache.find(id(1)).has_value());
}

class PatchStoreTest : public testing::TestWithParam<Suite> {
 protected:
  PatchStoreTest() : vault_(GetParam()) { must_open(); }
  void must_open() {
    const Status opened = vault_.open();
    ASSERT_TRUE(opened.ok()) << message(opened);
  }
  static std::string seg(std::uint64_t n) { return "/vault/" + closed_segment_name(ContainerNumber(n)); }

  // Puts pages of `content` over `base`.
  Result<std::optional<PutOutcome>> put(const ChunkId& base, const Bytes& content, const PatchPages& pages,
                                        std::uint32_t max_pages = kPatchPages) {
    return vault_.store->put_patch({base, static_cast<std::uint32_t>(content.size()), pages, content, max_pages});
  }
  ChunkId must_put(const ChunkId& base, const Bytes& content, const PatchPages& pages) {
    const auto outcome = put(base, content, pages);
    EXPECT_TRUE(outcome.ok()) << outcome.error().message;
    return outcome.ok() && outcome->has_value() ? (*outcome)->id : ChunkId();
  }
  // What the result of such a put must be.
  static Bytes laid(const Bytes& base, const Bytes& content, const PatchPages& pages) {
    Bytes out(content.size());
    std::copy_n(base.begin(), std::min(base.size(), out.size()), out.begin());
    for (std::uint32_t page = 0; page * kPage < out.size(); ++page) {
      const std::size_t end = std::min<std::size_t>((page + 1) * kPage, out.size());
      if (pages.test(page))
        std::copy(content.begin() + page * kPage, content.begin() + end, out.begin() + page * kPage);
    }
    return out;
  }
  void expect_content(const ChunkId& id, const Bytes& content) {
    ASSERT_EQ(*vault_.store->length(id), content.size());
    for (const std::uint64_t offset :
         {std::uint64_t{0}, std::uint64_t{1}, std::uint64_t{4095}, std::uint64_t{4096}, std::uint64_t{12'300},
          std::uint64_t{65'535}, std::uint64_t{300'001}, kMiB - 4096, kMiB - 1}) {
      for (const std::uint64_t size :
           {std::uint64_t{1}, std::uint64_t{4096}, std::uint64_t{8193}, std::uint64_t{70'000}, kMiB}) {
        if (offset >= content.size()) continue;
        Bytes out(std::min<std::size_t>(size, content.size() - offset), std::byte{0xee});
        const Status read = vault_.store->read(id, offset, out);
        ASSERT_TRUE(read.ok()) << read.error().message;
        ASSERT_TRUE(bytes_equal(out, ByteView(content).subspan(offset, out.size()))) << offset << " " << size;
      }
    }
    Bytes beyond(1);
    EXPECT_EQ(vault_.store->read(id, static_cast<std::uint32_t>(content.size()), beyond).code(), ErrorCode::OutOfRange);
    const auto verified = vault_.store->read_verified(RecordType::chunk, id);
    ASSERT_TRUE(verified.ok()) << verified.error().message;
    EXPECT_TRUE(*verified == content);
  }
  Status read(const ChunkId& id, std::uint32_t offset, std::uint32_t size) {
    Bytes out(size);
    return vault_.store->read(id, offset, out);
  }

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
  std::vector<Damage> verify(std::uint64_t number) {
    std::vector<Damage> damage;
    VerifyCounts counts;
    const auto file = vault_.env.open(seg(number), OpenMode::read_only);
    EXPECT_TRUE(
        verify_container(**file, closed_segment_name(ContainerNumber(number)), &vault_.keys, false, counts, damage)
            .ok());
    return damage;
  }

  TestVault vault_;
};

INSTANTIATE_TEST_SUITE_P(Suites, PatchStoreTest, testing::Values(Suite::aes_gcm, Suite::aes_gcm_in_xchacha));

TEST_P(PatchStoreTest, EveryShapeReadsBack) {
  struct Shape {
    std::size_t base_bytes;  // 0: a hole
    std::size_t length;
    PatchPages pages;
  };
  PatchPages many;
  for (std::uint32_t page = 0; page < kPatchPages; page += 3) many.set(page);
  PatchPages all;
  all.set();
  const std::vector<Shape> shapes = {
      {kMiB, kMiB, pages_of({0})},
      {kMiB, kMiB, pages_of({255})},
      {kMiB, kMiB, pages_of({0, 1, 2, 17, 200, 254})},
      {kMiB, kMiB, many},
      {kMiB, kMiB, all},
      {kMiB, 300'001, pages_of({0, 73})},  // the base is longer; the last page is a tail
      {5000, kMiB, pages_of({100})},       // the base is shorter
      {5000, kMiB, many},
      {5000, 5001, pages_of({1})},
      {0, kMiB, pages_of({3})},
      {0, kMiB, many},
      {0, 1, pages_of({0})},
      {0, 70'001, pages_of({17})},
      {100, 100, pages_of({0})},
  };
  std::map<ChunkId, Bytes> expected;
  for (std::size_t i = 0; i < shapes.size(); ++i) {
    SCOPED_TRACE(i);
    const Shape& shape = shapes[i];
    const Bytes base = i % 2 == 0 ? random_content(shape.base_bytes, i) : text_content(shape.base_bytes, i);
    const ChunkId base_id = base.empty() ? ChunkId() : vault_.must_put(base);
    const Bytes content = random_content(shape.length, 100 + i);
    const auto outcome = put(base_id, content, shape.pages);
    ASSERT_TRUE(outcome.ok()) << outcome.error().message;
    ASSERT_TRUE(outcome->has_value());
    EXPECT_TRUE((*outcome)->stored);
    EXPECT_LT((*outcome)->stored_bytes, 1000 + shape.pages.count() * (kPage + 40));
    EXPECT_FALSE((*put(base_id, content, shape.pages))->stored) << "a hit";
    const auto header = vault_.store->patch_of((*outcome)->id);
    ASSERT_TRUE(header.ok() && header->has_value());
    EXPECT_EQ((*header)->base, base_id);
    EXPECT_EQ((*header)->pages, shape.pages);
    expected[(*outcome)->id] = laid(base, content, shape.pages);
    expect_content((*outcome)->id, expected[(*outcome)->id]);
    if (!base.empty()) {
      EXPECT_FALSE(vault_.store->patch_of(base_id)->has_value());
    }
  }
  ASSERT_TRUE(vault_.close_and_save().ok());
  for (const bool keep_index : {true, false}) {
    if (!keep_index) vault_.env.remove("/vault/index");
    must_open();
    EXPECT_TRUE(vault_.recovery.damaged.empty());
    EXPECT_EQ(vault_.recovery.index_rebuilt, !keep_index);
    for (const auto& [id, content] : expected) expect_content(id, content);
  }
  EXPECT_TRUE(verify(1).empty());
}

TEST_P(PatchStoreTest, PatchesOverPatchesAreFlattened) {
  const Bytes base = random_content(kMiB, 1);
  const ChunkId base_id = vault_.must_put(base);
  const Bytes one = random_content(kMiB, 2);
  const Bytes two = random_content(kMiB, 3);
  const ChunkId first = must_put(base_id, one, pages_of({1, 2, 3}));
  const ChunkId second = must_put(first, two, pages_of({3, 9}));
  const auto header = vault_.store->patch_of(second);
  ASSERT_TRUE(header.ok() && header->has_value());
  EXPECT_EQ((*header)->base, base_id);
  EXPECT_EQ((*header)->pages, pages_of({1, 2, 3, 9}));
  const Bytes expected = laid(laid(base, one, pages_of({1, 2, 3})), two, pages_of({3, 9}));
  expect_content(second, expected);
  // The same result by another way is the same patch.
  EXPECT_EQ(must_put(base_id, expected, pages_of({1, 2, 3, 9})), second);
  // The limit counts the pages of both.
  EXPECT_FALSE(put(first, two, pages_of({3, 9}), 3)->has_value());
  EXPECT_TRUE(put(first, two, pages_of({3, 9}), 4)->has_value());
}

TEST_P(PatchStoreTest, LengthsOfFlattenedPatchesNeverShowWhatWasCutOff) {
  const Bytes base = random_content(kMiB, 1);
  const ChunkId base_id = vault_.must_put(base);
  const Bytes one = random_content(100'000, 2);
  const Bytes two = random_content(200'123, 3);
  for (const PatchPages& first_pages : {pages_of({2}), pages_of({2, 24}), pages_of({24})}) {
    const ChunkId first = must_put(base_id, one, first_pages);
    const Bytes shorter = laid(base, one, first_pages);
    for (const PatchPages& second_pages : {pages_of({2}), pages_of({24}), pages_of({48}), pages_of({0, 30})}) {
      // Longer: from 100,000 on zeros, not the base.
      const ChunkId longer = must_put(first, two, second_pages);
      expect_content(longer, laid(shorter, two, second_pages));
      // And shorter again, inside a page of the patch.
      const Bytes three = random_content(99'000, 4);
      expect_content(must_put(longer, three, pages_of({5})),
                     laid(laid(shorter, two, second_pages), three, pages_of({5})));
    }
  }
  // A base that is longer than the older patch, but ends before the new one.
  const Bytes small = random_content(50'000, 5);
  const Bytes cut = random_content(20'000, 6);
  const ChunkId over_small = must_put(vault_.must_put(small), cut, pages_of({1}));
  expect_content(must_put(over_small, two, pages_of({40})), laid(laid(small, cut, pages_of({1})), two, pages_of({40})));
}

TEST_P(PatchStoreTest, ZerosOverNothingAreNotStored) {
  Bytes content(kMiB);
  const auto nothing = put(ChunkId(), content, pages_of({0, 7, 255}));
  ASSERT_TRUE(nothing.ok() && nothing->has_value());
  EXPECT_TRUE((*nothing)->id.is_zero());
  EXPECT_FALSE((*nothing)->stored);
  const Bytes base = random_content(10'000, 1);
  const ChunkId base_id = vault_.must_put(base);
  EXPECT_EQ(must_put(base_id, content, pages_of({3, 100})), base_id) << "zeros behind the base's end change nothing";
  const ChunkId some = must_put(base_id, content, pages_of({2, 3, 100}));
  EXPECT_EQ((*vault_.store->patch_of(some))->pages, pages_of({2})) << "page 2 has bytes of the base";
  const Bytes noise = random_content(kMiB, 2);
  const ChunkId patch = must_put(ChunkId(), noise, pages_of({8, 9}));
  EXPECT_TRUE(must_put(patch, content, pages_of({8, 9})).is_zero()) << "all that there was is zero now";
  EXPECT_EQ(must_put(patch, content, pages_of({8})), must_put(ChunkId(), noise, pages_of({9})));
}

TEST_P(PatchStoreTest, RefusesWhatIsNoPatch) {
  const Bytes content = random_content(10'000, 1);
  const ChunkId page = vault_.must_put(content, RecordType::map_page);
  EXPECT_EQ(put(ChunkId(), content, {}).code(), ErrorCode::InvalidArgument);
  EXPECT_EQ(put(ChunkId(), content, pages_of({3})).code(), ErrorCode::InvalidArgument);
  EXPECT_EQ(put(ChunkId(), {}, pages_of({0})).code(), ErrorCode::InvalidArgument);
  EXPECT_EQ(vault_.store->put_patch({ChunkId(), 10'001, pages_of({0}), content, 1}).code(), ErrorCode::InvalidArgument);
  EXPECT_EQ(put(page, content, pages_of({0})).code(), ErrorCode::ChunkMismatch);
  EXPECT_EQ(put(test_chunk_id(RecordType::chunk, content), content, pages_of({0})).code(), ErrorCode::ChunkMissing);
  const Bytes form = plaintext_of({ChunkId(), 10, pages_of({0})}, Bytes(kPage));
  EXPECT_EQ(vault_.store->put(RecordType::patch, form).code(), ErrorCode::InvalidArgument);
  EXPECT_EQ(vault_.store->patch_of(ChunkId()).code(), ErrorCode::ChunkMissing);
  ASSERT_TRUE(vault_.close_and_save().ok());
  vault_.options.read_only = true;
  must_open();
  EXPECT_EQ(put(ChunkId(), content, pages_of({0})).code(), ErrorCode::ReadOnly);
}

TEST_P(PatchStoreTest, DamageOfTheBaseHurtsOnlyWhatNeedsIt) {
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

TEST_P(PatchStoreTest, DamagedPatchIsStoredAnew) {
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
TEST_P(PatchStoreTest, EveryFlippedBitIsNoticedOrHarmless) {
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

TEST_P(PatchStoreTest, AuthenticButMalformedRecordsAreRefused) {
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

TEST_P(PatchStoreTest, RevocationForgetsHeadersToo) {
  const ChunkId id = must_put(ChunkId(), random_content(kMiB, 1), pages_of({4}));
  vault_.keys.wipe();
  vault_.store->drop_ciphers();
  EXPECT_EQ(vault_.store->length(id).code(), ErrorCode::KeyRevoked);
  EXPECT_EQ(read(id, 0, 10).code(), ErrorCode::KeyRevoked);
  fill_keys(vault_.keys);
  EXPECT_TRUE(read(id, 0, 10).ok());
}

// At every step of a crash: what was synced reads back, base and patch alike.
TEST_P(PatchStoreTest, SyncedPatchesSurviveEveryCrash) {
  const Bytes base = random_content(kMiB, 1);
  const Bytes content = random_content(kMiB, 2);
  bool completed = false;
  for (std::uint64_t step = 0; !completed; ++step) {
    TestVault vault(GetParam(), step + 1);
    vault.options.segment_bytes = kMiB + 100'000;  // base and patches end up in different segments
    ASSERT_TRUE(vault.open().ok());
    vault.env.fail_after(step);
    std::map<ChunkId, Bytes> synced;
    const auto scenario = [&]() -> Status {
      VAULTFS_ASSIGN_OR_RETURN(const PutOutcome base_put, vault.store->put(RecordType::chunk, base));
      ChunkId below = base_put.id;
      Bytes now = base;
      for (std::uint32_t round = 0; round < 3; ++round) {
        const PatchPages pages = patch_pages_of(round * 200'000, round * 200'000 + 150'000);
        VAULTFS_ASSIGN_OR_RETURN(const auto put, vault.store->put_patch({below, kMiB, pages, content}));
        below = put->id;
        now = laid(now, content, pages);
        VAULTFS_RETURN_IF_ERROR(vault.store->sync());
        synced[below] = now;
      }
      VAULTFS_RETURN_IF_ERROR(vault.store->close_segment());
      return vault.store->save_index();
    };
    completed = scenario().ok();
    vault.store.reset();
    vault.env.crash(step + 1, CrashMode::random);
    const Status opened = vault.open();
    ASSERT_TRUE(opened.ok()) << message(opened);
    for (const auto& [id, expected] : synced) {
      const auto got = vault.get(id);
      ASSERT_TRUE(got.ok()) << step << ": " << got.error().message;
      ASSERT_TRUE(*got == expected) << step;
    }
  }
}

}  // namespace
}  // namespace vaultfs
