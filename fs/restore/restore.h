#pragma once

#include <filesystem>
#include <string>

#include "base/result.h"
#include "fs/content/progress_meter.h"
#include "vaultmeta/vault/vault.h"

namespace vaultfs {

struct RestoreRequest {
  std::string item;
  std::string point;          // id, number, or empty for the newest
  std::string disk;           // path inside the item; empty: the only disk, or all files if `to` is a directory
  std::filesystem::path to;   // file to create, block device, or directory
  bool force = false;         // replace an existing file
  bool replace_open = false;  // also one that another process has open for writing, or locked as a virtual machine does
  // Instead of `to`: the disk goes into this pipe (restore_to_pipe). The caller's.
  int pipe = -1;
};

struct RestoreOutcome {
  PointInfo point;
  std::uint64_t files = 0;
  std::uint64_t logical_bytes = 0;
  std::uint64_t written_bytes = 0;    // holes excluded
  std::uint64_t lost_attributes = 0;  // extended attributes that the file system there does not keep
  std::uint64_t lost_owners = 0;      // owners that this user may not set: the file is the user's, without set-id bits
  std::uint64_t lost_modes = 0;       // modes and times that the file system there does not keep
  std::uint64_t lost_files = 0;       // devices, pipes, sockets that this user or the file system there can't make
  std::uint64_t split_links = 0;      // names that got a copy, because the file system there has no hard links
};

// Restores a point: sparse (holes stay holes; on a block device they are zeroed), several chunks in parallel, each
// chunk's ChunkId recomputed and compared before it is written, what was written read back and compared by hash at the
// end where `to` is a file or device
// ("verified as written"), synced. A file is written under a temporary name and renamed when it is whole: a failure
// leaves nothing behind. RefusedOverwrite for an existing file without force, ShortDevice, RestoreMismatch, NoSpace,
// ItemNotFound, RecoveryPointNotFound, DiskNotFound (naming the disks there are),
// ItemBusy for a file that somebody else goes on using, NotSupported for a file system that lacks what the point needs:
// both before the first byte.
[[nodiscard]] Result<RestoreOutcome> restore(Vault& vault, const RestoreRequest& request,
                                             const ProgressCallback& progress);

}  // namespace vaultfs
