#pragma once

#include <filesystem>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "base/result.h"
#include "fs/engine/vault_engine.h"

namespace vaultfs {

struct MountOptions {
  std::filesystem::path mount_point;  // absolute, an existing directory
  std::string source;                 // shown in /proc/mounts: the vault's absolute path
  bool read_only = false;
  bool allow_other = false;
  bool nonempty = false;                    // mount over a directory with entries
  bool writeback_cache = false;             // -o cache=writeback; direct I/O otherwise
  bool synchronous = false;                 // every change is durable before its call returns
  std::vector<std::string> kernel_options;  // dev, suid, noexec, … handed to the kernel as they are
  unsigned max_threads = 32;                // requests served at once
};

// Why a mount point can't be used, before anything is opened: MountPointInvalid (missing, no directory), MountPointBusy
// (something is mounted there, or it has entries and nonempty is off), OverlapsVault (the same directory, one inside
// the other: the kernel would deadlock when the daemon touches its own mount).
[[nodiscard]] Status check_mount_point(const std::filesystem::path& mount_point, const std::filesystem::path& vault,
                                       bool nonempty);

// One FUSE mount of a engine.
class Mount {
 public:
  // Mounts. The kernel does not get answers before run().
  [[nodiscard]] static Result<std::unique_ptr<Mount>> create(VaultEngine& engine, const MountOptions& options);
  virtual ~Mount() = default;
  // Of the file system: MAJOR:MINOR, by which it is told from what else may stand at its path.
  [[nodiscard]] virtual std::string device() const = 0;
  // Serves requests until the file system is unmounted. `ready` is called once, when the kernel has finished the
  // handshake.
  [[nodiscard]] virtual Status run(const std::function<void()>& ready) = 0;
  // Unmounts this very mount if nothing is open (MountPointBusy otherwise, and where another one lies over it): run()
  // then returns. From any thread.
  [[nodiscard]] virtual Status request_unmount() = 0;
};

}  // namespace vaultfs
