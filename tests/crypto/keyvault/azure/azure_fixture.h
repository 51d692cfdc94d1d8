#pragma once

#include <memory>
#include <optional>
#include <string>

#include "crypto/keyvault/azure/azure_key_vault.h"
#include "tests/crypto/keyvault/rest_double.h"

namespace vaultfs {

inline constexpr const char* kAzureTenant = "contoso.example";
inline constexpr const char* kAzureClient = "00000000-1111-2222-3333-444444444444";

// The double of an Azure Key Vault with the services around it, and a machine with the same time, whose system-assigned
// identity it knows. The key vault is "office" there.
class AzureWorld {
 public:
  AzureWorld() {
    azure_.ask({{"do", "reset"}});
    machine_.copy_file(azure_.file("ca.pem"), "/ca.pem");
    pass(0);
  }

  std::string address() const { return at("office.vault.localhost", "port"); }
  ProviderOptions options() {
    return {{"address", address()},
            {"authority-address", at("localhost", "authority_port")},
            {"imds-address", "http://127.0.0.1:" + std::to_string(azure_.greeting().at("metadata_port").get<int>())},
            {"allow-http", "loopback"},
            {"ca-file", "/ca.pem"}};
  }
  // The same with what comes on top.
  ProviderOptions options(ProviderOptions more) {
    more.merge(options());
    return more;
  }
  std::unique_ptr<AdministeredKeyVault> open(const ProviderOptions& options, const ProviderIdentity& identity = {}) {
    return value_of(open_azure_key_vault({machine_.env(), "/keyvaults/office", "office", options, identity},
                                         machine_.means(HttpTlsFiles{"/ca.pem", {}, {}})));
  }
  std::unique_ptr<AdministeredKeyVault> open() { return open(options()); }

  // Lets time pass, on the machine and there.
  void pass(std::int64_t seconds) {
    machine_.env().sim_clock().advance_seconds(seconds);
    azure_.ask({{"do", "time"}, {"now", now()}});
  }
  std::int64_t now() { return machine_.env().clock().now().seconds(); }

  // A new key or version, a second after all others, as somebody else makes it; its id.
  std::string create(const std::string& key, nlohmann::json more = nlohmann::json::object()) {
    pass(1);
    more["do"] = "create";
    more["name"] = key;
    return azure_.ask(more).at("version").get<std::string>();
  }
  void set_enabled(const std::string& key, const std::string& version, bool enabled) {
    azure_.ask({{"do", "attributes"}, {"name", key}, {"version", version}, {"enabled", enabled}});
  }

  RestDouble& azure() { return azure_; }
  RestMachine& machine() { return machine_; }

 private:
  [[nodiscard]] std::string at(const std::string& host, const char* port) const {
    return "https://" + host + ":" + std::to_string(azure_.greeting().at(port).get<int>());
  }

  // One for all tests of a process: starting it takes longer than most of them.
  static RestDouble& shared_azure() {
    static RestDouble azure("azure");
    return azure;
  }

  RestDouble& azure_ = shared_azure();
  RestMachine machine_;
};

}  // namespace vaultfs
