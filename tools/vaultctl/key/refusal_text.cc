#include "tools/vaultctl/key/refusal_text.h"

#include "base/visible_text.h"

namespace vaultfs {
namespace {

// "can't be asked (VaultNotFound; vault 0123…)", and what to do about it.
std::string unreachable_text(const VaultNeed& need) {
  return "can't be asked (" + std::string(error_name(need.problem.code)) + "; vault " + need.vault + ")";
}

std::string unreachable_advice(const VaultNeed& need) {
  return "if it was moved, `vaultctl encryption refresh` where it is now tells this machine; if it is gone for good, "
         "`vaultctl vault forget " +
         need.vault + "` drops it";
}

std::string name_of(const KeyRef& key) { return key.key_vault + "/" + key.key; }

std::string key_of(const VersionRecord& record) {
  return record.key_vault.empty() ? "platform-managed" : record.key_vault + "/" + record.key;
}

std::string waits_for(const VersionRecord& record) {
  return record.waiting_for.empty() ? "" : ". It waits for this: " + visible_text(record.waiting_for);
}

// What lets a vault do without the version.
std::string way_out_text(const NeedingVault& needing, const VersionRecord& record) {
  const std::string refresh = "vaultctl encryption refresh " + visible_text(needing.need.path);
  switch (needing.way_out) {
    case WayOut::refresh:
      return "; its backup has completed, so it retires with a refresh: " + refresh + waits_for(record);
    case WayOut::complete_backup:
      return "; it retires when the next backup has completed: vaultctl backup run or backup commit" +
             waits_for(record);
    case WayOut::refresh_then_backup:
      return "; the vault has not taken up the newer version yet: " + refresh + ", then a backup";
    case WayOut::another_version:
      return "; let another version take effect first: vaultctl key rotate " + visible_text(key_of(record)) +
             ", or vaultctl encryption set if the vault is pinned to this one";
    case WayOut::another_key:
    case WayOut::ask_again:
      break;
  }
  return "";
}

std::string line_of(const NeedingVault& needing, const KeyRef& key) {
  const VaultNeed& need = needing.need;
  if (!need.reachable) {
    return unreachable_text(need) + ", so it counts as needing every version; " + unreachable_advice(need);
  }
  const std::string points = ", " + std::to_string(need.recovery_points) + " recovery points";
  if (!key.version) {
    return "versions Active or Retiring" + points + "; move it to another key first: vaultctl encryption set";
  }
  std::string text = std::string(use_name(need.use_of(*key.version))) + points;
  const UsedVersion* used = need.record_of(*key.version);
  if (used == nullptr) return text;
  if (key_of(used->record) != name_of(key)) {
    text += ", as " + visible_text(key_of(used->record)) + "/" + *key.version;
    if (used->in_doubt) text += ", which may be the same key vault: that can't be told";
  }
  return text + way_out_text(needing, used->record);
}

}  // namespace

Error refusal_of_key(const KeyRef& key, const std::vector<NeedingVault>& needing) {
  std::string text = key.version ? "version " + *key.version + " of " + name_of(key) : "the key " + name_of(key);
  text += " is still needed:";
  for (const NeedingVault& one : needing) text += "\n  " + visible_text(one.need.path) + ": " + line_of(one, key);
  text += "\nAll of that would become unreadable. To do it all the same: --override " + key.key;
  return {ErrorCode::KeyVersionInUse, text};
}

std::string needing_lines(const std::vector<VaultNeed>& needing) {
  std::string text;
  for (const VaultNeed& need : needing) {
    text += "\n  " + visible_text(need.path) + ": ";
    text += need.reachable ? std::to_string(need.versions.size()) + " key versions, " +
                                 std::to_string(need.recovery_points) + " recovery points"
                           : unreachable_text(need) + ", so it counts as needing them; " + unreachable_advice(need);
  }
  return text;
}

Status check_override(const std::string& override_name, const std::string& name, const std::string& what) {
  if (override_name.empty() || override_name == name) return ok_status();
  return Error{ErrorCode::Usage, "--override wants " + what + name + ", so that it is not given by mistake"};
}

}  // namespace vaultfs
