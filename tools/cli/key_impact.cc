#include "tools/cli/key_impact.h"

#include <algorithm>

#include "vaultmeta/vault.h"

namespace vaultfs {

using nlohmann::json;

std::string VaultImpact::role_of(const std::string& version) const {
  if (!reachable) return "unknown";
  std::string role = "not used";
  // A version that came back has several records; the newest counts.
  for (const json& record : versions) {
    if (record.value("version", "") == version) role = record.value("role", "unknown");
  }
  return role;
}

bool VaultImpact::needs(const std::string& version) const {
  const std::string role = role_of(version);
  return role == "Active" || role == "Retiring" || role == "unknown";
}

bool VaultImpact::needs_any() const {
  return !reachable || std::any_of(versions.begin(), versions.end(),
                                   [this](const json& record) { return needs(record.value("version", "")); });
}

std::string unreachable_text(const VaultImpact& impact) {
  return "can't be asked (" + std::string(error_name(impact.problem.code)) + "; vault " + impact.vault + ")";
}

std::string unreachable_advice(const VaultImpact& impact) {
  return "if it was moved, `vaultctl encryption refresh` where it is now tells this machine; if it is gone for good, "
         "`vaultctl vault forget " +
         impact.vault + "` drops it";
}

bool may_need_key(Env& env, const Registration& registration, const KeyRef& key) {
  if (registration.key_vault == key.key_vault && registration.key == key.key) return true;
  if (!registration.needed) return true;  // of an older vaultfs: nobody knows what it leaves out
  const auto needs = [&key](const auto& use) {
    if (use.key_vault == key.key_vault && use.key == key.key) return true;
    return key.version && use.version == *key.version && is_unique_version(use.version);
  };
  if (std::any_of(registration.needed->begin(), registration.needed->end(), needs)) return true;
  const auto glance = glance_at_vault(env, registration.path);
  // Nothing to look at, or another vault in its place: the registration is all that is known.
  if (!glance.ok() || glance->header.id != registration.vault) return false;
  return std::any_of(glance->slots.begin(), glance->slots.end(),
                     [&needs](const KeyringSlot& slot) { return slot.kind == SlotKind::key_vault && needs(slot); });
}

namespace {

bool may_need_any(Env& env, const Registration& registration, const KeyRef& key,
                  const std::vector<std::string>& versions) {
  return may_need_key(env, registration, key) ||
         std::any_of(versions.begin(), versions.end(), [&](const std::string& version) {
           return may_need_key(env, registration, {key.key_vault, key.key, version});
         });
}

}  // namespace

Result<std::vector<VaultImpact>> find_impact(CommandContext& context, const KeyRef& key,
                                             const std::vector<std::string>& versions) {
  VAULTFS_ASSIGN_OR_RETURN(Machine * machine, context.machine());
  VAULTFS_ASSIGN_OR_RETURN(const std::vector<Registration> registrations, machine->state().registrations());
  const std::string wanted = key.key_vault + "/" + key.key;
  std::vector<VaultImpact> impacts;
  for (const Registration& registration : registrations) {
    VaultImpact impact;
    impact.vault = to_hex(registration.vault.view());
    impact.path = registration.path.string();
    auto usage = request(context, {impact.path, "key.usage"});
    if (usage.ok() && usage->value("vault", "") != impact.vault) {
      usage = Error{ErrorCode::VaultNotFound, impact.path + " is another vault now"};
    }
    if (!usage.ok()) {
      if (!may_need_any(machine->env(), registration, key, versions)) continue;
      impact.reachable = false;
      impact.problem = usage.error();
      impacts.push_back(std::move(impact));
      continue;
    }
    impact.recovery_points = usage->value("recovery_points", std::uint64_t{0});
    impact.keyring_generation = usage->value("keyring_generation", std::uint64_t{0});
    for (const json& record : (*usage)["versions"]) {
      // The very version counts under any name: its key may have been imported here under another one. A number is a
      // version of its own key only.
      const std::string version = record.value("version", "");
      const bool asked = std::find(versions.begin(), versions.end(), version) != versions.end() ||
                         (key.version && version == *key.version);
      if (record.value("key", "") == wanted || (asked && is_unique_version(version))) {
        impact.versions.push_back(record);
      }
    }
    if (!impact.versions.empty()) impacts.push_back(std::move(impact));
  }
  return impacts;
}

namespace {

bool may_need_key_vault(const Registration& registration, const std::string& name) {
  if (registration.key_vault == name || !registration.needed) return true;
  return std::any_of(registration.needed->begin(), registration.needed->end(),
                     [&name](const RegisteredKey& key) { return key.key_vault == name; });
}

}  // namespace

Result<std::vector<VaultImpact>> find_key_vault_impact(CommandContext& context, const std::string& name) {
  VAULTFS_ASSIGN_OR_RETURN(Machine * machine, context.machine());
  VAULTFS_ASSIGN_OR_RETURN(const std::vector<Registration> registrations, machine->state().registrations());
  std::vector<VaultImpact> impacts;
  for (const Registration& registration : registrations) {
    VaultImpact impact;
    impact.vault = to_hex(registration.vault.view());
    impact.path = registration.path.string();
    auto usage = request(context, {impact.path, "key.usage"});
    if (!usage.ok() || usage->value("vault", "") != impact.vault) {
      if (!may_need_key_vault(registration, name)) continue;
      impact.reachable = false;
      impact.problem = usage.ok() ? Error{ErrorCode::VaultNotFound, impact.path + " is another vault now"}
                                  : std::move(usage).error();
      impacts.push_back(std::move(impact));
      continue;
    }
    impact.recovery_points = usage->value("recovery_points", std::uint64_t{0});
    for (const json& record : (*usage)["versions"]) {
      const std::string role = record.value("role", "");
      const bool needed = role == "Active" || role == "Retiring";
      if (needed && record.value("key", "").starts_with(name + "/")) impact.versions.push_back(record);
    }
    if (!impact.versions.empty()) impacts.push_back(std::move(impact));
  }
  return impacts;
}

}  // namespace vaultfs
