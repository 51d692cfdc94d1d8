#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <functional>
#include <set>
#include <string>

#include "tests/support/assert_ok.h"
#include "tests/vaultmeta/keys/escrow_steps.h"
#include "vaultmeta/keys/keyring_form.h"

// With infrastructure encryption the escrow slot holds the second layer's key too, which nothing else in a vault does.

namespace vaultfs {
namespace {

using ::testing::HasSubstr;

constexpr const char* kElsewhere = "/elsewhere";

SecretBuffer random_key() { return std::move(SecretBuffer::random(32)).value(); }

PlatformKeyId second_layer_id(const CustodyWorld& world) { return PlatformKeyId(world.header.infrastructure_key_id); }

int format_of(const CustodyWorld& world) {
  return static_cast<int>(world.env.read(world.keyring_files().back()).at(kKeyringMagic.size()));
}

// A vault on two layers with an escrow recipient.
void create_with_escrow(CustodyWorld& world, const std::optional<std::string>& key = "kv/kek") {
  world.create(key, Suite::aes_gcm_in_xchacha);
  ASSERT_OK(world.custody->set_escrow(public_of(escrow_key())));
  ASSERT_EQ(format_of(world), 6);
}

// What opening by the escrow key ends with on a machine that has no key of the vault. It gets none by that.
Result<Digest> open_elsewhere(CustodyWorld& world) {
  PlatformKeys keys(world.env, kElsewhere);
  const KeyCustody::Context context{world.env, *world.blobs, *world.machine, keys, world.resolver};
  const auto opened = KeyCustody::open(context, world.header, world.header_digest, true, &escrow_key());
  EXPECT_EQ(keys.load(second_layer_id(world)).code(), ErrorCode::PlatformKeyMissing);
  if (!opened.ok()) return opened.error();
  // The keys that open data: those of the root key and of the second layer.
  const auto& custody = **opened;
  VAULTFS_ASSIGN_OR_RETURN(const Digest mac, custody.root_mac("label", bytes_of("message")));
  VAULTFS_ASSIGN_OR_RETURN(const Digest layer,
                           (*opened)->keys().with_infrastructure_key(
                               [&](const SecretBuffer& key) -> Result<Digest> { return sha256(key.view()); }));
  Bytes both = to_bytes(mac.view());
  both.insert(both.end(), layer.view().begin(), layer.view().end());
  return sha256(both);
}

// The same where the vault was made.
Digest open_at_home(CustodyWorld& world) {
  const Digest mac = world.custody->root_mac("label", bytes_of("message")).value();
  const Digest layer = sha256(world.platform_keys->load(second_layer_id(world)).value().view());
  Bytes both = to_bytes(mac.view());
  both.insert(both.end(), layer.view().begin(), layer.view().end());
  return sha256(both);
}

void expect_opens_elsewhere(CustodyWorld& world) {
  const auto opened = open_elsewhere(world);
  ASSERT_OK(opened);
  EXPECT_EQ(*opened, open_at_home(world));
}

// Another machine takes the place of the one where the vault was made, and of its key vault "spare" with the key "new".
void move_elsewhere(CustodyWorld& world) {
  world.close();
  world.machine = MachineState::open(world.env, kElsewhere).value();
  world.platform_keys = std::make_unique<PlatformKeys>(world.env, kElsewhere);
  world.resolver.forget("kv");
  world.kv = std::make_shared<FakeKeyVault>("spare", world.env.clock());
  world.resolver.add(world.kv);
  world.kv->add_version("new");
}

TEST(EscrowInfrastructureTest, TheWrapOpensForThePrivateKeyInItsPlaceOnly) {
  SimEnv env;
  const VaultId vault = random_id<VaultId>(env);
  const EscrowRecipient recipient{public_of(escrow_key()), UnixNanos{5}};
  const SecretBuffer keyring_key = random_key();
  const InfrastructureKey layer{random_id<PlatformKeyId>(env), random_key()};
  const auto slot = wrap_for_escrow(vault, Generation(3), recipient, keyring_key, layer);
  ASSERT_OK(slot);
  const auto opened = unwrap_infrastructure_key(vault, *slot, layer.id, escrow_key());
  ASSERT_OK(opened);
  EXPECT_TRUE(bytes_equal(opened->view(), layer.key.view()));
  EXPECT_TRUE(bytes_equal(unwrap_by_escrow(vault, *slot, escrow_key()).value().view(), keyring_key.view()));

  const auto refused = [&](const EscrowSlot& changed) {
    return refusal(unwrap_infrastructure_key(vault, changed, layer.id, escrow_key()));
  };
  EXPECT_EQ(unwrap_infrastructure_key(vault, *slot, layer.id, escrow_key(1)).code(), ErrorCode::WrongKey);
  EXPECT_EQ(unwrap_infrastructure_key(random_id<VaultId>(env), *slot, layer.id, escrow_key()).code(),
            ErrorCode::AuthenticationFailed);
  EXPECT_EQ(unwrap_infrastructure_key(vault, *slot, random_id<PlatformKeyId>(env), escrow_key()).code(),
            ErrorCode::AuthenticationFailed);
  EscrowSlot changed = *slot;
  changed.wrapped_in = Generation(4);
  EXPECT_EQ(refused(changed), ErrorCode::AuthenticationFailed);
  changed = *slot;
  std::swap(changed.wrapped, changed.wrapped_infrastructure_key);
  EXPECT_EQ(refused(changed), ErrorCode::AuthenticationFailed);
  EXPECT_EQ(unwrap_by_escrow(vault, changed, escrow_key()).code(), ErrorCode::AuthenticationFailed);
  changed = *slot;
  changed.wrapped_infrastructure_key.clear();
  EXPECT_EQ(refused(changed), ErrorCode::KeyNotFound);
  // The wrap of another recipient under this one's name.
  const auto his = wrap_for_escrow(vault, Generation(3), {public_of(escrow_key(1)), {}}, keyring_key, layer);
  ASSERT_OK(his);
  changed = *slot;
  changed.wrapped_infrastructure_key = his->wrapped_infrastructure_key;
  EXPECT_EQ(refused(changed), ErrorCode::AuthenticationFailed);
}

TEST(EscrowInfrastructureTest, TheFormTellsWhatTheSlotHolds) {
  CustodyWorld world;
  world.create("kv/kek", Suite::aes_gcm_in_xchacha);
  EXPECT_EQ(format_of(world), 4);
  ASSERT_OK(world.custody->set_escrow(public_of(escrow_key())));
  EXPECT_EQ(format_of(world), 6);
  EXPECT_EQ(world.custody->status().escrow->has_infrastructure_key, true);
  ASSERT_OK(world.custody->set_escrow(public_of(escrow_key(1))));
  EXPECT_EQ(format_of(world), 6);
  EXPECT_EQ(refusal(open_elsewhere(world)), ErrorCode::WrongKey);
  ASSERT_OK(world.custody->set_escrow(std::nullopt));
  EXPECT_EQ(format_of(world), 4);
  EXPECT_EQ(refusal(open_elsewhere(world)), ErrorCode::KeyNotFound);

  CustodyWorld one_layer;
  one_layer.create();
  ASSERT_OK(one_layer.custody->set_escrow(public_of(escrow_key())));
  EXPECT_EQ(format_of(one_layer), 5);
  EXPECT_EQ(one_layer.custody->status().escrow->has_infrastructure_key, std::nullopt);
}

TEST(EscrowInfrastructureTest, EveryChangeOfKeysKeepsIt) {
  CustodyWorld world;
  ASSERT_NO_FATAL_FAILURE(create_with_escrow(world));
  Bytes wrapped = newest_closed(world).escrow->wrapped_infrastructure_key;
  const auto expect_kept = [&](const char* after, bool fresh) {
    SCOPED_TRACE(after);
    expect_opens_elsewhere(world);
    const Bytes now = newest_closed(world).escrow->wrapped_infrastructure_key;
    EXPECT_EQ(now != wrapped, fresh);
    wrapped = now;
  };
  expect_kept("nothing", false);
  ASSERT_OK(world.custody->item_attempted());
  expect_kept("the first item", false);
  world.kv->add_version("kek");
  refresh(world);
  expect_kept("a rotation", true);
  complete_backup(world);
  refresh(world);
  expect_kept("a retirement", true);
  ASSERT_OK(world.custody->rewrap(false));
  expect_kept("a rewrap", true);
  ASSERT_OK(world.custody->new_epoch());
  expect_kept("a new epoch", false);
  world.kv->add_version("second");
  ASSERT_OK(world.custody->set_key({"kv", "second", std::nullopt}));
  expect_kept("another key", true);
  ASSERT_OK(world.custody->new_incarnation());
  expect_kept("a new incarnation", false);
}

// The KEK opens the keyring, and what is in it is not the second layer's key.
TEST(EscrowInfrastructureTest, NothingButItsOwnWrapHoldsTheKey) {
  CustodyWorld world;
  ASSERT_NO_FATAL_FAILURE(create_with_escrow(world));
  const ClosedKeyring closed = newest_closed(world);
  const auto keyring_key = unwrap_by_escrow(closed.vault, closed.escrow, escrow_key());
  ASSERT_OK(keyring_key);
  const auto opened = open_keyring(world.env.read(world.keyring_files().back()), *keyring_key);
  ASSERT_OK(opened);
  const auto secrets = encode_secrets(opened->secrets, Digest{}, kKeyringFormatVersion);
  ASSERT_OK(secrets);
  const auto layer = world.platform_keys->load(second_layer_id(world));
  ASSERT_OK(layer);
  EXPECT_EQ(text_of(secrets->view()).find(text_of(layer->view())), std::string_view::npos);
  EXPECT_NE(text_of(secrets->view()).find(text_of(opened->secrets.root_key.view())), std::string_view::npos);
  for (const Env::Path& file : world.env.files("/vault")) {
    EXPECT_EQ(text_of(world.env.read(file)).find(text_of(layer->view())), std::string_view::npos) << file;
  }
}

// --- a keyring of before there was a place for the key

TEST(EscrowInfrastructureTest, AKeyringOfBeforeStillWantsTheMachinesKeyAndSaysWhatToDo) {
  CustodyWorld world;
  ASSERT_NO_FATAL_FAILURE(create_with_escrow(world));
  ASSERT_NO_FATAL_FAILURE(make_version_2(world.env));
  ASSERT_EQ(format_of(world), 5);
  const auto elsewhere = open_elsewhere(world);
  ASSERT_EQ(refusal(elsewhere), ErrorCode::PlatformKeyMissing);
  EXPECT_THAT(elsewhere.error().message, HasSubstr("--recovery-file"));
  EXPECT_THAT(elsewhere.error().message, HasSubstr("key rewrap"));
  ASSERT_OK(KeyCustody::open(world.context(), world.header, world.header_digest, true, &escrow_key()));
  ASSERT_OK(world.open());
  EXPECT_EQ(world.custody->status().escrow->has_infrastructure_key, false);
  EXPECT_EQ(format_of(world), 5);  // opening changes nothing
}

TEST(EscrowInfrastructureTest, TheNextKeyringHoldsItWhateverItIsWrittenFor) {
  using Change = std::function<Status(CustodyWorld&)>;
  const std::vector<std::pair<const char*, Change>> changes{
      {"item", [](CustodyWorld& world) { return world.custody->item_attempted(); }},
      {"limits",
       [](CustodyWorld& world) {
         return world.custody->set_limits({1, {}, {}});
       }},
      {"rewrap", [](CustodyWorld& world) { return world.custody->rewrap(false); }},
      {"new epoch", [](CustodyWorld& world) { return world.custody->new_epoch(); }},
      {"incarnation", [](CustodyWorld& world) { return world.custody->new_incarnation(); }},
      {"recovery",
       [](CustodyWorld& world) -> Status {
         VAULTFS_RETURN_IF_ERROR(open_to_recover(world));
         return world.custody->recover({KeyRef::parse("kv/kek").value(), std::nullopt});
       }},
  };
  for (const auto& [name, change] : changes) {
    SCOPED_TRACE(name);
    CustodyWorld world;
    ASSERT_NO_FATAL_FAILURE(create_with_escrow(world));
    ASSERT_NO_FATAL_FAILURE(make_version_2(world.env));
    ASSERT_OK(world.open());
    ASSERT_OK(change(world));
    EXPECT_EQ(format_of(world), 6);
    EXPECT_EQ(world.custody->status().escrow->has_infrastructure_key, true);
    expect_opens_elsewhere(world);
    ASSERT_OK(world.open());
  }
}

TEST(EscrowInfrastructureTest, ACrashAtAnyStepOfThatLeavesOneOrTheOther) {
  const auto prepare = [](CustodyWorld& world) {
    ASSERT_NO_FATAL_FAILURE(create_with_escrow(world));
    ASSERT_NO_FATAL_FAILURE(make_version_2(world.env));
    ASSERT_OK(world.open());
  };
  const auto change = [](CustodyWorld& world) { return world.custody->rewrap(false); };
  crash_at_each_step(6, prepare, change, [&](CustodyWorld& world) {
    ASSERT_OK(world.open());
    const int format = format_of(world);
    EXPECT_TRUE(format == 5 || format == 6) << format;
    if (format == 5) {
      EXPECT_EQ(refusal(open_elsewhere(world)), ErrorCode::PlatformKeyMissing);
    } else {
      expect_opens_elsewhere(world);
    }
    ASSERT_OK(change(world));
    EXPECT_EQ(format_of(world), 6);
    expect_opens_elsewhere(world);
  });
}

// --- what somebody has changed

TEST(EscrowInfrastructureTest, EveryFlippedBitOfTheWrapIsFound) {
  CustodyWorld world;
  ASSERT_NO_FATAL_FAILURE(create_with_escrow(world));
  world.close();
  const Env::Path file = world.keyring_files().back();
  const Bytes good = world.env.read(file);
  const Bytes wrapped = newest_closed(world).escrow->wrapped_infrastructure_key;
  const auto found = std::search(good.begin(), good.end(), wrapped.begin(), wrapped.end());
  ASSERT_NE(found, good.end());
  const auto begin = static_cast<std::size_t>(found - good.begin()) - 4;  // its length
  const std::set<ErrorCode> named{ErrorCode::DamagedKeyring, ErrorCode::AuthenticationFailed, ErrorCode::WrongKey};
  for (std::size_t bit = begin * 8; bit < (begin + 4 + wrapped.size()) * 8; ++bit) {
    Bytes forged = good;
    forged[bit / 8] ^= static_cast<std::byte>(1U << (bit % 8));
    with_repaired_digest(world, file, forged);
    // By the KEK each tenth only: the seal is the same for both.
    const Refusal opened = bit % 10 == 0 ? refusal(world.open()) : ErrorCode::WrongKey;
    ASSERT_TRUE(opened && named.contains(*opened)) << "bit " << bit;
    const Refusal elsewhere = refusal(open_elsewhere(world));
    ASSERT_TRUE(elsewhere && named.contains(*elsewhere)) << "bit " << bit;
  }
  world.env.write(file, good);
  ASSERT_OK(world.open());
  expect_opens_elsewhere(world);
}

// Even inside a keyring that is authentic a wrap from elsewhere opens nothing.
TEST(EscrowInfrastructureTest, AWrapFromAnotherPlaceIsNamedAndInstallsNothing) {
  const auto expect_refused = [](const char* what,
                                 const std::function<void(Keyring&, const InfrastructureKey&)>& edit) {
    SCOPED_TRACE(what);
    CustodyWorld world;
    ASSERT_NO_FATAL_FAILURE(create_with_escrow(world));
    const InfrastructureKey layer{second_layer_id(world),
                                  std::move(world.platform_keys->load(second_layer_id(world))).value()};
    ASSERT_NO_FATAL_FAILURE(rewrite_newest(world.env, [&](Keyring& keyring) { edit(keyring, layer); }));
    const auto elsewhere = open_elsewhere(world);
    ASSERT_EQ(refusal(elsewhere), ErrorCode::AuthenticationFailed);
    EXPECT_THAT(elsewhere.error().message, HasSubstr("infrastructure key"));
    // Where the machine has the key, the vault still opens by its key version, and a rewrap mends the slot.
    EXPECT_EQ(KeyCustody::open(world.context(), world.header, world.header_digest, true, &escrow_key()).code(),
              ErrorCode::AuthenticationFailed);
    ASSERT_OK(world.open());
    ASSERT_OK(world.custody->rewrap(false));
    expect_opens_elsewhere(world);
  };
  const auto wrapped = [](const VaultId& vault, Generation generation, int key, const InfrastructureKey& layer) {
    return wrap_for_escrow(vault, generation, {public_of(escrow_key(key)), {}}, layer.key, layer)
        .value()
        .wrapped_infrastructure_key;
  };
  expect_refused("another vault", [&](Keyring& keyring, const InfrastructureKey& layer) {
    VaultId other = keyring.vault;
    other.data()[0] ^= std::byte{1};
    keyring.escrow->wrapped_infrastructure_key = wrapped(other, keyring.escrow->wrapped_in, 0, layer);
  });
  expect_refused("another generation", [&](Keyring& keyring, const InfrastructureKey& layer) {
    keyring.escrow->wrapped_infrastructure_key = wrapped(keyring.vault, keyring.generation.next(), 0, layer);
  });
  expect_refused("another recipient", [&](Keyring& keyring, const InfrastructureKey& layer) {
    keyring.escrow->wrapped_infrastructure_key = wrapped(keyring.vault, keyring.escrow->wrapped_in, 1, layer);
  });
  expect_refused("another key's id", [&](Keyring& keyring, const InfrastructureKey& layer) {
    InfrastructureKey other{layer.id, std::move(layer.key.clone()).value()};
    other.id.data()[0] ^= std::byte{1};
    keyring.escrow->wrapped_infrastructure_key = wrapped(keyring.vault, keyring.escrow->wrapped_in, 0, other);
  });
}

TEST(EscrowInfrastructureTest, AnotherKeyOfThatIdOnTheMachineIsToldAndStays) {
  CustodyWorld world;
  ASSERT_NO_FATAL_FAILURE(create_with_escrow(world));
  ASSERT_NO_FATAL_FAILURE(move_elsewhere(world));
  const SecretBuffer other = random_key();
  ASSERT_OK(world.platform_keys->install(second_layer_id(world), other));
  const Status refused = open_to_recover(world);
  ASSERT_EQ(refused.code(), ErrorCode::WrongKey);
  EXPECT_THAT(refused.error().message, HasSubstr(to_hex(second_layer_id(world).view())));
  EXPECT_TRUE(bytes_equal(world.platform_keys->load(second_layer_id(world)).value().view(), other.view()));
}

TEST(EscrowInfrastructureTest, AVaultOfOneLayerHasNone) {
  CustodyWorld world;
  world.create();
  ASSERT_OK(world.custody->set_escrow(public_of(escrow_key())));
  world.close();
  ASSERT_NO_FATAL_FAILURE(rewrite_newest(
      world.env, [](Keyring& keyring) { keyring.escrow->wrapped_infrastructure_key = keyring.escrow->wrapped; }));
  ASSERT_EQ(format_of(world), 6);
  EXPECT_EQ(world.open().code(), ErrorCode::DamagedKeyring);
}

// --- recovering on another machine

TEST(EscrowInfrastructureTest, ARecoveryInstallsTheKeyBeforeTheVaultNeedsIt) {
  CustodyWorld world;
  ASSERT_NO_FATAL_FAILURE(create_with_escrow(world));
  const SecretBuffer layer = std::move(world.platform_keys->load(second_layer_id(world))).value();
  ASSERT_NO_FATAL_FAILURE(move_elsewhere(world));
  ASSERT_OK(open_to_recover(world));
  const auto here = [&world] { return refusal(world.platform_keys->load(second_layer_id(world))); };
  EXPECT_EQ(world.custody->recover({KeyRef::parse("spare/none").value(), std::nullopt}).code(), ErrorCode::KeyNotFound);
  EXPECT_EQ(here(), ErrorCode::PlatformKeyMissing);  // a refused recovery leaves nothing
  ASSERT_OK(world.custody->recover({KeyRef::parse("spare/new").value(), std::nullopt}));
  ASSERT_EQ(here(), std::nullopt);
  EXPECT_TRUE(bytes_equal(world.platform_keys->load(second_layer_id(world)).value().view(), layer.view()));
  ASSERT_OK(world.open());
  EXPECT_EQ(format_of(world), 6);
}

TEST(EscrowInfrastructureTest, APlatformManagedVaultGetsBothItsKeys) {
  CustodyWorld world;
  ASSERT_NO_FATAL_FAILURE(create_with_escrow(world, std::nullopt));
  ASSERT_NO_FATAL_FAILURE(move_elsewhere(world));
  ASSERT_OK(open_to_recover(world));
  ASSERT_OK(world.custody->recover({}));
  ASSERT_OK(world.open());
  EXPECT_FALSE(world.custody->status().settings.customer_managed);
}

TEST(EscrowInfrastructureTest, ACrashAtAnyStepOfARecoveryLosesNothing) {
  const auto prepare = [](CustodyWorld& world) {
    ASSERT_NO_FATAL_FAILURE(create_with_escrow(world));
    ASSERT_NO_FATAL_FAILURE(move_elsewhere(world));
    ASSERT_OK(open_to_recover(world));
  };
  crash_at_each_step(11, prepare, recover_under_a_new_key, [](CustodyWorld& world) {
    // A keyring under the new key is never there without the second layer's key.
    if (newest_closed(world).active_slot().key_vault == "spare") ASSERT_OK(world.open());
    ASSERT_OK(open_to_recover(world));
    ASSERT_OK(recover_under_a_new_key(world));
    ASSERT_OK(world.open());
    EXPECT_EQ(world.versions_with(VersionRole::active).size(), 1U);
  });
}

TEST(EscrowInfrastructureTest, TheRefusalWithoutTheKeyNamesBothWaysBack) {
  CustodyWorld world;
  ASSERT_NO_FATAL_FAILURE(create_with_escrow(world));
  world.close();
  world.platform_keys = std::make_unique<PlatformKeys>(world.env, kElsewhere);
  const Status refused = world.open();
  ASSERT_EQ(refused.code(), ErrorCode::PlatformKeyMissing);
  EXPECT_THAT(refused.error().message, HasSubstr("--recovery-file"));
  EXPECT_THAT(refused.error().message, HasSubstr("--escrow-key-file"));
}

}  // namespace
}  // namespace vaultfs
