#pragma once

#include <unistd.h>

#include <cstring>
#include <string>
#include <utility>

#include "base/result.h"

namespace vaultfs {

// An open descriptor of a file outside the vault (source of a backup, target of a restore), closed at the end of its
// life. Those need what Env does not offer: block devices, holes, O_DIRECT, unnamed files. What belongs to a vault goes
// through Env.
class FileDescriptor {
 public:
  FileDescriptor() = default;
  explicit FileDescriptor(int fd) : fd_(fd) {}
  FileDescriptor(FileDescriptor&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  FileDescriptor& operator=(FileDescriptor&& other) noexcept {
    if (this != &other) {
      close();
      fd_ = std::exchange(other.fd_, -1);
    }
    return *this;
  }
  FileDescriptor(const FileDescriptor&) = delete;
  FileDescriptor& operator=(const FileDescriptor&) = delete;
  ~FileDescriptor() { close(); }

  [[nodiscard]] bool valid() const noexcept { return fd_ >= 0; }
  [[nodiscard]] int get() const noexcept { return fd_; }
  // Where the kernel shows this descriptor: opening it opens the same file anew, also one without a name.
  [[nodiscard]] std::string proc_path() const { return "/proc/self/fd/" + std::to_string(fd_); }

 private:
  void close() noexcept {
    if (fd_ >= 0) ::close(fd_);
    fd_ = -1;
  }
  int fd_ = -1;
};

// The error of a failed system call: `what` and the reason that errno gives.
[[nodiscard]] inline Error system_call_error(int errno_value, const std::string& what) {
  return Error{error_from_errno(errno_value), what + ": " + std::strerror(errno_value)};
}

}  // namespace vaultfs
