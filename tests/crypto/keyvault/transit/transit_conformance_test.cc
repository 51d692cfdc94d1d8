#include <string>

#include "tests/crypto/keyvault/conformance.h"
#include "tests/crypto/keyvault/transit/transit_fixture.h"

namespace vaultfs {
namespace {

// The two kinds of keys of the engine that can be a KEK.
struct AesKeys {
  static constexpr const char* kType = "aes256-gcm96";
};
struct RsaKeys {
  static constexpr const char* kType = "rsa-2048";
};

template <typename Kind>
class TransitHarness {
 public:
  static constexpr ProviderTraits kTraits{.reversible_disable = false, .validity_dates = false, .denial = true};
  AdministeredKeyVault& vault() { return *vault_; }
  std::int64_t now() { return world_.machine().env().clock().now().seconds(); }
  std::string create_key(const std::string& key) {
    world_.create(key, Kind::kType);
    return "1";
  }
  std::string add_version(const std::string& key, std::optional<std::int64_t>, std::optional<std::int64_t>) {
    world_.rotate(key);
    return std::to_string(world_.latest(key));
  }
  // The suite asks for it only of providers with a reversible disable of single versions.
  void set_enabled(const std::string&, const std::string&, bool) { std::abort(); }
  std::string unknown_version() { return "99"; }
  void begin_outage() { world_.engine().fault({{"kind", "drop"}}); }
  void end_outage() { world_.engine().heal(); }
  void begin_denial() { world_.engine().ask({{"do", "deny"}, {"on", true}}); }
  void end_denial() { world_.engine().ask({{"do", "deny"}, {"on", false}}); }

 private:
  TransitWorld world_;
  std::unique_ptr<AdministeredKeyVault> vault_ = world_.open();
};

using TransitServerAes = TransitHarness<AesKeys>;
using TransitServerRsa = TransitHarness<RsaKeys>;
INSTANTIATE_TYPED_TEST_SUITE_P(TransitServerAes, KeyVaultConformance, TransitServerAes);
INSTANTIATE_TYPED_TEST_SUITE_P(TransitServerRsa, KeyVaultConformance, TransitServerRsa);

}  // namespace
}  // namespace vaultfs
