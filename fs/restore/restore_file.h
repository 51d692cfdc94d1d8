#pragma once

#include <cstdint>

#include "base/result.h"
#include "fs/content/progress_meter.h"
#include "fs/restore/restore_target.h"
#include "fs/tree/file_tree.h"
#include "vaultmeta/vault/vault.h"

namespace vaultfs {

// Writes the content of a recovery point's file to `target`, with all cores, and proves it: every chunk's ChunkId is
// recomputed before it is written, everything is synced, read back and compared. The number of bytes written, holes
// excluded. The errors of SegmentStore::read_verified, of the target, RestoreMismatch, Interrupted.
// `progress` is told each byte of the file twice: when written and when compared.
[[nodiscard]] Result<std::uint64_t> restore_content(Vault& vault, FileTree& tree, InodeNumber inode,
                                                    std::uint64_t size_bytes, RestoreTarget& target,
                                                    ProgressMeter& progress);

}  // namespace vaultfs
