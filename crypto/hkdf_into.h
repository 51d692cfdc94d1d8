#pragma once

#include "base/bytes.h"
#include "base/result.h"

namespace vaultfs {

// hkdf_sha256() into memory that the caller has, e.g. a PooledSecret, where a key is needed for a moment only: a
// SecretBuffer costs a dozen system calls.
[[nodiscard]] Status hkdf_sha256_into(ByteView input_key, ByteView salt, ByteView info, MutableByteView out);

}  // namespace vaultfs
