#pragma once

#include <filesystem>
#include <optional>

#include "base/result.h"
#include "vaultmeta/vault/vault.h"

namespace vaultfs {

// What the holder of a vault's escrow key can do when its key vaults are gone. The private key is used in the calling
// process only, during the call.

struct RecoverOptions {
  std::filesystem::path path;
  KeyCustody::RecoverRequest keys;
  // For a machine that has no pin of the vault, as for `vault trust`; with accept_older an older copy is taken.
  std::optional<VaultFingerprint> fingerprint;
  bool accept_older = false;
  std::int64_t lock_wait_seconds = 0;
};

// Opens the vault as its owner by the escrow key alone, gives it a new key (KeyCustody::recover; with infrastructure
// encryption the machine gets that key too), registers it on this machine and closes it. VaultUnverified without a pin
// and a fingerprint; the errors of trust_vault(), Vault::open(), unwrap_by_escrow() and KeyCustody::recover().
[[nodiscard]] Result<EncryptionStatus> recover_vault(const Vault::Machine& machine, const RecoverOptions& options,
                                                     const RsaKey& escrow_key);

// Proves that the vault can be opened by the escrow key alone now: everything that an opening reads and authenticates
// is, against this machine's pin. Takes no lock and changes nothing. The recipient that it is; where its slot has no
// infrastructure key yet, another machine would need the recovery file besides.
[[nodiscard]] Result<EscrowStatus> drill_escrow(const Vault::Machine& machine, const std::filesystem::path& path,
                                                const RsaKey& escrow_key);

}  // namespace vaultfs
