#include <string>

#include "tests/crypto/keyvault/azure/azure_fixture.h"
#include "tests/crypto/keyvault/conformance.h"

namespace vaultfs {
namespace {

class AzureHarness {
 public:
  static constexpr ProviderTraits kTraits{};
  AdministeredKeyVault& vault() { return *vault_; }
  std::int64_t now() { return world_.now(); }
  std::string create_key(const std::string& key) { return world_.create(key); }
  std::string add_version(const std::string& key, std::optional<std::int64_t> nbf, std::optional<std::int64_t> exp) {
    nlohmann::json dates = nlohmann::json::object();
    if (nbf) dates["nbf"] = *nbf;
    if (exp) dates["exp"] = *exp;
    return world_.create(key, dates);
  }
  void set_enabled(const std::string& key, const std::string& version, bool enabled) {
    world_.set_enabled(key, version, enabled);
  }
  std::string unknown_version() { return "00112233445566778899aabbccddeeff"; }
  void begin_outage() { world_.azure().fault({{"kind", "drop"}}); }
  void end_outage() { world_.azure().heal(); }
  void begin_denial() { world_.azure().ask({{"do", "deny"}, {"on", true}}); }
  void end_denial() { world_.azure().ask({{"do", "deny"}, {"on", false}}); }

 private:
  AzureWorld world_;
  std::unique_ptr<AdministeredKeyVault> vault_ = world_.open();
};

INSTANTIATE_TYPED_TEST_SUITE_P(AzureServer, KeyVaultConformance, AzureHarness);

}  // namespace
}  // namespace vaultfs
