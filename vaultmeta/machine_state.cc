#include "vaultmeta/machine_state.h"

#include <unistd.h>

#include <cstdlib>
#include <cstring>
#include <mutex>
#include <nlohmann/json.hpp>
#include <utility>

#include "crypto/keyvault/json_members.h"
#include "crypto/keyvault/private_file.h"
#include "crypto/keyvault/trusted_file.h"
#include "vaultmeta/audit_log.h"
#include "vaultmeta/pin_file.h"

namespace vaultfs {
namespace {

constexpr std::uint64_t kMaxRegistrationBytes = std::uint64_t{64} * 1024;
constexpr std::string_view kRegistrationSuffix = ".json";
constexpr std::uint32_t kOthersMayWrite = 022;

Status remove_durably(Env& env, const Env::Path& file) {
  const Status removed = env.remove_file(file);
  if (!removed.ok()) return removed.code() == ErrorCode::NotFound ? ok_status() : removed;
  return env.sync_directory(file.parent_path());
}

Result<std::string> encode_registration(const Registration& registration) {
  const std::string path = registration.path.string();
  nlohmann::json object{{"vault", to_hex(registration.vault.view())},
                        {"path", path},
                        {"key_vault", registration.key_vault},
                        {"key", registration.key}};
  if (registration.needed) {
    nlohmann::json needed = nlohmann::json::array();
    for (const RegisteredKey& key : *registration.needed) {
      needed.push_back({{"key_vault", key.key_vault}, {"key", key.key}, {"version", key.version}});
    }
    object["needed"] = std::move(needed);
  }
  if (registration.identity) object["identity"] = *registration.identity;
  std::string text = object.dump(2, ' ', false, nlohmann::json::error_handler_t::replace) + "\n";
  if (nlohmann::json::parse(text, nullptr, false).value("path", "") != path) {
    return Error{ErrorCode::InvalidArgument, "the vault's path is not valid UTF-8; use another directory"};
  }
  return text;
}

Result<Registration> decode_registration(ByteView file, const std::string& where) {
  const auto object = nlohmann::json::parse(text_of(file), nullptr, false);
  JsonMembers members(object, where);
  const std::string id = members.text("vault");
  Registration registration;
  registration.path = members.text("path");
  registration.key_vault = members.text("key_vault");
  registration.key = members.text("key");
  VAULTFS_RETURN_IF_ERROR(members.finish());
  if (object.contains("needed")) {
    registration.needed.emplace();
    const nlohmann::json* needed = members.array("needed");
    for (std::size_t i = 0; needed != nullptr && i < needed->size(); ++i) {
      JsonMembers entry((*needed)[i], where);
      registration.needed->push_back({entry.text("key_vault"), entry.text("key"), entry.text("version")});
      VAULTFS_RETURN_IF_ERROR(entry.finish());
    }
    VAULTFS_RETURN_IF_ERROR(members.finish());
  }
  if (object.contains("identity")) {
    registration.identity = members.text("identity");
    VAULTFS_RETURN_IF_ERROR(members.finish());
  }
  Bytes bytes;
  if (!from_hex(id, bytes) || bytes.size() != VaultId::kSize || !registration.path.is_absolute()) {
    return Error{ErrorCode::DamagedMachineState, where + " is damaged: it names no vault"};
  }
  std::memcpy(registration.vault.data(), bytes.data(), bytes.size());
  return registration;
}

// Pins and registrations are replaced whole, so reads take no lock; changes are made under HOME/state.lock.
class MachineDirectory final : public MachineState {
 public:
  MachineDirectory(Env& env, Env::Path home)
      : env_(env), home_(std::move(home)), audit_log_(env, home_ / "audit.log") {}

  [[nodiscard]] const std::filesystem::path& home() const override { return home_; }

  Result<std::optional<Pin>> pin(const VaultId& vault) override {
    const Env::Path path = pin_path(vault);
    const auto bytes = read_trusted_file(env_, path, kMaxPinFileBytes, "forge what this machine trusts");
    if (!bytes.ok() && bytes.code() == ErrorCode::NotFound) return std::optional<Pin>{};
    VAULTFS_RETURN_IF_ERROR(bytes);
    VAULTFS_ASSIGN_OR_RETURN(Pin pin, decode_pin(*bytes, vault, path.string()));
    return std::optional<Pin>(pin);
  }

  Status set_pin(const Pin& next) override {
    return change("pins", [&]() -> Status {
      VAULTFS_ASSIGN_OR_RETURN(const std::optional<Pin> before, pin(next.vault));
      if (before && goes_back(*before, next)) {
        return Error{ErrorCode::RollbackDetected, "this machine has seen a newer state of the vault than that"};
      }
      if (before == next) return ok_status();
      return write_file_durably(env_, pin_path(next.vault), encode_pin(next));
    });
  }

  Status remove_pin(const VaultId& vault) override {
    return change("pins", [&] { return remove_durably(env_, pin_path(vault)); });
  }

  Result<std::vector<Registration>> registrations() override {
    std::vector<Registration> all;
    const Env::Path directory = home_ / "vaults";
    VAULTFS_ASSIGN_OR_RETURN(const FileInfo info, env_.info(directory));
    if (info.kind == FileKind::missing) return all;
    VAULTFS_ASSIGN_OR_RETURN(const auto names, env_.list(directory));
    for (const std::string& name : names) {
      if (!name.ends_with(kRegistrationSuffix)) continue;
      const Env::Path path = directory / name;
      auto bytes = read_state(path, kMaxRegistrationBytes);
      if (!bytes.ok() && bytes.code() == ErrorCode::NotFound) continue;  // forgotten meanwhile
      VAULTFS_RETURN_IF_ERROR(bytes);
      VAULTFS_ASSIGN_OR_RETURN(Registration registration, decode_registration(*bytes, path.string()));
      if (registration_path(registration.vault) != path) {
        return Error{ErrorCode::DamagedMachineState, path.string() + " is damaged: it registers another vault"};
      }
      all.push_back(std::move(registration));
    }
    return all;
  }

  Result<std::optional<Registration>> registration(const VaultId& vault) override {
    const Env::Path path = registration_path(vault);
    auto bytes = read_state(path, kMaxRegistrationBytes);
    if (!bytes.ok() && bytes.code() == ErrorCode::NotFound) return std::optional<Registration>();
    VAULTFS_RETURN_IF_ERROR(bytes);
    VAULTFS_ASSIGN_OR_RETURN(Registration found, decode_registration(*bytes, path.string()));
    if (found.vault == vault) return std::optional<Registration>(std::move(found));
    return Error{ErrorCode::DamagedMachineState, path.string() + " is damaged: it registers another vault"};
  }

  Status register_vault(const Registration& registration) override {
    if (!registration.path.is_absolute()) {
      return Error{ErrorCode::InvalidArgument, "a vault is registered by its absolute path"};
    }
    VAULTFS_ASSIGN_OR_RETURN(const std::string text, encode_registration(registration));
    return change("vaults",
                  [&] { return write_file_durably(env_, registration_path(registration.vault), bytes_of(text)); });
  }

  Status change_registration(const VaultId& vault, const std::function<void(Registration&)>& edit) override {
    return change("vaults", [&]() -> Status {
      const Env::Path path = registration_path(vault);
      auto bytes = read_state(path, kMaxRegistrationBytes);
      if (!bytes.ok() && bytes.code() == ErrorCode::NotFound) return ok_status();
      VAULTFS_RETURN_IF_ERROR(bytes);
      VAULTFS_ASSIGN_OR_RETURN(const Registration before, decode_registration(*bytes, path.string()));
      Registration after = before;
      edit(after);
      if (after == before) return ok_status();
      VAULTFS_ASSIGN_OR_RETURN(const std::string text, encode_registration(after));
      return write_file_durably(env_, path, bytes_of(text));
    });
  }

  Status forget_vault(const VaultId& vault) override {
    return change("vaults", [&] { return remove_durably(env_, registration_path(vault)); });
  }

  Status audit(const std::string& what, const std::string& detail) override {
    return change("", [&] { return audit_log_.append({env_.clock().now(), ::getuid(), what, detail}); });
  }

  Result<std::vector<AuditEntry>> audit_entries() override {
    const std::lock_guard lock(mutex_);
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

  [[nodiscard]] Env::Path pin_path(const VaultId& vault) const {
    return home_ / "pins" / (to_hex(vault.view()) + ".pin");
  }
  [[nodiscard]] Env::Path registration_path(const VaultId& vault) const {
    return home_ / "vaults" / (to_hex(vault.view()) + std::string(kRegistrationSuffix));
  }

  // A file of the machine's state: whatever is wrong with its form is damage, never absence.
  Result<Bytes> read_state(const Env::Path& path, std::uint64_t limit) {
    auto bytes = read_file(env_, path, limit);
    if (bytes.ok() || bytes.code() != ErrorCode::InvalidArgument) return bytes;
    return Error{ErrorCode::DamagedMachineState, path.string() + " is damaged: " + bytes.error().message};
  }

  template <typename Change>
  Status change(const std::string& folder, const Change& make_change) {
    const std::lock_guard lock(mutex_);
    VAULTFS_ASSIGN_OR_RETURN(const auto file_lock, wait_for_lock(env_, home_ / "state.lock"));
    if (!folder.empty()) VAULTFS_RETURN_IF_ERROR(ensure_private_directory(env_, home_ / folder));
    return make_change();
  }

  Env& env_;
  const Env::Path home_;
  std::mutex mutex_;  // one change at a time in this process, audit_log_'s reads too; held across file I/O, a leaf
  AuditLog audit_log_;
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
  if (const auto data = variable("XDG_DATA_HOME"); data.is_absolute()) return data / "vaultfs";
  return variable("HOME") / ".local/share/vaultfs";
}

}  // namespace vaultfs
