#pragma once

#include <filesystem>

#include "base/result.h"
#include "fs/content/progress_meter.h"
#include "fs/restore/restore.h"
#include "fs/tree/file_tree.h"
#include "vaultmeta/vault/vault.h"

namespace vaultfs {

// Regular files below `directory` and the sum of their sizes, each file counted once however many names it has.
struct TreeSize {
  std::uint64_t files = 0;
  std::uint64_t logical_bytes = 0;
  std::uint64_t largest_file = 0;
  std::uint64_t symbolic_links = 0;
};
[[nodiscard]] Result<TreeSize> measure_tree(FileTree& tree, InodeNumber directory);

// Restores everything below `root` into the directory `to`: directories, files, links, special files, with owners,
// modes and times. All is made in a private directory inside `to` first, and moved to its place when it is whole: after
// a failure `to` is as it was. With `force`, existing entries of the same names are replaced as a whole.
// RefusedOverwrite, and the errors of restore_content. Adds to `outcome`.
[[nodiscard]] Status restore_tree(Vault& vault, FileTree& tree, InodeNumber root, const RestoreRequest& request,
                                  const TreeSize& size, ProgressMeter& progress, RestoreOutcome& outcome);

}  // namespace vaultfs
