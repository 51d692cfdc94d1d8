#include "vaultmeta/keys/keyring.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <set>

#include "crypto/envelope.h"
#include "crypto/hash.h"
#include "tests/support/custody_world.h"
#include "vaultmeta/keys/kek_access.h"
#include "vaultmeta/keys/keyring_form.h"

namespace vaultfs {
namespace {

// The key of the newest keyring, as the key vault gives it.
SecretBuffer unwrap_active(CustodyWorld& world, const ClosedKeyring& closed) {
  ReachedKey reached;
  auto key = unwrap_slot(world.resolver, *world.platform_keys, closed.vault, closed.active_slot(), reached);
  EXPECT_TRUE(key.ok());
  return std::move(key).value();
}

// A vault with a Retiring version, closed; its newest keyring file.
Env::Path rotated(CustodyWorld& world) {
  world.create();
  world.kv->add_version("kek");
  EXPECT_TRUE(world.custody->refresh().ok());
  world.close();
  return world.keyring_files().back();
}

TEST(KeyringTest, ComesBackAsItWasSealed) {
  CustodyWorld world;
  const Env::Path file = rotated(world);
  const Bytes bytes = world.env.read(file);
  const auto closed = ClosedKeyring::decode(bytes);
  ASSERT_TRUE(closed.ok());
  const SecretBuffer key = unwrap_active(world, *closed);
  auto opened = open_keyring(bytes, key);
  ASSERT_TRUE(opened.ok());
  opened->secrets.epochs.at(EpochNumber(1)).last_segment = ContainerNumber(77);
  opened->secrets.settings.pinned_version = "pinned";
  opened->secrets.settings.outage_ttl_seconds = 5;
  const auto sealed = opened->seal(key);
  ASSERT_TRUE(sealed.ok());
  const auto back = open_keyring(*sealed, key);
  ASSERT_TRUE(back.ok());
  EXPECT_EQ(back->generation, opened->generation);
  EXPECT_EQ(back->predecessor, opened->predecessor);
  EXPECT_TRUE(bytes_equal(back->secrets.root_key.view(), opened->secrets.root_key.view()));
  EXPECT_TRUE(bytes_equal(back->secrets.id_key.view(), opened->secrets.id_key.view()));
  EXPECT_EQ(back->secrets.rule.versions(), opened->secrets.rule.versions());
  EXPECT_EQ(back->secrets.epochs.at(EpochNumber(1)).last_segment, ContainerNumber(77));
  EXPECT_EQ(back->secrets.settings.pinned_version, "pinned");
  EXPECT_EQ(back->secrets.settings.outage_ttl_seconds, 5U);
  EXPECT_EQ(back->secrets.retiring_keys.size(), 1U);
  EXPECT_NE(*sealed, bytes);
}

// Damage is never taken for a newer version, nor a newer version for damage.
TEST(KeyringTest, AVersionThatIsNotKnownIsRefusedByName) {
  CustodyWorld world;
  Bytes bytes = world.env.read(rotated(world));
  for (const int version : {0, 7, 255}) {
    bytes[8] = static_cast<std::byte>(version);
    EXPECT_EQ(ClosedKeyring::decode(bytes).code(), ErrorCode::DamagedKeyring) << version;
    const Digest digest = sha256(ByteView(bytes).first(bytes.size() - Digest::kSize));
    Bytes repaired = bytes;
    std::copy(digest.view().begin(), digest.view().end(), repaired.end() - static_cast<std::ptrdiff_t>(Digest::kSize));
    const auto closed = ClosedKeyring::decode(repaired);
    ASSERT_FALSE(closed.ok());
    EXPECT_EQ(closed.code(), ErrorCode::UnsupportedFormat);
    EXPECT_THAT(closed.error().message, ::testing::HasSubstr("version " + std::to_string(version)));
    EXPECT_THAT(closed.error().message, ::testing::HasSubstr("up to 6"));
  }
}

TEST(KeyringTest, HoldsNoSecretInTheClear) {
  CustodyWorld world;
  const Bytes bytes = world.env.read(rotated(world));
  const auto closed = ClosedKeyring::decode(bytes);
  ASSERT_TRUE(closed.ok());
  const SecretBuffer key = unwrap_active(world, *closed);
  const auto opened = open_keyring(bytes, key);
  ASSERT_TRUE(opened.ok());
  const std::string_view text = text_of(bytes);
  for (const ByteView secret :
       {key.view(), opened->secrets.root_key.view(), opened->secrets.id_key.view(),
        opened->secrets.epochs.begin()->second.dek.view(), opened->secrets.retiring_keys.begin()->second.view()}) {
    EXPECT_EQ(text.find(text_of(secret)), std::string_view::npos);
  }
}

TEST(KeyringTest, RefusesLimitsBeforeTheyReachTheDisk) {
  CustodyWorld world;
  const Bytes bytes = world.env.read(rotated(world));
  const auto closed = ClosedKeyring::decode(bytes);
  ASSERT_TRUE(closed.ok());
  const SecretBuffer key = unwrap_active(world, *closed);
  auto opened = open_keyring(bytes, key);
  ASSERT_TRUE(opened.ok());
  opened->slots.front().key_vault = std::string(128, 'x');
  EXPECT_EQ(opened->seal(key).code(), ErrorCode::InvalidArgument);
}

// Every flipped bit, and every cut, is a named error of opening the vault, and never an older keyring's turn.
TEST(KeyringTest, EveryFlippedBitIsFound) {
  CustodyWorld world;
  const Env::Path file = rotated(world);
  const Bytes good = world.env.read(file);
  ASSERT_TRUE(world.open().ok());
  world.close();
  for (std::size_t bit = 0; bit < good.size() * 8; ++bit) {
    world.env.flip_bit(file, bit);
    const Status opened = world.open();
    ASSERT_EQ(opened.ok() ? ErrorCode::Internal : opened.code(), ErrorCode::DamagedKeyring) << "bit " << bit;
    world.env.flip_bit(file, bit);
  }
  for (std::size_t size = 0; size < good.size(); size += 7) {
    world.env.write(file, ByteView(good).first(size));
    ASSERT_EQ(world.open().code(), ErrorCode::DamagedKeyring) << size;
  }
  world.env.write(file, good);
  EXPECT_TRUE(world.open().ok());
}

// The same (each third bit) by one who repairs the plain digest, so that the cryptography alone has to tell.
TEST(KeyringTest, EveryFlippedBitIsFoundWithAMatchingDigestToo) {
  CustodyWorld world;
  const Env::Path file = rotated(world);
  const Bytes good = world.env.read(file);
  const std::set<ErrorCode> named{ErrorCode::DamagedKeyring,       ErrorCode::UnsupportedFormat,
                                  ErrorCode::AuthenticationFailed, ErrorCode::WrongKey,
                                  ErrorCode::KeyRevoked,           ErrorCode::KeyVaultUnavailable,
                                  ErrorCode::DamagedHeader,        ErrorCode::InvalidArgument};
  for (std::size_t bit = 0; bit < (good.size() - Digest::kSize) * 8;
       bit += 3) {  // every byte, and each RSA call takes long
    Bytes forged = good;
    forged[bit / 8] ^= static_cast<std::byte>(1U << (bit % 8));
    const Digest digest = sha256(ByteView(forged).first(forged.size() - Digest::kSize));
    std::copy(digest.view().begin(), digest.view().end(), forged.end() - static_cast<std::ptrdiff_t>(Digest::kSize));
    world.env.write(file, forged);
    const Status opened = world.open();
    ASSERT_FALSE(opened.ok()) << "bit " << bit;
    ASSERT_EQ(named.count(opened.code()), 1U) << "bit " << bit << ": " << error_name(opened.code());
  }
}

TEST(KeyringTest, AKeyringMintedWithThePublicKeyIsForeign) {
  CustodyWorld world;
  const Env::Path file = rotated(world);
  const auto closed = ClosedKeyring::decode(world.env.read(file));
  ASSERT_TRUE(closed.ok());
  // The attacker has the public key, all clear parts, and secrets of his own.
  const auto public_der = world.kv->rsa("kek", closed->active_slot().version)->public_der();
  ASSERT_TRUE(public_der.ok());
  const auto public_key = RsaKey::from_public_der(*public_der);
  ASSERT_TRUE(public_key.ok());
  const SecretBuffer his_key = std::move(SecretBuffer::random(32)).value();
  Keyring forged;
  forged.vault = closed->vault;
  forged.generation = closed->generation.next();
  forged.predecessor = sha256(world.env.read(file));
  forged.header_digest = closed->header_digest;
  KeyringSlot slot = closed->active_slot();
  slot.wrapped_in = forged.generation;
  const auto envelope = encode_envelope(his_key, slot_context(forged.vault, slot));
  ASSERT_TRUE(envelope.ok());
  slot.wrapped = (*public_key)->encrypt(envelope->view()).value();
  forged.secrets.root_key = std::move(SecretBuffer::random(32)).value();
  forged.secrets.id_key = std::move(SecretBuffer::random(32)).value();
  forged.secrets.epochs.emplace(EpochNumber(1),
                                EpochRecord{std::move(SecretBuffer::random(32)).value(), {}, std::nullopt});
  VersionRecord record;
  record.key_vault = slot.key_vault;
  record.key = slot.key;
  record.version = slot.version;
  forged.secrets.rule.start(record);
  forged.slots.push_back(slot);
  const auto bytes = forged.seal(his_key);
  ASSERT_TRUE(bytes.ok());
  world.env.write("/vault/" + keyring_blob_name(forged.generation), *bytes);
  EXPECT_EQ(world.open().code(), ErrorCode::ForeignRootKey);
}

TEST(KeyringTest, AnOlderKeyringUnderANewNameIsDamage) {
  CustodyWorld world;
  const Env::Path file = rotated(world);
  const auto generation = ClosedKeyring::decode(world.env.read(file))->generation;
  world.env.copy(file, "/vault/" + keyring_blob_name(generation.next()));
  EXPECT_EQ(world.open().code(), ErrorCode::DamagedKeyring);
}

TEST(KeyringTest, ASlotOfAnotherVaultOrGenerationIsRefused) {
  CustodyWorld world;
  const Env::Path file = rotated(world);
  const Bytes bytes = world.env.read(file);
  const auto closed = ClosedKeyring::decode(bytes);
  ASSERT_TRUE(closed.ok());
  KeyringSlot slot = closed->active_slot();
  ReachedKey reached;
  VaultId other = closed->vault;
  other.data()[3] ^= std::byte{1};
  EXPECT_EQ(unwrap_slot(world.resolver, *world.platform_keys, other, slot, reached).code(),
            ErrorCode::AuthenticationFailed);
  slot.wrapped_in = slot.wrapped_in.next();
  EXPECT_EQ(unwrap_slot(world.resolver, *world.platform_keys, closed->vault, slot, reached).code(),
            ErrorCode::AuthenticationFailed);
  slot = closed->active_slot();
  slot.key = "kek2";
  world.kv->import_version("kek2", *world.kv, "kek", slot.version);
  EXPECT_EQ(unwrap_slot(world.resolver, *world.platform_keys, closed->vault, slot, reached).code(),
            ErrorCode::AuthenticationFailed);
  // Slots of one keyring under the secrets of another: the sealed part does not open.
  const SecretBuffer key = unwrap_active(world, *closed);
  auto opened = open_keyring(bytes, key);
  ASSERT_TRUE(opened.ok());
  const auto resealed = opened->seal(key);
  ASSERT_TRUE(resealed.ok());
  Bytes mixed = *resealed;
  // Same layout, another identity in the clear part.
  const std::string_view text = text_of(mixed);
  const std::size_t at = text.find("system");
  ASSERT_NE(at, std::string_view::npos);
  mixed[at] = std::byte{'S'};
  const Digest digest = sha256(ByteView(mixed).first(mixed.size() - Digest::kSize));
  std::copy(digest.view().begin(), digest.view().end(), mixed.end() - static_cast<std::ptrdiff_t>(Digest::kSize));
  EXPECT_EQ(open_keyring(mixed, key).code(), ErrorCode::AuthenticationFailed);
}

TEST(KeyringTest, MissingAndForeignFilesAreNamed) {
  CustodyWorld world;
  rotated(world);
  const Digest header_digest = world.header_digest;
  world.header_digest = Digest();
  EXPECT_EQ(world.open().code(), ErrorCode::DamagedHeader);
  world.header_digest = header_digest;
  const VaultId id = world.header.id;
  world.header.id = random_id<VaultId>(world.env);
  EXPECT_EQ(world.open().code(), ErrorCode::DamagedKeyring);
  world.header.id = id;
  for (const auto& file : world.keyring_files()) world.env.remove(file);
  EXPECT_EQ(world.open().code(), ErrorCode::KeyringMissing);
}

TEST(KeyringTest, RetiringKeysStandInOneOrderOnly) {
  KeyringSecrets secrets;
  secrets.root_key = std::move(SecretBuffer::random(32)).value();
  secrets.id_key = std::move(SecretBuffer::random(32)).value();
  secrets.epochs.emplace(EpochNumber(1), EpochRecord{std::move(SecretBuffer::random(32)).value(), {}, std::nullopt});
  ClosedKeyring closed;
  closed.format = kKeyringFormatVersion;
  std::vector<KeyringSlot>& slots = closed.slots;
  for (const char* version : {"a", "b", "c"}) {
    VersionRecord record;
    record.key_vault = "kv";
    record.key = "kek";
    record.version = version;
    record.first_epoch = EpochNumber(1);
    if (slots.empty()) {
      secrets.rule.start(record);
    } else {
      ASSERT_TRUE(secrets.rule.take_effect(record, {}).ok());
    }
    KeyringSlot slot;
    slot.key_vault = "kv";
    slot.key = "kek";
    slot.version = version;
    slot.role = version[0] == 'c' ? VersionRole::active : VersionRole::retiring;
    slots.push_back(slot);
    if (slot.role == VersionRole::retiring)
      secrets.retiring_keys.emplace(slot.name(), std::move(SecretBuffer::random(32)).value());
  }
  auto plain = encode_secrets(secrets, Digest{}, kKeyringFormatVersion);
  ASSERT_TRUE(plain.ok());
  ASSERT_TRUE(decode_secrets(*plain, Digest{}, closed).ok());
  constexpr std::size_t kEntries = 32 + 32 + 4 + (8 + 8 + 1 + 8 + 32) + 4;
  constexpr std::size_t kEntryBytes = 4 + 1 + 32;
  const auto first = plain->mutable_view().begin() + kEntries;
  ASSERT_EQ(first[4], std::byte{'a'});
  std::swap_ranges(first, first + kEntryBytes, first + kEntryBytes);
  EXPECT_EQ(decode_secrets(*plain, Digest{}, closed).code(), ErrorCode::DamagedKeyring);
}

// An older vaultfs wrapped a version anew where it found it and left its record at the names of before.
TEST(KeyringTest, TheSlotTellsWhereItsVersionIs) {
  CustodyWorld world;
  const Env::Path file = rotated(world);
  const auto closed = ClosedKeyring::decode(world.env.read(file));
  ASSERT_TRUE(closed.ok());
  const SecretBuffer key = unwrap_active(world, *closed);
  auto keyring = open_keyring(world.env.read(file), key);
  ASSERT_TRUE(keyring.ok());
  const VersionName before = keyring->active_slot().name();
  keyring->secrets.rule.rename(before, {before.version, "gone", "gone"});
  const auto sealed = keyring->seal(key);
  ASSERT_TRUE(sealed.ok()) << sealed.error().message;
  const auto back = open_keyring(*sealed, key);
  ASSERT_TRUE(back.ok()) << back.error().message;
  EXPECT_EQ(back->secrets.rule.active()->name(), before);
}

}  // namespace
}  // namespace vaultfs
