#pragma once

#include <filesystem>
#include <string>
#include <utility>
#include <vector>

#include "base/ids.h"
#include "base/result.h"
#include "vaultmeta/machine/machine_state.h"

namespace vaultfs {

// The versions that the machine's list of vaults says one vault at one place needs. Whoever withdraws a version asks
// that list where the vault can't be asked, so it names never fewer than any keyring of the vault that storage may
// hold. A vault that is not on the list has nothing to keep here. Thread-safe as MachineState.
class NeededList {
 public:
  NeededList(MachineState& machine, const VaultId& vault, std::filesystem::path place)
      : machine_(machine), vault_(vault), place_(std::move(place)) {}

  // Those of them that the list did not name.
  [[nodiscard]] Result<std::vector<RegisteredKey>> add(const std::vector<RegisteredKey>& versions);

  // `prove` proves the version, which is on the list before that: whoever withdraws it sees it there, or the proof
  // fails. What could not be proven is not needed, unless the list named it already.
  template <typename Prove>
  [[nodiscard]] auto listed_for(const RegisteredKey& version, Prove&& prove) -> decltype(prove()) {
    VAULTFS_ASSIGN_OR_RETURN(const std::vector<RegisteredKey> added, add({version}));
    auto proven = prove();
    if (!proven.ok()) take_back(added);
    return proven;
  }

  // Where the vault's key is, as whom it speaks to its key vaults, and all the versions that it needs, sorted.
  // REQUIRES: no change has left a keyring of unknown fate.
  [[nodiscard]] Status replace(const std::string& key_vault, const std::string& key, const std::string& identity,
                               const std::vector<RegisteredKey>& needed);

 private:
  void take_back(const std::vector<RegisteredKey>& versions);

  MachineState& machine_;
  const VaultId vault_;
  const std::filesystem::path place_;
};

}  // namespace vaultfs
