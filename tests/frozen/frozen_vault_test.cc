#include "fs/restore/restore.h"
#include "tests/frozen/frozen_fixture.h"

// Reading: what a vault of any version holds, by any of the keys that open it, with nothing changed by it.
namespace vaultfs {
namespace {

TEST_P(FrozenVault, ReadsEveryPointAndChangesNothing) {
  const auto before = file_digests(vault_path());
  {
    const auto engine = open(true);
    ASSERT_OK(engine);
    expect_points(**engine);
    expect_working_tree(**engine);
  }
  EXPECT_EQ(file_digests(vault_path()), before);
}

TEST_P(FrozenVault, VerifiesWithAndWithoutKeys) {
  expect_no_other_damage(nullptr);
  const auto engine = open(true);
  ASSERT_OK(engine);
  expect_no_other_damage(&(*engine)->vault());
}

TEST_P(FrozenVault, RestoresADiskOfEachPoint) {
  const auto engine = open(true);
  ASSERT_OK(engine);
  std::size_t restored = 0;
  for (const auto& [point, files] : expected_["points"].items()) {
    if (!files.contains("disk.raw")) continue;
    SCOPED_TRACE(point);
    RestoreRequest request;
    request.item = "vm";
    request.point = point;
    request.disk = "disk.raw";
    request.to = scratch_ / point;
    ASSERT_OK(restore((*engine)->vault(), request, nullptr));
    const std::string content = contents(request.to);
    EXPECT_EQ(content.size(), files["disk.raw"]["size"]);
    EXPECT_EQ(to_hex(sha256(bytes_of(content)).view()), files["disk.raw"]["sha256"]);
    ++restored;
  }
  EXPECT_GT(restored, 0U);
}

TEST_P(FrozenVault, DoesNotOpenWithoutItsKeys) {
  stdfs::remove_all(home() / "keyvaults");
  const auto engine = open(true);
  ASSERT_FALSE(engine.ok());
  EXPECT_EQ(engine.code(), ErrorCode::KeyVaultUnavailable) << engine.error().message;
}

INSTANTIATE_TEST_SUITE_P(Version1, FrozenVault,
                         testing::Values("vault", "vault-double", "vault-unclean", "patches", "patches-unclean",
                                         "escrow", "escrow-double", "escrow-before", "epochs", "epochs-unclean"),
                         frozen_name);
INSTANTIATE_TEST_SUITE_P(Version2, FrozenVault, testing::Values("killed", "closed"), frozen_name);

// The vault whose first key version is Retired.
class FrozenRotatedVault : public FrozenVault {};

TEST_P(FrozenRotatedVault, NeedsTheActiveVersionOnly) {
  const auto key_vault = key_vaults_->open(kFrozenKeyVault);
  ASSERT_OK(key_vault);
  const auto engine = open(true);
  ASSERT_OK(engine);
  const EncryptionStatus status = (*engine)->vault().custody().status();
  ASSERT_EQ(status.versions.size(), 2U);
  EXPECT_EQ(status.versions[0].role, VersionRole::retired);
  EXPECT_EQ(status.versions[1].role, VersionRole::active);
  ASSERT_OK((*key_vault)->set_enabled(kFrozenKey, status.versions[0].version, false));
  const auto again = open(true);
  ASSERT_OK(again);
  expect_points(**again);
}

INSTANTIATE_TEST_SUITE_P(Version1, FrozenRotatedVault, testing::Values("vault"));

// The vault with a second layer, whose key is in the recovery file too.
class FrozenDoubleVault : public FrozenVault {};

TEST_P(FrozenDoubleVault, OpensByItsRecoveryFile) {
  stdfs::remove_all(home() / "platform-keys");
  const auto without = open(true);
  ASSERT_FALSE(without.ok());
  EXPECT_EQ(without.code(), ErrorCode::PlatformKeyMissing) << without.error().message;
  auto passphrase = SecretBuffer::copy_of(bytes_of("protects nothing"));
  ASSERT_OK(passphrase);
  const auto keys = read_recovery_file(posix_env(), example() / "recovery-file", *passphrase);
  ASSERT_OK(keys);
  ASSERT_FALSE(keys->platform_keys.empty());
  for (const RecoveryKeys::Key& key : keys->platform_keys) {
    ASSERT_OK(platform_keys_->install(PlatformKeyId(key.id), key.key));
  }
  const auto engine = open(true);
  ASSERT_OK(engine);
  expect_points(**engine);
}

INSTANTIATE_TEST_SUITE_P(Version1, FrozenDoubleVault, testing::Values("vault-double"));

TEST_P(FrozenEscrowVault, OpensByItsEscrowKeyAlone) {
  stdfs::remove_all(home() / "keyvaults");
  stdfs::remove_all(home() / "platform-keys");
  const auto before = file_digests(vault_path());
  ASSERT_OK(drill_escrow(machine(), vault_path(), *escrow_key_));
  EXPECT_EQ(file_digests(vault_path()), before);
}

INSTANTIATE_TEST_SUITE_P(Version1, FrozenEscrowVault, testing::Values("escrow", "escrow-double"),
                         [](const auto& vault) { return vault.param == "escrow" ? "escrow" : "escrow_double"; });

}  // namespace
}  // namespace vaultfs
