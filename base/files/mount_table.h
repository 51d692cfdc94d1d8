#pragma once

#include <sys/types.h>

#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace vaultfs {

// One mount of this process's namespace: a line of /proc/self/mountinfo.
struct MountEntry {
  std::string id;      // of the mount; no other has it while it is there
  std::string parent;  // the mount that it lies on
  std::string device;  // of the file system, MAJOR:MINOR; no other has it while it is there
  std::string point;   // as a path of this process
  std::string type;    // as in fuse.vaultfs
  std::string source;
  std::string options;  // of the mount and, behind a comma, of the file system
  // Whether `option` (with its value, if it has one) is among them.
  [[nodiscard]] bool has(std::string_view option) const;
  // The value of `option`; empty if it is not there.
  [[nodiscard]] std::string value_of(std::string_view option) const;
};

// MAJOR:MINOR as a number, as in stat(); 0 if it is none.
[[nodiscard]] dev_t number_of_device(std::string_view device);

// All of them, in the kernel's order. Asks no file system. Empty if /proc can't be read.
[[nodiscard]] std::vector<MountEntry> mount_table();
// Of text in that form.
[[nodiscard]] std::vector<MountEntry> parse_mount_table(std::string_view text);

// What a path that is a mount point leads to: of the mounts there the one that no other lies over.
[[nodiscard]] std::optional<MountEntry> uppermost_at(const std::vector<MountEntry>& table, std::string_view point);
// Whether another mount lies over all of this one.
[[nodiscard]] bool is_covered(const std::vector<MountEntry>& table, const MountEntry& mount);

}  // namespace vaultfs
