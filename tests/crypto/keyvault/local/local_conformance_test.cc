#include <string>

#include "crypto/keyvault/local/access.h"
#include "tests/crypto/keyvault/conformance.h"
#include "tests/crypto/keyvault/local/local_fixture.h"

namespace vaultfs {
namespace {

class LocalHarness {
 public:
  static constexpr ProviderTraits kTraits{};
  LocalHarness() {
    succeed(LocalKeyVault::create(env_, "/kv", "local", {}, nullptr));
    end_denial();
  }
  AdministeredKeyVault& vault() { return *vault_; }
  std::int64_t now() { return env_.clock().now().seconds(); }
  std::string create_key(const std::string& key) { return value_of(administrator().create_key(key, small_key())).id; }
  std::string add_version(const std::string& key, std::optional<std::int64_t> nbf, std::optional<std::int64_t> exp) {
    return value_of(administrator().rotate_key(key, {.bits = 0, .not_before = nbf, .expires = exp}, true)).id;
  }
  void set_enabled(const std::string& key, const std::string& version, bool enabled) {
    succeed(administrator().set_enabled(key, version, enabled));
  }
  std::string unknown_version() { return "00112233445566778899aabbccddeeff"; }
  void begin_outage() { succeed(env_.rename("/kv", "/away")); }
  void end_outage() { succeed(env_.rename("/away", "/kv")); }
  void begin_denial() { succeed(administrator().deny(kIdentity)); }
  void end_denial() { succeed(administrator().allow({kIdentity, "a vault", KeyPermissions::backup()}, false)); }

 private:
  // Another object on the same files, as another process has one.
  LocalKeyVault& administrator() { return *administrator_; }

  static constexpr const char* kIdentity = "0123456789abcdef0123456789abcdef";

  SimEnv env_;
  // As a vault has it: bound to its identity.
  std::shared_ptr<AdministeredKeyVault> vault_ =
      bind_identity(LocalKeyVault::open(env_, "/kv", "local", nullptr), {kIdentity, "a vault"});
  std::unique_ptr<LocalKeyVault> administrator_ = LocalKeyVault::open(env_, "/kv", "local", nullptr);
};

INSTANTIATE_TYPED_TEST_SUITE_P(Local, KeyVaultConformance, LocalHarness);

}  // namespace
}  // namespace vaultfs
