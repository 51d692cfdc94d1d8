#include <utility>

#include "base/thread/mutex.h"
#include "vaultmeta/keys/custody_impl.h"
#include "vaultmeta/vault/key_drill.h"

// What an owner asks for by name beside a change of keys: a new DEK epoch, other limits, a drill.

namespace vaultfs {
namespace {

constexpr std::uint32_t kMaxGraceSeconds = 24 * 3600;
constexpr std::uint32_t kMaxOutageSeconds = 30 * 24 * 3600;

Status check_limit(const std::optional<std::uint32_t>& value, std::uint32_t least, std::uint32_t most,
                   const std::string& what) {
  if (!value || (*value >= least && *value <= most)) return ok_status();
  return Error{ErrorCode::InvalidArgument, what + " must be from " + std::to_string(least) + " to " +
                                               std::to_string(most) + ", not " + std::to_string(*value)};
}

}  // namespace

Status KeyringCustody::new_epoch() {
  const MutexLock turn(change_mutex_);
  VAULTFS_RETURN_IF_ERROR(check_changeable());
  const auto reached = prove_access();
  if (!reached.ok()) return note_trouble(reached.error());
  note_access();
  const std::string version = snapshot().active.version;
  Status begun = commit([this](Keyring& next, const SecretBuffer&) { return add_epoch(next); },
                        {nullptr, std::nullopt, true, std::pair("key.new-epoch", version)});
  if (!begun.ok()) {
    told_failures_.clear();
    record_failure("key.new-epoch", version, begun.error());
    return begun;
  }
  const Status headed = write_head_if_behind();
  record_success("key.new-epoch", version);
  VAULTFS_RETURN_IF_ERROR(headed);
  VAULTFS_RETURN_IF_ERROR(finish_epochs());
  return delete_superseded();
}

Status KeyringCustody::set_limits(const AccessLimits& limits) {
  const MutexLock turn(change_mutex_);
  VAULTFS_RETURN_IF_ERROR(check_changeable());
  VAULTFS_RETURN_IF_ERROR(check_limit(limits.refresh_minutes, 1, kMaxRefreshMinutes, "the minutes between refreshes"));
  VAULTFS_RETURN_IF_ERROR(
      check_limit(limits.revocation_grace_seconds, 0, kMaxGraceSeconds, "the seconds of grace after a revocation"));
  VAULTFS_RETURN_IF_ERROR(
      check_limit(limits.outage_ttl_seconds, 0, kMaxOutageSeconds, "the seconds that keys are kept in an outage"));
  VAULTFS_RETURN_IF_ERROR(commit(
      [&limits](Keyring& next, const SecretBuffer&) {
        EncryptionSettings& settings = next.secrets.settings;
        settings.refresh_minutes = limits.refresh_minutes.value_or(settings.refresh_minutes);
        settings.revocation_grace_seconds = limits.revocation_grace_seconds.value_or(settings.revocation_grace_seconds);
        settings.outage_ttl_seconds = limits.outage_ttl_seconds.value_or(settings.outage_ttl_seconds);
        return ok_status();
      },
      {}));
  VAULTFS_RETURN_IF_ERROR(write_head_if_behind());
  KeyChangeHost* host = nullptr;
  {
    const MutexLock lock(state_mutex_);
    host = host_;
  }
  host->record_setting("encryption.set-limits", snapshot().active.version);
  return delete_superseded();
}

Result<std::vector<KeyDrill>> KeyringCustody::drill() {
  return drill_keyring(context_, header_, header_digest_, status().fingerprint);
}

}  // namespace vaultfs
