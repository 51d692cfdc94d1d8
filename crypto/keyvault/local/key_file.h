#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/bytes.h"
#include "base/files/env.h"
#include "base/result.h"
#include "crypto/keyvault/key_vault.h"
#include "crypto/keyvault/rotation_policy.h"

namespace vaultfs {

inline constexpr std::int64_t kLocalKeyFormat = 1;

// When the newest version was seen first although it is dated in the future: a clock was ahead once, and a rotation
// policy counts from here until that date has come.
struct LocalRotationSighting {
  std::string version;
  std::int64_t at = 0;  // Unix seconds
  bool operator==(const LocalRotationSighting&) const = default;
};

// One version as it is stored.
struct LocalKeyVersion {
  KeyVersionInfo info;
  Bytes public_der;      // SubjectPublicKeyInfo
  Bytes sealed_private;  // sealed box over the PKCS#8 DER of the private key
  // When its private key last left the key vault, Unix seconds; nothing: never, or before this was kept.
  std::optional<std::int64_t> exported = std::nullopt;
};

// A key that was deleted and is kept.
struct LocalKeyDeletion {
  std::int64_t at = 0;           // Unix seconds
  std::int64_t purge_after = 0;  // from then on it is gone
};

// DIRECTORY/keys/NAME.json, one key of a local key vault:
//   {"format":1,"key","versions":[{"id","created","enabled","nbf","exp","bits","public_key","private_key","exported"},
//    …],
//    "deleted":{"at","purge_after"},
//    "rotation_policy":{"after_create_days","before_expiry_days","expiry_days"},
//    "rotation_counts_from":{"version","at"}}
// Times are Unix seconds; nbf and exp are null where not set; keys are base64. Versions stand in the order in which
// they were added. `exported` (of a version), `deleted` (the key is kept for recovery), `rotation_policy` and
// `rotation_counts_from` are absent where there is none, as in files of before they existed; absent members of a policy
// are not set.
//
// Only the private keys are sealed; `enabled`, the times and the order are plain on purpose: the key vault's
// administrator may edit them by hand, like the state of any other key vault, and the next call sees it. Whoever can
// write the file can therefore disable, enable or reorder versions, but not read a private key. A public key can't be
// swapped under its id, which is its hash.
struct LocalKeyFile {
  std::string key;
  std::vector<LocalKeyVersion> versions;
  std::optional<LocalKeyDeletion> deleted = std::nullopt;
  std::optional<RotationPolicy> rotation_policy = std::nullopt;
  std::optional<LocalRotationSighting> rotation_counts_from = std::nullopt;

  // Null if there is none of that id.
  [[nodiscard]] LocalKeyVersion* find(std::string_view id);
  // By `created`, then by the order in the file. Pointers into `versions`; never empty after decode.
  [[nodiscard]] std::vector<const LocalKeyVersion*> oldest_first() const;
  // The newest version as its rotation policy counts: what is dated in the future counts from its sighting, with the
  // expiry that the policy gave it. Nothing: it has to be noted first (rotation_counts_from), now.
  [[nodiscard]] std::optional<KeyVersionInfo> newest_for_policy(std::int64_t now_unix_seconds) const;

  [[nodiscard]] std::string encode() const;
  // DamagedMachineState naming `path` unless everything is as encode writes it, ids are unique and match their public
  // keys; UnsupportedFormat.
  [[nodiscard]] static Result<LocalKeyFile> decode(std::string_view json, const std::string& key,
                                                   const std::string& path);
};

// The id of a version: the first 32 hex digits of SHA-256 of its SubjectPublicKeyInfo.
[[nodiscard]] std::string local_version_id(ByteView public_der);

[[nodiscard]] Env::Path local_keys_directory(const Env::Path& directory);
[[nodiscard]] Env::Path local_key_file_path(const Env::Path& directory, const std::string& key);

// Reads and decodes a key of the local key vault `name`. KeyNotFound if the file is missing while its folder is there,
// DamagedMachineState if the folder is missing, KeyVaultUnavailable if it can't be read.
// REQUIRES: is_key_name(key).
[[nodiscard]] Result<LocalKeyFile> read_local_key_file(Env& env, const Env::Path& directory, const std::string& name,
                                                       const std::string& key);

// Replaces or makes the key's file, durably and as a whole. NotSupported if it would grow beyond what is read again.
[[nodiscard]] Status write_local_key_file(Env& env, const Env::Path& directory, const LocalKeyFile& file);

}  // namespace vaultfs
