#include "tools/cli/key_impact.h"

#include <algorithm>
#include <optional>

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

std::string VaultImpact::waiting_for(const std::string& version) const {
  std::string reason;
  for (const json& record : versions) {
    if (record.value("version", "") == version) reason = record.value("waiting_for", "");
  }
  return reason;
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

// A key vault that is to go, and what of other names is found in there: a vault looks for a version of its own
// everywhere when the place it knows does not have it.
class GoingKeyVault {
 public:
  GoingKeyVault(Machine& machine, const std::string& name) : machine_(machine), name_(name) {}

  // Whether a vault that knows the version under that name would miss it.
  [[nodiscard]] bool holds(const std::string& key_vault, const std::string& key, const std::string& version) {
    if (key_vault == name_) return true;
    if (key_vault.empty() || !is_unique_version(version) || has(key_vault, key, version)) return false;
    if (!versions_) versions_ = list();
    if (versions_->ok()) return std::ranges::find(**versions_, version) != (*versions_)->end();
    // It can't be asked. A vault whose own key vault this machine has will rather wait for that one.
    return !machine_.registry().find(key_vault).ok();
  }

 private:
  [[nodiscard]] bool has(const std::string& key_vault, const std::string& key, const std::string& version) {
    const auto opened = machine_.registry().open(key_vault);
    if (!opened.ok()) return false;
    const auto versions = (*opened)->list_versions(key);
    const auto is_it = [&version](const KeyVersionInfo& info) { return info.id == version; };
    return versions.ok() && std::ranges::any_of(*versions, is_it);
  }
  [[nodiscard]] Result<std::vector<std::string>> list() {
    VAULTFS_ASSIGN_OR_RETURN(const auto opened, machine_.registry().open(name_));
    VAULTFS_ASSIGN_OR_RETURN(const auto keys, opened->list_keys());
    std::vector<std::string> ids;
    for (const std::string& key : keys) {
      VAULTFS_ASSIGN_OR_RETURN(const auto versions, opened->list_versions(key));
      for (const KeyVersionInfo& info : versions) ids.push_back(info.id);
    }
    return ids;
  }

  Machine& machine_;
  const std::string& name_;
  std::optional<Result<std::vector<std::string>>> versions_;  // all that it has, once asked
};

bool may_need_key_vault(const Registration& registration, const std::string& name, GoingKeyVault& going) {
  if (registration.key_vault == name || !registration.needed) return true;
  return std::ranges::any_of(*registration.needed, [&going](const RegisteredKey& needed) {
    return going.holds(needed.key_vault, needed.key, needed.version);
  });
}

// KEYVAULT/KEY, as usage tells it.
bool holds_record(GoingKeyVault& going, const json& record) {
  const std::string key = record.value("key", "");
  const std::size_t slash = key.find('/');
  if (slash == std::string::npos) return false;
  return going.holds(key.substr(0, slash), key.substr(slash + 1), record.value("version", ""));
}

}  // namespace

Result<std::vector<VaultImpact>> find_key_vault_impact(CommandContext& context, const std::string& name) {
  VAULTFS_ASSIGN_OR_RETURN(Machine * machine, context.machine());
  VAULTFS_ASSIGN_OR_RETURN(const std::vector<Registration> registrations, machine->state().registrations());
  GoingKeyVault going(*machine, name);
  std::vector<VaultImpact> impacts;
  for (const Registration& registration : registrations) {
    VaultImpact impact;
    impact.vault = to_hex(registration.vault.view());
    impact.path = registration.path.string();
    auto usage = request(context, {impact.path, "key.usage"});
    if (!usage.ok() || usage->value("vault", "") != impact.vault) {
      if (!may_need_key_vault(registration, name, going)) continue;
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
      if (needed && holds_record(going, record)) impact.versions.push_back(record);
    }
    if (!impact.versions.empty()) impacts.push_back(std::move(impact));
  }
  return impacts;
}

}  // namespace vaultfs
