// After sealing no key of the store is left: neither those it was given nor those it derived.
#include "crypto/aead.h"
#include "store/index/checked_records.h"
#include "store/record/container.h"
#include "tests/store/store_fixture.h"

namespace vaultfs {
namespace {

template <typename Use>
ErrorCode answer_of(const Use& use) {
  const Status answer = use();
  return answer.ok() ? ErrorCode::Internal : answer.code();
}

TEST(EpochKeysTest, WipingForgetsEveryKey) {
  EpochKeys keys(test_vault_id(), Suite::aes_gcm_in_xchacha);
  fill_keys(keys, 2);
  const auto with_key = [](const SecretBuffer& key) { return key.empty() ? Status(Error{}) : ok_status(); };
  const auto with_dek = [](const EpochKeys::Epoch& epoch) { return epoch.dek.empty() ? Status(Error{}) : ok_status(); };
  EXPECT_EQ(message(keys.with_infrastructure_key(with_key)), "");
  EXPECT_TRUE(keys.is_current(EpochNumber(2)));
  keys.wipe();
  EXPECT_EQ(answer_of([&] { return keys.with_dek(EpochNumber(1), with_dek); }), ErrorCode::KeyRevoked);
  EXPECT_EQ(answer_of([&] { return keys.with_dek(EpochNumber(2), with_dek); }), ErrorCode::KeyRevoked);
  EXPECT_EQ(answer_of([&] { return keys.with_id_key(with_key); }), ErrorCode::KeyRevoked);
  EXPECT_EQ(answer_of([&] { return keys.with_infrastructure_key(with_key); }), ErrorCode::KeyRevoked);
  EXPECT_EQ(keys.current().code(), ErrorCode::KeyRevoked);
  EXPECT_FALSE(keys.is_current(EpochNumber(2)));
}

TEST(SealedStoreTest, HoldsNoCipherOfWhatItReadOrWrote) {
  const std::size_t before = ContainerCipher::alive();
  TestVault vault;
  ASSERT_EQ(message(vault.open()), "");
  const ChunkId closed = vault.must_put(random_content(3000, 1));
  ASSERT_EQ(message(vault.store->close_segment()), "");
  const ChunkId open = vault.must_put(random_content(3000, 2));
  EXPECT_TRUE(vault.get(closed).ok());
  EXPECT_TRUE(vault.get(open).ok());
  EXPECT_GT(ContainerCipher::alive(), before);
  vault.store->drop_ciphers();
  EXPECT_EQ(ContainerCipher::alive(), before);
  EXPECT_TRUE(vault.get(closed).ok()) << "the keys are still there";
}

class CheckedRecordsTest : public testing::Test {
 protected:
  std::shared_ptr<const CheckedRecord> keep(std::uint64_t seed) {
    const Bytes stored = random_content(500, seed);
    RecordMap map;
    map.table.frames.push_back({100, 400, 0});
    const auto kept = records_.keep(test_chunk_id(RecordType::chunk, stored), ChunkPlace{}, std::move(map), stored);
    EXPECT_TRUE(kept.ok());
    return *kept;
  }
  SimEnv env_;
  CheckedRecords records_{env_, 1U << 20U};
};

// Two tags under one key and nonce would let anybody who sees them make others.
TEST_F(CheckedRecordsTest, NoTwoTagsShareANonce) {
  const auto first = keep(1);
  const auto second = keep(2);
  ASSERT_EQ(first->tagger, second->tagger);
  EXPECT_NE(first->serial, second->serial);
  EXPECT_EQ(message(first->compare(0, ByteView(random_content(500, 1)).subspan(100, 400))), "");
  EXPECT_EQ(first->compare(0, ByteView(random_content(500, 2)).subspan(100, 400)).code(),
            ErrorCode::AuthenticationFailed);
}

TEST_F(CheckedRecordsTest, SealingEndsTheKeyOfTheTags) {
  const auto before = keep(1);
  records_.clear();
  EXPECT_EQ(records_.memory_bytes(), 0U);
  const auto after = keep(1);
  EXPECT_NE(before->tagger, after->tagger);
}

}  // namespace
}  // namespace vaultfs
