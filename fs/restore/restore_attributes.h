#pragma once

#include <string>

#include "base/result.h"
#include "fs/restore/restore.h"
#include "fs/tree/attributes.h"
#include "fs/tree/file_tree.h"

namespace vaultfs {

// Gives what was restored the owner, extended attributes, mode and times that the point has. What this user or the file
// system there can't keep is counted in `outcome`, and the rest goes on: as with tar. Without its owner a file gets no
// set-id bits.

// Of `name` in the directory `parent`.
[[nodiscard]] Status restore_attributes(FileTree& tree, int parent, const std::string& name,
                                        const Attributes& attributes, RestoreOutcome& outcome);
// Of an open file, which may have no name yet.
[[nodiscard]] Status restore_attributes(FileTree& tree, int file, const Attributes& attributes,
                                        RestoreOutcome& outcome);

}  // namespace vaultfs
