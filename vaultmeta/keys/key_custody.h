#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "base/files/env.h"
#include "base/ids.h"
#include "base/result.h"
#include "crypto/keyvault/key_ref.h"
#include "store/blobs/blob_store.h"
#include "store/record/epoch_keys.h"
#include "vaultmeta/keys/key_expiry.h"
#include "vaultmeta/keys/keyring.h"
#include "vaultmeta/layout/vault_header.h"
#include "vaultmeta/machine/key_vault_resolver.h"
#include "vaultmeta/machine/machine_state.h"
#include "vaultmeta/machine/platform_keys.h"

namespace vaultfs {

// What a key change needs of the vault around it. Implemented by Vault and by the tests' fake. No lock of the key
// custody is held during a call, but the caller of the custody waits in it: whoever calls refresh(), set_key(),
// set_identity(), rewrap(), new_incarnation(), job_completed() or item_attempted() must hold no lock that these take,
// and these must not call any of those. The same holds for new_epoch(), set_limits(), set_escrow() and recover().
class KeyChangeHost {
 public:
  virtual ~KeyChangeHost() = default;
  // The LSN from which jobs count as begun after now.
  [[nodiscard]] virtual Lsn next_lsn() = 0;
  // The highest segment number used or reserved so far.
  [[nodiscard]] virtual ContainerNumber highest_segment() = 0;
  // The current epoch has changed: close the open segment, continue journal and activity log in new files.
  [[nodiscard]] virtual Status roll_containers() = 0;
  // Writes a head that names the newest keyring, and moves the pin.
  [[nodiscard]] virtual Status write_head() = 0;
  // The latest time that the vault around the keys knows of: of its heads, jobs, points. What comes now is not earlier,
  // whatever the clock says.
  [[nodiscard]] virtual UnixNanos newest_time() = 0;
  // A job number that nothing has used: for a change of keys that is about to be made.
  [[nodiscard]] virtual JobNumber next_job() = 0;
  // The update job of that number with its outcome, and an activity record of it. `failure` is null on success.
  virtual void record_key_change(JobNumber job, const std::string& what, const std::string& version,
                                 const Error* failure) = 0;
  // No other job gets that number: the keyring holds an update with it, whose job may not be recorded yet.
  virtual void reserve_job(JobNumber number) = 0;
  // The update job of what the keyring holds, if a crash came before it: no newer or equal update job is known.
  virtual void ensure_recorded(const KeyUpdate& update) = 0;
  // An activity record of a setting that is no change of keys.
  virtual void record_setting(const std::string& what, const std::string& subject) = 0;
};

// Whether the vault's keys can be had, as of the last refresh (architecture, rule 7).
enum class KeyAccess : std::uint8_t {
  available,
  denied,       // authoritative refusal; sealed when the grace is over
  unreachable,  // outage; sealed when the TTL is over
  sealed,       // keys wiped; heals by a successful refresh
};

// The escrow recipient, as it is shown.
struct EscrowStatus {
  Digest fingerprint;  // SHA-256 of the public key (escrow_fingerprint)
  UnixNanos since;
  // With infrastructure encryption: whether its slot holds the infrastructure key, so that no recovery file is needed.
  // It does after the next change of the keyring.
  std::optional<bool> has_infrastructure_key;
};

struct EncryptionStatus {
  EncryptionSettings settings;
  std::vector<VersionRecord> versions;  // oldest first
  KeyAccess access = KeyAccess::available;
  std::optional<Error> problem;  // of the last refresh
  // What the key vault lacks of what a customer-managed key wants (SoftDeleteRequired, PurgeProtectionRequired,
  // RegionMismatch), as of the last refresh. Told, never a reason to stop.
  std::vector<Error> unmet;
  std::optional<EscrowStatus> escrow;  // nothing: only the key versions open the vault
  std::optional<KeyExpiry> expiry;     // of the Active version, as of the last look at its key vault
  // The platform key that was deleted from the machine when a customer-managed one took its place: recovery files of it
  // are void.
  std::optional<PlatformKeyId> void_platform_key;
  std::optional<KeyUpdate> last_update;  // the newest change of keys that came about, as the keyring holds it
  // "None", "Succeeded", "Failed: …": of the newest change of keys that was tried. From KeyCustody::status() as far as
  // the keyring tells, which holds no failures: ask encryption_status() (encryption_status.h).
  std::string last_update_status;
  Suite suite = Suite::aes_gcm;
  Generation keyring_generation;
  EpochNumber current_epoch;
  VaultFingerprint fingerprint;  // of that epoch; also while sealed
};

// The key versions without which the vault can't be opened, or will not heal: Active and Retiring ones, sorted. None of
// a platform-managed vault.
[[nodiscard]] std::vector<RegisteredKey> needed_keys(const std::vector<VersionRecord>& versions);

struct RefreshOutcome {
  bool version_changed = false;      // a new version took effect
  std::vector<std::string> retired;  // versions that retired in this refresh
};

// How long the vault works without asking its key vault, or being answered; what is not given stays.
struct AccessLimits {
  std::optional<std::uint32_t> refresh_minutes;           // between two refreshes, 1 to 60
  std::optional<std::uint32_t> revocation_grace_seconds;  // 0 to a day
  std::optional<std::uint32_t> outage_ttl_seconds;        // 0 to 30 days
};

// Whether the vault can be opened now by one of its keyring's slots alone.
struct KeyDrill {
  VersionRole role = VersionRole::active;
  std::string key_vault;  // empty for a platform key
  std::string key;
  std::string version;
  std::optional<Error> failure;                    // nothing: it can
  std::optional<KeyExpiry> expiry = std::nullopt;  // of the Active version
};

// Keeper of one opened vault's keyring: unwraps it, follows new key versions, runs the rotation rule, tells when access
// is lost. Every provider call is made without a lock held, and followed by a compare-and-swap on the keyring's
// generation. One change of keys at a time (a second waits). Thread-safe.
class KeyCustody {
 public:
  struct Context {
    Env& env;
    BlobStore& blobs;
    MachineState& machine;
    PlatformKeys& platform_keys;
    KeyVaultResolver& resolver;
    std::filesystem::path place = {};  // of the vault: where its registration is
    // Of keyrings that could be the newest, one that has this epoch's data key comes before others.
    std::optional<VaultFingerprint> preferred = std::nullopt;
  };

  struct CreateRequest {
    std::optional<KeyRef> key;  // none: platform-managed
    std::string identity = "system";
    std::optional<Bytes> escrow_key;  // DER SubjectPublicKeyInfo, RSA
  };
  // Makes the secrets of a new vault and writes keyring generation 1. Everything demanded of the key is checked first:
  // the version exists, is RSA of a right size (KeyNotRsa, KeySizeUnsupported), may wrap, and unwraps what it wrapped;
  // the key vault is in `header.region` if both have one (RegionMismatch) and, where it has the notion, has soft delete
  // and purge protection (SoftDeleteRequired, PurgeProtectionRequired). `header` gets root_fingerprint (and
  // infrastructure_key_id must be set and stored already for suite 2). `write_header` is called when the fingerprint is
  // known and gives the header's digest.
  [[nodiscard]] static Result<std::unique_ptr<KeyCustody>> create(
      const Context& context, VaultHeader& header, const CreateRequest& request,
      const std::function<Result<Digest>(const VaultHeader&)>& write_header);

  // Opens the newest keyring of the vault: unwraps by the Active slot, else by a Retiring one only if the Active
  // version is out of reach for reasons that are no revocation (a disabled Active version is a revocation: KeyRevoked,
  // never a fall-back). Checks the header digest and that the root key has the fingerprint of the header; whether that
  // is the pinned one is Vault's check. Leftovers of an interrupted key change are told from damage by the chain of
  // predecessors. `read_only` writes nothing. With `escrow_key`, a private key that is needed during the call only, the
  // keyring is opened by it alone and no key vault is asked (KeyNotFound, WrongKey: unwrap_by_escrow): for recover(),
  // and to prove that it can. The infrastructure key then comes out of the escrow slot, and where the machine has one
  // of that id it is compared (WrongKey); this installs nothing. Otherwise it is the machine's (PlatformKeyMissing).
  [[nodiscard]] static Result<std::unique_ptr<KeyCustody>> open(const Context& context, const VaultHeader& header,
                                                                const Digest& header_digest, bool read_only,
                                                                const RsaKey* escrow_key = nullptr);
  virtual ~KeyCustody() = default;

  [[nodiscard]] virtual EpochKeys& keys() = 0;
  [[nodiscard]] virtual Generation generation() const = 0;
  [[nodiscard]] virtual Digest keyring_digest() const = 0;  // SHA-256 of the newest keyring file
  [[nodiscard]] virtual Digest keyring_predecessor() const = 0;
  // Files with higher numbers than the keyring that was opened, and why none of them is the newest keyring. Highest
  // first.
  using PassedOver = std::vector<std::pair<std::string, Error>>;
  [[nodiscard]] virtual PassedOver passed_over() const { return {}; }
  [[nodiscard]] virtual EncryptionStatus status() const = 0;
  [[nodiscard]] virtual std::uint64_t incarnation() const = 0;
  // The fingerprint of an epoch (epoch_fingerprint). NotFound: the keyring has no such epoch. KeyRevoked when sealed,
  // unless it was asked for before.
  [[nodiscard]] virtual Result<Digest> fingerprint_of(EpochNumber epoch) = 0;
  // Success if the open keyring is the one with that generation and digest, or descends from it by its predecessors (an
  // interrupted key change leaves one that is newer than the head). RollbackDetected otherwise.
  [[nodiscard]] virtual Status check_descends_from(Generation generation, const Digest& digest) const = 0;
  // A key derived from the root key for that purpose (HKDF info = label), to be kept no longer than a walk over many
  // files that are checked with it. KeyRevoked when sealed.
  [[nodiscard]] virtual Result<SecretBuffer> root_key_for(std::string_view label) const = 0;
  // HMAC-SHA-256 under that key.
  [[nodiscard]] virtual Result<Digest> root_mac(std::string_view label, ByteView message) const = 0;

  // To be called once the vault around it stands: before any change of keys, and when no job of before is in progress
  // any more. Owner only; `host` outlives the custody's last call. Nothing is recorded yet.
  virtual void attach(KeyChangeHost& host) = 0;
  // Once a head names what is written from here on: has the update of keys recorded that the keyring held at attach(),
  // if a crash came before its job.
  virtual void record_update_of_before() {}

  // Rules 1, 2 and 3(b): lists the versions, one unwrap by the Active one, lets a newer version take effect if the
  // reference follows and it may wrap, retires what may retire, notices early disabling, heals. Provider trouble is in
  // the status and is returned as an error: KeyRevoked, KeyVersionDisabledTooEarly is only reported in the status.
  [[nodiscard]] virtual Result<RefreshOutcome> refresh() = 0;

  // A backup job has Completed. Makes condition (a) durable if it became true; call refresh() afterwards for (b).
  [[nodiscard]] virtual Status job_completed(JobNumber job, Lsn begun) = 0;

  // Remembers durably that an item was attempted. No-op after the first time.
  [[nodiscard]] virtual Status item_attempted() = 0;

  // Another key (or key vault, or pinned version): unwraps with the old, proves the new. EncryptionNotChangeable for a
  // platform-managed vault with items; the refusals of create() otherwise.
  [[nodiscard]] virtual Status set_key(const KeyRef& key) = 0;

  // Another identity, proven by an unwrap as that identity through the provider before anything changes; the key stays.
  // IdentityNotFound, IdentityDisabled, KeyVaultDenied.
  [[nodiscard]] virtual Status set_identity(const std::string& identity) = 0;

  // A fresh keyring key under the Active version (key rewrap). With drop_retiring every Retiring slot goes, after proof
  // 3(b).
  [[nodiscard]] virtual Status rewrap(bool drop_retiring) = 0;

  // Another escrow recipient (DER SubjectPublicKeyInfo of an RSA key), or none, under a fresh keyring key. Where one
  // was before, a new DEK epoch begins too, so that the old private key opens neither a keyring nor data from then on;
  // that wants that no version is Retiring (KeyVersionInUse): keyring keys that the old one has seen open the newest
  // keyring by a Retiring slot. No-op if nothing would change.
  [[nodiscard]] virtual Status set_escrow(const std::optional<Bytes>& public_key) = 0;

  struct RecoverRequest {
    std::optional<KeyRef> key;            // none: a new platform key, for a platform-managed vault
    std::optional<std::string> identity;  // none: as it was
  };
  // The end of a disaster: a fresh keyring key under another key, without asking for the versions that the vault had,
  // which are Retired at once; and a new DEK epoch, as at a retirement. REQUIRES: opened with the escrow key. The
  // vault is introduced to the new key's key vault as at a creation (KeyVaultResolver::introduce). The new key is held
  // to what create() demands; InvalidArgument if a customer-managed vault is given no key, EncryptionNotChangeable as
  // for set_key(). An infrastructure key that came out of the escrow slot is installed on the machine first. A failure
  // has changed nothing of the vault.
  [[nodiscard]] virtual Status recover(const RecoverRequest& request) = 0;

  // A new DEK for all data from now on (key new-epoch), after an unwrap by the Active version through the provider.
  // What is stored already stays under the older epochs, which the keyring goes on holding.
  [[nodiscard]] virtual Status new_epoch() = 0;

  // InvalidArgument outside the ranges of AccessLimits.
  [[nodiscard]] virtual Status set_limits(const AccessLimits& limits) = 0;

  // Opens the keyring as storage has it by each of its slots, Active and Retiring, through the providers (key drill).
  // Changes nothing and needs no other key than those; errors are of reading the keyring.
  [[nodiscard]] virtual Result<std::vector<KeyDrill>> drill() = 0;

  // Right after attach(), before the first head: a keyring of an older form gets its successor in the form of now, with
  // the same keys, so that an older program refuses the vault by name instead of passing over what it does not know.
  // `headed` is the keyring that the newest head names. The caller writes a head next.
  [[nodiscard]] virtual Status carry_over(Generation headed) = 0;

  // Starts a new incarnation and epoch: after an older copy of the vault was accepted by name.
  [[nodiscard]] virtual Status new_incarnation() = 0;

  // Rule 7: called often (every second or so) by the owner. Seals (wipes all keys) when a grace or TTL is over, after
  // `before_wipe` (which closes cleanly what was acknowledged) has been called, unless access came back meanwhile. True
  // if the vault is sealed now. From one thread.
  virtual bool enforce_deadlines(const std::function<void()>& before_wipe) = 0;
};

}  // namespace vaultfs
