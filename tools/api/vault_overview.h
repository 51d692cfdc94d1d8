#pragma once

#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "fs/engine/vault_engine.h"
#include "tools/api/key_exports.h"
#include "tools/api/request_handler.h"

namespace vaultfs {

struct ItemOverview {
  ItemInfo item;
  std::uint64_t points = 0;
  std::uint64_t unproven_points = 0;
};
struct ReserveOverview {
  std::uint64_t bytes = 0;
  unsigned files = 0;
  bool whole = false;
  bool spent = false;
};
// The answer to vault.show.
struct VaultOverview {
  VaultHeader header;
  std::filesystem::path path;
  std::filesystem::path mounted_on;  // empty: not mounted
  bool read_only = false;
  std::uint64_t stored_bytes = 0;
  std::uint64_t chunks = 0;
  std::uint64_t damaged_chunks = 0;
  WorkingTree::Statistics tree;
  std::optional<ReserveOverview> reserve;  // nothing: by a reader
  std::vector<ItemOverview> items;         // of which something is there
  EncryptionStatus encryption;
  std::optional<KeyExports> key_exports;
  std::vector<std::string> notes;  // of the opening
};
[[nodiscard]] VaultOverview vault_overview(const RequestContext& context);

// What one data key epoch still has, and the versions that could read it: whoever had one of these at the time.
struct EpochOverview {
  EpochUse use;
  std::vector<std::string> versions;
};
// The answer to encryption.show.
struct EncryptionOverview {
  EncryptionStatus status;
  std::vector<EpochOverview> epochs;  // the current one in any case
};
[[nodiscard]] EncryptionOverview encryption_overview(Vault& vault);

// The answer to encryption.refresh.
struct RefreshAnswer {
  EncryptionStatus status;
  RefreshOutcome outcome;
};

}  // namespace vaultfs
