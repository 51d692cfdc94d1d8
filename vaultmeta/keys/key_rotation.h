#pragma once

#include <functional>
#include <string>
#include <vector>

#include "vaultmeta/keys/active_kek.h"
#include "vaultmeta/keys/change_turn.h"
#include "vaultmeta/keys/key_custody.h"
#include "vaultmeta/keys/key_retirement.h"

namespace vaultfs {

// The conductor of the rotation rule: a refresh goes through rules 1, 2, 3(b) and 5 in their order. Thread-safe: by its
// turns.
class KeyRotation {
 public:
  KeyRotation(const KeyCustody::Context& context, const VaultHeader& header, bool read_only, HeldKeys& held,
              KeyringFile& file, ActiveKek& kek, ChangeTurns& turns, KeyRetirement& retirement)
      : context_(context),
        header_(header),
        read_only_(read_only),
        clock_(context.env.clock()),
        held_(held),
        file_(file),
        kek_(kek),
        turns_(turns),
        retirement_(retirement) {}

  // As KeyCustody's.
  [[nodiscard]] Result<RefreshOutcome> refresh();

  using ApplySettings = std::function<Status(EncryptionSettings&)>;
  // Rule 2. REQUIRES: the Active version was unwrapped through its provider in this turn. What fails before the commit
  // has changed nothing.
  [[nodiscard]] Status take_effect(ChangeTurn& turn, const ReachedKey& reached, const std::string& version,
                                   const std::string& what, const ApplySettings& apply);
  // For an edit of the next keyring: the slot's version takes effect and is the only one from now on. All others are
  // Retired at once, under a new DEK, which they could never read.
  [[nodiscard]] Status take_effect_alone(Keyring& next, const KeyringSlot& slot, RotationRule::Moment now,
                                         std::vector<VersionName>& retired) const;
  // What follows once a head names the keyring of a change, and what an earlier one that crashed left to be done: from
  // which LSN the version is in effect, closed epochs, superseded keyrings, the platform key that is void.
  [[nodiscard]] Status finish_effect(ChangeTurn& turn);

 private:
  [[nodiscard]] Status finish_leftovers(ChangeTurn& turn, RefreshOutcome& outcome);
  void run_rotation_policy(ChangeTurn& turn);
  [[nodiscard]] Status observe_retiring();
  // `failed` gets the version that could not take effect.
  [[nodiscard]] Status follow(ChangeTurn& turn, const ReachedKey& reached, RefreshOutcome& outcome,
                              std::string& failed);
  [[nodiscard]] Status record_effect();
  [[nodiscard]] Status delete_void_platform_key();

  const KeyCustody::Context context_;
  const VaultHeader header_;
  const bool read_only_;
  const Clock& clock_;
  HeldKeys& held_;
  KeyringFile& file_;
  ActiveKek& kek_;
  ChangeTurns& turns_;
  KeyRetirement& retirement_;
};

}  // namespace vaultfs
