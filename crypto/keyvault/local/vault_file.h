#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/bytes.h"
#include "base/files/env.h"
#include "base/result.h"
#include "crypto/keyvault/access_policy.h"
#include "crypto/keyvault/local/local_key_vault.h"

namespace vaultfs {

inline constexpr std::int64_t kLocalVaultFormat = 1;

// DIRECTORY/vault.json, the properties of a local key vault:
//   {"format":1,"name","created","protection":"machine-key"|"passphrase","region","soft_delete","purge_protection",
//    "retention_days","access":[{"identity","label","permissions":["get"|"list"|"wrapkey"|"unwrapkey",…]},…],
//    "passphrase_box"}
// Files of before they existed have no `retention_days` (then it is 90) and no `access`: then every identity is let in,
// while an empty list lets none in.
// `passphrase_box` (base64, with protection "passphrase" only) is the vault's protection key sealed under the
// passphrase.
struct LocalVaultFile {
  std::string name;
  std::int64_t created_unix_seconds = 0;
  LocalKeyVaultOptions options;
  std::optional<std::vector<AccessPolicy>> access;
  Bytes passphrase_box;

  // Purge protection is none without it.
  [[nodiscard]] bool keeps_deleted_keys() const noexcept { return options.soft_delete || options.purge_protection; }

  [[nodiscard]] std::string encode() const;
  // DamagedMachineState naming `path`, also if the file belongs to a key vault of another name; UnsupportedFormat.
  [[nodiscard]] static Result<LocalVaultFile> decode(std::string_view json, const std::string& name,
                                                     const std::string& path);
};

[[nodiscard]] bool is_retention(std::int64_t days) noexcept;  // 7 to 90

[[nodiscard]] Env::Path local_vault_file_path(const Env::Path& directory);

// Reads and decodes. KeyVaultUnavailable if the directory or the file is missing (a disk that is not mounted looks so).
[[nodiscard]] Result<LocalVaultFile> read_local_vault_file(Env& env, const Env::Path& directory,
                                                           const std::string& name);

}  // namespace vaultfs
