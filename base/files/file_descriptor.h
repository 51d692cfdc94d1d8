#pragma once

#include <unistd.h>

#include <cstring>
#include <string>
#include <utility>

#include "base/result.h"

namespace vaultfs {

// An open file descriptor, closed at the end of its life. Files of a vault go through Env instead; this is for what Env
// does not offer: the source of a backup and the target of a restore (block devices, holes, O_DIRECT, unnamed files),
// sockets, pipes and the kernel's own files.
class FileDescriptor {
 public:
  FileDescriptor() = default;
  explicit FileDescriptor(int fd) noexcept : fd_(fd) {}
  FileDescriptor(FileDescriptor&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  FileDescriptor& operator=(FileDescriptor&& other) noexcept {
    if (this != &other) {
      reset();
      fd_ = std::exchange(other.fd_, -1);
    }
    return *this;
  }
  FileDescriptor(const FileDescriptor&) = delete;
  FileDescriptor& operator=(const FileDescriptor&) = delete;
  ~FileDescriptor() { reset(); }

  [[nodiscard]] bool valid() const noexcept { return fd_ >= 0; }
  [[nodiscard]] int get() const noexcept { return fd_; }
  // Where the kernel shows this descriptor: opening it opens the same file anew, also one without a name.
  [[nodiscard]] std::string proc_path() const { return "/proc/self/fd/" + std::to_string(fd_); }
  // Closes it now.
  void reset() noexcept {
    if (fd_ >= 0) ::close(std::exchange(fd_, -1));
  }

 private:
  int fd_ = -1;
};

// The error of a failed system call: `what` and the reason that errno gives.
[[nodiscard]] inline Error system_call_error(int errno_value, const std::string& what) {
  return Error{error_from_errno(errno_value), what + ": " + std::strerror(errno_value)};
}

}  // namespace vaultfs
