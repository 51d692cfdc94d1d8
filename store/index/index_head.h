#pragma once

#include "base/ids.h"

namespace vaultfs {

// The newest head of the vault when an index was written: what tells an index of this history from one of another
// (docs/format.md, section 4.3).
struct IndexHead {
  Generation generation;
  Digest digest;  // SHA-256 of the head's file
  auto operator<=>(const IndexHead&) const = default;
};

}  // namespace vaultfs
