#pragma once

#include <sys/resource.h>
#include <sys/types.h>

#include <csignal>

#include "base/result.h"

namespace vaultfs {

// What a process was started with, for what it starts on behalf of its user.
struct Inherited {
  mode_t umask = 022;
  sigset_t blocked{};
  bool ignores_interrupt = false;  // SIGINT: a background job of a script
  bool ignores_terminate = false;  // SIGTERM
  bool ignores_hang_up = false;    // SIGHUP: nohup
  bool ignores_pipe = false;
  rlimit descriptors{};
};

// What a process inherits decides nothing: it is brought into a known state, or refused with the reason. First thing in
// the main() of every program, before a file is opened or a thread is started; once.
//
//   - Descriptors 0 to 2 are open (/dev/null where they were closed), so that no file of ours gets such a number.
//   - No signal is blocked. SIGCHLD and SIGTERM have their defaults: without them there is no waiting for children, and
//     no end. SIGPIPE and SIGXFSZ are ignored: what cannot be written is an error, not the end of the process.
//   - Files are made for this user alone: no umask takes them from their owner, and none gives them to others.
//   - The soft limits on descriptors, processor time, file sizes and the stack are raised to the hard ones, as far as
//     that is of use; threads get stacks of one size.
const Inherited& repair_inheritance() noexcept;
// What there was before.
[[nodiscard]] const Inherited& inherited() noexcept;

// The system's programs (mount, umount, fusermount3) are those in the system's directories, whatever PATH says. For
// programs that start none for their user.
void use_system_programs() noexcept;

// Whether the hard limits let a process live that serves for days: NotPermitted, which names the limit.
[[nodiscard]] Status check_limits_of_daemon();

}  // namespace vaultfs
