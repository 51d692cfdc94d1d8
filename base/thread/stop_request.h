#pragma once

namespace vaultfs {

// Whether this process has been asked to stop what it does (Ctrl-C, SIGTERM): long work and waits look at it now and
// then and end as Interrupted, in order. Never set in a daemon, which ends by other means. Thread-safe; request_stop()
// may be called by a signal handler.
void request_stop() noexcept;
[[nodiscard]] bool stop_requested() noexcept;

}  // namespace vaultfs
