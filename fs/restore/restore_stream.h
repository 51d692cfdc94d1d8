#pragma once

#include "base/result.h"
#include "fs/content/progress_meter.h"
#include "fs/tree/file_tree.h"
#include "vaultmeta/vault/vault.h"

namespace vaultfs {

// Writes a disk of a recovery point to a pipe, from its first byte to its last; each chunk is verified before any of it
// is written. `pipe` is this process's own open end and does not block (O_NONBLOCK). IoError if nobody reads any more,
// Interrupted, the errors of SegmentStore::read_verified; what was written by then is written. For one thread.
[[nodiscard]] Status restore_to_pipe(Vault& vault, FileTree& tree, InodeNumber inode, std::uint64_t size_bytes,
                                     int pipe, ProgressMeter& progress);

}  // namespace vaultfs
