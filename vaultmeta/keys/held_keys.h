#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/clock.h"
#include "base/thread/mutex.h"
#include "store/record/epoch_keys.h"
#include "vaultmeta/keys/access_state.h"
#include "vaultmeta/keys/kek_access.h"
#include "vaultmeta/keys/key_custody.h"
#include "vaultmeta/keys/newest_keyring.h"

namespace vaultfs {

// What can fail of using the keys of a keyring: done before the keyring is written, for what is durable has to be taken
// over.
struct KeyMaterial {
  std::map<EpochNumber, EpochKeys::Epoch> epochs;
  SecretBuffer id_key;
  VaultFingerprint newest;
  [[nodiscard]] static Result<KeyMaterial> of(const Keyring& keyring);
};

// The keyring in force and its keys in memory, and rule 7: since when access is denied or its key vault out of reach,
// and the wiping of every key when grace or TTL is over. Knows no storage and no key vault, and never waits. It owns
// one lock, under which only that of EpochKeys is taken. Thread-safe.
class HeldKeys {
 public:
  HeldKeys(const VaultHeader& header, const Clock& clock)
      : header_(header), clock_(clock), keys_(header.id, header.suite) {}

  [[nodiscard]] EpochKeys& keys() noexcept { return keys_; }
  struct Place {
    Generation generation;
    Digest digest;  // of the keyring's file
    Digest predecessor;
  };
  [[nodiscard]] Place place() const;
  [[nodiscard]] KeyCustody::PassedOver passed_over() const;
  [[nodiscard]] std::uint64_t incarnation() const;
  [[nodiscard]] EncryptionStatus status() const;
  // As KeyCustody's.
  [[nodiscard]] Result<Digest> fingerprint_of(EpochNumber epoch);
  [[nodiscard]] Result<SecretBuffer> root_key_for(std::string_view label) const;

  // What a call of a key vault needs of the keyring, copied so that no lock is held over it.
  struct Snapshot {
    Generation generation;
    KeyringSlot active;
    std::vector<KeyringSlot> slots;
    EncryptionSettings settings;
    RotationRule rule;
    std::optional<EscrowRecipient> escrow;
  };
  [[nodiscard]] Snapshot snapshot() const;
  [[nodiscard]] std::optional<KeyUpdate> last_update() const;
  // The latest time that the keyring knows of.
  [[nodiscard]] UnixNanos newest_time() const;
  // Whether the stored keyring is of a form that is read and no more written.
  [[nodiscard]] bool of_older_form() const;
  // Whether the opening has passed that file over.
  [[nodiscard]] bool has_passed_over(const std::string& file) const;
  [[nodiscard]] Result<SecretBuffer> root_key() const;            // empty while sealed
  [[nodiscard]] Result<SecretBuffer> infrastructure_key() const;  // empty while sealed, and without one
  enum class Match : std::uint8_t { same, other, sealed };
  // Whether that is the keyring key.
  [[nodiscard]] Match match(const SecretBuffer& key) const;
  // The DEK epochs that have a successor and may still grow.
  struct Unclosed {
    bool any = false;
    std::vector<std::string> retired;  // versions that retire by their closing
  };
  [[nodiscard]] Unclosed unclosed() const;

  // --- The next keyring
  struct Next {
    Keyring keyring;  // a copy of the one in force, whose successor it is to be
    SecretBuffer key;
    SecretBuffer infrastructure_key;
  };
  // Nothing: the head has to name the keyring in force first, as `needs_head` demands. KeyRevoked while sealed;
  // TryAgain if the keyring in force is not `expected`.
  [[nodiscard]] Result<std::optional<Next>> begin_next(bool needs_head, std::optional<Generation> expected) const;
  // The keyring is durable, in the form of now.
  void take_over(Keyring keyring, SecretBuffer key, SecretBuffer infrastructure_key, const Digest& digest,
                 KeyMaterial material);
  // The keyring was read from storage. `infrastructure_copy` is for keys().
  void adopt(OpenedKeyring opened, SecretBuffer infrastructure_copy, KeyMaterial material);
  // The Active version is in effect from that LSN on, which the next keyring will say. Gives the last update.
  std::optional<KeyUpdate> record_effect(Lsn now);
  // Whether the stored rule says from which LSN on the Active version is in effect.
  [[nodiscard]] bool effect_is_stored() const;

  // --- Heads, and what they leave behind
  // The generation that a head has to name yet.
  [[nodiscard]] std::optional<Generation> unnamed() const;
  void named(Generation generation);
  struct Leftovers {
    Generation current;
    std::set<VersionName> needed;  // the versions of its slots
    std::optional<Digest> escrow;  // and whom its escrow slot is for
  };
  [[nodiscard]] bool leftovers_possible() const;
  // Nothing: there are none, or no head names the keyring in force yet.
  [[nodiscard]] std::optional<Leftovers> leftovers() const;
  void no_leftovers();
  // The platform key that opens nothing any more, once a head names the keyring in force.
  [[nodiscard]] std::optional<PlatformKeyId> void_platform_key() const;

  // --- Access (rule 7)
  // KeyRevoked.
  [[nodiscard]] Status check_open() const;
  // For status and deadlines. Gives it back.
  Error note_trouble(const Error& error);
  // True if that heals a sealed vault.
  [[nodiscard]] bool note_access();
  void note_unmet(std::vector<Error> unmet);
  // When the Active version expires, if that key has it.
  void note_expiry(const ReachedKey& reached);
  enum class Deadline : std::uint8_t { running, over, sealed };
  [[nodiscard]] Deadline deadline() const;
  // Wipes every key if it is over. Gives why, then. REQUIRES: no keyring is half way between storage and memory.
  [[nodiscard]] std::optional<std::string> wipe_if_over();

 private:
  [[nodiscard]] bool deadline_passed() const REQUIRES(mutex_);

  const VaultHeader header_;
  const Clock& clock_;
  EpochKeys keys_;

  mutable Mutex mutex_;
  Keyring current_ GUARDED_BY(mutex_);           // its secrets are wiped while sealed
  SecretBuffer keyring_key_ GUARDED_BY(mutex_);  // empty while sealed
  SecretBuffer infrastructure_key_ GUARDED_BY(mutex_);
  Digest digest_ GUARDED_BY(mutex_);
  std::map<EpochNumber, Digest> fingerprints_ GUARDED_BY(mutex_);  // the newest, and those that were asked for
  KeyCustody::PassedOver passed_over_ GUARDED_BY(mutex_);
  Generation headed_ GUARDED_BY(mutex_);  // newest keyring generation that a head is known to name
  bool older_form_ GUARDED_BY(mutex_) = false;
  bool rule_dirty_ GUARDED_BY(mutex_) = false;         // the rule in memory is newer than the stored one
  bool leftovers_possible_ GUARDED_BY(mutex_) = true;  // superseded keyrings may have to be deleted
  AccessState access_ GUARDED_BY(mutex_);
  std::vector<Error> unmet_ GUARDED_BY(mutex_);
  VersionName looked_at_ GUARDED_BY(mutex_);                // the Active version of the last look at its key vault
  std::optional<std::int64_t> expires_ GUARDED_BY(mutex_);  // when that one expires, Unix seconds
};

}  // namespace vaultfs
