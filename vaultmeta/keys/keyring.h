#pragma once

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "base/bytes.h"
#include "base/clock.h"
#include "base/ids.h"
#include "base/result.h"
#include "crypto/memory/secret_buffer.h"
#include "vaultmeta/keys/escrow.h"
#include "vaultmeta/keys/rotation_rule.h"

namespace vaultfs {

inline constexpr std::size_t kKeyringKeyBytes = 32;  // of each key that a keyring holds
inline constexpr std::uint32_t kMaxRefreshMinutes = 60;

// VAULT/keyrings/G.keyring (docs/format.md, section 7): clear slots that say who can unwrap the keyring key K, and the
// secrets, sealed under K and authenticated by the root key. The format version (4 to 6) tells whether there is an
// escrow recipient (5), and whether its slot holds the infrastructure key too (6): programs that know of none refuse it
// by name instead of losing it at the next change of keys. Versions 1 to 3 are the same without KeyUpdate, void
// platform key and the generations of the rule's roles; they are read and no more written.

enum class SlotKind : std::uint8_t {
  key_vault = 1,  // K in an envelope, wrapped by a KEK version
  platform = 2,   // K in a sealed box under a platform key of the machine
  // 3 and 4 are the escrow key's in the contexts of wraps; its slot has a form and a place of its own (escrow.h).
};

inline constexpr const char* kKeyringFolder = "keyrings";
inline constexpr const char* kKeyringExtension = "keyring";
inline constexpr std::size_t kMaxKeyringBytes = 1U << 20;
inline constexpr std::size_t kMaxKeyringSlots = 64;
inline constexpr std::size_t kMaxKeyringEpochs = 4096;

// The blob that holds a generation: "keyrings/000000000000002a.keyring".
[[nodiscard]] std::string keyring_blob_name(Generation generation);

// Clear, but authenticated by the keyring once it is open.
struct KeyringSlot {
  SlotKind kind = SlotKind::key_vault;
  VersionRole role = VersionRole::active;  // active or retiring
  std::string key_vault;                   // name at the time of wrapping; a hint
  std::string key;
  std::string version;    // native version id; platform: the platform key's id in hex
  std::string algorithm;  // "RSA-OAEP-256"; platform: "platform"
  std::string identity;   // "system" or a user-assigned name
  Generation wrapped_in;  // the keyring generation in which `wrapped` was made: part of its context
  Bytes wrapped;          // active: the envelope of K. retiring: of the keyring key of that time
  Bytes link;             // retiring only: K sealed (seal_box) under that older keyring key
  [[nodiscard]] VersionName name() const { return {version, key_vault, key}; }
};

// The context bound inside a slot's envelope: vault id ‖ wrapped_in ‖ kind ‖ key vault ‖ key ‖ version
// (format.md, 7.2).
[[nodiscard]] Bytes slot_context(const VaultId& vault, const KeyringSlot& slot);

// The keyring key of generation `generation` for a Retiring slot: sealed under the older keyring key that the slot's
// `wrapped` holds, and back (WrongKey, AuthenticationFailed).
[[nodiscard]] Result<Bytes> seal_link(const VaultId& vault, Generation generation, const KeyringSlot& slot,
                                      const SecretBuffer& older_key, const SecretBuffer& keyring_key);
[[nodiscard]] Result<SecretBuffer> open_link(const VaultId& vault, Generation generation, const KeyringSlot& slot,
                                             const SecretBuffer& older_key);

struct EpochRecord {
  SecretBuffer dek;  // 32 bytes
  UnixNanos created;
  std::optional<ContainerNumber> last_segment;  // set when the epoch is closed
};

// How the vault is encrypted: the settings of the source documents.
struct EncryptionSettings {
  bool customer_managed = false;
  std::string key_vault;  // empty when platform-managed
  std::string key;
  std::optional<std::string> pinned_version;
  std::string identity = "system";
  bool item_ever_attempted =
      false;  // after the first attempt to protect an item there is no way to customer-managed keys
  std::uint32_t refresh_minutes = 15;  // 1 to kMaxRefreshMinutes
  std::uint32_t revocation_grace_seconds = 5 * 60;
  std::uint32_t outage_ttl_seconds = 24 * 3600;
};

// The newest change of keys that came about. It is stored by the very keyring that it made, so that a crash before its
// job was recorded does not lose it.
struct KeyUpdate {
  JobNumber job;        // the number of its job, which was taken for it before
  std::string what;     // "key.take-effect"
  std::string version;  // or whatever else its job names
  UnixNanos time;
  bool operator==(const KeyUpdate&) const = default;
};

// The sealed part in memory.
struct KeyringSecrets {
  SecretBuffer root_key;  // 32
  SecretBuffer id_key;    // 32
  std::map<EpochNumber, EpochRecord> epochs;
  std::map<VersionName, SecretBuffer> retiring_keys;  // of a slot → the keyring key that its `wrapped` holds
  EncryptionSettings settings;
  RotationRule rule;
  std::uint64_t incarnation = 1;
  std::optional<EscrowRecipient> escrow;  // whom each keyring key is wrapped for too
  // The platform key that a customer-managed one took the place of: it opens nothing any more and has to be deleted
  // from the machine, again wherever a recovery file brings it back.
  std::optional<PlatformKeyId> void_platform_key;
  std::optional<KeyUpdate> last_update;  // none: platform-managed and never changed, or of an older form

  [[nodiscard]] Result<KeyringSecrets> clone() const;
  // Forgets every secret; settings, rule and incarnation stay.
  void wipe_keys() noexcept;
};

struct Keyring {
  VaultId vault;
  Generation generation;
  Digest predecessor;    // SHA-256 of the keyring file before it; zero for the first
  Digest header_digest;  // SHA-256 of vault.header
  std::vector<KeyringSlot> slots;
  std::optional<EscrowSlot> escrow;  // there if secrets.escrow is, and for the same key
  KeyringSecrets secrets;

  // The whole file, sealed under `keyring_key` with a fresh salt. InvalidArgument if a field is beyond the format's
  // limits.
  [[nodiscard]] Result<Bytes> seal(const SecretBuffer& keyring_key) const;
  [[nodiscard]] Result<Keyring> clone() const;
  // The Active slot. REQUIRES: it has one, as every decoded keyring.
  [[nodiscard]] const KeyringSlot& active_slot() const;
};

// What can be read of a keyring file without any key. Not authenticated.
struct ClosedKeyring {
  VaultId vault;
  std::uint16_t format = 0;
  Generation generation;
  Digest predecessor;
  Digest header_digest;
  std::vector<KeyringSlot> slots;  // exactly one is active
  std::optional<EscrowSlot> escrow;
  [[nodiscard]] const KeyringSlot& active_slot() const;
  // Of a form that is read and no more written.
  [[nodiscard]] bool of_older_form() const;
  // DamagedKeyring, UnsupportedFormat.
  [[nodiscard]] static Result<ClosedKeyring> decode(ByteView file);
};

// Whether the file is authentic by the root key's MAC, without opening it. AuthenticationFailed, DamagedKeyring.
[[nodiscard]] Status check_keyring_mac(ByteView file, const SecretBuffer& root_key);

// Opens the sealed part and checks the root key's MAC over the whole file, the slots' digest included.
// WrongKey (commitment), DamagedKeyring, UnsupportedFormat, AuthenticationFailed. Whether the root key is the pinned
// one is the caller's check.
[[nodiscard]] Result<Keyring> open_keyring(ByteView file, const SecretBuffer& keyring_key);

// The platform key of such a slot; DamagedKeyring if it names none.
[[nodiscard]] Result<PlatformKeyId> platform_key_of(const KeyringSlot& slot);

// A version that takes effect now, as the rule keeps it.
[[nodiscard]] VersionRecord record_of(const KeyringSlot& slot, const Keyring& keyring);

// Success unless the vault is platform-managed and an item was ever attempted: EncryptionNotChangeable.
[[nodiscard]] Status check_key_may_be_set(const EncryptionSettings& settings);

// The Active slot wrapped anew; its version is known under the fresh slot's names from now on.
void replace_active_slot(Keyring& next, const KeyringSlot& fresh);

// `fresh` becomes the Active slot and the one before it Retiring: that keeps its wrap, and the sealed part remembers
// the key that is in it.
[[nodiscard]] Status supersede_active_slot(Keyring& next, const SecretBuffer& current_key, KeyringSlot fresh);

}  // namespace vaultfs
