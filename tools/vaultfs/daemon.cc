#include "tools/vaultfs/daemon.h"

#include <fcntl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <string>

namespace vaultfs {
namespace {

// Waits for the child's one byte, or for its end.
[[noreturn]] void wait_for_child(const FileDescriptor& pipe, pid_t child) {
  char word = 0;
  ssize_t n = 0;
  do n = ::read(pipe.get(), &word, 1);
  while (n < 0 && errno == EINTR);
  if (n == 1) ::_exit(0);
  int status = 0;
  while (::waitpid(child, &status, 0) < 0) {
    if (errno != EINTR) ::_exit(1);
  }
  ::_exit(WIFEXITED(status) ? WEXITSTATUS(status) : 1);
}

}  // namespace

Result<Daemon> Daemon::detach() {
  std::array<int, 2> ends{};
  if (::pipe2(ends.data(), O_CLOEXEC) != 0)
    return Error{ErrorCode::IoError, std::string("no pipe: ") + std::strerror(errno)};
  FileDescriptor reader(ends[0]);
  FileDescriptor writer(ends[1]);
  const pid_t child = ::fork();
  if (child < 0) return Error{ErrorCode::IoError, std::string("cannot fork: ") + std::strerror(errno)};
  if (child > 0) {
    writer.reset();
    wait_for_child(reader, child);
  }
  ::setsid();
  return Daemon(std::move(writer));
}

void Daemon::ready() {
  if (!parent_.valid()) return;
  if (::chdir("/") != 0) return;  // can't fail; the parent then reports the end of this process
  const FileDescriptor null(::open("/dev/null", O_RDWR | O_CLOEXEC));
  if (null.valid()) {
    for (const int standard : {STDIN_FILENO, STDOUT_FILENO, STDERR_FILENO}) ::dup2(null.get(), standard);
  }
  const char word = 'r';
  ssize_t n = 0;
  do n = ::write(parent_.get(), &word, 1);
  while (n < 0 && errno == EINTR);
  parent_.reset();
}

}  // namespace vaultfs
