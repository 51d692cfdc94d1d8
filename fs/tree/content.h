#pragma once

#include "base/result.h"
#include "fs/tree/working_tree.h"
#include "vaultmeta/vault/vault.h"

namespace vaultfs {

// For verify: goes through all files of the working tree while it is at work, shows `look` the chunks that they have,
// and tells the stretches that can't be read. What writers change meanwhile may be missed. The errors of reading map
// pages that are not of integrity or I/O.
[[nodiscard]] Status look_through_tree(WorkingTree& tree, const ContentLook& look, const LossTeller& tell);

}  // namespace vaultfs
