#include "store/index/patch.h"

#include "store/index/patch_bases.h"
#include "store/segment/read/patch_cache.h"
#include "tests/store/index/patch_fixture.h"

namespace vaultfs {
namespace {

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
  EpochKeys keys(test_vault_id(), Suite::aes_gcm);
  fill_keys(keys, 2);
  const auto id = [](std::uint64_t n) {
    ChunkId out;
    std::memcpy(out.data(), &n, sizeof n);
    return out;
  };
  for (std::uint64_t n = 1; n <= 40'000; ++n) {
    cache.insert(id(n), {ChunkId(), static_cast<std::uint32_t>(n), pages_of({0})}, EpochNumber(2));
    ASSERT_TRUE(cache.find(id(1), keys).has_value()) << n;
  }
  EXPECT_FALSE(cache.find(id(2), keys).has_value());
  EXPECT_EQ(cache.find(id(39'999), keys)->length, 39'999U);
  cache.insert(id(2), {ChunkId(), 7, pages_of({0})}, PatchCache::kById);
  fill_keys(keys, 3);
  EXPECT_FALSE(cache.find(id(1), keys).has_value()) << "nothing but the key of a closed epoch vouches for it";
  EXPECT_FALSE(cache.find(id(39'999), keys).has_value());
  EXPECT_EQ(cache.find(id(2), keys)->length, 7U);
  cache.clear();
  EXPECT_FALSE(cache.find(id(2), keys).has_value());
}

TEST(PatchBases, WhatAClosedEpochsKeyVouchesForIsForgotten) {
  EpochKeys keys(test_vault_id(), Suite::aes_gcm);
  fill_keys(keys, 2);
  PatchBases bases;
  const PatchBases::Key a{std::byte{1}}, b{std::byte{2}}, c{std::byte{3}};
  bases.keep_for(keys);
  bases.insert(a, c, EpochNumber(1));
  bases.insert(b, c, EpochNumber(2));
  EXPECT_EQ(bases.find(a), std::nullopt);
  EXPECT_EQ(bases.find(b), c);
  bases.insert(a, c);
  fill_keys(keys, 3);
  bases.keep_for(keys);
  EXPECT_EQ(bases.find(b), std::nullopt);
  EXPECT_EQ(bases.find(a), c) << "its id says so";
}

TEST(PatchBases, StaysBounded) {
  PatchBases bases;
  const auto key = [](std::uint64_t n) {
    PatchBases::Key out{};
    std::memcpy(out.data(), &n, sizeof n);
    return out;
  };
  for (std::uint64_t n = 1; n <= PatchBases::kMost; ++n) bases.insert(key(n), key(n + 1));
  EXPECT_EQ(bases.find(key(1)), key(2));
  EXPECT_EQ(bases.find(key(PatchBases::kMost)), key(PatchBases::kMost + 1));
  bases.insert(key(PatchBases::kMost + 1), PatchBases::Key{});
  EXPECT_EQ(bases.find(key(1)), std::nullopt) << "more than is promised is kept";
  EXPECT_EQ(bases.find(key(PatchBases::kMost + 1)), PatchBases::Key{});
}

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
      return vault.save_index();
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
