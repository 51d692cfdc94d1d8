#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "vaultmeta/keys/active_kek.h"
#include "vaultmeta/keys/change_turn.h"
#include "vaultmeta/keys/escrow_access.h"
#include "vaultmeta/keys/held_keys.h"
#include "vaultmeta/keys/key_custody.h"
#include "vaultmeta/keys/key_retirement.h"
#include "vaultmeta/keys/key_rotation.h"
#include "vaultmeta/keys/keyring_file.h"
#include "vaultmeta/keys/requested_changes.h"

namespace vaultfs {

// The one implementation of KeyCustody: a façade over a class for each lock and each task.
class KeyringCustody final : public KeyCustody {
 public:
  KeyringCustody(const Context& context, const VaultHeader& header, const Digest& header_digest, bool read_only);

  EpochKeys& keys() override { return held_.keys(); }
  Generation generation() const override { return held_.place().generation; }
  Digest keyring_digest() const override { return held_.place().digest; }
  Digest keyring_predecessor() const override { return held_.place().predecessor; }
  PassedOver passed_over() const override { return held_.passed_over(); }
  EncryptionStatus status() const override { return held_.status(); }
  std::uint64_t incarnation() const override { return held_.incarnation(); }
  Result<Digest> fingerprint_of(EpochNumber epoch) override { return held_.fingerprint_of(epoch); }
  Status check_descends_from(Generation generation, const Digest& digest) const override {
    return file_.check_descends_from(generation, digest);
  }
  Result<SecretBuffer> root_key_for(std::string_view label) const override { return held_.root_key_for(label); }
  Result<Digest> root_mac(std::string_view label, ByteView message) const override;
  void attach(KeyChangeHost& host) override;
  void record_update_of_before() override;
  Result<RefreshOutcome> refresh() override { return rotation_.refresh(); }
  Status job_completed(JobNumber job, Lsn begun) override;
  Status item_attempted() override;
  Status set_key(const KeyRef& key) override { return requested_.set_key(key); }
  Status set_identity(const std::string& identity) override { return requested_.set_identity(identity); }
  Status rewrap(bool drop_retiring) override { return requested_.rewrap(drop_retiring); }
  Status set_escrow(const std::optional<Bytes>& public_key) override { return escrow_.set_escrow(public_key); }
  Status recover(const RecoverRequest& request) override { return escrow_.recover(request); }
  Status new_epoch() override { return requested_.new_epoch(); }
  Status set_limits(const AccessLimits& limits) override { return requested_.set_limits(limits); }
  Result<std::vector<KeyDrill>> drill() override;
  Status carry_over(Generation headed) override { return requested_.carry_over(headed); }
  Status new_incarnation() override { return requested_.new_incarnation(); }
  bool enforce_deadlines(const std::function<void()>& before_wipe) override;

  // Takes over keyring and keys.
  [[nodiscard]] Status adopt(OpenedKeyring opened) { return file_.adopt(std::move(opened)); }
  // The end of opening: what the status begins with.
  void begin(const std::optional<Error>& active_trouble, const ReachedKey& active);

 private:
  Context context_;
  const VaultHeader header_;
  const Digest header_digest_;
  const bool read_only_;
  HeldKeys held_;
  KeyringFile file_;
  ActiveKek kek_;
  ChangeTurns turns_;
  KeyRetirement retirement_;
  KeyRotation rotation_;
  RequestedChanges requested_;
  EscrowAccess escrow_;
  std::optional<KeyUpdate> update_of_before_;  // see record_update_of_before(); the opening thread's
};

}  // namespace vaultfs
