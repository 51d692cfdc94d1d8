#include "vaultmeta/vault/recover.h"

#include <memory>
#include <utility>

#include "vaultmeta/vault/encryption_status.h"
#include "vaultmeta/vault/opening.h"

namespace vaultfs {
namespace {

// What storage says of itself proves nothing: whoever has the public key can make a vault that the escrow key opens.
Status check_known(const Vault::Machine& machine, const RecoverOptions& options, const RsaKey& escrow_key) {
  if (options.fingerprint) {
    const auto trusted = trust_vault(machine, options.path, *options.fingerprint, options.accept_older, &escrow_key);
    return trusted.ok() ? ok_status() : Status(trusted.error());
  }
  VAULTFS_ASSIGN_OR_RETURN(const VaultHeader header, look_at_vault_header(machine.env, options.path));
  VAULTFS_ASSIGN_OR_RETURN(const std::optional<Pin> pin, machine.state.newest_pin(header.id));
  if (pin) return ok_status();
  return Error{ErrorCode::VaultUnverified,
               "this machine does not know the vault, and an escrow key opens forged vaults too: give the newest "
               "fingerprint that you have kept of it (--fingerprint)"};
}

}  // namespace

Result<EncryptionStatus> recover_vault(const Vault::Machine& machine, const RecoverOptions& options,
                                       const RsaKey& escrow_key) {
  VAULTFS_RETURN_IF_ERROR(check_known(machine, options, escrow_key));
  VaultOpenOptions open;
  open.path = options.path;
  open.lock_wait_seconds = options.lock_wait_seconds;
  const std::optional<Pin> by_the_machine;
  TreeLeftAlone tree;
  VaultOpening opening(machine, open, by_the_machine, tree, &escrow_key);
  VAULTFS_ASSIGN_OR_RETURN(const auto vault, opening.run());
  VAULTFS_RETURN_IF_ERROR(register_opened(machine, *vault));
  // Before the change: who opened a vault by the escrow key should not depend on what came of it.
  VAULTFS_RETURN_IF_ERROR(machine.state.audit(
      "vault.recover", "vault " + to_hex(vault->header().id.view()) + " was opened by its escrow key"));
  const Status recovered = vault->custody().recover(options.keys);
  EncryptionStatus status = encryption_status(*vault);
  const Status closed = vault->close();
  VAULTFS_RETURN_IF_ERROR(recovered);
  VAULTFS_RETURN_IF_ERROR(closed);
  return status;
}

Result<EscrowStatus> drill_escrow(const Vault::Machine& machine, const std::filesystem::path& path,
                                  const RsaKey& escrow_key) {
  VaultOpenOptions open;
  open.path = path;
  open.read_only = true;
  const std::optional<Pin> by_the_machine;
  TreeLeftAlone tree;
  VaultOpening opening(machine, open, by_the_machine, tree, &escrow_key);
  VAULTFS_ASSIGN_OR_RETURN(const auto vault, opening.run());
  std::optional<EscrowStatus> escrow = vault->custody().status().escrow;
  if (!escrow) return Error{ErrorCode::Internal, "the vault was opened by an escrow key that it does not have"};
  return *std::move(escrow);
}

}  // namespace vaultfs
