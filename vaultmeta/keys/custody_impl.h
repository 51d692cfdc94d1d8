#pragma once

#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "base/thread/mutex.h"
#include "vaultmeta/keys/kek_access.h"
#include "vaultmeta/keys/key_custody.h"
#include "vaultmeta/keys/newest_keyring.h"

namespace vaultfs {

// How often a change is tried again whose compare-and-swap came too late: between a provider call and the swap only
// small changes can come.
inline constexpr int kCommitAttempts = 16;

// A platform key that is removed again unless what it was made for comes about.
class NewPlatformKey {
 public:
  explicit NewPlatformKey(PlatformKeys& store) : store_(store) {}
  NewPlatformKey(const NewPlatformKey&) = delete;
  NewPlatformKey& operator=(const NewPlatformKey&) = delete;
  ~NewPlatformKey() {
    if (!id_) return;
    const Status ignored = store_.remove(*id_);  // what failed has its own error to tell
    static_cast<void>(ignored);
  }
  // The same key when asked again.
  [[nodiscard]] Result<PlatformKeyId> make() {
    if (!id_) {
      VAULTFS_ASSIGN_OR_RETURN(id_, store_.create());
    }
    return *id_;
  }
  void keep() noexcept { id_.reset(); }

 private:
  PlatformKeys& store_;
  std::optional<PlatformKeyId> id_;
};

// The vault's introduction to a key vault (KeyVaultResolver::introduce), taken back unless what it was for comes about.
class Introduction {
 public:
  Introduction() = default;
  Introduction(const Introduction&) = delete;
  Introduction& operator=(const Introduction&) = delete;
  ~Introduction() {
    if (take_back_) take_back_();
  }
  [[nodiscard]] Status make(KeyVaultResolver& resolver, const VaultIdentity& as, const std::string& key_vault) {
    if (take_back_) return ok_status();
    VAULTFS_ASSIGN_OR_RETURN(take_back_, resolver.introduce(as, key_vault));
    return ok_status();
  }
  void keep() noexcept { take_back_ = nullptr; }

 private:
  KeyVaultResolver::TakeBack take_back_;
};

// The one implementation of KeyCustody, an implementation header of key_custody_*.cc:
//   _open      creation, opening, what callers ask for        _write   the next keyring, the head after it, leftovers
//   _refresh   the rule's conductor: access, following        _change  taking effect, set_key, rewrap
//   _retire    proof 3(b), retirement, epochs                 _access  grace, TTL, sealing, healing, the status
//   _verbs     what an owner asks for by name beside these: a new epoch, limits, a drill
//   _escrow    the escrow recipient, and recovering by its key
class KeyringCustody final : public KeyCustody {
 public:
  KeyringCustody(const Context& context, const VaultHeader& header, const Digest& header_digest, bool read_only);

  EpochKeys& keys() override { return keys_; }
  Generation generation() const override;
  Digest keyring_digest() const override;
  Digest keyring_predecessor() const override;
  PassedOver passed_over() const override;
  EncryptionStatus status() const override;
  std::uint64_t incarnation() const override;
  Result<Digest> fingerprint_of(EpochNumber epoch) override;
  Status check_descends_from(Generation generation, const Digest& digest) const override;
  Result<SecretBuffer> root_key_for(std::string_view label) const override;
  Result<Digest> root_mac(std::string_view label, ByteView message) const override;
  void attach(KeyChangeHost& host) override;
  void record_update_of_before() override;
  Result<RefreshOutcome> refresh() override;
  Status job_completed(JobNumber job, Lsn begun) override;
  Status item_attempted() override;
  Status set_key(const KeyRef& key) override;
  Status set_identity(const std::string& identity) override;
  Status rewrap(bool drop_retiring) override;
  Status set_escrow(const std::optional<Bytes>& public_key) override;
  Status recover(const RecoverRequest& request) override;
  Status new_epoch() override;
  Status set_limits(const AccessLimits& limits) override;
  Result<std::vector<KeyDrill>> drill() override;
  Status carry_over(Generation headed) override;
  Status new_incarnation() override;
  bool enforce_deadlines(const std::function<void()>& before_wipe) override;

  // The newest keyring in storage, opened through the providers, or by the escrow key if one is given.
  struct Opened {
    Keyring keyring;
    SecretBuffer key;
    Digest digest;
    bool older_form = false;              // of its file
    ReachedKey active;                    // empty if `active_trouble`
    std::optional<Error> active_trouble;  // an outage of the Active version: a Retiring one opened it
    SecretBuffer infrastructure_key;      // as far as the escrow key has given it; else empty
    PassedOver passed_over;
  };
  [[nodiscard]] static Result<Opened> load_newest(const Context& context, const VaultHeader& header,
                                                  const Digest& header_digest, const RsaKey* escrow_key = nullptr);
  [[nodiscard]] static Result<Opened> open_stored(const Context& context, const VaultHeader& header,
                                                  const StoredKeyring& file, const RsaKey* escrow_key);
  // Takes over keyring and keys.
  [[nodiscard]] Status adopt(Opened opened);
  // The end of opening: what the status begins with.
  void begin(const std::optional<Error>& active_trouble, const ReachedKey& active);

 private:
  using EpochMap = std::map<EpochNumber, EpochKeys::Epoch>;
  // A change of the next keyring; gets the keyring key of the one before.
  using Edit = std::function<Status(Keyring& next, const SecretBuffer& current_key)>;
  // What a provider call needs of the state, copied so that no lock is held.
  struct Snapshot {
    Generation generation;
    KeyringSlot active;
    std::vector<KeyringSlot> slots;
    EncryptionSettings settings;
    RotationRule rule;
    std::optional<EscrowRecipient> escrow;
  };
  struct Commit {
    const SecretBuffer* new_key = nullptr;  // null: the keyring key stays
    std::optional<Generation> expected;     // compare-and-swap: TryAgain if the keyring has another generation
    bool needs_head = true;                 // the head must name the current keyring first
    // A change of keys: what and which version its job will name (record_success).
    std::optional<std::pair<std::string, std::string>> update = std::nullopt;
  };

  // --- _write
  [[nodiscard]] Status commit(const Edit& edit, const Commit& how);
  [[nodiscard]] Result<bool> write_next(const Edit& edit, const Commit& how, const std::optional<KeyUpdate>& update);
  [[nodiscard]] Result<bool> is_strange(const std::string& name) const REQUIRES(write_mutex_);
  // When something happens that begins now. Its generation is the next keyring's to fill in.
  [[nodiscard]] RotationRule::Moment moment() const;
  [[nodiscard]] Status store_keyring(Generation generation, ByteView bytes) REQUIRES(write_mutex_);
  [[nodiscard]] Status clear_doubt(Generation current) REQUIRES(write_mutex_);
  [[nodiscard]] Status write_head_if_behind();
  [[nodiscard]] Status delete_superseded();
  [[nodiscard]] Status delete_void_platform_key();
  [[nodiscard]] Status record_effect();
  [[nodiscard]] Status register_before_commit(const Keyring& next);
  [[nodiscard]] Status register_needed(const std::vector<RegisteredKey>& added);
  // `wrap` proves the version, which is on the machine's list before that: whoever withdraws it sees it there, or the
  // proof fails. What could not be proven is not needed, unless it was on the list already.
  [[nodiscard]] Result<WrappedKey> wrap_registered(const RegisteredKey& version,
                                                   const std::function<Result<WrappedKey>()>& wrap);
  [[nodiscard]] Status update_registration();
  [[nodiscard]] static Result<EpochMap> epoch_material(const KeyringSecrets& secrets);
  [[nodiscard]] static Result<VaultFingerprint> newest_fingerprint(const Keyring& keyring);

  // --- _refresh
  [[nodiscard]] Result<ReachedKey> prove_access();
  [[nodiscard]] Result<ReachedKey> reload();
  [[nodiscard]] Status check_keeps_newest_epoch(const Keyring& keyring) const;
  [[nodiscard]] Status finish_leftovers(RefreshOutcome& outcome) REQUIRES(change_mutex_);
  void run_rotation_policy() REQUIRES(change_mutex_);
  void look_at_preconditions(const ReachedKey& reached);
  [[nodiscard]] Status observe_retiring();
  // `failed` gets the version that could not take effect.
  [[nodiscard]] Status follow(const ReachedKey& reached, RefreshOutcome& outcome, std::string& failed)
      REQUIRES(change_mutex_);
  void note_expiry(const ReachedKey& reached);

  // --- _change
  using ApplySettings = std::function<Status(EncryptionSettings&)>;
  [[nodiscard]] Status take_effect(const ReachedKey& reached, const std::string& version, const std::string& what,
                                   const ApplySettings& apply) REQUIRES(change_mutex_);
  // The slot's version takes effect and is the only one from now on: all others are Retired at once, under a new DEK,
  // which they could never read.
  [[nodiscard]] Status take_effect_alone(Keyring& next, const KeyringSlot& slot, RotationRule::Moment now,
                                         std::vector<VersionName>& retired) const;
  [[nodiscard]] Status change_identity(const std::string& identity) REQUIRES(change_mutex_);
  [[nodiscard]] Status change_key(const KeyRef& key, std::string& version) REQUIRES(change_mutex_);
  // Whether the Active slot opens through that key too: one key that was imported under other names.
  [[nodiscard]] Result<bool> opens_active_slot(const ReachedKey& reached);
  // A fresh keyring key under the Active version, where `reached` has it. REQUIRES: as take_effect().
  [[nodiscard]] Status rewrap_active(const ReachedKey& reached, const std::string& what, const ApplySettings& apply)
      REQUIRES(change_mutex_);
  [[nodiscard]] Status rewrap_in_turn(bool drop_retiring) REQUIRES(change_mutex_);
  [[nodiscard]] Result<WrappedKey> wrap_under_active(const Snapshot& now, const ReachedKey& reached);
  void record_failure(const std::string& what, const std::string& version, const Error& error) REQUIRES(change_mutex_);
  void record_success(const std::string& what, const std::string& version) REQUIRES(change_mutex_);

  // --- _retire
  [[nodiscard]] Status retire_proven(const ReachedKey& reached, RefreshOutcome& outcome) REQUIRES(change_mutex_);
  [[nodiscard]] Status retire(const ReachedKey& reached, bool drop_retiring, RefreshOutcome& outcome)
      REQUIRES(change_mutex_);
  [[nodiscard]] Status prove_active_alone(const Snapshot& now);
  [[nodiscard]] Status add_epoch(Keyring& next) const;
  // Closes epochs that have a successor. With `outcome`, versions that are Retired by that are told and recorded.
  [[nodiscard]] Status finish_epochs(RefreshOutcome* outcome = nullptr) REQUIRES(change_mutex_);
  // Keeps why those versions wait. A reason that begins with `kind` already is left as it is: details come and go with
  // each refresh.
  [[nodiscard]] Status keep_waiting_for(const std::vector<VersionName>& versions, const std::string& kind,
                                        const std::string& detail);

  // --- _escrow
  [[nodiscard]] static Status rewrap_escrow_slot(Keyring& next, const SecretBuffer& key, bool fresh_key,
                                                 const InfrastructureKey& infrastructure);
  [[nodiscard]] static Result<SecretBuffer> escrowed_infrastructure_key(const Context& context,
                                                                        const VaultHeader& header,
                                                                        const EscrowSlot& slot,
                                                                        const RsaKey& escrow_key);
  [[nodiscard]] Status install_infrastructure_key();
  [[nodiscard]] Status change_escrow(const std::optional<EscrowRecipient>& recipient) REQUIRES(change_mutex_);
  [[nodiscard]] Status recover_in_turn(const RecoverRequest& request, std::string& version) REQUIRES(change_mutex_);
  [[nodiscard]] Result<WrappedKey> wrap_for_recovery(const Snapshot& now, const RecoverRequest& request,
                                                     NewPlatformKey& platform, Introduction& introduction);
  [[nodiscard]] Status install_recovered(Keyring& next, const KeyringSlot& slot, const RecoverRequest& request,
                                         const RotationRule::Moment& now, std::vector<VersionName>& retired) const;

  // --- _access
  [[nodiscard]] Snapshot snapshot() const;
  [[nodiscard]] bool sealed() const;
  [[nodiscard]] Status check_changeable() const;
  // Notes the trouble (as describe_trouble tells it) for status and deadlines, and gives it back.
  Error note_trouble(const Error& error);
  void note_access();
  [[nodiscard]] bool deadline_passed() const REQUIRES(state_mutex_);

  Context context_;
  const VaultHeader header_;
  const Digest header_digest_;
  const bool read_only_;
  EpochKeys keys_;

  // Lock order: change_mutex_, write_mutex_, state_mutex_, the lock inside keys_. The host and the providers are called
  // with neither write_mutex_ nor state_mutex_ held.

  // The turn of one change of keys (refresh, set_key, rewrap, new_incarnation). Held across provider and host calls, so
  // nothing that a writer waits for may take it.
  Mutex change_mutex_ ACQUIRED_BEFORE(write_mutex_, state_mutex_);
  // The failures recorded since the last success, so that a refresh doesn't repeat them.
  std::set<std::string> told_failures_ GUARDED_BY(change_mutex_);

  // One writer of keyring files; held across storage I/O.
  Mutex write_mutex_ ACQUIRED_BEFORE(state_mutex_);
  bool in_doubt_ GUARDED_BY(write_mutex_) = false;  // a failed write may have left a keyring beyond the current one

  mutable Mutex state_mutex_;
  KeyChangeHost* host_ GUARDED_BY(state_mutex_) = nullptr;
  Keyring current_ GUARDED_BY(state_mutex_);           // its secrets are wiped while sealed
  SecretBuffer keyring_key_ GUARDED_BY(state_mutex_);  // empty while sealed
  SecretBuffer infrastructure_key_ GUARDED_BY(state_mutex_);
  Digest digest_ GUARDED_BY(state_mutex_);
  std::map<EpochNumber, Digest> fingerprints_ GUARDED_BY(state_mutex_);  // the newest, and those that were asked for
  PassedOver passed_over_ GUARDED_BY(state_mutex_);
  Generation headed_ GUARDED_BY(state_mutex_);  // newest keyring generation that a head is known to name
  bool older_form_ GUARDED_BY(state_mutex_) =
      false;  // the stored keyring is of a form that is read and no more written
  std::optional<KeyUpdate> update_of_before_ GUARDED_BY(state_mutex_);  // see record_update_of_before()
  bool rule_dirty_ GUARDED_BY(state_mutex_) = false;         // the rule in memory is newer than the stored one
  bool leftovers_possible_ GUARDED_BY(state_mutex_) = true;  // superseded keyrings may have to be deleted
  KeyAccess access_ GUARDED_BY(state_mutex_) = KeyAccess::available;
  std::optional<Error> problem_ GUARDED_BY(state_mutex_);
  std::vector<Error> unmet_ GUARDED_BY(state_mutex_);
  std::int64_t denied_since_ GUARDED_BY(state_mutex_) = 0;       // monotonic nanoseconds; 0 = not
  std::int64_t unreachable_since_ GUARDED_BY(state_mutex_) = 0;  // likewise
  VersionName looked_at_ GUARDED_BY(state_mutex_);               // the Active version of the last look at its key vault
  std::optional<std::int64_t> expires_ GUARDED_BY(state_mutex_);  // when that one expires, Unix seconds
};

// The platform key of such a slot; DamagedKeyring if it names none.
[[nodiscard]] Result<PlatformKeyId> platform_key_of(const KeyringSlot& slot);

// A version that takes effect now, as the rule keeps it.
[[nodiscard]] VersionRecord record_of(const KeyringSlot& slot, const Keyring& keyring);

// Success unless the vault is platform-managed and an item was ever attempted: EncryptionNotChangeable.
[[nodiscard]] Status check_key_may_be_set(const EncryptionSettings& settings);

// The Active slot wrapped anew; its version is known under the fresh slot's names from now on.
void replace_active_slot(Keyring& next, const KeyringSlot& fresh);

// What a key vault with these properties lacks for a customer-managed key of a vault in that region; what a provider
// has no notion of is not asked for.
[[nodiscard]] std::vector<Error> unmet_preconditions(const KeyVaultProperties& properties, const std::string& key_vault,
                                                     const std::string& region);

// The checks of a key that is to be used from now on: it exists, may wrap, its key vault meets the preconditions.
struct ExaminedKey {
  ReachedKey reached;
  KeyVersionInfo version;
};
[[nodiscard]] Result<ExaminedKey> examine_key(const KeyCustody::Context& context, const KeyRef& key,
                                              const std::string& region, const VaultIdentity& as);

}  // namespace vaultfs
