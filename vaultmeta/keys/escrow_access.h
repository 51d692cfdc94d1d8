#pragma once

#include <optional>
#include <string>
#include <vector>

#include "vaultmeta/keys/key_rotation.h"
#include "vaultmeta/machine/taken_back.h"

namespace vaultfs {

// The escrow recipient, and recovering by its key.
class EscrowAccess {
 public:
  EscrowAccess(const KeyCustody::Context& context, const VaultHeader& header, HeldKeys& held, KeyringFile& file,
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
  [[nodiscard]] Status set_escrow(const std::optional<Bytes>& public_key);
  [[nodiscard]] Status recover(const KeyCustody::RecoverRequest& request);

 private:
  [[nodiscard]] Status install_infrastructure_key();
  [[nodiscard]] Status change_escrow(ChangeTurn& turn, const std::optional<EscrowRecipient>& recipient);
  [[nodiscard]] Status recover_in_turn(ChangeTurn& turn, const KeyCustody::RecoverRequest& request,
                                       std::string& version);
  [[nodiscard]] Result<WrappedKey> wrap_for_recovery(const HeldKeys::Snapshot& now,
                                                     const KeyCustody::RecoverRequest& request,
                                                     NewPlatformKey& platform, Introduction& introduction);
  [[nodiscard]] Status install_recovered(Keyring& next, const KeyringSlot& slot,
                                         const KeyCustody::RecoverRequest& request, const RotationRule::Moment& now,
                                         std::vector<VersionName>& retired) const;

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
