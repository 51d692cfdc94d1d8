#pragma once

#include <nlohmann/json.hpp>

namespace vaultfs {

// How long a single call on a file may take, while the disk below it moves nothing at all.
inline constexpr int kLongCallSeconds = 30;

// What this process waits for: null, or {"what","seconds"} once the kernel has kept a call for longer than that. For
// the control socket's watch (end_watch.h). Thread-safe.
[[nodiscard]] nlohmann::json long_pending_call();

}  // namespace vaultfs
