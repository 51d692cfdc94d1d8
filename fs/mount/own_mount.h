#pragma once

#include <filesystem>
#include <string>

#include "base/files/mount_table.h"
#include "base/result.h"

namespace vaultfs {

// The mount that this process has made. It is told from all others by its number and its file system's, so that nothing
// else is ever unmounted that stands at its path by then. Nothing here asks the file system itself, which may not
// answer. Thread-safe.
class OwnMount {
 public:
  // Finds it right after it was made at `point`, which is without links. IoError if it is not there.
  [[nodiscard]] static Result<OwnMount> at(const std::filesystem::path& point, const std::string& source);

  // MAJOR:MINOR of the file system.
  [[nodiscard]] const std::string& device() const { return device_; }
  // Unmounts it, if nothing in it is open, wherever it was moved to by now. Success also where it is not mounted any
  // more. MountPointBusy: it is in use, or another mount lies over it.
  [[nodiscard]] Status unmount() const;
  // The same at once, although somebody may use it: there is nobody to serve it.
  void detach() const;

 private:
  OwnMount(std::string id, std::string device) : id_(std::move(id)), device_(std::move(device)) {}
  // Nothing: it is not mounted any more.
  [[nodiscard]] Result<std::string> free_point() const;

  std::string id_;
  std::string device_;
};

// Runs a program of the system without output of its own; its exit code, or -1.
[[nodiscard]] int run_system_program(const std::vector<std::string>& words);

}  // namespace vaultfs
