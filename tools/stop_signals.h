#pragma once

#include <string>

namespace vaultfs {

// Ctrl-C, SIGTERM and SIGHUP ask a command to stop (base/thread/stop_request.h); the second one of a kind ends it at
// once. One that was ignored when the program was started (nohup, a background job of a script) stays so. After
// repair_inheritance().
void hear_stop_signals() noexcept;
// The first of them that came; 0: none.
[[nodiscard]] int stop_signal() noexcept;
// SIGINT, SIGTERM, SIGHUP.
[[nodiscard]] std::string stop_signal_name();

}  // namespace vaultfs
