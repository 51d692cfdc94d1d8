#pragma once

#include <string>

#include "vaultmeta/keys/key_rotation.h"

namespace vaultfs {

// Changes of keys that an owner asks for by name: another key or identity, a rewrap, a new epoch or incarnation,
// limits.
class RequestedChanges {
 public:
  RequestedChanges(const KeyCustody::Context& context, const VaultHeader& header, HeldKeys& held, KeyringFile& file,
                   ActiveKek& kek, ChangeTurns& turns, KeyRetirement& retirement, KeyRotation& rotation)
      : context_(context),
        header_(header),
        held_(held),
        file_(file),
        kek_(kek),
        turns_(turns),
        retirement_(retirement),
        rotation_(rotation) {}

  // As KeyCustody's.
  [[nodiscard]] Status set_key(const KeyRef& key);
  [[nodiscard]] Status set_identity(const std::string& identity);
  [[nodiscard]] Status rewrap(bool drop_retiring);
  [[nodiscard]] Status new_epoch();
  [[nodiscard]] Status set_limits(const AccessLimits& limits);
  [[nodiscard]] Status carry_over(Generation headed);
  [[nodiscard]] Status new_incarnation();

 private:
  [[nodiscard]] Status change_key(ChangeTurn& turn, const KeyRef& key, std::string& version);
  [[nodiscard]] Status change_identity(ChangeTurn& turn, const std::string& identity);
  [[nodiscard]] Status rewrap_in_turn(ChangeTurn& turn, bool drop_retiring);
  // A fresh keyring key under the Active version, where `reached` has it. REQUIRES: as KeyRotation::take_effect().
  [[nodiscard]] Status rewrap_active(const ReachedKey& reached, const std::string& what,
                                     const KeyRotation::ApplySettings& apply);

  const KeyCustody::Context context_;
  const VaultHeader header_;
  HeldKeys& held_;
  KeyringFile& file_;
  ActiveKek& kek_;
  ChangeTurns& turns_;
  KeyRetirement& retirement_;
  KeyRotation& rotation_;
};

}  // namespace vaultfs
