#pragma once

#include <filesystem>
#include <string>

#include "base/result.h"
#include "fs/session.h"

namespace vaultfs {

struct RestoreRequest {
  std::string item;
  std::string point;         // id, number, or empty for the newest
  std::string disk;          // path inside the item; empty: the only disk, or all files if `to` is a directory
  std::filesystem::path to;  // file to create, block device, or directory
  bool force = false;        // replace an existing file
};

struct RestoreOutcome {
  PointInfo point;
  std::uint64_t files = 0;
  std::uint64_t logical_bytes = 0;
  std::uint64_t written_bytes = 0;    // holes excluded
  std::uint64_t lost_attributes = 0;  // extended attributes that the file system there does not keep
};

// Restores a point: sparse (holes stay holes; on a block device they are zeroed), several chunks in parallel, each
// chunk's ChunkId recomputed and compared before it is written, what was written read back and compared by hash at the
// end where `to` is a file or device
// ("verified as written"), synced. A file is written under a temporary name and renamed when it is whole: a failure
// leaves nothing behind. RefusedOverwrite for an existing file without force, ShortDevice, RestoreMismatch, NoSpace,
// ItemNotFound, RecoveryPointNotFound, DiskNotFound (naming the disks there are).
[[nodiscard]] Result<RestoreOutcome> restore(Session& session, const RestoreRequest& request,
                                             const ProgressCallback& progress);

}  // namespace vaultfs
