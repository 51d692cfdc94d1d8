#include "tools/cli/key_impact.h"

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

Result<std::vector<VaultImpact>> find_impact(CommandContext& context, const KeyRef& key) {
  VAULTFS_ASSIGN_OR_RETURN(Machine * machine, context.machine());
  VAULTFS_ASSIGN_OR_RETURN(const std::vector<Registration> registrations, machine->state().registrations());
  std::vector<VaultImpact> impacts;
  for (const Registration& registration : registrations) {
    VaultImpact impact;
    impact.vault = to_hex(registration.vault.view());
    impact.path = registration.path.string();
    const bool names_key = registration.key_vault == key.key_vault && registration.key == key.key;
    auto usage = request(context, {impact.path, "key.usage"});
    if (!usage.ok()) {
      // It may have used this key before it was given another one, but then its newest keyring does not name it: only
      // the registered key can be needed by a vault that can't be asked.
      if (!names_key) continue;
      impact.reachable = false;
      impact.problem = usage.error();
      impacts.push_back(std::move(impact));
      continue;
    }
    impact.recovery_points = usage->value("recovery_points", std::uint64_t{0});
    impact.keyring_generation = usage->value("keyring_generation", std::uint64_t{0});
    const std::string wanted = key.key_vault + "/" + key.key;
    for (const json& record : (*usage)["versions"]) {
      if (record.value("key", "") == wanted) impact.versions.push_back(record);
    }
    if (!impact.versions.empty()) impacts.push_back(std::move(impact));
  }
  return impacts;
}

}  // namespace vaultfs
