// The holder of a closed epoch's key writes to the storage: what a reader then takes is what the ids say, or nothing.
#include "tests/store/segment/closed_epoch_fixture.h"

namespace vaultfs {
namespace {

INSTANTIATE_TEST_SUITE_P(Suites, ClosedEpochTest, testing::Values(Suite::aes_gcm, Suite::aes_gcm_in_xchacha));

TEST_P(ClosedEpochTest, WhatIsTrueReadsAsBefore) {
  std::vector<std::pair<ChunkId, Bytes>> all;
  for (const Bytes& content : {random_content(kMiB, 1), text_content(kMiB, 2), random_content(70'000, 3),
                               text_content(300'001, 4), random_content(5, 5)}) {
    all.emplace_back(vault_.must_put(content), content);
  }
  const Bytes newer = random_content(kMiB, 7);
  PatchPages many;
  for (std::uint32_t page = 1; page < kPatchPages; page += 3) many.set(page);
  for (std::size_t base = 0; base < 4; ++base) {
    all.emplace_back(must_put(all[base].first, newer, many), laid(all[base].second, newer, many));
  }
  all.emplace_back(must_put(ChunkId(), newer, many), laid({}, newer, many));
  const Bytes page = Bytes(5'000'000, std::byte{7});
  const ChunkId map_page = vault_.must_put(page, RecordType::map_page);
  ASSERT_TRUE(vault_.close_and_save().ok());
  fill_keys(vault_.keys, 2, ContainerNumber(99));
  for (const bool with_index : {true, false}) {
    if (!with_index) forget_index();
    must_open();
    for (const auto& [id, content] : all) expect_content(id, content);
    EXPECT_TRUE(*vault_.store->read_verified(RecordType::map_page, map_page) == page);
    Bytes room(kMiB);
    for (const auto& [id, content] : all) {
      ASSERT_EQ(*vault_.store->read_content(id, room), content.size());
      EXPECT_TRUE(bytes_equal(ByteView(room).first(content.size()), content));
    }
  }
  // Patches over them, under the new epoch, with and without knowing how long the base is.
  for (const bool known : {false, true}) {
    must_open();
    for (const auto& [id, content] : all) {
      if (known) {
        ASSERT_TRUE(vault_.store->length(id).ok());
      }
      for (const std::size_t length : {std::size_t{9000}, content.size(), std::size_t{kMiB}}) {
        const Bytes over = random_content(length, length);
        const PatchPages pages = pages_of({0, static_cast<std::uint32_t>((length - 1) / kPage)});
        expect_content(must_put(id, over, pages), laid(content, over, pages));
      }
    }
  }
}

TEST_P(ClosedEpochTest, ForgedChunkIsRefused) {
  for (const bool reopened : {true, false}) {
    const Bytes content = random_content(kMiB, reopened ? 1 : 2);
    const std::uint64_t segment = vault_.store->next_segment().value;
    fill_keys(vault_.keys, 1);
    const ChunkId id = vault_.must_put(content);
    ASSERT_TRUE(read(id, 0, 100).ok()) << "its frame table is known from here on";
    if (reopened) {
      close_epoch_and_reopen();
    } else {
      close_epoch();
    }
    const Bytes intact = vault_.env.read(seg(segment));
    Bytes other = content;
    other[700'000] ^= std::byte{1};
    forge(segment, id, other);
    expect_refused(id);
    vault_.env.write(seg(segment), intact);
    expect_content(id, content);
  }
}

// While its epoch is the newest one, only who may open the vault has its key.
TEST_P(ClosedEpochTest, UnderTheCurrentEpochTheKeyVouches) {
  const Bytes content = random_content(kMiB, 1);
  const ChunkId id = vault_.must_put(content);
  ASSERT_TRUE(vault_.store->close_segment().ok());
  forge(1, id, random_content(kMiB, 2));
  EXPECT_TRUE(read(id, 0, kMiB).ok());
  fill_keys(vault_.keys, 2);  // not closed yet, but another one is the newest
  expect_refused(id);
}

TEST_P(ClosedEpochTest, WhatChangesAfterTheCheckIsRefused) {
  for (const Bytes& content : {random_content(kMiB, 1), text_content(kMiB, 2)}) {
    const std::uint64_t segment = vault_.store->next_segment().value;
    fill_keys(vault_.keys, 1);
    const ChunkId id = vault_.must_put(content);
    close_epoch_and_reopen();
    ASSERT_TRUE(read(id, 5000, 100).ok());
    const Bytes intact = vault_.env.read(seg(segment));
    if (content == random_content(kMiB, 1)) {
      forge(segment, id, random_content(kMiB, 9));
    } else {
      // What compresses is not easily forged to the same length: another record's place in the file is.
      plant(segment, {{id, RecordType::chunk, text_content(kMiB, 3)}});
    }
    EXPECT_TRUE(refuses(read(id, 5000, 100))) << "the same again";
    EXPECT_TRUE(refuses(read(id, 900'000, 100))) << "another part";
    EXPECT_TRUE(refuses(read(id, 0, kMiB))) << "all of it";
    Bytes room(kMiB);
    EXPECT_TRUE(refuses(vault_.store->read_content(id, room)));
    vault_.env.write(seg(segment), intact);
    expect_content(id, content);
  }
}

TEST_P(ClosedEpochTest, AfterEvictionItIsCheckedWholeAgain) {
  std::vector<ChunkId> ids;
  for (std::uint64_t n = 0; n < 40; ++n) ids.push_back(vault_.must_put(random_content(100'000, n)));
  vault_.options.checked_bytes = 10'000;  // for some ten of them
  vault_.options.segment_bytes = 64ULL << 20;
  close_epoch_and_reopen();
  for (const ChunkId& id : ids) ASSERT_TRUE(read(id, 5000, 100).ok());
  forge(1, ids.front(), random_content(100'000, 99));
  EXPECT_TRUE(refuses(read(ids.front(), 5000, 100)));
  for (std::uint64_t n = 1; n < 40; ++n) EXPECT_TRUE(*vault_.get(ids[n]) == random_content(100'000, n));
}

// The key of the tags that stand for the check goes with all other keys.
TEST_P(ClosedEpochTest, WhatWasCheckedIsForgottenWhenTheVaultIsSealed) {
  const Bytes content = random_content(300'000, 1);
  const ChunkId id = vault_.must_put(content);
  close_epoch_and_reopen();
  ASSERT_TRUE(read(id, 0, 100).ok());
  vault_.env.flip_bit(seg(1), 8 * 200'000);  // far from what is read
  ASSERT_TRUE(read(id, 0, 100).ok()) << "as it is known";
  vault_.store->drop_ciphers();
  EXPECT_TRUE(refuses(read(id, 0, 100)));
}

TEST_P(ClosedEpochTest, ForgedMapPageIsRefused) {
  const Bytes page = random_content(300'000, 1);
  const ChunkId id = vault_.must_put(page, RecordType::map_page);
  close_epoch_and_reopen();
  EXPECT_TRUE(*vault_.store->read_verified(RecordType::map_page, id) == page);
  forge(1, id, random_content(300'000, 2));
  EXPECT_TRUE(refuses(vault_.store->read_verified(RecordType::map_page, id)));
  EXPECT_TRUE(refuses(read(id, 10, 10)));
  EXPECT_TRUE(refuses(read(id, 0, 300'000)));
}

// Length and type lie in the record's header, in the footer and in the index that is made of it.
TEST_P(ClosedEpochTest, LengthAndTypeThatLieEverywhereAreRefused) {
  const Bytes content = random_content(200'000, 1);
  const ChunkId id = vault_.must_put(content);
  close_epoch_and_reopen();
  const Bytes shorter = to_bytes(ByteView(content).first(100'000));
  Bytes longer = content;
  longer.resize(300'000);
  PatchHeader header{ChunkId(), 100'000, pages_of({0})};
  const Bytes patch = plaintext_of(header, to_bytes(ByteView(content).first(kPage)));
  const std::vector<Planted> lies = {{id, RecordType::chunk, shorter},
                                     {id, RecordType::chunk, longer},
                                     {id, RecordType::map_page, content},
                                     {id, RecordType::patch, patch}};
  for (const Planted& lie : lies) {
    plant(1, {lie});
    forget_index();
    must_open();
    ASSERT_TRUE(vault_.recovery.damaged.empty());
    EXPECT_TRUE(refuses(vault_.store->length(id)));
    EXPECT_TRUE(refuses(vault_.store->patch_of(id)));
    EXPECT_TRUE(refuses(vault_.store->read_verified(RecordType::chunk, id)));
    Bytes out(kMiB);
    EXPECT_TRUE(refuses(vault_.store->read_content(id, out)));
    for (const std::uint32_t size : {100U, 4096U, 100'000U, 200'000U, 300'000U}) {
      EXPECT_TRUE(refuses(read(id, 0, size))) << size;
      EXPECT_TRUE(refuses(piece(id, 90'000, 4096)));
    }
  }
}

TEST_P(ClosedEpochTest, AnotherRecordOfTheIdIsTaken) {
  // In two segments: the first was damaged when the second was stored.
  const Bytes content = random_content(kMiB, 1);
  const ChunkId id = vault_.must_put(content);
  ASSERT_TRUE(vault_.store->close_segment().ok());
  const Bytes intact = vault_.env.read(seg(1));
  vault_.env.flip_bit(seg(1), 8 * 5000);
  ASSERT_FALSE(read(id, 0, kMiB).ok());
  ASSERT_TRUE(vault_.store->put(RecordType::chunk, content)->stored);
  ASSERT_TRUE(vault_.store->close_segment().ok());
  vault_.env.write(seg(1), intact);
  close_epoch_and_reopen(/*with_index=*/false);
  ASSERT_EQ(*vault_.store->segment_of(id), ContainerNumber(2));
  const Bytes second = vault_.env.read(seg(2));
  for (int way = 0; way < 5; ++way) {
    SCOPED_TRACE(way);
    vault_.env.write(seg(2), second);
    must_open();
    if (way == 3) {
      ASSERT_TRUE(read(id, 5000, 10).ok());
    }
    forge(2, id, random_content(kMiB, 2));
    if (way == 4) vault_.env.remove(seg(2));
    Bytes out(kMiB);
    if (way == 0) {
      ASSERT_TRUE(vault_.store->read(id, 0, out).ok());
    }
    if (way == 1) {
      ASSERT_EQ(*vault_.store->length(id), kMiB);
    }
    if (way == 2) {
      ASSERT_TRUE(*vault_.store->read_verified(RecordType::chunk, id) == content);
    }
    if (way > 2) {
      ASSERT_TRUE(read(id, 700'000, 10).ok());
    }
    EXPECT_EQ(*vault_.store->segment_of(id), ContainerNumber(1)) << "it is remembered";
    EXPECT_TRUE(vault_.store->contains(id));
    expect_content(id, content);
  }
  vault_.env.write(seg(2), second);
  must_open();
  forge(1, id, random_content(kMiB, 2));
  forge(2, id, random_content(kMiB, 2));
  expect_refused(id);
}

TEST_P(ClosedEpochTest, AnotherRecordInTheSameSegmentIsTaken) {
  const Bytes content = random_content(kMiB, 1);
  const ChunkId id = vault_.must_put(content);
  close_epoch_and_reopen();
  plant(1, {{id, RecordType::chunk, random_content(kMiB, 2)},
            {id, RecordType::chunk, random_content(1000, 3)},
            {id, RecordType::chunk, content}});
  forget_index();
  must_open();
  expect_content(id, content);
}

TEST_P(ClosedEpochTest, NothingForgedIsMovedToTheNewEpoch) {
  const Bytes content = random_content(100'000, 1);
  const Bytes good = random_content(100'000, 2);
  const ChunkId id = vault_.must_put(content);
  const ChunkId good_id = vault_.must_put(good);
  close_epoch_and_reopen();
  forge(1, id, random_content(100'000, 3));
  EXPECT_TRUE(refuses(vault_.store->reencrypt(id, EpochNumber(2))));
  EXPECT_EQ(vault_.store->reencrypt(good_id, EpochNumber(2))->records, 1U);
  ASSERT_TRUE(vault_.store->sync_reencrypted().ok());
  vault_.store->begin_collection();
  ASSERT_TRUE(vault_.store->retain(id).ok());
  ASSERT_TRUE(vault_.store->retain(good_id).ok());
  const auto compacted = vault_.store->compact({}, {0, ~std::uint64_t{0}});
  ASSERT_TRUE(compacted.ok()) << compacted.error().message;
  EXPECT_EQ(compacted->moved_bytes, 0U);
  EXPECT_EQ(*vault_.store->segment_of(id), ContainerNumber(1));
  expect_refused(id, 100'000);
  expect_content(good_id, good);
}

// A footer that does not list what the index knows: a compaction that believes it removes the only record.
TEST_P(ClosedEpochTest, AFooterThatHidesARecordMakesNobodyRemoveIt) {
  const Bytes hidden = random_content(100'000, 1);
  const Bytes shown = random_content(100'000, 2);
  const ChunkId hidden_id = vault_.must_put(hidden);
  const ChunkId shown_id = vault_.must_put(shown);
  ASSERT_TRUE(vault_.store->close_segment().ok());
  fill_keys(vault_.keys, 2, ContainerNumber(9));
  plant(1, {{hidden_id, RecordType::chunk, hidden}, {shown_id, RecordType::chunk, shown}}, 0);
  vault_.store->begin_collection();
  ASSERT_TRUE(vault_.store->retain(hidden_id).ok());
  const auto compacted = vault_.store->compact({}, {0, ~std::uint64_t{0}});
  ASSERT_TRUE(compacted.ok()) << compacted.error().message;
  EXPECT_EQ(compacted->removed_segments, 0U);
  EXPECT_TRUE(vault_.env.exists(seg(1)));
}

// Sealing forgets what proves it; the keys come back, and it is checked anew.
TEST_P(ClosedEpochTest, SealingForgetsWhatWasChecked) {
  const Bytes content = random_content(kMiB, 1);
  const ChunkId id = vault_.must_put(content);
  close_epoch_and_reopen();
  ASSERT_TRUE(read(id, 5000, 10).ok());
  vault_.keys.wipe();
  vault_.store->drop_ciphers();
  EXPECT_EQ(read(id, 5000, 10).code(), ErrorCode::KeyRevoked);
  EXPECT_EQ(read(id, 0, kMiB).code(), ErrorCode::KeyRevoked);
  fill_keys(vault_.keys, 2, ContainerNumber(9));
  expect_content(id, content);
  EXPECT_TRUE(vault_.store->contains(id));
}

}  // namespace
}  // namespace vaultfs
