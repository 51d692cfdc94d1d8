#pragma once

#include <fcntl.h>
#include <unistd.h>

#include <charconv>
#include <string>
#include <string_view>
#include <system_error>

#include "base/files/file_descriptor.h"

namespace vaultfs {

// Opens a file for reading as a command line names it. "/dev/fd/N", "/proc/self/fd/N" and "/dev/stdin" mean a
// descriptor that was inherited: that one is duplicated, because opening such a name asks for permission anew, which
// the giver may have and this process not; it is for this process alone from then on (FD_CLOEXEC). `flags` are more of
// open(2)'s, for what is opened. Invalid with errno on failure.
[[nodiscard]] inline FileDescriptor open_or_duplicate(const std::string& path, int flags = 0) {
  int number = path == "/dev/stdin" ? STDIN_FILENO : -1;
  for (const std::string_view prefix : {"/dev/fd/", "/proc/self/fd/"}) {
    if (!path.starts_with(prefix)) continue;
    const char* const end = path.data() + path.size();
    const auto [rest, error] = std::from_chars(path.data() + prefix.size(), end, number);
    if (error != std::errc{} || rest != end) number = -1;
  }
  if (number >= 0) {
    if (number > STDERR_FILENO) ::fcntl(number, F_SETFD, FD_CLOEXEC);
    return FileDescriptor(::fcntl(number, F_DUPFD_CLOEXEC, 0));
  }
  return FileDescriptor(::open(path.c_str(), O_RDONLY | O_CLOEXEC | flags));
}

}  // namespace vaultfs
