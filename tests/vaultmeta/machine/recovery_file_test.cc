#include "vaultmeta/machine/recovery_file.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "base/byte_codec.h"
#include "base/bytes.h"
#include "crypto/hash.h"
#include "crypto/passphrase.h"
#include "tests/support/sim_env.h"

namespace vaultfs {
namespace {

SecretBuffer secret(std::string_view text) { return std::move(SecretBuffer::copy_of(bytes_of(text))).value(); }

RecoveryKeys sample_keys() {
  RecoveryKeys keys;
  keys.vault.data()[0] = std::byte{1};
  keys.root_fingerprint.data()[0] = std::byte{2};
  for (int i = 0; i < 2; ++i) {
    RecoveryKeys::Key key;
    key.id[0] = static_cast<std::byte>(i + 1);
    key.key = std::move(SecretBuffer::random(32)).value();
    keys.platform_keys.push_back(std::move(key));
  }
  return keys;
}

TEST(RecoveryFileTest, GivesTheKeysBackToThePassphraseOnly) {
  SimEnv env;
  const RecoveryKeys keys = sample_keys();
  const SecretBuffer passphrase = secret("correct horse");
  ASSERT_TRUE(write_recovery_file(env, "/vault.recovery", keys, passphrase).ok());
  const auto back = read_recovery_file(env, "/vault.recovery", passphrase);
  ASSERT_TRUE(back.ok());
  EXPECT_EQ(back->vault, keys.vault);
  EXPECT_EQ(back->root_fingerprint, keys.root_fingerprint);
  ASSERT_EQ(back->platform_keys.size(), 2U);
  for (std::size_t i = 0; i < 2; ++i) {
    EXPECT_EQ(back->platform_keys[i].id, keys.platform_keys[i].id);
    EXPECT_TRUE(bytes_equal(back->platform_keys[i].key.view(), keys.platform_keys[i].key.view()));
    EXPECT_EQ(text_of(env.read("/vault.recovery")).find(text_of(keys.platform_keys[i].key.view())),
              std::string_view::npos);
  }
  EXPECT_EQ(read_recovery_file(env, "/vault.recovery", secret("battery staple")).code(), ErrorCode::WrongPassphrase);
  EXPECT_EQ(write_recovery_file(env, "/vault.recovery", keys, passphrase).code(), ErrorCode::AlreadyExists);
  EXPECT_TRUE(read_recovery_file(env, "/vault.recovery", passphrase).ok());
}

TEST(RecoveryFileTest, DamageIsToldFromAWrongPassphrase) {
  SimEnv env;
  const SecretBuffer passphrase = secret("p");
  ASSERT_TRUE(write_recovery_file(env, "/r", sample_keys(), passphrase).ok());
  const Bytes good = env.read("/r");
  for (std::size_t bit = 0; bit < good.size() * 8; ++bit) {
    env.flip_bit("/r", bit);
    const auto damaged = read_recovery_file(env, "/r", passphrase);
    ASSERT_EQ(damaged.ok() ? ErrorCode::Internal : damaged.code(), ErrorCode::DamagedMachineState) << bit;
    env.flip_bit("/r", bit);
  }
  for (std::size_t size = 0; size < good.size(); size += 5) {
    env.write("/r", ByteView(good).first(size));
    ASSERT_EQ(read_recovery_file(env, "/r", passphrase).code(), ErrorCode::DamagedMachineState) << size;
  }
  EXPECT_EQ(read_recovery_file(env, "/none", passphrase).code(), ErrorCode::RecoveryFileNotFound);
}

TEST(RecoveryFileTest, AnotherVersionIsANewerProgramsAndNoDamage) {
  SimEnv env;
  const SecretBuffer passphrase = secret("p");
  ASSERT_TRUE(write_recovery_file(env, "/r", sample_keys(), passphrase).ok());
  Bytes file = env.read("/r");
  file[8] = std::byte{2};
  const Digest digest = sha256(ByteView(file).first(file.size() - Digest::kSize));
  std::copy(digest.view().begin(), digest.view().end(), file.end() - Digest::kSize);
  env.write("/r", file);
  EXPECT_EQ(read_recovery_file(env, "/r", passphrase).code(), ErrorCode::UnsupportedFormat);
}

// Whoever knows the passphrase can seal any number of keys, of any length.
TEST(RecoveryFileTest, HoldsOneToSixtyFourKeys) {
  SimEnv env;
  const SecretBuffer passphrase = secret("p");
  const auto read = [&](std::size_t key_bytes) {
    ByteWriter writer;
    writer.raw(bytes_of("VAULTFSR"));
    writer.u16(1);
    writer.id(VaultId());
    writer.id(Digest());
    const Bytes clear = to_bytes(writer.view());
    writer.blob(
        seal_with_passphrase(passphrase, "vaultfs/1 recovery file", clear, Bytes(key_bytes), Argon2Cost{8, 1}).value());
    writer.id(sha256(writer.view()));
    env.write("/r", writer.view());
    return read_recovery_file(env, "/r", passphrase);
  };
  EXPECT_TRUE(read(48).ok());
  EXPECT_TRUE(read(64 * 48).ok());
  for (const std::size_t key_bytes : {0, 47, 49, 65 * 48}) {
    EXPECT_EQ(read(key_bytes).code(), ErrorCode::DamagedMachineState) << key_bytes;
  }
}

TEST(RecoveryFileTest, RefusesNonsenseAndLeavesNothing) {
  SimEnv env;
  EXPECT_EQ(write_recovery_file(env, "/r", sample_keys(), SecretBuffer()).code(), ErrorCode::PassphraseRequired);
  EXPECT_EQ(write_recovery_file(env, "/r", RecoveryKeys(), secret("p")).code(), ErrorCode::InvalidArgument);
  env.fail_next_sync(1);
  EXPECT_EQ(write_recovery_file(env, "/r", sample_keys(), secret("p")).code(), ErrorCode::IoError);
  EXPECT_FALSE(env.exists("/r"));
}

}  // namespace
}  // namespace vaultfs
