#include "vaultmeta/keys/escrow.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <set>

#include "tests/support/assert_ok.h"
#include "tests/vaultmeta/keys/escrow_steps.h"

namespace vaultfs {
namespace {

using ::testing::Contains;
using ::testing::HasSubstr;

// What opening by the escrow key alone ends with. No key vault answers meanwhile.
Refusal open_by_escrow(CustodyWorld& world, const RsaKey& key = escrow_key()) {
  world.kv->outage = true;
  const int asked = world.kv->unwraps;
  const auto opened = KeyCustody::open(world.context(), world.header, world.header_digest, true, &key);
  EXPECT_EQ(world.kv->unwraps.load(), asked);
  world.kv->outage = false;
  if (!opened.ok()) return opened.code();
  // The same root key: it is the vault that was opened, and not only a keyring.
  EXPECT_EQ((*opened)->root_mac("label", bytes_of("message")).value(),
            world.custody->root_mac("label", bytes_of("message")).value());
  return kOpens;
}

TEST(EscrowSlotTest, OpensForThePrivateKeyInItsPlaceOnly) {
  SimEnv env;
  const VaultId vault = random_id<VaultId>(env);
  const EscrowRecipient recipient{public_of(escrow_key()), UnixNanos{5}};
  const SecretBuffer key = std::move(SecretBuffer::random(32)).value();
  const auto slot = wrap_for_escrow(vault, Generation(3), recipient, key, {});
  ASSERT_OK(slot);
  const auto opened = unwrap_by_escrow(vault, *slot, escrow_key());
  ASSERT_OK(opened);
  EXPECT_TRUE(bytes_equal(opened->view(), key.view()));
  EXPECT_EQ(unwrap_by_escrow(vault, *slot, escrow_key(1)).code(), ErrorCode::WrongKey);
  EXPECT_EQ(unwrap_by_escrow(vault, std::nullopt, escrow_key()).code(), ErrorCode::KeyNotFound);
  EXPECT_EQ(unwrap_by_escrow(random_id<VaultId>(env), *slot, escrow_key()).code(), ErrorCode::AuthenticationFailed);
  EscrowSlot moved = *slot;
  moved.wrapped_in = Generation(4);
  EXPECT_EQ(unwrap_by_escrow(vault, moved, escrow_key()).code(), ErrorCode::AuthenticationFailed);
}

TEST(EscrowTest, ARecipientThatIsSetOpensTheVault) {
  CustodyWorld world;
  world.create();
  EXPECT_EQ(open_by_escrow(world), ErrorCode::KeyNotFound);
  EXPECT_FALSE(world.custody->status().escrow);
  ASSERT_OK(world.custody->set_escrow(public_of(escrow_key())));
  const auto status = world.custody->status();
  ASSERT_TRUE(status.escrow);
  EXPECT_EQ(status.escrow->fingerprint, sha256(public_of(escrow_key())));
  EXPECT_EQ(newest_closed(world).escrow->fingerprint, status.escrow->fingerprint);
  EXPECT_EQ(open_by_escrow(world), kOpens);
  EXPECT_EQ(open_by_escrow(world, escrow_key(1)), ErrorCode::WrongKey);
  EXPECT_THAT(world.host->changes,
              Contains("encryption.set-escrow " + to_hex(status.escrow->fingerprint.view()) + " ok"));
  // By its key vault as before, and again the same.
  ASSERT_OK(world.open());
  EXPECT_EQ(world.custody->status().escrow->fingerprint, status.escrow->fingerprint);
  const Generation before = world.custody->generation();
  ASSERT_OK(world.custody->set_escrow(public_of(escrow_key())));
  EXPECT_EQ(world.custody->generation(), before);
}

TEST(EscrowTest, WhoHasNoneHasTheKeyringOfBefore) {
  CustodyWorld world;
  world.create();
  const auto version = [&world] { return static_cast<int>(world.env.read(world.keyring_files().back()).at(8)); };
  EXPECT_EQ(version(), 4);
  ASSERT_OK(world.custody->set_escrow(public_of(escrow_key())));
  EXPECT_EQ(version(), 5);
  ASSERT_OK(world.custody->set_escrow(std::nullopt));
  EXPECT_EQ(version(), 4);
}

TEST(EscrowTest, EveryChangeOfKeysKeepsIt) {
  CustodyWorld world;
  world.create();
  ASSERT_OK(world.custody->set_escrow(public_of(escrow_key())));
  Bytes wrapped = newest_closed(world).escrow->wrapped;
  const auto expect_kept = [&](const char* after, bool fresh_key) {
    SCOPED_TRACE(after);
    EXPECT_EQ(open_by_escrow(world), kOpens);
    const Bytes now = newest_closed(world).escrow->wrapped;
    EXPECT_EQ(now != wrapped, fresh_key);
    wrapped = now;
  };
  ASSERT_OK(world.custody->item_attempted());
  expect_kept("the first item", false);
  world.kv->add_version("kek");
  refresh(world);
  expect_kept("a rotation", true);
  world.kv->add_version("kek");
  refresh(world);
  expect_kept("another", true);
  complete_backup(world);
  expect_kept("a backup", false);
  refresh(world);
  ASSERT_EQ(world.versions_with(VersionRole::retired).size(), 2U);
  expect_kept("a retirement", true);
  ASSERT_OK(world.custody->rewrap(false));
  expect_kept("a rewrap", true);
  ASSERT_OK(world.custody->new_epoch());
  expect_kept("a new epoch", false);
  ASSERT_OK(world.custody->set_identity("backup"));
  expect_kept("another identity", false);
  world.kv->add_version("second");
  ASSERT_OK(world.custody->set_key({"kv", "second", std::nullopt}));
  expect_kept("another key", true);
  ASSERT_OK(world.custody->rewrap(true));
  expect_kept("dropping what is Retiring", true);
  ASSERT_OK(world.custody->new_incarnation());
  expect_kept("a new incarnation", false);
}

TEST(EscrowTest, ARemovedRecipientOpensNoKeyringFromThenOn) {
  CustodyWorld world;
  world.create();
  ASSERT_OK(world.custody->set_escrow(public_of(escrow_key())));
  const Bytes old_copy = world.env.read(world.keyring_files().back());
  const auto old_key = unwrap_by_escrow(world.header.id, newest_closed(world).escrow, escrow_key());
  ASSERT_OK(old_key);
  const EpochNumber epoch = world.custody->status().current_epoch;

  ASSERT_OK(world.custody->set_escrow(std::nullopt));
  EXPECT_FALSE(world.custody->status().escrow);
  EXPECT_EQ(open_by_escrow(world), ErrorCode::KeyNotFound);
  for (const Env::Path& file : world.keyring_files()) {
    const Bytes bytes = world.env.read(file);
    EXPECT_FALSE(ClosedKeyring::decode(bytes)->escrow) << file;
    EXPECT_EQ(open_keyring(bytes, *old_key).code(), ErrorCode::WrongKey) << file;
  }
  // New data is under a DEK that the old keyring never held; what was there it still opens.
  const auto seen = open_keyring(old_copy, *old_key);
  ASSERT_OK(seen);
  EXPECT_GT(world.custody->status().current_epoch, epoch);
  EXPECT_EQ(seen->secrets.epochs.count(world.custody->status().current_epoch), 0U);
  EXPECT_THAT(world.host->changes, Contains("encryption.set-escrow none ok"));
}

TEST(EscrowTest, AnotherRecipientTakesThePlaceOfTheOld) {
  CustodyWorld world;
  world.create();
  ASSERT_OK(world.custody->set_escrow(public_of(escrow_key())));
  const EpochNumber epoch = world.custody->status().current_epoch;
  ASSERT_OK(world.custody->set_escrow(public_of(escrow_key(1))));
  EXPECT_EQ(open_by_escrow(world), ErrorCode::WrongKey);
  EXPECT_EQ(open_by_escrow(world, escrow_key(1)), kOpens);
  EXPECT_GT(world.custody->status().current_epoch, epoch);
}

// A Retiring slot leads from the keyring key of its time, which the old recipient may have, to the newest keyring.
TEST(EscrowTest, NoneIsTakenAwayWhileAVersionIsRetiring) {
  CustodyWorld world;
  world.create();
  ASSERT_OK(world.custody->set_escrow(public_of(escrow_key())));
  const auto old_key = unwrap_by_escrow(world.header.id, newest_closed(world).escrow, escrow_key());
  ASSERT_OK(old_key);
  world.kv->add_version("kek");
  refresh(world);
  const ClosedKeyring closed = newest_closed(world);
  const auto retiring = std::find_if(closed.slots.begin(), closed.slots.end(),
                                     [](const KeyringSlot& slot) { return slot.role == VersionRole::retiring; });
  ASSERT_NE(retiring, closed.slots.end());
  const auto linked = open_link(closed.vault, closed.generation, *retiring, *old_key);
  ASSERT_OK(linked);
  EXPECT_TRUE(open_keyring(world.env.read(world.keyring_files().back()), *linked).ok());

  const Status refused = world.custody->set_escrow(std::nullopt);
  EXPECT_EQ(refused.code(), ErrorCode::KeyVersionInUse);
  EXPECT_THAT(refused.error().message, HasSubstr(world.v1));
  EXPECT_EQ(world.custody->set_escrow(public_of(escrow_key(1))).code(), ErrorCode::KeyVersionInUse);
  EXPECT_EQ(open_by_escrow(world), kOpens);
  EXPECT_THAT(world.host->changes, Contains("encryption.set-escrow none KeyVersionInUse"));
  complete_backup(world);
  refresh(world);
  ASSERT_OK(world.custody->set_escrow(std::nullopt));
  EXPECT_EQ(open_by_escrow(world), ErrorCode::KeyNotFound);
}

// Power loss at each durable step of a change: the vault opens by its key vault, and by the one recipient that it
// names.
TEST(EscrowTest, ACrashAtAnyStepOfAChangeLeavesOneRecipient) {
  const auto prepare = [](CustodyWorld& world) {
    world.create();
    ASSERT_OK(world.custody->set_escrow(public_of(escrow_key())));
  };
  const auto change = [](CustodyWorld& world) { return world.custody->set_escrow(public_of(escrow_key(1))); };
  crash_at_each_step(11, prepare, change, [&](CustodyWorld& world) {
    ASSERT_OK(world.open());
    ASSERT_TRUE(world.custody->status().escrow);
    const bool changed = world.custody->status().escrow->fingerprint == escrow_fingerprint(public_of(escrow_key(1)));
    EXPECT_EQ(open_by_escrow(world, escrow_key(changed ? 1 : 0)), kOpens);
    EXPECT_EQ(open_by_escrow(world, escrow_key(changed ? 0 : 1)), Refusal(ErrorCode::WrongKey));
    ASSERT_OK(change(world));
    refresh(world);
    for (const Env::Path& file : world.keyring_files()) {
      const auto closed = ClosedKeyring::decode(world.env.read(file));
      EXPECT_EQ(unwrap_by_escrow(world.header.id, closed->escrow, escrow_key()).code(), ErrorCode::WrongKey) << file;
    }
  });
}

TEST(EscrowTest, WhoCanWriteStorageAddsNoRecipient) {
  CustodyWorld world;
  world.create();
  ASSERT_OK(world.custody->set_escrow(public_of(escrow_key())));
  world.close();
  const Env::Path file = world.keyring_files().back();
  const Bytes good = world.env.read(file);
  const ClosedKeyring closed = newest_closed(world);
  // A slot of the attacker's own key for a key of his, in the place of the true one.
  const auto his = wrap_for_escrow(closed.vault, closed.generation, {public_of(escrow_key(1)), {}},
                                   std::move(SecretBuffer::random(32)).value(), {});
  ASSERT_OK(his);
  const auto at = [&](ByteView part) {
    return std::search(good.begin(), good.end(), part.begin(), part.end()) - good.begin();
  };
  Bytes forged = good;
  std::copy(his->fingerprint.view().begin(), his->fingerprint.view().end(),
            forged.begin() + at(closed.escrow->fingerprint.view()));
  std::copy(his->wrapped.begin(), his->wrapped.end(), forged.begin() + at(closed.escrow->wrapped));
  with_repaired_digest(world, file, forged);
  EXPECT_EQ(world.open().code(), ErrorCode::AuthenticationFailed);
  EXPECT_EQ(KeyCustody::open(world.context(), world.header, world.header_digest, true, &escrow_key(1)).code(),
            ErrorCode::WrongKey);
  // None where one was: the rest of the file is read as what it is not.
  Bytes without = good;
  without[8] = std::byte{4};
  with_repaired_digest(world, file, without);
  const Status opened = world.open();
  EXPECT_TRUE(opened.code() == ErrorCode::DamagedKeyring || opened.code() == ErrorCode::WrongKey)
      << error_name(opened.code());
  world.env.write(file, good);
  ASSERT_OK(world.open());
}

TEST(EscrowTest, EveryFlippedBitOfItsSlotIsFound) {
  CustodyWorld world;
  world.create();
  ASSERT_OK(world.custody->set_escrow(public_of(escrow_key())));
  world.close();
  const Env::Path file = world.keyring_files().back();
  const Bytes good = world.env.read(file);
  const ClosedKeyring closed = newest_closed(world);
  const auto begin =
      static_cast<std::size_t>(std::search(good.begin(), good.end(), closed.escrow->fingerprint.view().begin(),
                                           closed.escrow->fingerprint.view().end()) -
                               good.begin());
  const std::size_t end = begin + Digest::kSize + 8 + 4 + closed.escrow->wrapped.size();
  const std::set<ErrorCode> named{ErrorCode::DamagedKeyring, ErrorCode::AuthenticationFailed, ErrorCode::WrongKey};
  for (std::size_t byte = begin; byte < end; ++byte) {
    Bytes forged = good;
    forged[byte] ^= std::byte{4};
    with_repaired_digest(world, file, forged);
    const Status opened = world.open();
    ASSERT_FALSE(opened.ok()) << byte;
    ASSERT_EQ(named.count(opened.code()), 1U) << byte << ": " << error_name(opened.code());
    const auto by_escrow = KeyCustody::open(world.context(), world.header, world.header_digest, true, &escrow_key());
    ASSERT_FALSE(by_escrow.ok()) << byte;
    ASSERT_EQ(named.count(by_escrow.code()), 1U) << byte << ": " << error_name(by_escrow.code());
  }
}

TEST(EscrowTest, AKeyringMintedForTheEscrowKeyIsForeign) {
  CustodyWorld world;
  world.create();
  ASSERT_OK(world.custody->set_escrow(public_of(escrow_key())));
  world.close();
  // The attacker has the public key, all clear parts, and secrets of his own.
  const ClosedKeyring closed = newest_closed(world);
  const SecretBuffer his_key = std::move(SecretBuffer::random(32)).value();
  Keyring forged;
  forged.vault = closed.vault;
  forged.generation = closed.generation.next();
  forged.header_digest = closed.header_digest;
  forged.slots.push_back(closed.active_slot());
  forged.secrets.root_key = std::move(SecretBuffer::random(32)).value();
  forged.secrets.id_key = std::move(SecretBuffer::random(32)).value();
  forged.secrets.epochs.emplace(EpochNumber(1),
                                EpochRecord{std::move(SecretBuffer::random(32)).value(), {}, std::nullopt});
  VersionRecord record;
  record.version = closed.active_slot().version;
  forged.secrets.rule.start(record);
  forged.secrets.escrow = EscrowRecipient{public_of(escrow_key()), {}};
  forged.escrow = wrap_for_escrow(forged.vault, forged.generation, *forged.secrets.escrow, his_key, {}).value();
  const auto bytes = forged.seal(his_key);
  ASSERT_OK(bytes);
  world.env.write("/vault/" + keyring_blob_name(forged.generation), *bytes);
  EXPECT_EQ(KeyCustody::open(world.context(), world.header, world.header_digest, true, &escrow_key()).code(),
            ErrorCode::ForeignRootKey);
  // A slot for another key than the sealed recipient is refused where it would be made.
  forged.escrow = wrap_for_escrow(forged.vault, forged.generation, {public_of(escrow_key(1)), {}}, his_key, {}).value();
  EXPECT_EQ(forged.seal(his_key).code(), ErrorCode::InvalidArgument);
}

// --- recovering

// A vault whose key vault is gone after two rotations, and another key vault "spare" with the key "new".
void lose_the_key_vault(CustodyWorld& world) {
  world.create();
  ASSERT_OK(world.custody->set_escrow(public_of(escrow_key())));
  for (int i = 0; i < 2; ++i) {
    world.kv->add_version("kek");
    refresh(world);
  }
  world.close();
  world.resolver.forget("kv");
  world.kv = std::make_shared<FakeKeyVault>("spare", world.env.clock());
  world.resolver.add(world.kv);
  world.kv->add_version("new");
}

TEST(RecoverTest, AVaultWhoseKeyVaultIsGoneGetsANewKey) {
  CustodyWorld world;
  ASSERT_NO_FATAL_FAILURE(lose_the_key_vault(world));
  EXPECT_EQ(world.open().code(), ErrorCode::KeyVaultUnavailable);
  ASSERT_OK(open_to_recover(world));
  const EpochNumber epoch = world.custody->status().current_epoch;
  const Digest mac = world.custody->root_mac("label", bytes_of("message")).value();
  ASSERT_OK(world.custody->recover({KeyRef::parse("spare/new").value(), "backup"}));
  EXPECT_THAT(world.host->changes, Contains(HasSubstr("vault.recover ")));
  EXPECT_THAT(world.host->changes, Contains("key.retire " + world.v1 + " ok"));

  ASSERT_OK(world.open());  // by the new key vault
  EXPECT_EQ(world.custody->root_mac("label", bytes_of("message")).value(), mac);
  const auto status = world.custody->status();
  EXPECT_EQ(status.settings.key_vault, "spare");
  EXPECT_EQ(status.settings.key, "new");
  EXPECT_EQ(status.settings.identity, "backup");
  EXPECT_EQ(world.versions_with(VersionRole::active).size(), 1U);
  EXPECT_EQ(world.versions_with(VersionRole::retiring).size(), 0U);
  EXPECT_EQ(world.versions_with(VersionRole::retired).size(), 3U);
  EXPECT_GT(status.current_epoch, epoch);
  EXPECT_EQ(newest_closed(world).slots.size(), 1U);
  for (const Env::Path& file : world.keyring_files()) {
    const auto closed = ClosedKeyring::decode(world.env.read(file));
    ASSERT_OK(closed);
    for (const KeyringSlot& slot : closed->slots) EXPECT_EQ(slot.key_vault, "spare") << file;
  }
  EXPECT_EQ(open_by_escrow(world), kOpens);
  refresh(world);
  EXPECT_FALSE(world.custody->status().problem);
}

TEST(RecoverTest, AKeyThatIsNotGoodEnoughChangesNothing) {
  CustodyWorld world;
  ASSERT_NO_FATAL_FAILURE(lose_the_key_vault(world));
  ASSERT_OK(open_to_recover(world));
  const Generation before = world.custody->generation();
  const auto recover = [&world](const char* key) {
    return refusal(world.custody->recover({KeyRef::parse(key).value(), std::nullopt}));
  };
  EXPECT_EQ(recover("nowhere/new"), ErrorCode::KeyVaultUnavailable);
  EXPECT_EQ(recover("spare/other"), ErrorCode::KeyNotFound);
  world.kv->unwrap_other = true;
  EXPECT_EQ(recover("spare/new"), ErrorCode::AuthenticationFailed);
  world.kv->unwrap_other = false;
  world.kv->answer.soft_delete = false;
  EXPECT_EQ(recover("spare/new"), ErrorCode::SoftDeleteRequired);
  world.kv->answer.soft_delete = true;
  EXPECT_EQ(world.custody->recover({}).code(), ErrorCode::InvalidArgument);
  EXPECT_EQ(world.custody->generation(), before);
  EXPECT_THAT(world.host->changes, Contains("vault.recover spare/other KeyNotFound"));
  EXPECT_EQ(recover("spare/new"), std::nullopt);
}

TEST(RecoverTest, APlatformManagedVaultGetsAKeyOfThisMachine) {
  CustodyWorld world;
  world.create(std::nullopt);
  ASSERT_OK(world.custody->set_escrow(public_of(escrow_key())));
  ASSERT_OK(world.custody->item_attempted());
  for (const auto& file : world.env.files("/home/platform-keys")) world.env.remove(file);
  EXPECT_EQ(world.open().code(), ErrorCode::PlatformKeyMissing);
  ASSERT_OK(open_to_recover(world));
  EXPECT_EQ(world.custody->recover({KeyRef::parse("kv/kek").value(), std::nullopt}).code(),
            ErrorCode::EncryptionNotChangeable);
  ASSERT_OK(world.custody->recover({}));
  ASSERT_OK(world.open());
  EXPECT_FALSE(world.custody->status().settings.customer_managed);
  EXPECT_EQ(world.versions_with(VersionRole::retired).size(), 1U);
}

// Power loss at each durable step: the vault opens by the escrow key still, and the recovery can be made or is done.
TEST(RecoverTest, ACrashAtAnyStepLeavesWhatTheEscrowKeyOpens) {
  const auto prepare = [](CustodyWorld& world) {
    ASSERT_NO_FATAL_FAILURE(lose_the_key_vault(world));
    ASSERT_OK(open_to_recover(world));
  };
  crash_at_each_step(11, prepare, recover_under_a_new_key, [](CustodyWorld& world) {
    ASSERT_OK(open_to_recover(world));
    ASSERT_OK(recover_under_a_new_key(world));
    ASSERT_OK(world.open());
    EXPECT_EQ(world.versions_with(VersionRole::active).size(), 1U);
    EXPECT_EQ(world.versions_with(VersionRole::retiring).size(), 0U);
    EXPECT_EQ(open_by_escrow(world), kOpens);
  });
}

}  // namespace
}  // namespace vaultfs
