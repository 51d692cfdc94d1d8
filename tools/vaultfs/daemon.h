#pragma once

#include "base/files/file_descriptor.h"
#include "base/result.h"

namespace vaultfs {

// The two halves of a program that returns to its caller only when its background half is ready (or has failed).
class Daemon {
 public:
  // Forks, before any thread has been started. In the parent this never returns: it waits for the child's word and
  // exits with its code (the child's code if it ended without a word). In the child it returns, in a session of its
  // own.
  [[nodiscard]] static Result<Daemon> detach();
  // For the foreground: nothing to tell anybody.
  [[nodiscard]] static Daemon attached() { return Daemon(FileDescriptor()); }

  // Tells the parent that all is well and leaves its terminal: stdin, stdout and stderr become /dev/null. Once.
  void ready();

 private:
  explicit Daemon(FileDescriptor parent) : parent_(std::move(parent)) {}
  FileDescriptor parent_;
};

}  // namespace vaultfs
