// Key versions: what the rotation rule promises (architecture of the keys: docs/key-management.md).
#include <algorithm>
#include <utility>

#include "tests/simulation/player.h"

namespace vaultfs::sim {
namespace {

constexpr std::int64_t kNoLongerRecentSeconds = 60;

}  // namespace

void Player::look_at_keys() {
  if (world_.engine == nullptr) return;
  const EncryptionStatus status = engine().vault().custody().status();
  std::map<std::string, VersionRole> roles;
  std::size_t active = 0;
  for (std::size_t i = 0; i < status.versions.size(); ++i) {
    const VersionRecord& record = status.versions[i];
    roles[record.version] = record.role;  // the newest record counts
    active += record.role == VersionRole::active ? 1 : 0;
    if (record.role == VersionRole::active) active_ = record.version;
    const auto before = roles_.find(record.version);
    const VersionRole was = before == roles_.end() ? record.role : before->second;
    if (record.role == VersionRole::retiring && was != VersionRole::retiring) owing_.insert(record.version);
    if (record.role != VersionRole::retired || was == VersionRole::retired) continue;
    if (owing_.contains(record.version)) {
      throw Finding("rotation", "a version retired, and no backup was tried since it was superseded");
    }
    if (dropped_.contains(record.version) || i + 1 == status.versions.size()) continue;
    const auto job = engine().vault().catalogue().job(record.completed_by);
    if (!record.backup_completed || !job) {
      throw Finding("rotation", "a version retired, and no job is known that completed before");
    }
    if (job->state != JobState::completed && job->state != JobState::completed_no_change) {
      throw Finding("rotation", "a version retired by a job that did not complete");
    }
    if (job->begun < status.versions[i + 1].took_effect_lsn) {
      throw Finding("rotation", "a version retired by a job that began before it was superseded");
    }
  }
  if (active != 1) throw Finding("rotation", std::to_string(active) + " versions are Active");
  roles_ = std::move(roles);
}

void Player::change_keys(const Operation& operation) {
  CheapKeyVault& key_vault = *world_.key_vault;
  const auto disable = [&](const std::string& version) {
    key_vault.set_enabled(version, false);
    disabled_.insert(version);
  };
  switch (operation.kind) {
    case Kind::rotate:
      key_vault.add_version();
      return pass_time(kNoLongerRecentSeconds);
    case Kind::refresh: {
      if (!ensure_open()) return;
      const auto outcome = engine().refresh();
      if (judge("refreshed", outcome) && key_vault.enabled(key_vault.newest())) {
        look_at_keys();
        if (active_ != key_vault.newest()) {
          throw Finding("rotation", "a refresh succeeded, and the newest version is not Active");
        }
      }
      break;
    }
    case Kind::new_epoch:
      if (!ensure_open()) return;
      judge("new epoch", engine().vault().custody().new_epoch());
      break;
    case Kind::rewrap:
      if (!ensure_open()) return;
      if (operation.a != 0) {
        owing_.clear();
        for (const auto& [version, role] : roles_) dropped_.insert(version);
      }
      judge("rewrapped", engine().vault().custody().rewrap(operation.a != 0));
      break;
    case Kind::disable_retired:
      // The owner of the key believes what the vault says: what it needs no more is disabled, for good.
      for (const auto& [version, role] : roles_) {
        if (role == VersionRole::retired) key_vault.set_enabled(version, false);
      }
      return;
    case Kind::disable_early:
      for (const auto& [version, role] : roles_) {
        if (role == VersionRole::retiring) return disable(version);
      }
      return;
    case Kind::revoke:
      if (!active_.empty()) disable(active_);
      return;
    case Kind::allow:
      for (const std::string& version : disabled_) key_vault.set_enabled(version, true);
      disabled_.clear();
      return key_vault.answer_again();
    case Kind::outage:
      return key_vault.set_outage(true);
    case Kind::deny:
      return key_vault.set_deny(true);
    case Kind::late:
      return key_vault.set_late(operation.a);
    default:
      return;
  }
  look_at_keys();
}

}  // namespace vaultfs::sim
