#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/clock.h"
#include "base/env.h"
#include "base/ids.h"
#include "base/result.h"
#include "crypto/secret_buffer.h"

namespace vaultfs {

// What this machine trusts of a vault: VAULTFS_HOME/pins/<vault id>.pin.
struct Pin {
  VaultId vault;
  Digest root_fingerprint;
  Generation head_generation;  // 0: no head seen yet (just created, or trusted by fingerprint)
  Digest head_digest;
  std::uint64_t incarnation = 0;
  bool operator==(const Pin&) const = default;
};

// A vault known on this machine: VAULTFS_HOME/vaults/<vault id>.json. Needed to find out who uses a key.
struct Registration {
  VaultId vault;
  std::filesystem::path path;  // absolute
  std::string key_vault;       // of the newest encryption settings; empty = platform-managed
  std::string key;
  bool operator==(const Registration&) const = default;
};

// A line of VAULTFS_HOME/audit.log.
struct AuditEntry {
  UnixNanos time;
  std::uint32_t uid = 0;  // of the process that wrote it
  std::string what;
  std::string detail;
};

// The machine's own state below VAULTFS_HOME. A file that is damaged is DamagedMachineState naming it, and never
// treated as missing: a damaged pin is no permission to trust anew. Files are replaced durably; two processes may share
// it. Thread-safe.
class MachineState {
 public:
  // Makes the home directory (mode 0700) if missing. PermissionDenied if others may write to it.
  [[nodiscard]] static Result<std::unique_ptr<MachineState>> open(Env& env, std::filesystem::path home);
  virtual ~MachineState() = default;
  [[nodiscard]] virtual const std::filesystem::path& home() const = 0;

  [[nodiscard]] virtual Result<std::optional<Pin>> pin(const VaultId& vault) = 0;
  // Refuses to go back (RollbackDetected): to a lower incarnation, to a lower head generation of the same incarnation,
  // or to another head of the same generation.
  [[nodiscard]] virtual Status set_pin(const Pin& pin) = 0;
  [[nodiscard]] virtual Status remove_pin(const VaultId& vault) = 0;

  [[nodiscard]] virtual Result<std::vector<Registration>> registrations() = 0;
  [[nodiscard]] virtual Status register_vault(const Registration& registration) = 0;
  [[nodiscard]] virtual Status forget_vault(const VaultId& vault) = 0;

  // Appends a line (JSON, hash-chained with the one before) to VAULTFS_HOME/audit.log, synced.
  [[nodiscard]] virtual Status audit(const std::string& what, const std::string& detail) = 0;
  // All of it, oldest first, the chain checked. An unfinished last line of a crash is left out.
  [[nodiscard]] virtual Result<std::vector<AuditEntry>> audit_entries() = 0;
};

// $VAULTFS_HOME, else /var/lib/vaultfs for root, else $XDG_DATA_HOME/vaultfs, else ~/.local/share/vaultfs.
[[nodiscard]] std::filesystem::path default_machine_home();

}  // namespace vaultfs
