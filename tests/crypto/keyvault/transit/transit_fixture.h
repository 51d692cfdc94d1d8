#pragma once

#include <memory>
#include <string>

#include "crypto/keyvault/transit/transit_key_vault.h"
#include "tests/crypto/keyvault/rest_double.h"

namespace vaultfs {

inline constexpr std::string_view kTransitToken = "hvs.the-root-token-of-the-double";

// A Transit engine's double, a machine that has its authority in /ca.pem and its token in /token, and a key vault
// "bao" on it.
class TransitWorld {
 public:
  TransitWorld() {
    engine_.ask({{"do", "reset"}});
    machine_.copy_file(engine_.file("ca.pem"), "/ca.pem");
    machine_.write_secret("/token", std::string(kTransitToken) + "\n");
  }

  ProviderOptions options() {
    return {{"address", engine_.address()}, {"token-file", "/token"}, {"ca-file", "/ca.pem"}};
  }
  std::unique_ptr<AdministeredKeyVault> open(const ProviderOptions& options, const ProviderIdentity& identity = {}) {
    return value_of(open_transit_key_vault({machine_.env(), "/keyvaults/bao", "bao", options, identity},
                                           machine_.means(HttpTlsFiles{"/ca.pem", {}, {}})));
  }
  std::unique_ptr<AdministeredKeyVault> open() { return open(options()); }
  // Makes a key as the engine's administrator does.
  void create(const std::string& key, const std::string& type = "aes256-gcm96") {
    engine_.ask({{"do", "create"}, {"name", key}, {"type", type}});
  }
  void rotate(const std::string& key) { engine_.ask({{"do", "rotate"}, {"name", key}}); }
  int latest(const std::string& key) { return engine_.ask({{"do", "state"}})["keys"][key].get<int>(); }

  RestDouble& engine() { return engine_; }
  RestMachine& machine() { return machine_; }

 private:
  // One for all tests of a process: starting it takes longer than most of them.
  static RestDouble& shared_engine() {
    static RestDouble engine("transit");
    return engine;
  }

  RestDouble& engine_ = shared_engine();
  RestMachine machine_;
};

}  // namespace vaultfs
