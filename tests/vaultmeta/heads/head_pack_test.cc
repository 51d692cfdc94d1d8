#include "vaultmeta/heads/head_pack.h"

#include <gtest/gtest.h>

#include <chrono>

#include "base/byte_codec.h"
#include "crypto/hash.h"
#include "tests/vaultmeta/vault/vault_world.h"
#include "vaultmeta/layout/vault_layout.h"

namespace vaultfs {
namespace {

Digest digest_of_number(std::uint64_t number) {
  ByteWriter writer;
  writer.u64(number);
  return sha256(writer.view());
}

VaultId some_vault() {
  VaultId vault;
  vault.data()[0] = std::byte{7};
  return vault;
}

// Packs of the heads 1 to count·1,024, whose digests are digest_of_number().
PackedHeads store_packs(BlobStore& blobs, std::uint64_t count) {
  PackedHeads newest;
  for (std::uint64_t i = 1; i <= count; ++i) {
    HeadPack pack;
    pack.vault = some_vault();
    pack.last = Generation(i * kHeadsInPack);
    pack.predecessor = newest.digest;
    for (std::uint64_t at = pack.first().value; at <= pack.last.value; ++at) {
      pack.digests.push_back(digest_of_number(at));
    }
    const Bytes file = pack.encode();
    if (!blobs.put(head_pack_name(pack.last), file).ok()) std::abort();
    newest = PackedHeads{pack.last, sha256(file)};
  }
  return newest;
}

class HeadPackTest : public ::testing::Test {
 protected:
  HeadPackTest() {
    env.make_directories("/vault/heads");
    blobs = make_directory_blob_store(env, "/vault");
    newest.vault = some_vault();
  }
  Result<PackedHistory> look_up(std::uint64_t pinned) {
    return look_up_packed(*blobs, newest, Generation(pinned), digest_of_number(pinned));
  }
  SimEnv env{1};
  std::unique_ptr<BlobStore> blobs;
  Head newest;
};

TEST_F(HeadPackTest, EveryPinFindsItsHead) {
  newest.packs = store_packs(*blobs, 3);
  for (const std::uint64_t pinned : {1U, 2U, 1024U, 1025U, 2047U, 2048U, 3072U}) {
    EXPECT_EQ(look_up(pinned).value(), PackedHistory::continues) << pinned;
    EXPECT_EQ(look_up_packed(*blobs, newest, Generation(pinned), digest_of_number(9999)).value(),
              PackedHistory::differs);
  }
  EXPECT_EQ(look_up(3073).value(), PackedHistory::unknown);
  EXPECT_EQ(look_up(0).value(), PackedHistory::unknown);
}

// 400 days at 50 openings a day, several heads an opening.
TEST_F(HeadPackTest, APinThatIsAHundredThousandHeadsOldIsFoundAtOnce) {
  newest.packs = store_packs(*blobs, 98);
  const auto begin = std::chrono::steady_clock::now();
  EXPECT_EQ(look_up(1).value(), PackedHistory::continues);
  const std::chrono::duration<double> took = std::chrono::steady_clock::now() - begin;
  RecordProperty("milliseconds", static_cast<int>(took.count() * 1000));
  EXPECT_LT(took.count(), 2.0);
}

TEST_F(HeadPackTest, AForgedOrMissingPackIsNeverAcceptance) {
  newest.packs = store_packs(*blobs, 3);
  const Bytes middle = env.read("/vault/heads/0000000000000800.pack");
  // Changed, with a matching checksum: a head of another branch in the place of one of ours.
  HeadPack forged = HeadPack::decode(middle, some_vault(), Generation(2048)).value();
  forged.digests[4] = digest_of_number(77777);
  env.write("/vault/heads/0000000000000800.pack", forged.encode());
  EXPECT_EQ(look_up(1500).code(), ErrorCode::DamagedHead);
  EXPECT_EQ(look_up(3).code(), ErrorCode::DamagedHead);
  EXPECT_EQ(look_up(3000).value(), PackedHistory::continues);
  env.write("/vault/heads/0000000000000800.pack", env.read("/vault/heads/0000000000000400.pack"));
  EXPECT_EQ(look_up(1500).code(), ErrorCode::DamagedHead);
  env.write("/vault/heads/0000000000000800.pack", Bytes(HeadPack::kFileBytes + 1));
  EXPECT_EQ(look_up(1500).code(), ErrorCode::DamagedHead);
  env.remove("/vault/heads/0000000000000800.pack");
  EXPECT_EQ(look_up(1500).value(), PackedHistory::unknown);
  EXPECT_EQ(look_up(3).value(), PackedHistory::unknown);
  newest.vault = VaultId();
  EXPECT_EQ(look_up(3000).code(), ErrorCode::DamagedHead);
}

TEST_F(HeadPackTest, DecodesWhatItEncodesAndNothingElse) {
  store_packs(*blobs, 1);
  const Bytes file = env.read("/vault/heads/0000000000000400.pack");
  EXPECT_EQ(file.size(), HeadPack::kFileBytes);
  ASSERT_OK(HeadPack::decode(file, some_vault(), Generation(1024)));
  EXPECT_EQ(HeadPack::decode(file, some_vault(), Generation(2048)).code(), ErrorCode::DamagedHead);
  for (const std::size_t size : {std::size_t{0}, std::size_t{9}, std::size_t{60}, file.size() - 1}) {
    EXPECT_EQ(HeadPack::decode(ByteView(file).first(size), some_vault(), Generation(1024)).code(),
              ErrorCode::DamagedHead);
  }
  Bytes newer(file.begin(), file.end() - Digest::kSize);
  newer[8] = std::byte{2};
  const Digest digest = sha256(newer);
  append(newer, digest.view());
  EXPECT_EQ(HeadPack::decode(newer, some_vault(), Generation(1024)).code(), ErrorCode::UnsupportedFormat);
}

std::size_t heads_in(VaultWorld& world) {
  std::size_t count = 0;
  for (const Env::Path& file : world.env.files("/vault/heads")) count += file.extension() == ".head" ? 1U : 0U;
  return count;
}

TEST(VaultHeadPacks, AnOldPinStillFindsItsChainWhenItsHeadsAreGone) {
  VaultWorld world;
  const auto created = world.create();
  ASSERT_OK(created);
  ASSERT_OK(world.open());
  ASSERT_OK(world.back_up("vm1", "a"));
  const auto home = world.files("/home");
  for (int i = 0; i < 3200; ++i) ASSERT_OK(world.vault->write_head());
  ASSERT_OK(world.back_up("vm1", "b"));
  ASSERT_OK(world.close());
  EXPECT_EQ(heads_in(world), 1024U);
  const auto sound = world.files();
  ASSERT_TRUE(sound.contains("/vault/heads/0000000000000c00.pack"));
  world.put_back(home, "/home");
  ASSERT_OK(world.open_read_only());
  EXPECT_EQ(world.points(), (Texts{"vm1=a", "vm1=b"}));
  const auto report = verify_vault(world.env, "/vault", world.vault.get(), {});
  ASSERT_OK(report);
  EXPECT_TRUE(report->damage.empty());
  world.close_without_a_word();
  // Without its packs it is outdated, with one that was changed damaged, and both are told by verify.
  world.env.remove("/vault/heads/0000000000000800.pack");
  EXPECT_EQ(code_of(world.open_read_only()), ErrorCode::PinOutdated);
  auto keyless = verify_vault(world.env, "/vault", nullptr, {});
  ASSERT_OK(keyless);
  ASSERT_EQ(keyless->damage.size(), 1U);
  EXPECT_EQ(keyless->damage.front().file, "heads/0000000000000800.pack");
  world.put_back(sound);
  world.env.flip_bit("/vault/heads/0000000000000400.pack", 8000);
  EXPECT_EQ(code_of(world.open_read_only()), ErrorCode::DamagedHead);
  EXPECT_EQ(code_of(world.open()), ErrorCode::DamagedHead);
  keyless = verify_vault(world.env, "/vault", nullptr, {});
  ASSERT_OK(keyless);
  EXPECT_EQ(keyless->damage.size(), 1U);
  // The newest fingerprint helps in both cases.
  ASSERT_OK(trust_vault(world.machine(), "/vault", created->fingerprint, false));
  ASSERT_OK(world.open());
  EXPECT_EQ(world.points(), (Texts{"vm1=a", "vm1=b"}));
  world.close_without_a_word();
  world.put_back(sound);
  world.put_back(home, "/home");
  ASSERT_OK(world.open());
}

TEST(VaultHeadPacks, AnotherBranchOfTheSameLengthIsARollback) {
  VaultWorld world;
  const auto created = world.create();
  ASSERT_OK(created);
  ASSERT_OK(world.open());
  ASSERT_OK(world.close());
  const auto common = world.files();
  const auto home = world.files("/home");
  ASSERT_OK(world.open());
  ASSERT_OK(world.write("here"));
  ASSERT_OK(world.close());
  const auto pinned_here = world.files("/home");
  world.put_back(common);
  world.put_back(home, "/home");
  ASSERT_OK(world.open());
  for (int i = 0; i < 2100; ++i) ASSERT_OK(world.vault->write_head());
  ASSERT_OK(world.close());
  world.put_back(pinned_here, "/home");
  EXPECT_EQ(code_of(world.open()), ErrorCode::RollbackDetected);
  EXPECT_EQ(code_of(world.open_read_only()), ErrorCode::RollbackDetected);
  ASSERT_OK(world.open_read_only(true));
  EXPECT_TRUE(mentions(world.vault->opening_notes(), "another branch"));
}

// Whatever step the power fails at, a head that is gone is in a pack that a head names.
TEST(VaultHeadPacks, ACrashAtAnyStepLosesNoPin) {
  VaultWorld world;
  const auto created = world.create();
  ASSERT_OK(created);
  ASSERT_OK(world.open());
  const auto home = world.files("/home/pins");
  const auto generation = [&] {
    return world.machine_state->pin(created->id, "/vault")->value().head_generation.value;
  };
  while (generation() < kHeadsInPack - 4) ASSERT_OK(world.vault->write_head());
  ASSERT_OK(world.close());
  const auto before = world.files();
  const auto pins_before = world.files("/home/pins");
  std::uint64_t steps = 0;
  for (bool done = false; !done; ++steps) {
    world.put_back(before);
    world.put_back(pins_before, "/home/pins");
    ASSERT_OK(world.open());
    world.env.fail_after(steps);
    done = true;
    while (done && generation() < kHeadsInPack + 3) done = world.vault->write_head().ok();
    world.close_without_a_word();
    world.env.crash(steps);
    const auto pins_after = world.files("/home/pins");
    world.put_back(home, "/home/pins");
    const Status by_an_old_pin = world.open_read_only();
    ASSERT_TRUE(by_an_old_pin.ok()) << steps << ": " << by_an_old_pin.error().message;
    world.close_without_a_word();
    world.put_back(pins_after, "/home/pins");
    const Status as_owner = world.open();
    ASSERT_TRUE(as_owner.ok()) << steps << ": " << as_owner.error().message;
    world.close_without_a_word();
  }
  EXPECT_GT(steps, 20U);
  EXPECT_TRUE(world.files().contains("/vault/heads/0000000000000400.pack"));
  EXPECT_FALSE(world.files().contains("/vault/heads/0000000000000001.head"));
}

}  // namespace
}  // namespace vaultfs
