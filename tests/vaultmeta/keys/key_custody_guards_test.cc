// What a key custody believes of storage and of key vaults: nothing that it has not read back, compared, or had proven.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "crypto/hash.h"
#include "tests/crypto/test_bytes.h"
#include "tests/support/own_memory.h"
#include "tests/vaultmeta/keys/escrow_steps.h"
#include "vaultmeta/keys/key_custody.h"

namespace vaultfs {
namespace {

using ::testing::Contains;
using ::testing::ElementsAre;

// A storage that does not give back what was written, for keyrings.
class LyingBlobs final : public BlobStore {
 public:
  enum class Lie : std::uint8_t { none, other_bytes, error };
  explicit LyingBlobs(std::unique_ptr<BlobStore> inner) : inner_(std::move(inner)) {}
  Status put(const std::string& name, ByteView bytes) override { return inner_->put(name, bytes); }
  Result<Bytes> get(const std::string& name, std::uint64_t limit) override {
    auto bytes = inner_->get(name, limit);
    if (!bytes.ok() || lie == Lie::none || !name.starts_with("keyrings/")) return bytes;
    if (lie == Lie::error) return Error{ErrorCode::IoError, "no"};
    bytes->back() ^= std::byte{1};
    return bytes;
  }
  Result<std::unique_ptr<File>> open(const std::string& name) override { return inner_->open(name); }
  Result<std::vector<std::string>> list(const std::string& folder) override { return inner_->list(folder); }
  Status remove(const std::string& name) override {
    if (keeps) return Error{ErrorCode::IoError, "no"};
    return inner_->remove(name);
  }
  Status set_aside(const std::string& name) override { return inner_->set_aside(name); }
  Status adopt(const Env::Path& local_file, const std::string& name) override {
    return inner_->adopt(local_file, name);
  }
  Lie lie = Lie::none;
  bool keeps = false;  // removes nothing

 private:
  std::unique_ptr<BlobStore> inner_;
};

LyingBlobs& over_lying_storage(CustodyWorld& world) {
  auto lying = std::make_unique<LyingBlobs>(std::move(world.blobs));
  LyingBlobs& it = *lying;
  world.close();
  world.blobs = std::move(lying);
  EXPECT_TRUE(world.open().ok());
  return it;
}

TEST(KeyCustodyGuards, AKeyringThatStorageGivesBackOtherwiseIsNone) {
  for (const auto lie : {LyingBlobs::Lie::other_bytes, LyingBlobs::Lie::error}) {
    CustodyWorld world;
    world.create();
    LyingBlobs& storage = over_lying_storage(world);
    const Generation before = world.custody->generation();
    storage.lie = lie;
    EXPECT_EQ(world.custody->rewrap(false).code(),
              lie == LyingBlobs::Lie::error ? ErrorCode::IoError : ErrorCode::DamagedKeyring);
    EXPECT_EQ(world.custody->generation(), before);
    storage.lie = LyingBlobs::Lie::none;
    ASSERT_OK(world.open());
    EXPECT_EQ(world.custody->generation(), before);
  }
}

// What may be there in spite of an error goes before anything else is written in its place.
TEST(KeyCustodyGuards, NothingIsBuiltUponAKeyringInDoubt) {
  CustodyWorld world;
  world.create();
  LyingBlobs& storage = over_lying_storage(world);
  const std::size_t files = world.keyring_files().size();
  storage.lie = LyingBlobs::Lie::other_bytes;
  storage.keeps = true;
  EXPECT_FALSE(world.custody->rewrap(false).ok());
  EXPECT_EQ(world.keyring_files().size(), files + 1) << "it could not be taken back";
  storage.lie = LyingBlobs::Lie::none;
  EXPECT_FALSE(world.custody->rewrap(false).ok()) << "it is still there";
  storage.keeps = false;
  EXPECT_TRUE(world.custody->rewrap(false).ok());
  EXPECT_TRUE(world.open().ok());
}

// A version takes effect, and a backup completes: only the proof is left.
std::string rotate_and_back_up(CustodyWorld& world) {
  std::string next = world.kv->add_version("kek");
  refresh(world);
  complete_backup(world);
  return next;
}

TEST(KeyCustodyGuards, NoVersionRetiresByAKeyringThatIsNotInStorage) {
  CustodyWorld world;
  world.create();
  rotate_and_back_up(world);
  const Env::Path newest = world.keyring_files().back();
  const Bytes whole = world.env.read(newest);
  world.env.remove(newest);
  EXPECT_FALSE(world.custody->refresh().ok());
  EXPECT_EQ(world.role(world.v1), VersionRole::retiring);
  world.env.write(newest, whole);
  EXPECT_THAT(refresh(world).retired, ElementsAre(world.v1));
}

// The one of before opens by the Active version, too, but it is not what was written.
TEST(KeyCustodyGuards, NoVersionRetiresByAnotherKeyringInItsPlace) {
  CustodyWorld world;
  world.create();
  world.kv->add_version("kek");
  refresh(world);
  const Bytes before = world.env.read(world.keyring_files().back());
  complete_backup(world);
  const Env::Path newest = world.keyring_files().back();
  const Bytes whole = world.env.read(newest);
  ASSERT_NE(before, whole);
  world.env.write(newest, before);
  EXPECT_EQ(world.custody->refresh().code(), ErrorCode::DamagedKeyring);
  EXPECT_EQ(world.role(world.v1), VersionRole::retiring);
  world.env.write(newest, whole);
  EXPECT_THAT(refresh(world).retired, ElementsAre(world.v1));
}

// What is written down as an epoch's last segment is looked at once all that was open has moved on: a segment that was
// begun in between would be refused for ever.
TEST(KeyCustodyGuards, AnEpochEndsBehindTheLastSegmentThatItsRollLeft) {
  CustodyWorld world;
  world.create();
  rotate_and_back_up(world);
  world.host->grows_while_rolling = true;
  refresh(world);
  ASSERT_EQ(world.host->segment, ContainerNumber(8));
  const auto last = world.custody->keys().with_dek(
      EpochNumber(1), [](const EpochKeys::Epoch& epoch) -> Result<ContainerNumber> { return *epoch.last_segment; });
  ASSERT_OK(last);
  EXPECT_EQ(*last, ContainerNumber(8));
}

// A wrap is proven for the keyring that it was made for: whatever came between makes it start anew.
TEST(KeyCustodyGuards, AWrapIsOfTheKeyringThatItStandsIn) {
  CustodyWorld world;
  world.create();
  world.kv->add_version("kek");
  const int wraps = world.kv->wraps;
  bool between = false;
  world.kv->on_call = [&] {
    if (world.kv->wraps == wraps || std::exchange(between, true)) return;
    EXPECT_TRUE(world.custody->item_attempted().ok());
  };
  refresh(world);
  world.kv->on_call = nullptr;
  ASSERT_TRUE(between);
  const auto closed = newest_closed(world);
  const VersionRecord record = world.custody->status().versions.back();
  EXPECT_EQ(closed.active_slot().wrapped_in, record.role_generation);
}

TEST(KeyCustodyGuards, AKeyVaultThatUnwrapsAnotherKeyIsNoAccess) {
  CustodyWorld world;
  world.create();
  world.kv->unwrap_other = true;
  EXPECT_EQ(world.custody->refresh().code(), ErrorCode::AuthenticationFailed);
  EXPECT_EQ(world.custody->set_identity("other").code(), ErrorCode::AuthenticationFailed);
  EXPECT_EQ(world.custody->status().settings.identity, "system");
}

TEST(KeyCustodyGuards, ARewrapWantsAVersionThatMayWrap) {
  CustodyWorld world;
  world.create();
  world.kv->info("kek", world.v1).expires = world.env.clock().now().seconds();
  const int wraps = world.kv->wraps;
  EXPECT_EQ(world.custody->rewrap(false).code(), ErrorCode::KeyVersionExpired);
  EXPECT_EQ(world.kv->wraps, wraps) << "it was not even asked";
}

// An outage tells nothing of a Retiring version.
TEST(KeyCustodyGuards, AnOutageIsNoEarlyDisabling) {
  CustodyWorld world;
  world.create();
  auto other = std::make_shared<FakeKeyVault>("other", world.env.clock());
  other->add_version("key");
  world.resolver.add(other);
  ASSERT_OK(world.custody->set_key(KeyRef::parse("other/key").value()));
  world.kv->outage = true;
  refresh(world);
  EXPECT_FALSE(world.custody->status().problem);
  world.kv->outage = false;
  world.kv->info("kek", world.v1).enabled = false;
  refresh(world);
  ASSERT_TRUE(world.custody->status().problem);
  EXPECT_EQ(world.custody->status().problem->code, ErrorCode::KeyVersionDisabledTooEarly);
}

// Sealed, and meanwhile storage got an older copy: no refresh takes that.
TEST(KeyCustodyGuards, AfterSealingTheVaultsOwnKeyringIsWanted) {
  CustodyWorld world;
  world.create();
  ASSERT_OK(world.custody->rewrap(false));
  const Env::Path newest = world.keyring_files().back();
  const Bytes whole = world.env.read(newest);
  world.kv->deny = true;
  EXPECT_FALSE(world.custody->refresh().ok());
  world.env.sim_clock().advance_seconds(300);
  ASSERT_TRUE(world.custody->enforce_deadlines([] {}));
  world.kv->deny = false;
  world.env.remove(newest);
  EXPECT_EQ(world.custody->refresh().code(), ErrorCode::RollbackDetected);
  EXPECT_EQ(world.custody->status().access, KeyAccess::sealed);
  world.env.write(newest, whole);
  refresh(world);
  EXPECT_EQ(world.custody->status().access, KeyAccess::available);
}

// Whoever held a version that is Retired makes a keyring with a higher number; the newest data key he has not.
TEST(KeyCustodyGuards, AReaderTakesNoKeyringWithoutTheNewestDataKey) {
  CustodyWorld world;
  world.create();
  ASSERT_OK(world.custody->set_escrow(public_of(escrow_key())));
  const Bytes old = world.env.read(world.keyring_files().back());
  rotate_and_back_up(world);
  refresh(world);
  ASSERT_EQ(world.custody->status().current_epoch, EpochNumber(2));
  auto reader = KeyCustody::open(world.context(), world.header, world.header_digest, true);
  ASSERT_OK(reader);
  ASSERT_OK((*reader)->refresh());
  const auto closed = ClosedKeyring::decode(old);
  ASSERT_OK(closed);
  const auto key = unwrap_by_escrow(closed->vault, closed->escrow, escrow_key());
  ASSERT_OK(key);
  auto forged = open_keyring(old, *key);
  ASSERT_OK(forged);
  forged->predecessor = world.custody->keyring_digest();
  forged->generation = world.custody->generation().next();
  const auto file = forged->seal(*key);
  ASSERT_OK(file);
  world.env.write("/vault/" + keyring_blob_name(forged->generation), *file);
  EXPECT_EQ((*reader)->refresh().code(), ErrorCode::RollbackDetected);
  EXPECT_EQ((*reader)->status().current_epoch, EpochNumber(2));
}

// Sealing leaves none of the keyring's secrets: what they derive is asked of the key vault again.
TEST(KeyCustodyGuards, SealingWipesEverySecret) {
  CustodyWorld world;
  world.create("kv/kek", Suite::aes_gcm_in_xchacha);
  const EpochKeys& keys = world.custody->keys();
  const auto has = [](const SecretBuffer& key) { return key.empty() ? Status(Error{}) : ok_status(); };
  EXPECT_TRUE(keys.with_infrastructure_key(has).ok());
  world.kv->deny = true;
  EXPECT_FALSE(world.custody->refresh().ok());
  world.env.sim_clock().advance_seconds(300);
  ASSERT_TRUE(world.custody->enforce_deadlines([] {}));
  EXPECT_EQ(keys.with_infrastructure_key(has).code(), ErrorCode::KeyRevoked);
  EXPECT_EQ(keys.with_id_key(has).code(), ErrorCode::KeyRevoked);
  EXPECT_EQ(world.custody->root_key_for("l").code(), ErrorCode::KeyRevoked);
  EXPECT_EQ(world.custody->item_attempted().code(), ErrorCode::KeyRevoked) << "without its key no keyring is sealed";
}

// Nor is the infrastructure key anywhere in the process: the custody has a copy of its own for the next keyring.
TEST(KeyCustodyGuards, SealingLeavesNoInfrastructureKeyInMemory) {
  if (testing_crypto::kSanitized) GTEST_SKIP() << "a sanitizer keeps what was freed";
  CustodyWorld world;
  world.create("kv/kek", Suite::aes_gcm_in_xchacha);
  world.close();
  Bytes key;
  {
    const auto loaded = world.platform_keys->load(PlatformKeyId(world.header.infrastructure_key_id));
    ASSERT_OK(loaded);
    key.assign(loaded->view().rbegin(), loaded->view().rend());
  }
  const OwnMemorySearch search(key);
  const int before = search.places();
  ASSERT_OK(world.open());
  EXPECT_GE(search.places(), before + 2) << "the custody's and the store's";
  world.kv->deny = true;
  EXPECT_FALSE(world.custody->refresh().ok());
  world.env.sim_clock().advance_seconds(300);
  ASSERT_TRUE(world.custody->enforce_deadlines([] {}));
  EXPECT_EQ(search.places(), before);
}

TEST(KeyringSecretsTest, WipingLeavesNoKey) {
  KeyringSecrets secrets;
  secrets.root_key = SecretBuffer::random(32).value();
  secrets.id_key = SecretBuffer::random(32).value();
  for (const std::uint64_t epoch : {1U, 2U}) {
    secrets.epochs.emplace(EpochNumber(epoch), EpochRecord{SecretBuffer::random(32).value(), {}, std::nullopt});
  }
  secrets.retiring_keys.emplace(VersionName{"1", "kv", "kek"}, SecretBuffer::random(32).value());
  secrets.wipe_keys();
  EXPECT_TRUE(secrets.root_key.empty());
  EXPECT_TRUE(secrets.id_key.empty());
  EXPECT_EQ(secrets.epochs.size(), 2U) << "what they are is known on";
  for (const auto& [number, epoch] : secrets.epochs) EXPECT_TRUE(epoch.dek.empty());
  EXPECT_TRUE(secrets.retiring_keys.empty());
}

// The machine's list names the version that a recovery brings before its keyring is durable, whatever became of that
// list since the version was proven.
TEST(KeyCustodyGuards, ARecoveredVaultsVersionIsListedFirst) {
  RecoveryWorld world;
  world.spare->on_call = [&] {
    if (world.spare->wraps == 0) return;
    EXPECT_TRUE(
        world.machine
            ->change_registration(world.header.id, "/vault", [&](Registration& own) { own.needed = world.first(); })
            .ok());
  };
  bool written = false;
  world.env.set_observer([&](SimStep step, const Env::Path& path) {
    if (step != SimStep::rename || path.parent_path().filename() != "keyrings" || std::exchange(written, true)) return;
    EXPECT_THAT(world.needed(), Contains(world.recovered));
  });
  ASSERT_OK(recover_under_a_new_key(world));
  world.env.set_observer({});
  EXPECT_TRUE(written);
}

}  // namespace
}  // namespace vaultfs
