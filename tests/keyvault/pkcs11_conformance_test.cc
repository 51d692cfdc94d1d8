#include <string>

#include "tests/keyvault/conformance.h"
#include "tests/keyvault/pkcs11_fixture.h"

namespace vaultfs {
namespace {

// SoftHSM with RSA pairs, its administrator at another key vault object of the same token.
class Pkcs11RsaHarness {
 public:
  static constexpr ProviderTraits kTraits{.denial = false};
  AdministeredKeyVault& vault() { return *vault_; }
  std::int64_t now() { return posix_env().clock().now().seconds(); }
  std::string create_key(const std::string& key) { return value_of(administrator_->create_key(key, small_pair())).id; }
  std::string add_version(const std::string& key, std::optional<std::int64_t> nbf, std::optional<std::int64_t> exp) {
    return value_of(administrator_->rotate_key(key, {.bits = 0, .not_before = nbf, .expires = exp}, true)).id;
  }
  void set_enabled(const std::string& key, const std::string& version, bool enabled) {
    succeed(administrator_->set_enabled(key, version, enabled));
  }
  std::string unknown_version() { return "00112233445566778899aabbccddeeff"; }
  void begin_outage() { token_.take_away(); }
  void end_outage() { token_.put_back(); }

 private:
  SoftToken token_;
  std::unique_ptr<AdministeredKeyVault> vault_ = token_.open();
  std::unique_ptr<AdministeredKeyVault> administrator_ = token_.open();
};

INSTANTIATE_TYPED_TEST_SUITE_P(Pkcs11Rsa, KeyVaultConformance, Pkcs11RsaHarness);

}  // namespace
}  // namespace vaultfs
