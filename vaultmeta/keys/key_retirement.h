#pragma once

#include <string>
#include <vector>

#include "base/clock.h"
#include "vaultmeta/keys/active_kek.h"
#include "vaultmeta/keys/change_turn.h"
#include "vaultmeta/keys/held_keys.h"
#include "vaultmeta/keys/key_custody.h"
#include "vaultmeta/keys/keyring_file.h"

namespace vaultfs {

// Rule 3(b): proof, retirement, and the new DEK epoch that a retired version could never read. Everything in a turn.
class KeyRetirement {
 public:
  KeyRetirement(const Clock& clock, HeldKeys& held, KeyringFile& file, ActiveKek& kek)
      : clock_(clock), held_(held), file_(file), kek_(kek) {}

  // Versions for which (a) holds retire if (b) can be shown; why they wait is kept if it can't.
  [[nodiscard]] Status retire_proven(ChangeTurn& turn, const ReachedKey& reached, RefreshOutcome& outcome);
  // The same, or with `drop_retiring` every Retiring version, by that proof.
  [[nodiscard]] Status retire(ChangeTurn& turn, const ReachedKey& reached, bool drop_retiring, RefreshOutcome& outcome);
  // Closes epochs that have a successor. With `outcome`, versions that are Retired by that are told and recorded.
  [[nodiscard]] Status finish_epochs(ChangeTurn& turn, RefreshOutcome* outcome = nullptr);
  // A new data key, for an edit of the next keyring. NotPermitted: there is no room for it.
  [[nodiscard]] Status add_epoch(Keyring& next) const;

 private:
  // Keeps why those versions wait. A reason that begins with `kind` already is left as it is: details come and go with
  // each refresh.
  [[nodiscard]] Status keep_waiting_for(const std::vector<VersionName>& versions, const std::string& kind,
                                        const std::string& detail);

  const Clock& clock_;
  HeldKeys& held_;
  KeyringFile& file_;
  ActiveKek& kek_;
};

}  // namespace vaultfs
