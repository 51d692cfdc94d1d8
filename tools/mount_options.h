#pragma once

#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "fs/engine/vault_engine.h"
#include "fs/mount/mount.h"
#include "tools/machine.h"

namespace vaultfs {

// Everything that `vaultfs VAULT MOUNTPOINT [-f] [-o OPTIONS]` says.
struct MountCommand {
  std::filesystem::path vault;        // absolute
  std::filesystem::path mount_point;  // absolute
  bool foreground = false;
  std::filesystem::path log_file;  // -o log=FILE; empty: syslog (stderr in the foreground)
  MachineOptions machine;
  VaultEngine::Options engine;
  MountOptions mount;
};

// Usage for anything unknown or malformed, naming the word. `--help` and `--version` are the caller's.
[[nodiscard]] Result<MountCommand> parse_mount_command(const std::vector<std::string>& words);

// Applies one option of -o, "name" or "name=value". Usage if it is unknown or its value has another form.
[[nodiscard]] Status apply_mount_option(std::string_view option, MountCommand& command);

// "90", "90s", "15m", "24h" as seconds; false for anything else or more than a year.
[[nodiscard]] bool parse_duration_seconds(std::string_view text, unsigned& seconds);
// "512", "64K", "128M", "1G" as bytes.
[[nodiscard]] bool parse_byte_size(std::string_view text, std::uint64_t& bytes);

extern const char* const kMountUsage;

}  // namespace vaultfs
