#pragma once

#include <string>

#include "vaultmeta/keys/held_keys.h"
#include "vaultmeta/keys/kek_access.h"
#include "vaultmeta/keys/key_custody.h"
#include "vaultmeta/keys/keyring_file.h"

namespace vaultfs {

// The vault's Active version at its key vault: access to it, proofs by it, wraps under it. All of this calls a
// provider, with no lock held but the turn of a change. Thread-safe.
class ActiveKek {
 public:
  ActiveKek(const KeyCustody::Context& context, const VaultHeader& header, const Digest& header_digest, bool read_only,
            HeldKeys& held, KeyringFile& file)
      : context_(context),
        header_(header),
        header_digest_(header_digest),
        read_only_(read_only),
        held_(held),
        file_(file) {}

  // One unwrap by the Active version, which ends a trouble or a sealing, or begins or goes on with one: status and
  // deadlines know of it.
  [[nodiscard]] Result<ReachedKey> reach();
  // What the unwrap of an opening gave.
  void note_access();
  // What is in force is told, not undone: refusing here would take away a key that works.
  void look_at_preconditions(const ReachedKey& reached);

  // Success if the Active version may wrap now, as far as `reached` tells.
  [[nodiscard]] Status check_may_wrap_now(const ReachedKey& reached) const;
  // Whether the Active slot opens through that key too: one key that was imported under other names.
  [[nodiscard]] Result<bool> opens_active_slot(const ReachedKey& reached) const;
  // Whether it opens as that identity.
  [[nodiscard]] Status check_opens_as(const std::string& identity) const;
  // The keyring as storage has it opens with the Active version alone. TryAgain if it is not that of `now` any more.
  [[nodiscard]] Status check_opens_alone(const HeldKeys::Snapshot& now) const;

  // A fresh keyring key for the next generation, wrapped by the Active version where `reached` has it, and proven.
  [[nodiscard]] Result<WrappedKey> wrap_under_active(const HeldKeys::Snapshot& now, const ReachedKey& reached);
  // By that version of the key, which is on the machine's list before the proof.
  [[nodiscard]] Result<WrappedKey> wrap_listed(Generation generation, const std::string& identity,
                                               const ReachedKey& reached, const std::string& version);

 private:
  [[nodiscard]] Result<ReachedKey> prove_access();
  [[nodiscard]] Result<ReachedKey> reload();
  [[nodiscard]] Status check_keeps_newest_epoch(const Keyring& keyring) const;

  const KeyCustody::Context context_;
  const VaultHeader header_;
  const Digest header_digest_;
  const bool read_only_;
  HeldKeys& held_;
  KeyringFile& file_;
};

}  // namespace vaultfs
