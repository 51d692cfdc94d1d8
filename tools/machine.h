#pragma once

#include <filesystem>
#include <map>
#include <memory>
#include <string>

#include "base/files/env.h"
#include "base/result.h"
#include "vaultmeta/machine/identity_store.h"
#include "vaultmeta/machine/key_vault_registry.h"
#include "vaultmeta/machine/key_vault_resolver.h"
#include "vaultmeta/machine/local_key_vaults.h"
#include "vaultmeta/machine/machine_state.h"
#include "vaultmeta/machine/platform_keys.h"
#include "vaultmeta/vault/vault.h"

namespace vaultfs {

struct MachineOptions {
  std::filesystem::path home;  // empty: default_machine_home()
  // Where the passphrase of a passphrase-protected local key vault is read from. Nothing is asked for unless `prompt`
  // is set and stdin is a terminal.
  std::filesystem::path passphrase_file;
  int passphrase_fd = -1;
  bool prompt = false;
};

// This machine as the programs see it: state directory, platform keys, key vaults, identities. Thread-safe.
class Machine {
 public:
  [[nodiscard]] static Result<std::unique_ptr<Machine>> open(const MachineOptions& options);

  // NOLINTNEXTLINE(readability-convert-member-functions-to-static): a part of the machine like those below
  [[nodiscard]] Env& env() { return posix_env(); }
  [[nodiscard]] MachineState& state() { return *state_; }
  [[nodiscard]] PlatformKeys& platform_keys() { return *platform_keys_; }
  [[nodiscard]] LocalKeyVaults& key_vaults() { return *key_vaults_; }
  [[nodiscard]] KeyVaultRegistry& registry() { return *registry_; }
  [[nodiscard]] IdentityStore& identities() { return *identities_; }
  [[nodiscard]] KeyVaultResolver& resolver() { return *resolver_; }
  [[nodiscard]] Vault::Machine for_vault() { return {env(), *state_, *platform_keys_, *resolver_}; }

 private:
  std::unique_ptr<MachineState> state_;
  std::unique_ptr<PlatformKeys> platform_keys_;
  std::unique_ptr<LocalKeyVaults> key_vaults_;
  std::unique_ptr<KeyVaultRegistry> registry_;
  std::unique_ptr<IdentityStore> identities_;
  std::unique_ptr<KeyVaultResolver> resolver_;
};

// Reads a passphrase: from `file` if given, else from `descriptor` if not negative, else (if `prompt` and stdin is a
// terminal) from the terminal without echo, twice if `confirm`: a new one, which check_new_passphrase() must find good.
// PassphraseRequired if there is no source. `what` is shown in the prompt; `option` is what the options that give it
// begin with, before -file and -fd. A descriptor is read to its end and closed (one of the standard ones becomes
// /dev/null); asked for again it is PassphraseRequired.
[[nodiscard]] Result<SecretBuffer> obtain_passphrase(const std::filesystem::path& file, int descriptor, bool prompt,
                                                     bool confirm, const std::string& what,
                                                     const std::string& option = "--passphrase");

}  // namespace vaultfs
