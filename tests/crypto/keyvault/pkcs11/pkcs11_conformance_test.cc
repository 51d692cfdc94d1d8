#include <dlfcn.h>

#include <string>

#include "tests/crypto/keyvault/conformance.h"
#include "tests/crypto/keyvault/pkcs11/pkcs11_fault_module.h"
#include "tests/crypto/keyvault/pkcs11/pkcs11_fixture.h"

namespace vaultfs {
namespace {

// How a token's security officer shuts a user out: by another PIN. A session that is logged in already goes on, as on
// any token, so this one is lost as well.
void change_pin(SoftToken& token, AdministeredKeyVault& vault) {
  token.set_pin_at_token("8642");
  token.take_away();
  EXPECT_TRUE(fails(vault.list_keys(), ErrorCode::KeyVaultUnavailable));
  token.put_back();
}

// SoftHSM with RSA pairs, its administrator at another key vault object of the same token.
class Pkcs11RsaHarness {
 public:
  static constexpr ProviderTraits kTraits{};
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
  void begin_denial() { change_pin(token_, *vault_); }
  void end_denial() { token_.set_pin_at_token(SoftToken::kPin); }

 private:
  SoftToken token_;
  std::unique_ptr<AdministeredKeyVault> vault_ = token_.open();
  std::unique_ptr<AdministeredKeyVault> administrator_ = token_.open();
};

// The same with AES keys, made by the token's own tools. SoftHSM can't give out the dates of private objects, and an
// AES key has no public half that could: dates are refused.
class Pkcs11AesHarness {
 public:
  static constexpr ProviderTraits kTraits{.validity_dates = false};
  explicit Pkcs11AesHarness(const char* module = kSoftHsmModule) : module_(module) {}
  AdministeredKeyVault& vault() { return *vault_; }
  std::int64_t now() { return posix_env().clock().now().seconds(); }
  std::string create_key(const std::string& key) {
    token_.tool({"--keygen", "--key-type", "AES:32", "--private", "--sensitive", "--label", key, "--id", "00ff"});
    return "00ff";
  }
  std::string add_version(const std::string& key, std::optional<std::int64_t>, std::optional<std::int64_t>) {
    return value_of(administrator_->rotate_key(key, {}, true)).id;
  }
  void set_enabled(const std::string& key, const std::string& version, bool enabled) {
    succeed(administrator_->set_enabled(key, version, enabled));
  }
  std::string unknown_version() { return "00112233445566778899aabbccddeeff"; }
  void begin_outage() { token_.take_away(); }
  void end_outage() { token_.put_back(); }
  void begin_denial() { change_pin(token_, *vault_); }
  void end_denial() { token_.set_pin_at_token(SoftToken::kPin); }

 private:
  const char* const module_;
  SoftToken token_;
  std::unique_ptr<AdministeredKeyVault> vault_ = token_.open(token_.options(module_));
  std::unique_ptr<AdministeredKeyVault> administrator_ = token_.open(token_.options(module_));
};

// A token without AES-GCM: AES key wrap with padding.
class Pkcs11KeyWrapHarness : public Pkcs11AesHarness {
 public:
  Pkcs11KeyWrapHarness() : Pkcs11AesHarness(VAULTFS_PKCS11_FAULT_MODULE) {
    void* const library = ::dlopen(VAULTFS_PKCS11_FAULT_MODULE, RTLD_NOW | RTLD_LOCAL | RTLD_NODELETE);
    const auto* control = static_cast<const Pkcs11FaultControl*>(::dlsym(library, "vaultfs_fault_control"));
    control->reset();
    control->set_gcm(false);
  }
};

INSTANTIATE_TYPED_TEST_SUITE_P(Pkcs11Rsa, KeyVaultConformance, Pkcs11RsaHarness);
INSTANTIATE_TYPED_TEST_SUITE_P(Pkcs11Aes, KeyVaultConformance, Pkcs11AesHarness);
INSTANTIATE_TYPED_TEST_SUITE_P(Pkcs11KeyWrap, KeyVaultConformance, Pkcs11KeyWrapHarness);

}  // namespace
}  // namespace vaultfs
