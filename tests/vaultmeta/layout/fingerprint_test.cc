#include "vaultmeta/layout/fingerprint.h"

#include <gtest/gtest.h>

#include <cctype>

#include "tests/support/assert_ok.h"
#include "tests/vaultmeta/vault/vault_world.h"

namespace vaultfs {
namespace {

Digest sample_digest() {
  Digest digest;
  for (std::size_t i = 0; i < Digest::kSize; ++i) digest.data()[i] = static_cast<std::byte>(i * 7);
  return digest;
}

TEST(FingerprintTest, IsForPeople) {
  const VaultFingerprint fingerprint{EpochNumber(12), sample_digest()};
  const std::string text = format_fingerprint(fingerprint);
  EXPECT_EQ(text.substr(0, 21), "12:00070e15-1c232a31-");
  EXPECT_EQ(parse_fingerprint(text).value(), fingerprint);
  std::string loud = " ";
  for (const char c : text) {
    if (c != '-') loud += static_cast<char>(std::toupper(c));
  }
  EXPECT_EQ(parse_fingerprint(loud).value(), fingerprint);
  for (const std::string& bad :
       {text.substr(0, text.size() - 1), text + "0", "0:" + text.substr(3), "x" + text, "-1:" + text.substr(3),
        "99999999999999999999:" + text.substr(3), std::string("12:"), std::string(":")}) {
    EXPECT_EQ(parse_fingerprint(bad).code(), ErrorCode::InvalidArgument) << bad;
  }
}

TEST(FingerprintTest, OfARootKeyIsReadAsBefore) {
  const std::string text = format_fingerprint(sample_digest());
  EXPECT_EQ(text.size(), 71U);
  EXPECT_EQ(text.substr(0, 18), "00070e15-1c232a31-");
  EXPECT_EQ(parse_fingerprint(text).value(), (VaultFingerprint{EpochNumber(0), sample_digest()}));
  // Digits in groups of two, as other programs print them, are no epoch.
  std::string grouped;
  const Digest digest = sample_digest();
  for (const std::byte byte : digest.view()) {
    grouped += (grouped.empty() ? "" : ":") + to_hex(ByteView(&byte, 1));
  }
  EXPECT_EQ(parse_fingerprint(grouped).value(), (VaultFingerprint{EpochNumber(0), sample_digest()}));
  EXPECT_EQ(parse_fingerprint(text.substr(1)).code(), ErrorCode::InvalidArgument);
  EXPECT_EQ(parse_fingerprint("").code(), ErrorCode::InvalidArgument);
}

// docs/format.md, section 7: HKDF-SHA-256 over 64 bytes of keys, computed apart from this program.
TEST(FingerprintTest, IsWhatTheFormatSays) {
  const auto filled = [](std::byte first) {
    Bytes bytes(32);
    for (std::size_t i = 0; i < bytes.size(); ++i)
      bytes[i] = static_cast<std::byte>(std::to_integer<std::size_t>(first) + i);
    return SecretBuffer::copy_of(bytes).value();
  };
  VaultId vault;
  for (std::size_t i = 0; i < VaultId::kSize; ++i) vault.data()[i] = static_cast<std::byte>(0xa0 + i);
  const SecretBuffer root = filled(std::byte{0});
  const SecretBuffer dek = filled(std::byte{0x40});
  const auto digest = epoch_fingerprint(root, dek, vault, EpochNumber(3));
  ASSERT_OK(digest);
  EXPECT_EQ(to_hex(digest->view()), "2027c62e4e72364d6bd55b87b11ffb27c39c3f78d876b13195f4c38fea21702a");
  EXPECT_NE(epoch_fingerprint(root, dek, vault, EpochNumber(4)).value(), *digest);
  EXPECT_NE(epoch_fingerprint(root, root, vault, EpochNumber(3)).value(), *digest);
  EXPECT_NE(epoch_fingerprint(dek, dek, vault, EpochNumber(3)).value(), *digest);
  EXPECT_NE(epoch_fingerprint(root, dek, VaultId(), EpochNumber(3)).value(), *digest);
}

TEST(FingerprintTest, ANewEpochHasAnotherAndTheVaultSaysSo) {
  VaultWorld world;
  const auto created = world.create();
  ASSERT_OK(created);
  EXPECT_EQ(created->fingerprint.epoch, EpochNumber(1));
  ASSERT_OK(world.open());
  EXPECT_EQ(world.vault->custody().status().fingerprint, created->fingerprint);
  ASSERT_OK(world.vault->custody().rewrap(false));
  EXPECT_EQ(world.vault->custody().status().fingerprint, created->fingerprint) << "another keyring key is no epoch";
  ASSERT_OK(world.vault->custody().new_epoch());
  const VaultFingerprint newest = world.vault->custody().status().fingerprint;
  EXPECT_EQ(newest.epoch, EpochNumber(2));
  EXPECT_NE(newest.digest, created->fingerprint.digest);
  EXPECT_TRUE(mentions(world.vault->take_warnings(), format_fingerprint(newest)));
  EXPECT_EQ(world.machine_state->pin(created->id, "/vault")->value().fingerprint, newest);
  EXPECT_EQ(world.vault->epoch_at_opening(), EpochNumber(1));
  ASSERT_OK(world.close());
  ASSERT_OK(world.open());
  EXPECT_EQ(world.vault->custody().status().fingerprint, newest);
  EXPECT_EQ(world.vault->custody().fingerprint_of(EpochNumber(1)).value(), created->fingerprint.digest);
  EXPECT_EQ(world.vault->custody().fingerprint_of(EpochNumber(3)).code(), ErrorCode::NotFound);
}

}  // namespace
}  // namespace vaultfs
