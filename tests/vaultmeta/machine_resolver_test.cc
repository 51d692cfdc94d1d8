#include "vaultmeta/machine_resolver.h"

#include <gtest/gtest.h>

#include "tests/support/sim_env.h"

namespace vaultfs {
namespace {

SecretBuffer secret(std::string_view text) {
  auto buffer = SecretBuffer::copy_of(bytes_of(text));
  if (!buffer.ok()) std::abort();
  return std::move(buffer).value();
}

// A passphrase on a descriptor can be read once, and a vault asks its key vault many times.
TEST(MachineResolver, AsksForAPassphraseOnceForAllOpenings) {
  SimEnv env;
  int asked = 0;
  bool there = false;
  LocalKeyVaults vaults(env, "/home", [&](const std::string&) -> Result<SecretBuffer> {
    if (!there) return Error{ErrorCode::NotFound, "the disk with the passphrase file is away"};
    if (++asked > 1) return Error{ErrorCode::PassphraseRequired, "read already"};
    return secret("pass");
  });
  const SecretBuffer passphrase = secret("pass");
  LocalKeyVaultOptions options;
  options.protection = LocalProtection::passphrase;
  ASSERT_TRUE(vaults.create("kv", options, &passphrase).ok());
  KeyVaultRegistry registry(env, "/home", vaults);
  MachineResolver resolver(registry);
  const VaultIdentity as;
  const auto away = resolver.open("kv", as);
  ASSERT_TRUE(away.ok());
  const auto made = vaults.open("kv");
  ASSERT_TRUE(made.ok());
  EXPECT_EQ((*made)->create_key("kek", {2048, {}, {}}).code(), ErrorCode::NotFound);
  there = true;
  const auto version = (*made)->create_key("kek", {2048, {}, {}});
  ASSERT_TRUE(version.ok());
  asked = 0;
  for (int i = 0; i < 3; ++i) {
    const auto opened =
        i == 2 ? resolver.locate(version->id, as, KeyVaultResolver::Reach::machine)
               : Result<KeyVaultResolver::Located>(KeyVaultResolver::Located{resolver.open("kv", as).value(), "kek"});
    ASSERT_TRUE(opened.ok());
    const auto wrapped = opened->key_vault->wrap("kek", version->id, bytes_of("content"));
    ASSERT_TRUE(wrapped.ok());
    const auto unwrapped = opened->key_vault->unwrap("kek", version->id, "RSA-OAEP-256", *wrapped);
    ASSERT_TRUE(unwrapped.ok()) << unwrapped.error().message;
    EXPECT_EQ(text_of(unwrapped->view()), "content");
  }
  EXPECT_EQ(asked, 1);
  // It is no copy: what goes away is away.
  env.remove("/home/keyvaults/kv");
  EXPECT_EQ(resolver.open("kv", as).code(), ErrorCode::KeyVaultUnavailable);
}

}  // namespace
}  // namespace vaultfs
