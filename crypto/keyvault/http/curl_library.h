#pragma once

#include "base/result.h"

namespace vaultfs {

// Starts libcurl with all its memory in the locked pool, once a process, and never undoes it: that is not allowed while
// threads run. What a child of fork() does with it ends the child. False if it cannot start. Before any other call to
// libcurl; thread-safe.
[[nodiscard]] bool curl_ready();

// MemoryLockFailed: libcurl found no more memory in the locked pool.
[[nodiscard]] Error no_memory_for_curl();

}  // namespace vaultfs
