#pragma once

#include <memory>

#include "fs/tree/file_tree.h"
#include "vaultmeta/vault/vault.h"

namespace vaultfs {

// A recovery point, read-only. The root inode is the item's directory. Keeps the manifest in memory, map pages load on
// demand.
[[nodiscard]] Result<std::unique_ptr<FileTree>> open_point_tree(Vault& vault, const PointInfo& point,
                                                                InodeNumber& root);

}  // namespace vaultfs
