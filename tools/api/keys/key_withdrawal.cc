#include "tools/api/keys/key_withdrawal.h"

#include <algorithm>
#include <string>
#include <utility>

#include "base/clock.h"
#include "tools/api/keys/opened_key_vault.h"

namespace vaultfs {
namespace {

// What the key vault lists behind `version` and a vault could take up: the vault has not noticed it yet.
bool has_newer(const std::vector<KeyVersionInfo>& listed, const std::string& version) {
  const auto at = std::ranges::find(listed, version, &KeyVersionInfo::id);
  const std::int64_t now = system_clock().now().seconds();
  return at != listed.end() &&
         std::any_of(at + 1, listed.end(), [now](const KeyVersionInfo& info) { return info.may_wrap(now); });
}

WayOut way_out(const VaultNeed& need, const KeyRef& key, const std::vector<KeyVersionInfo>& listed) {
  if (!need.reachable) return WayOut::ask_again;
  if (!key.version) return WayOut::another_key;
  const UsedVersion* used = need.record_of(*key.version);
  if (used != nullptr && used->record.role == VersionRole::retiring) {
    return used->record.backup_completed ? WayOut::refresh : WayOut::complete_backup;
  }
  const bool newer = need.follows_new_versions && has_newer(listed, *key.version);
  return newer ? WayOut::refresh_then_backup : WayOut::another_version;
}

Status check_version(const KeyWithdrawalRequest& request) {
  if (request.key.pinned() == (request.what == KeyWithdrawal::disable)) return ok_status();
  return Error{ErrorCode::InvalidKeyRef,
               "a version is disabled, a key is deleted and purged: " + request.key.to_string() + " is the other"};
}

void set_change(GuardedChange& guarded, AdministeredKeyVault& key_vault, const KeyWithdrawalRequest& request) {
  const KeyRef& key = request.key;
  switch (request.what) {
    case KeyWithdrawal::disable:
      guarded.operation = "key.disable";
      guarded.change = [&key_vault, &key] { return key_vault.set_enabled(key.key, *key.version, false); };
      guarded.undo = [&key_vault, &key] { return key_vault.set_enabled(key.key, *key.version, true); };
      return;
    case KeyWithdrawal::remove:
      guarded.operation = "key.delete";
      guarded.change = [&key_vault, &key] { return key_vault.delete_key(key.key); };
      guarded.undo = [&key_vault, &key] { return key_vault.recover_key(key.key); };
      return;
    case KeyWithdrawal::purge:
      guarded.operation = "key.purge";
      guarded.change = [&key_vault, &key] { return key_vault.purge_key(key.key); };
      return;
  }
}

}  // namespace

Result<KeyWithdrawalAnswer> withdraw_key(const MachineContext& context, const KeyWithdrawalRequest& request) {
  const KeyRef& key = request.key;
  VAULTFS_RETURN_IF_ERROR(check_version(request));
  VAULTFS_ASSIGN_OR_RETURN(const auto key_vault, open_key_vault(context.machine, key.key_vault));
  // A deleted key lists none; by its name it is found all the same.
  std::vector<KeyVersionInfo> listed;
  auto infos = key_vault->list_versions(key.key);
  if (infos.ok()) listed = std::move(infos).value();
  if (!infos.ok() && !key.version && infos.code() != ErrorCode::KeyNotFound) return std::move(infos).error();
  std::vector<std::string> versions;
  if (key.version) {
    versions.push_back(*key.version);
  } else {
    for (const KeyVersionInfo& info : listed) versions.push_back(info.id);
  }
  // The vaults are asked without the key vault's lock; under it, everything they said must still hold.
  AskedVaults asked;
  VAULTFS_ASSIGN_OR_RETURN(asked.registrations, context.machine.state().registrations());
  VAULTFS_ASSIGN_OR_RETURN(asked.asked, who_needs_key(context, key, versions));
  for (const VaultNeed& need : asked.asked) {
    if (key.version ? need.needs(*key.version) : need.needs_any()) asked.needing.push_back(need);
  }
  GuardedChange guarded;
  guarded.subject = key.to_string();
  guarded.activity_subject = key.version ? *key.version : key.to_string();
  guarded.although_needed = request.although_needed;
  guarded.key_vault = dynamic_cast<LocalKeyVault*>(key_vault.get());
  set_change(guarded, *key_vault, request);
  KeyWithdrawalAnswer answer{Withdrawn::refused, {}};
  for (const VaultNeed& need : asked.needing) answer.needing.push_back({need, way_out(need, key, listed)});
  VAULTFS_ASSIGN_OR_RETURN(answer.outcome, change_unless_needed(context, asked, guarded));
  return answer;
}

}  // namespace vaultfs
