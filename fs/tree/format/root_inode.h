#pragma once

#include "base/ids.h"

namespace vaultfs {

inline constexpr InodeNumber kRootInode{1};  // the mount's root: holds item directories only

}  // namespace vaultfs
