#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/clock.h"
#include "base/files/env.h"
#include "base/ids.h"
#include "base/result.h"
#include "crypto/memory/secret_buffer.h"
#include "vaultmeta/layout/fingerprint.h"

namespace vaultfs {

// What this machine trusts of a vault at one place: a file in VAULTFS_HOME/pins (registration_file.h has its name).
struct Pin {
  VaultId vault;
  Digest root_fingerprint;
  Generation head_generation;  // 0: no head seen yet (just created, or trusted by fingerprint)
  Digest head_digest;
  std::uint64_t incarnation = 0;
  // Of the newest DEK epoch that was seen. Epoch 0: a pin of a vaultfs that kept none; the next one that is written has
  // it.
  VaultFingerprint fingerprint = {};
  // An older copy was accepted by name: whoever opens it as owner first starts an incarnation above this one. 0: not.
  std::uint64_t restart_above = 0;
  bool operator==(const Pin&) const = default;
};

// A key version by its native id, and where it was when a vault took it up.
struct RegisteredKey {
  std::string key_vault;
  std::string key;
  std::string version;
  auto operator<=>(const RegisteredKey&) const = default;  // NOLINT(modernize-use-nullptr): there is no pointer here
};

// Which directory it is, whatever its path.
struct DirectoryId {
  std::uint64_t device = 0;
  std::uint64_t inode = 0;
  bool operator==(const DirectoryId&) const = default;
};

// A vault known on this machine at one place: a file in VAULTFS_HOME/vaults. Needed to find out who uses a key, also
// while the vault itself is out of reach, and to notice another vault in its place. A vault has one for each place
// where it, or a copy of it, is used; a place has one for each of the vaults that take turns there.
struct Registration {
  VaultId vault;
  std::filesystem::path path;  // absolute
  std::string key_vault;       // of the newest encryption settings; empty = platform-managed
  std::string key;
  // Every version that the vault needs, Active and Retiring, sorted: never fewer, more only after a change that failed.
  // Nothing: written by a vaultfs that kept no such list, so that any version may be among them.
  std::optional<std::vector<RegisteredKey>> needed = std::nullopt;
  // As whom the vault speaks to its key vaults: "system" or the name of a user-assigned identity. Nothing: written by a
  // vaultfs that did not say, so that it may be any.
  std::optional<std::string> identity = std::nullopt;
  // The directory when the vault was last opened there: so one that was moved is told from one that was copied.
  std::optional<DirectoryId> directory = std::nullopt;
  bool operator==(const Registration&) const = default;
};

// An attempt at a vault that could not take note of it: it did not open, was sealed, or had no room. No names, as
// nowhere in the machine's state.
struct KeptAttempt {
  UnixNanos time;
  std::uint32_t uid = 0;
  std::string operation;    // "backup", "restore"
  std::string outcome;      // an error's name, "Succeeded"
  std::uint64_t job = 0;    // the number that the job has in the vault, if that comes to know it after all; 0: none
  std::string sealed = {};  // hexadecimal: what only the vault can read of it (OpenedVault); empty: nothing
  bool operator==(const KeptAttempt&) const = default;
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
  // Makes the home directory (mode 0700) if missing. PermissionDenied if others may write to it, or if it belongs to
  // another user who is not root; the same for a pin.
  [[nodiscard]] static Result<std::unique_ptr<MachineState>> open(Env& env, std::filesystem::path home);
  virtual ~MachineState() = default;
  [[nodiscard]] virtual const std::filesystem::path& home() const = 0;

  // A place is the absolute path of a vault's directory, without links.
  // Of that place alone. A pin that a vaultfs without places has written is that of the registered place that has no
  // other yet (of every place of a vault that is not registered), until set_pin() has carried it over.
  [[nodiscard]] virtual Result<std::optional<Pin>> pin(const VaultId& vault, const std::filesystem::path& place) = 0;
  // Of whichever place: the newest that the machine has seen of the vault or of any copy.
  [[nodiscard]] virtual Result<std::optional<Pin>> newest_pin(const VaultId& vault) = 0;
  // Refuses to go back (RollbackDetected) behind the pin of that place: to a lower incarnation, to a lower head
  // generation or DEK epoch of the same incarnation, to another head of the same generation, or to another fingerprint
  // of the same epoch.
  [[nodiscard]] virtual Status set_pin(const Pin& pin, const std::filesystem::path& place) = 0;
  [[nodiscard]] virtual Status remove_pin(const VaultId& vault, const std::filesystem::path& place) = 0;

  [[nodiscard]] virtual Result<std::vector<Registration>> registrations() = 0;
  // Those of one vault, whatever has become of the others.
  [[nodiscard]] virtual Result<std::vector<Registration>> registrations_of(const VaultId& vault) = 0;
  [[nodiscard]] virtual Result<std::optional<Registration>> registration(const VaultId& vault,
                                                                         const std::filesystem::path& place) = 0;
  // In the place of what is registered of that vault at that path.
  [[nodiscard]] virtual Status register_vault(const Registration& registration) = 0;
  // Changes a registration under the state's lock, all but its vault and path; nothing happens without one, or if
  // `edit` changes nothing.
  [[nodiscard]] virtual Status change_registration(const VaultId& vault, const std::filesystem::path& place,
                                                   const std::function<void(Registration&)>& edit) = 0;
  // What is kept of the vault at `from` is of `to` from now on, unless that has its own.
  [[nodiscard]] virtual Status move_vault(const VaultId& vault, const std::filesystem::path& from,
                                          const std::filesystem::path& to) = 0;
  // At that place; its pin goes too if the vault has another one. Without a place: at all, and every pin stays.
  [[nodiscard]] virtual Status forget_vault(const VaultId& vault, const std::filesystem::path& place) = 0;
  [[nodiscard]] virtual Status forget_vault(const VaultId& vault) = 0;

  // Keeps an attempt until the vault's next opening at that place, besides a line in the audit log. Of more than
  // kMaxKeptAttempts the oldest are dropped.
  static constexpr std::size_t kMaxKeptAttempts = 1000;
  [[nodiscard]] virtual Status keep_attempt(const VaultId& vault, const std::filesystem::path& place,
                                            const KeptAttempt& attempt) = 0;
  [[nodiscard]] virtual Result<std::vector<KeptAttempt>> kept_attempts(const VaultId& vault,
                                                                       const std::filesystem::path& place) = 0;
  // Those that the vault has taken note of; what was added meanwhile stays.
  [[nodiscard]] virtual Status drop_attempts(const VaultId& vault, const std::filesystem::path& place,
                                             const std::vector<KeptAttempt>& taken) = 0;

  // Appends a line (JSON, hash-chained with the one before) to VAULTFS_HOME/audit.log, synced.
  [[nodiscard]] virtual Status audit(const std::string& what, const std::string& detail) = 0;
  // All of it, oldest first, the chain checked. An unfinished last line of a crash is left out.
  [[nodiscard]] virtual Result<std::vector<AuditEntry>> audit_entries() = 0;
};

// $VAULTFS_HOME, else /var/lib/vaultfs for root, else $XDG_DATA_HOME/vaultfs, else .local/share/vaultfs in $HOME, or
// where that is missing in the home that the machine's list of users names. XDG_DATA_HOME and HOME count only while
// they are this user's. Empty if there is no home at all.
[[nodiscard]] std::filesystem::path default_machine_home();

}  // namespace vaultfs
