#include "tools/inheritance.h"

#include <fcntl.h>
#include <pthread.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <string>

namespace vaultfs {
namespace {

constexpr rlim_t kDescriptors = 65536;       // that a mount has a use for, at most
constexpr rlim_t kFewestDescriptors = 256;   // that one gets along with
constexpr rlim_t kSmallestFile = 1U << 30U;  // the journal's bound; segments are smaller
constexpr std::size_t kThreadStackBytes = std::size_t{8} << 20;

// Where a program was started with one of them closed, its first files would get their numbers: what it prints would be
// written into the journal.
void open_standard_descriptors() noexcept {
  for (const int standard : {STDIN_FILENO, STDOUT_FILENO, STDERR_FILENO}) {
    if (::fcntl(standard, F_GETFD) >= 0) continue;
    // The lowest that is free, which is this one. Not close-on-exec: programs that are started get all three.
    int opened = ::open("/dev/null", standard == STDIN_FILENO ? O_RDONLY : O_WRONLY);
    if (opened < 0) opened = ::open("/", O_PATH | O_DIRECTORY);  // nothing is read or written there either
    if (opened != standard) ::_exit(1);
  }
}

bool is_ignored(int signal) noexcept {
  struct sigaction action {};
  return ::sigaction(signal, nullptr, &action) == 0 && action.sa_handler == SIG_IGN;
}

void repair_signals(Inherited& found) noexcept {
  found.ignores_interrupt = is_ignored(SIGINT);
  found.ignores_terminate = is_ignored(SIGTERM);
  found.ignores_hang_up = is_ignored(SIGHUP);
  found.ignores_pipe = is_ignored(SIGPIPE);
  for (const int signal : {SIGCHLD, SIGTERM, SIGALRM, SIGURG}) static_cast<void>(std::signal(signal, SIG_DFL));
  for (const int signal : {SIGPIPE, SIGXFSZ}) static_cast<void>(std::signal(signal, SIG_IGN));
  sigset_t none{};
  sigemptyset(&none);
  ::sigprocmask(SIG_SETMASK, &none, &found.blocked);
}

void raise_soft_limit(__rlimit_resource resource, rlim_t wanted) noexcept {
  rlimit limit{};
  if (::getrlimit(resource, &limit) != 0) return;
  const rlim_t soft = std::min(limit.rlim_max, wanted);
  if (limit.rlim_cur >= soft) return;
  limit.rlim_cur = soft;
  ::setrlimit(resource, &limit);
}

// The C library gives threads what the limit on the stack was when the program started.
void bound_thread_stacks() noexcept {
  raise_soft_limit(RLIMIT_STACK, kThreadStackBytes);
  pthread_attr_t attributes;
  if (::pthread_attr_init(&attributes) != 0) return;
  if (::pthread_attr_setstacksize(&attributes, kThreadStackBytes) == 0) {
    ::pthread_setattr_default_np(&attributes);
  }
  ::pthread_attr_destroy(&attributes);
}

Inherited& found_at_start() noexcept {
  static Inherited found;
  return found;
}

Error limited(const std::string& what, const std::string& option) {
  return Error{ErrorCode::NotPermitted,
               what + "; raise the limit (ulimit -" + option + ", also its hard value) of whoever starts it"};
}

}  // namespace

const Inherited& repair_inheritance() noexcept {
  open_standard_descriptors();
  Inherited& found = found_at_start();
  repair_signals(found);
  found.umask = ::umask(077);
  ::getrlimit(RLIMIT_NOFILE, &found.descriptors);
  raise_soft_limit(RLIMIT_NOFILE, kDescriptors);
  raise_soft_limit(RLIMIT_CPU, RLIM_INFINITY);
  raise_soft_limit(RLIMIT_FSIZE, RLIM_INFINITY);
  bound_thread_stacks();
  return found;
}

const Inherited& inherited() noexcept { return found_at_start(); }

void use_system_programs() noexcept { ::setenv("PATH", "/usr/sbin:/usr/bin:/sbin:/bin", 1); }

Status check_limits_of_daemon() {
  rlimit limit{};
  if (::getrlimit(RLIMIT_CPU, &limit) == 0 && limit.rlim_max != RLIM_INFINITY) {
    return limited(
        "the kernel would kill this mount after " + std::to_string(limit.rlim_max) + " seconds of processor time", "t");
  }
  if (::getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur < kFewestDescriptors) {
    return limited("a mount needs " + std::to_string(kFewestDescriptors) + " open files, and may have " +
                       std::to_string(limit.rlim_cur),
                   "n");
  }
  if (::getrlimit(RLIMIT_FSIZE, &limit) == 0 && limit.rlim_cur < kSmallestFile) {
    return limited(
        "a mount makes files of up to 1 GiB, and may make them of " + std::to_string(limit.rlim_cur) + " bytes", "f");
  }
  return ok_status();
}

}  // namespace vaultfs
