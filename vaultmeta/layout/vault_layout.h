#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <vector>

#include "base/result.h"
#include "store/blobs/blob_store.h"

namespace vaultfs {

// The folders of a vault (docs/format.md, section 1): the one home of their names.
struct VaultFolder {
  const char* name;
  const char* extension;

  // "heads/000000000000002a.head".
  [[nodiscard]] std::string file(std::uint64_t number) const {
    return std::string(name) + '/' + numbered_name(number, extension);
  }
};

inline constexpr VaultFolder kKeyringFiles{"keyrings", "keyring"};
inline constexpr VaultFolder kHeadFiles{"heads", "head"};
inline constexpr VaultFolder kSegmentFiles{"segments", "seg"};
inline constexpr VaultFolder kJournalFiles{"journal", "journal"};
inline constexpr VaultFolder kCheckpointFiles{"checkpoints", "checkpoint"};
inline constexpr VaultFolder kPointFiles{"points", "point"};
inline constexpr VaultFolder kActivityFiles{"activity", "activity"};
inline constexpr VaultFolder kIndexFiles{"index", "index"};
inline constexpr std::array kVaultFolders{kKeyringFiles,    kHeadFiles,  kSegmentFiles,  kJournalFiles,
                                          kCheckpointFiles, kPointFiles, kActivityFiles, kIndexFiles};

inline constexpr const char* kLockFileName = "vault.lock";
// Who holds its lock, shared, keeps the owner from removing segments. Never written to.
inline constexpr const char* kHoldFileName = "vault.hold";
inline constexpr const char* kUnfinishedSuffix = ".tmp";
inline constexpr const char* kOpenSegmentExtension = "open";

// Most bytes that a file read as a whole may have.
inline constexpr std::uint64_t kMaxHeaderBytes = std::uint64_t{64} * 1024;
inline constexpr std::uint64_t kMaxHeadBytes = std::uint64_t{64} * 1024;

// The numbers of a folder's files, ascending; files of other names are passed over.
[[nodiscard]] Result<std::vector<std::uint64_t>> list_numbers(BlobStore& blobs, const VaultFolder& folder);

// `error` as the stored file's own error: NotFound becomes `missing`, the rest is passed on with the file's name.
[[nodiscard]] Error stored_file_error(Error error, ErrorCode missing, const std::string& file);

}  // namespace vaultfs
