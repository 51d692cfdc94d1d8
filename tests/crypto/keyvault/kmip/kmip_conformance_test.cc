#include <chrono>
#include <memory>
#include <string>

#include "tests/crypto/keyvault/conformance.h"
#include "tests/crypto/keyvault/kmip/kmip_server_process.h"

namespace vaultfs {
namespace {

// The administrator is PyKMIP's own client.
class KmipHarness {
 public:
  static constexpr ProviderTraits kTraits{.reversible_disable = false, .validity_dates = false};
  AdministeredKeyVault& vault() { return *vault_; }
  std::int64_t now() { return posix_env().clock().now().seconds(); }
  std::string create_key(const std::string& key) { return pykmip().command("create " + user_ + " " + key); }
  std::string add_version(const std::string& key, std::optional<std::int64_t>, std::optional<std::int64_t>) {
    return create_key(key);
  }
  void set_enabled(const std::string&, const std::string&, bool) { std::abort(); }  // there is no such thing
  std::string unknown_version() { return "987654"; }
  void begin_outage() { pykmip().kill(); }
  void end_outage() { pykmip().start(); }
  void begin_denial() { pykmip().command("deny"); }
  void end_denial() { pykmip().command("allow"); }

 private:
  const std::string user_ = new_pykmip_user();
  KmipServerProcess& server_ = pykmip();
  std::unique_ptr<AdministeredKeyVault> vault_ = open_kmip(server_.options(user_));
};

// Named after the ctest entry that holds all tests with servers.
INSTANTIATE_TYPED_TEST_SUITE_P(KmipServer, KeyVaultConformance, KmipHarness);

}  // namespace
}  // namespace vaultfs
