// `vault trust`: how a machine comes to trust a vault's root key, and how an older copy is accepted by name.
#include "vaultmeta/vault_opening.h"
#include "vaultmeta/vault_place.h"
#include "vaultmeta/vault_registration.h"

namespace vaultfs {

Status register_opened(const Vault::Machine& machine, Vault& vault) {
  return ensure_registered(machine.state, vault.directory(), vault.place(), vault.header().id,
                           vault.custody().status());
}

namespace {

// Opens as owner with a new incarnation, which writes a head and pins it. The machine has no pin meanwhile.
Status start_incarnation(const Vault::Machine& machine, const std::filesystem::path& path, const Pin& trusted,
                         const RsaKey* escrow_key) {
  VaultOpenOptions options;
  options.path = path;
  options.accept_older = true;
  options.any_place = true;
  TreeLeftAlone tree;
  const std::optional<Pin> instead(trusted);
  VaultOpening opening(machine, options, instead, tree, escrow_key);
  VAULTFS_ASSIGN_OR_RETURN(const auto vault, opening.run());
  vault->record_activity("vault.trust", "Succeeded", format_fingerprint(trusted.root_fingerprint),
                         "an older copy was accepted");
  return vault->close();
}

Result<Pin> accept_older_copy(const Vault::Machine& machine, const std::filesystem::path& path,
                              const std::filesystem::path& place, const Pin& trusted, const Pin& known,
                              const RsaKey* escrow_key) {
  // Otherwise the pin would refuse the older head for ever. From here until the new head is pinned the machine trusts
  // nothing.
  VAULTFS_RETURN_IF_ERROR(machine.state.remove_pin(trusted.vault, place));
  const Status started = start_incarnation(machine, path, trusted, escrow_key);
  VAULTFS_ASSIGN_OR_RETURN(const std::optional<Pin> pin, machine.state.pin(trusted.vault, place));
  if (!pin.has_value()) {
    // Nothing was accepted: the machine goes on knowing what it has seen.
    VAULTFS_RETURN_IF_ERROR(machine.state.set_pin(known, place));
    VAULTFS_RETURN_IF_ERROR(started);
    return Error{ErrorCode::Internal, "the new incarnation was not pinned"};
  }
  VAULTFS_RETURN_IF_ERROR(started);
  return *pin;
}

// A record in the vault's own log. The vault may be in use, or its medium read-only: trust does not depend on it.
void record_trust(const Vault::Machine& machine, const std::filesystem::path& path, const Digest& fingerprint,
                  const RsaKey* escrow_key) {
  VaultOpenOptions options;
  options.path = path;
  TreeLeftAlone tree;
  const std::optional<Pin> by_the_machine;
  VaultOpening opening(machine, options, by_the_machine, tree, escrow_key);
  const auto vault = opening.run();
  if (!vault.ok()) return;
  (*vault)->record_activity("vault.trust", "Succeeded", format_fingerprint(fingerprint), "");
  static_cast<void>((*vault)->close());
}

}  // namespace

Result<Pin> trust_vault(const Vault::Machine& machine, const std::filesystem::path& path, const Digest& fingerprint,
                        bool accept_older, const RsaKey* escrow_key) {
  VaultDirectory directory(machine.env, path);
  VAULTFS_RETURN_IF_ERROR(directory.open());
  Digest header_digest;
  VAULTFS_ASSIGN_OR_RETURN(const VaultHeader header, read_vault_header(directory, header_digest));
  if (!constant_time_equal(header.root_fingerprint.view(), fingerprint.view())) {
    return Error{ErrorCode::FingerprintMismatch,
                 "the vault's root key has the fingerprint " + format_fingerprint(header.root_fingerprint)};
  }
  // Of this place alone: what the machine has seen of a copy elsewhere says nothing of this one.
  VAULTFS_ASSIGN_OR_RETURN(const std::filesystem::path place, known_place(machine.state, directory, header.id));
  VAULTFS_ASSIGN_OR_RETURN(const std::optional<Pin> known, machine.state.pin(header.id, place));
  const bool same_root = known.has_value() && known->root_fingerprint == fingerprint;

  Pin trusted;
  trusted.vault = header.id;
  trusted.root_fingerprint = fingerprint;
  VaultOpenOptions options;
  options.path = path;
  options.read_only = true;
  options.any_place = true;
  TreeLeftAlone tree;
  // A pin of the same root key still tells how new the vault has to be. One of another root key tells nothing of this
  // vault.
  const std::optional<Pin> instead = same_root ? std::nullopt : std::optional<Pin>(trusted);
  VaultOpening opening(machine, options, instead, tree, escrow_key);
  auto opened = opening.run();
  // The fingerprint was compared just now, and the newest head is genuine and newer than the pinned one: the lost
  // history between is the only thing to be forgiven.
  trusted.incarnation = same_root ? known->incarnation : 0;
  const std::optional<Pin> without_history(trusted);
  VaultOpening again(machine, options, without_history, tree, escrow_key);
  if (!opened.ok() && same_root && opened.code() == ErrorCode::PinOutdated) opened = again.run();
  if (!opened.ok()) {
    if (!same_root || !accept_older || opened.code() != ErrorCode::RollbackDetected) return std::move(opened).error();
    VAULTFS_RETURN_IF_ERROR(
        machine.state.audit("vault.trust", "an older copy of vault " + to_hex(header.id.view()) + " was accepted"));
    return accept_older_copy(machine, path, place, trusted, *known, escrow_key);
  }
  VAULTFS_RETURN_IF_ERROR(machine.state.audit("vault.trust", "vault " + to_hex(header.id.view()) + " is trusted"));
  if (known.has_value() && !same_root) VAULTFS_RETURN_IF_ERROR(machine.state.remove_pin(header.id, place));
  VAULTFS_RETURN_IF_ERROR((*opened)->pin_newest_head());
  VAULTFS_RETURN_IF_ERROR(register_opened(machine, **opened));
  opened->reset();
  record_trust(machine, path, fingerprint, escrow_key);
  VAULTFS_ASSIGN_OR_RETURN(const std::optional<Pin> pin, machine.state.pin(header.id, place));
  if (!pin.has_value()) return Error{ErrorCode::Internal, "the vault was not pinned"};
  return *pin;
}

}  // namespace vaultfs
