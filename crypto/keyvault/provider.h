#pragma once

#include <filesystem>
#include <map>
#include <string>

#include "base/files/env.h"

namespace vaultfs {

// NAME → VALUE, as given by `--option NAME=VALUE` to `keyvault add` and `identity create`. Values may name files that
// hold secrets (pin-file, token-file, …); they never are secrets themselves.
using ProviderOptions = std::map<std::string, std::string>;

// As whom a vault speaks to a key vault: "system" (the vault's own) or a user-assigned identity of this machine.
struct ProviderIdentity {
  std::string name = "system";
  ProviderOptions options;  // of the user-assigned identity; they go before the key vault's
};

// What a provider is opened with. Nothing of it is stored in a vault.
struct ProviderContext {
  Env& env;
  std::filesystem::path directory;  // $VAULTFS_HOME/keyvaults/NAME: the provider may keep files of its own there
  std::string name;                 // of the key vault on this machine
  ProviderOptions options;
  ProviderIdentity identity;
};

}  // namespace vaultfs
