// `vault trust`: how a machine comes to trust a vault, and how an older copy is accepted by name.
#include <algorithm>

#include "vaultmeta/machine/vault_place.h"
#include "vaultmeta/vault/opening.h"
#include "vaultmeta/vault/registration.h"

namespace vaultfs {

Status register_opened(const Vault::Machine& machine, Vault& vault) {
  return ensure_registered(machine.state, vault.directory(), vault.place(), vault.header().id,
                           vault.custody().status());
}

// The root key and the data keys of closed epochs are known for ever to whoever held a key version that is retired: he
// can make keyrings and heads that follow the pinned one. The newest data key that this machine has seen he has not.
Status VaultOpening::check_epochs() {
  KeyCustody& custody = *parts_.custody;
  const EpochNumber newest = custody.status().current_epoch;
  if (options_.fingerprint.has_value()) {
    VAULTFS_ASSIGN_OR_RETURN(const KeptAs as, compare_fingerprint(custody, parts_.header, *options_.fingerprint));
    if (as == KeptAs::newest) {
      parts_.notes.push_back("the fingerprint is that of the vault's newest epoch, " + std::to_string(newest.value));
    } else if (as == KeptAs::older) {
      parts_.notes.push_back("an older fingerprint: the vault has come to epoch " + std::to_string(newest.value) +
                             " and is " + genuine_up_to(options_.fingerprint->epoch));
    } else {
      parts_.notes.push_back("unverified: that is the root key's fingerprint, and the vault has come to epoch " +
                             std::to_string(newest.value) +
                             ": whoever ever held one of its key versions could have made it");
    }
  }
  if (!pin_.has_value() || pin_->fingerprint.epoch.value == 0) return ok_status();
  const VaultFingerprint& pinned = pin_->fingerprint;
  const auto here = custody.fingerprint_of(pinned.epoch);
  if (!here.ok() && here.code() != ErrorCode::NotFound) return here.error();
  if (!here.ok() || *here != pinned.digest) {
    const std::string lacks = "the vault lacks the data key of epoch " + std::to_string(pinned.epoch.value) +
                              ", which this machine has seen: an older copy, or one that somebody made who held an "
                              "older key version";
    if (!options_.accept_older) return Error{ErrorCode::RollbackDetected, lacks};
    parts_.notes.push_back(lacks);
  } else if (pinned.epoch < newest) {
    parts_.notes.push_back("the vault has come to epoch " + std::to_string(newest.value) +
                           " since this machine saw it last and is " + genuine_up_to(pinned.epoch) +
                           "; compare the fingerprint that 'vaultctl vault show' prints with the newest you have kept");
  }
  return ok_status();
}

namespace {

// Reads the vault as it is, against `instead` of the machine's pin if there is one. Writes nothing.
Result<std::unique_ptr<OpenedVault>> look_at(const Vault::Machine& machine, const std::filesystem::path& path,
                                             const std::optional<Pin>& instead, const VaultFingerprint& fingerprint,
                                             const RsaKey* escrow_key) {
  VaultOpenOptions options;
  options.path = path;
  options.read_only = true;
  options.any_place = true;
  TreeLeftAlone tree;
  VaultOpening opening(machine, options, instead, tree, escrow_key);
  opening.prefer(fingerprint);
  return opening.run();
}

// The machine goes back to an older copy, or over to another branch. In between it trusts nothing.
Status pin_accepted_copy(const Vault::Machine& machine, OpenedVault& copy, const Pin& known) {
  const std::uint64_t restart_above = std::max({known.incarnation, known.restart_above, copy.custody().incarnation()});
  VAULTFS_RETURN_IF_ERROR(machine.state.remove_pin(known.vault, copy.place()));
  Status pinned = copy.pin_newest_head(restart_above);
  if (pinned.ok()) return pinned;
  // Nothing was accepted: the machine goes on knowing what it has seen.
  VAULTFS_RETURN_IF_ERROR(machine.state.set_pin(known, copy.place()));
  return pinned;
}

}  // namespace

Result<Pin> trust_vault(const Vault::Machine& machine, const std::filesystem::path& path,
                        const VaultFingerprint& fingerprint, bool accept_older, const RsaKey* escrow_key) {
  VaultDirectory directory(machine.env, path);
  VAULTFS_RETURN_IF_ERROR(directory.open());
  Digest header_digest;
  VAULTFS_ASSIGN_OR_RETURN(const VaultHeader header, read_vault_header(directory, header_digest));
  // Of this place alone: what the machine has seen of a copy elsewhere says nothing of this one.
  VAULTFS_ASSIGN_OR_RETURN(const std::filesystem::path place, known_place(machine.state, directory, header.id));
  VAULTFS_ASSIGN_OR_RETURN(const std::optional<Pin> known, machine.state.pin(header.id, place));
  const bool same_root = known.has_value() && known->root_fingerprint == header.root_fingerprint;

  Pin blank;
  blank.vault = header.id;
  blank.root_fingerprint = header.root_fingerprint;
  // A pin of the same root key still tells how new the vault has to be. One of another root key tells nothing of this
  // vault.
  auto opened = look_at(machine, path, same_root ? std::nullopt : std::optional<Pin>(blank), fingerprint, escrow_key);
  bool accepted = false;
  const bool no_history =
      !opened.ok() && (opened.code() == ErrorCode::PinOutdated || opened.code() == ErrorCode::DamagedHead);
  if (no_history && same_root) {
    // The history between, lost or damaged, is the only thing to be forgiven.
    Pin without_history = blank;
    without_history.incarnation = known->incarnation;
    without_history.fingerprint = known->fingerprint;
    opened = look_at(machine, path, without_history, fingerprint, escrow_key);
  } else if (!opened.ok() && same_root && accept_older && opened.code() == ErrorCode::RollbackDetected) {
    accepted = true;
    opened = look_at(machine, path, blank, fingerprint, escrow_key);
  }
  if (!opened.ok()) return std::move(opened).error();
  VAULTFS_RETURN_IF_ERROR(require_newest_fingerprint((*opened)->custody(), header, fingerprint));

  const std::string what = "vault " + to_hex(header.id.view()) + " by " + format_fingerprint(fingerprint);
  VAULTFS_RETURN_IF_ERROR(machine.state.audit("vault.trust", accepted ? "an older copy was accepted: " + what : what));
  if (accepted) {
    VAULTFS_RETURN_IF_ERROR(pin_accepted_copy(machine, **opened, *known));
  } else {
    if (known.has_value() && !same_root)
      VAULTFS_RETURN_IF_ERROR(machine.state.remove_pin(header.id, (*opened)->place()));
    VAULTFS_RETURN_IF_ERROR((*opened)->pin_newest_head(known.has_value() && same_root ? known->restart_above : 0));
  }
  VAULTFS_RETURN_IF_ERROR(register_opened(machine, **opened));
  VAULTFS_ASSIGN_OR_RETURN(const std::optional<Pin> pin, machine.state.pin(header.id, (*opened)->place()));
  if (!pin.has_value()) return Error{ErrorCode::Internal, "the vault was not pinned"};
  return *pin;
}

}  // namespace vaultfs
