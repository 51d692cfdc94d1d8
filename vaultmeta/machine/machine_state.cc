#include "vaultmeta/machine/machine_state.h"

#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <tuple>
#include <utility>

#include "base/files/user_home.h"
#include "base/thread/mutex.h"
#include "crypto/files/private_file.h"
#include "crypto/files/trusted_file.h"
#include "vaultmeta/machine/audit_log.h"
#include "vaultmeta/machine/kept_attempts.h"
#include "vaultmeta/machine/pin_file.h"
#include "vaultmeta/machine/registration_file.h"

namespace vaultfs {
namespace {

constexpr std::string_view kRegistrationSuffix = ".json";
constexpr std::string_view kPinSuffix = ".pin";
constexpr std::string_view kAttemptsSuffix = ".attempts";
constexpr std::uint32_t kOthersMayWrite = 022;

Status remove_durably(Env& env, const Env::Path& file) {
  const Status removed = env.remove_file(file);
  if (!removed.ok()) return removed.code() == ErrorCode::NotFound ? ok_status() : removed;
  return env.sync_directory(file.parent_path());
}

// Pins and registrations are replaced whole, so reads take no lock; changes are made under HOME/state.lock.
class MachineDirectory final : public MachineState {
 public:
  MachineDirectory(Env& env, Env::Path home)
      : env_(env), home_(std::move(home)), audit_log_(env, home_ / "audit.log") {}

  [[nodiscard]] const std::filesystem::path& home() const override { return home_; }

  Result<std::optional<Pin>> pin(const VaultId& vault, const Env::Path& place) override {
    VAULTFS_ASSIGN_OR_RETURN(auto own, read_pin(pin_path(vault, place), vault));
    if (own) return own;
    VAULTFS_ASSIGN_OR_RETURN(const bool counts, placeless_pin_counts(vault, place));
    return counts ? read_pin(placeless_pin(vault), vault) : Result<std::optional<Pin>>(std::nullopt);
  }

  Result<std::optional<Pin>> newest_pin(const VaultId& vault) override {
    std::optional<Pin> newest;
    VAULTFS_ASSIGN_OR_RETURN(const auto files, files_of("pins", vault, kPinSuffix));
    for (const Env::Path& file : files) {
      VAULTFS_ASSIGN_OR_RETURN(const auto found, read_pin(file, vault));
      const auto age = [](const Pin& one) { return std::tuple(one.incarnation, one.head_generation); };
      if (found && (!newest || age(*newest) < age(*found))) newest = found;
    }
    return newest;
  }

  Status set_pin(const Pin& next, const Env::Path& place) override {
    return change("pins", [&]() -> Status {
      VAULTFS_ASSIGN_OR_RETURN(const std::optional<Pin> before, pin(next.vault, place));
      if (before && goes_back(*before, next)) {
        return Error{ErrorCode::RollbackDetected, "this machine has seen a newer state of the vault in " +
                                                      place.string() + " than that; put the newer one back"};
      }
      VAULTFS_ASSIGN_OR_RETURN(const auto own, read_pin(pin_path(next.vault, place), next.vault));
      if (own == next) return ok_status();
      VAULTFS_RETURN_IF_ERROR(write_file_durably(env_, pin_path(next.vault, place), encode_pin(next)));
      if (own || !before) return ok_status();
      return remove_durably(env_, placeless_pin(next.vault));  // it was this place's
    });
  }

  Status remove_pin(const VaultId& vault, const Env::Path& place) override {
    return change("pins", [&]() -> Status {
      VAULTFS_RETURN_IF_ERROR(remove_durably(env_, pin_path(vault, place)));
      VAULTFS_ASSIGN_OR_RETURN(const bool counts, placeless_pin_counts(vault, place));
      return counts ? remove_durably(env_, placeless_pin(vault)) : ok_status();
    });
  }

  Result<std::vector<Registration>> registrations() override {
    return read_registrations([](const std::string& name) { return name.ends_with(kRegistrationSuffix); });
  }

  Result<std::vector<Registration>> registrations_of(const VaultId& vault) override {
    return read_registrations(
        [&vault](const std::string& name) { return is_state_file_of(vault, name, kRegistrationSuffix); });
  }

  Result<std::optional<Registration>> registration(const VaultId& vault, const Env::Path& place) override {
    VAULTFS_ASSIGN_OR_RETURN(auto found, read_registration(registration_path(vault, place)));
    if (!found) {
      VAULTFS_ASSIGN_OR_RETURN(found, read_registration(placeless_registration(vault)));
    }
    if (found && found->path != place) found.reset();
    return found;
  }

  Status register_vault(const Registration& registration) override {
    if (!registration.path.is_absolute()) {
      return Error{ErrorCode::InvalidArgument,
                   "a vault is registered by its absolute path, and " + registration.path.string() + " is none"};
    }
    VAULTFS_ASSIGN_OR_RETURN(const std::string text, encode_registration(registration));
    return change("vaults", [&] { return put_registration(registration, text); });
  }

  Status change_registration(const VaultId& vault, const Env::Path& place,
                             const std::function<void(Registration&)>& edit) override {
    return change("vaults", [&]() -> Status {
      VAULTFS_ASSIGN_OR_RETURN(const auto before, registration(vault, place));
      if (!before) return ok_status();
      Registration after = *before;
      edit(after);
      if (after == *before) return ok_status();
      VAULTFS_ASSIGN_OR_RETURN(const std::string text, encode_registration(after));
      return put_registration(after, text);
    });
  }

  Status move_vault(const VaultId& vault, const Env::Path& from, const Env::Path& to) override {
    const Status pin_moved = change("pins", [&]() -> Status {
      VAULTFS_ASSIGN_OR_RETURN(const auto moved, read_pin(pin_path(vault, from), vault));
      if (!moved) return ok_status();
      VAULTFS_ASSIGN_OR_RETURN(const auto there, read_pin(pin_path(vault, to), vault));
      if (!there || !goes_back(*there, *moved)) {
        VAULTFS_RETURN_IF_ERROR(write_file_durably(env_, pin_path(vault, to), encode_pin(*moved)));
      }
      return remove_durably(env_, pin_path(vault, from));
    });
    if (!pin_moved.ok()) return pin_moved;
    return change("vaults", [&]() -> Status {
      VAULTFS_ASSIGN_OR_RETURN(auto moved, registration(vault, from));
      if (!moved) return ok_status();
      VAULTFS_ASSIGN_OR_RETURN(const auto there, registration(vault, to));
      if (!there) {
        moved->path = to;
        VAULTFS_ASSIGN_OR_RETURN(const std::string text, encode_registration(*moved));
        VAULTFS_RETURN_IF_ERROR(put_registration(*moved, text));
      }
      return drop_registration(vault, from);
    });
  }

  Status forget_vault(const VaultId& vault, const Env::Path& place) override {
    VAULTFS_RETURN_IF_ERROR(change("vaults", [&] { return drop_registration(vault, place); }));
    // The last pin stays: the machine goes on knowing what it has seen of the vault.
    return change("pins", [&]() -> Status {
      VAULTFS_ASSIGN_OR_RETURN(const auto files, files_of("pins", vault, kPinSuffix));
      return files.size() > 1 ? remove_durably(env_, pin_path(vault, place)) : ok_status();
    });
  }

  Status forget_vault(const VaultId& vault) override {
    return change("vaults", [&]() -> Status {
      VAULTFS_ASSIGN_OR_RETURN(const auto files, files_of("vaults", vault, kRegistrationSuffix));
      for (const Env::Path& file : files) VAULTFS_RETURN_IF_ERROR(remove_durably(env_, file));
      return ok_status();
    });
  }

  Status keep_attempt(const VaultId& vault, const Env::Path& place, const KeptAttempt& attempt) override {
    return change("attempts", [&]() -> Status {
      mutex_.assert_held();
      // Both, so that the log has it whatever becomes of the list.
      const Status audited = audit_log_.append({attempt.time, attempt.uid, attempt.operation + ".attempt",
                                                "vault " + to_hex(vault.view()) + ": " + attempt.outcome});
      const Env::Path file = attempts_path(vault, place);
      auto kept = read_attempts(file);
      if (!kept.ok()) kept = std::vector<KeptAttempt>();  // what is damaged is no reason to lose this one too
      kept->push_back(attempt);
      if (kept->size() > kMaxKeptAttempts) kept->erase(kept->begin());
      VAULTFS_RETURN_IF_ERROR(write_file_durably(env_, file, bytes_of(encode_attempts(*kept))));
      return audited;
    });
  }

  Result<std::vector<KeptAttempt>> kept_attempts(const VaultId& vault, const Env::Path& place) override {
    return read_attempts(attempts_path(vault, place));
  }

  Status drop_attempts(const VaultId& vault, const Env::Path& place, const std::vector<KeptAttempt>& taken) override {
    return change("attempts", [&]() -> Status {
      const Env::Path file = attempts_path(vault, place);
      auto left = read_attempts(file);
      if (!left.ok()) return remove_durably(env_, file);
      std::erase_if(*left, [&](const KeptAttempt& one) { return std::ranges::find(taken, one) != taken.end(); });
      if (left->empty()) return remove_durably(env_, file);
      return write_file_durably(env_, file, bytes_of(encode_attempts(*left)));
    });
  }

  Status audit(const std::string& what, const std::string& detail) override {
    return change("", [&] {
      mutex_.assert_held();
      return audit_log_.append({env_.clock().now(), ::getuid(), what, detail});
    });
  }

  Result<std::vector<AuditEntry>> audit_entries() override {
    const MutexLock lock(mutex_);
    return audit_log_.entries();
  }

 private:
  static bool goes_back(const Pin& before, const Pin& next) {
    if (next.incarnation != before.incarnation) return next.incarnation < before.incarnation;
    if (next.fingerprint.epoch != before.fingerprint.epoch) return next.fingerprint.epoch < before.fingerprint.epoch;
    if (next.fingerprint != before.fingerprint) return true;
    if (next.head_generation != before.head_generation) return next.head_generation < before.head_generation;
    return next.head_digest != before.head_digest;
  }

  [[nodiscard]] Env::Path pin_path(const VaultId& vault, const Env::Path& place) const {
    return home_ / "pins" / state_file_name(vault, place, kPinSuffix);
  }
  [[nodiscard]] Env::Path placeless_pin(const VaultId& vault) const {
    return home_ / "pins" / placeless_file_name(vault, kPinSuffix);
  }
  [[nodiscard]] Env::Path registration_path(const VaultId& vault, const Env::Path& place) const {
    return home_ / "vaults" / state_file_name(vault, place, kRegistrationSuffix);
  }
  [[nodiscard]] Env::Path placeless_registration(const VaultId& vault) const {
    return home_ / "vaults" / placeless_file_name(vault, kRegistrationSuffix);
  }

  [[nodiscard]] Env::Path attempts_path(const VaultId& vault, const Env::Path& place) const {
    return home_ / "attempts" / state_file_name(vault, place, kAttemptsSuffix);
  }

  Result<std::vector<KeptAttempt>> read_attempts(const Env::Path& file) {
    const auto bytes = read_state(file, kMaxAttemptsBytes);
    if (!bytes.ok() && bytes.code() == ErrorCode::NotFound) return std::vector<KeptAttempt>();
    VAULTFS_RETURN_IF_ERROR(bytes);
    return decode_attempts(*bytes, file.string());
  }

  Result<std::vector<Env::Path>> files_of(const char* folder, const VaultId& vault, std::string_view extension) {
    std::vector<Env::Path> files;
    const Env::Path directory = home_ / folder;
    VAULTFS_ASSIGN_OR_RETURN(const FileInfo info, env_.info(directory));
    if (info.kind == FileKind::missing) return files;
    VAULTFS_ASSIGN_OR_RETURN(const auto names, env_.list(directory));
    for (const std::string& name : names) {
      if (is_state_file_of(vault, name, extension)) files.push_back(directory / name);
    }
    return files;
  }

  Result<std::optional<Pin>> read_pin(const Env::Path& path, const VaultId& vault) {
    const auto bytes = read_trusted_file(env_, path, kMaxPinFileBytes, "forge what this machine trusts");
    if (!bytes.ok() && bytes.code() == ErrorCode::NotFound) return std::optional<Pin>{};
    VAULTFS_RETURN_IF_ERROR(bytes);
    VAULTFS_ASSIGN_OR_RETURN(Pin pin, decode_pin(*bytes, vault, path.string()));
    return std::optional<Pin>(pin);
  }

  // A pin of a vaultfs that kept one for all places is that of the one registered place without a pin of its own.
  Result<bool> placeless_pin_counts(const VaultId& vault, const Env::Path& place) {
    VAULTFS_ASSIGN_OR_RETURN(const FileInfo info, env_.info(placeless_pin(vault)));
    if (info.kind == FileKind::missing) return false;
    VAULTFS_ASSIGN_OR_RETURN(const auto known, registrations_of(vault));
    bool here = known.empty();
    for (const Registration& one : known) {
      here = here || one.path == place;
      if (one.path == place) continue;
      VAULTFS_ASSIGN_OR_RETURN(const FileInfo own, env_.info(pin_path(vault, one.path)));
      if (own.kind == FileKind::missing) return false;
    }
    return here;
  }

  Result<std::optional<Registration>> read_registration(const Env::Path& file) {
    auto bytes = read_state(file, kMaxRegistrationBytes);
    if (!bytes.ok() && bytes.code() == ErrorCode::NotFound) return std::optional<Registration>();
    VAULTFS_RETURN_IF_ERROR(bytes);
    VAULTFS_ASSIGN_OR_RETURN(Registration found, decode_registration(*bytes, file.string()));
    if (registration_path(found.vault, found.path) == file || placeless_registration(found.vault) == file) {
      return std::optional<Registration>(std::move(found));
    }
    return Error{ErrorCode::DamagedMachineState, file.string() + " is damaged: it registers another vault"};
  }

  template <typename Wanted>
  Result<std::vector<Registration>> read_registrations(const Wanted& wanted) {
    std::vector<Registration> all;
    const Env::Path directory = home_ / "vaults";
    VAULTFS_ASSIGN_OR_RETURN(const FileInfo info, env_.info(directory));
    if (info.kind == FileKind::missing) return all;
    VAULTFS_ASSIGN_OR_RETURN(const auto names, env_.list(directory));
    for (const std::string& name : names) {
      if (!wanted(name)) continue;
      VAULTFS_ASSIGN_OR_RETURN(auto found, read_registration(directory / name));
      if (!found) continue;  // forgotten meanwhile
      // Carrying over writes the new file before it removes the old one, and a crash may leave both: the new one
      // counts.
      std::erase_if(all, [&](const Registration& one) { return one.vault == found->vault && one.path == found->path; });
      all.push_back(*std::move(found));
    }
    return all;
  }

  Status put_registration(const Registration& registration, const std::string& text) {
    const VaultId& vault = registration.vault;
    VAULTFS_RETURN_IF_ERROR(write_file_durably(env_, registration_path(vault, registration.path), bytes_of(text)));
    return drop_placeless(vault, registration.path);
  }

  // The registration of an older vaultfs, if it is of that place.
  Status drop_placeless(const VaultId& vault, const Env::Path& place) {
    const auto old = read_registration(placeless_registration(vault));
    if (!old.ok() || !*old || (*old)->path != place) return ok_status();
    return remove_durably(env_, placeless_registration(vault));
  }

  Status drop_registration(const VaultId& vault, const Env::Path& place) {
    VAULTFS_RETURN_IF_ERROR(drop_placeless(vault, place));
    return remove_durably(env_, registration_path(vault, place));
  }

  // A file of the machine's state: whatever is wrong with its form is damage, never absence.
  Result<Bytes> read_state(const Env::Path& path, std::uint64_t limit) {
    auto bytes = read_file(env_, path, limit);
    if (bytes.ok() || bytes.code() != ErrorCode::InvalidArgument) return bytes;
    return Error{ErrorCode::DamagedMachineState, path.string() + " is damaged: " + bytes.error().message};
  }

  template <typename Change>
  Status change(const std::string& folder, const Change& make_change) {
    const MutexLock lock(mutex_);
    VAULTFS_ASSIGN_OR_RETURN(const auto file_lock, wait_for_lock(env_, home_ / "state.lock"));
    if (!folder.empty()) VAULTFS_RETURN_IF_ERROR(ensure_private_directory(env_, home_ / folder));
    return make_change();
  }

  Env& env_;
  const Env::Path home_;
  Mutex mutex_;  // one change at a time in this process, audit_log_'s reads too; held across file I/O, a leaf
  AuditLog audit_log_ GUARDED_BY(mutex_);
};

}  // namespace

Result<std::unique_ptr<MachineState>> MachineState::open(Env& env, std::filesystem::path home) {
  VAULTFS_RETURN_IF_ERROR(ensure_private_directory(env, home));
  VAULTFS_ASSIGN_OR_RETURN(const FileInfo info, env.info(home));
  if ((info.mode & kOthersMayWrite) != 0) {
    return Error{ErrorCode::PermissionDenied, home.string() +
                                                  " can be written by others, who could forge what this "
                                                  "machine trusts; chmod 0700 it"};
  }
  VAULTFS_RETURN_IF_ERROR(check_trusted_owner(home, info.owner));
  return std::unique_ptr<MachineState>(std::make_unique<MachineDirectory>(env, std::move(home)));
}

std::filesystem::path default_machine_home() {
  const auto variable = [](const char* name) -> std::filesystem::path {
    const char* value = std::getenv(name);
    return value == nullptr ? "" : value;
  };
  if (auto home = variable("VAULTFS_HOME"); !home.empty()) return home;
  if (::geteuid() == 0) return "/var/lib/vaultfs";
  // What su and sudo leave in the environment may be another user's.
  const auto is_own = [](const std::filesystem::path& directory) {
    struct stat st {};
    if (!directory.is_absolute()) return false;
    return ::stat(directory.c_str(), &st) != 0 ? errno == ENOENT : st.st_uid == ::geteuid();
  };
  if (const auto data = variable("XDG_DATA_HOME"); is_own(data)) return data / "vaultfs";
  std::filesystem::path home = variable("HOME");
  if (!is_own(home)) home = user_home(::geteuid());
  return home.empty() ? home : home / ".local/share/vaultfs";
}

}  // namespace vaultfs
