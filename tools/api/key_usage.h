#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "vaultmeta/vault/vault.h"

namespace vaultfs {

// What a vault says of itself when somebody asks which keys it needs: the answer to key.usage.
struct KeyUsage {
  std::string vault;  // id in hex
  std::string path;
  std::uint64_t recovery_points = 0;
  std::uint64_t keyring_generation = 0;
  std::string identity;
  bool follows_new_versions = false;
  std::vector<VersionRecord> versions;
};
[[nodiscard]] KeyUsage key_usage_of(Vault& vault);

}  // namespace vaultfs
