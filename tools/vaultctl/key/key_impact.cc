#include "tools/vaultctl/key/key_impact.h"

#include <algorithm>
#include <optional>
#include <utility>

#include "vaultmeta/machine/key_vault_comparison.h"
#include "vaultmeta/vault/vault.h"

namespace vaultfs {

using nlohmann::json;

const json* VaultImpact::record_of(const std::string& version) const {
  const json* newest = nullptr;
  // A version that came back has several records; the newest counts. Where versions are numbered, several keys of one
  // vault can have one of that number: what is needed counts before what is not.
  for (const json& record : versions) {
    if (record.value("version", "") != version) continue;
    const bool same_key = newest != nullptr && newest->value("key", "") == record.value("key", "");
    if (newest == nullptr || same_key || newest->value("role", "") == "Retired") newest = &record;
  }
  return newest;
}

std::string VaultImpact::role_of(const std::string& version) const {
  if (!reachable) return "unknown";
  const json* record = record_of(version);
  return record == nullptr ? "not used" : record->value("role", "unknown");
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

Result<json> ask_usage(CommandContext& context, VaultImpact& impact, const Registration& registration) {
  impact.vault = to_hex(registration.vault.view());
  impact.path = registration.path.string();
  auto usage = request(context, {impact.path, "key.usage"});
  if (usage.ok() && usage->value("vault", "") != impact.vault) {
    usage = Error{ErrorCode::VaultNotFound, impact.path + " is another vault now"};
  }
  if (!usage.ok()) {
    impact.reachable = false;
    impact.problem = usage.error();
    return usage;
  }
  impact.recovery_points = usage->value("recovery_points", std::uint64_t{0});
  impact.keyring_generation = usage->value("keyring_generation", std::uint64_t{0});
  impact.follows_new_versions = usage->value("follows_new_versions", false);
  return usage;
}

namespace {

// The key that is asked about, under whatever names vaults know it.
class AskedKey {
 public:
  AskedKey(Machine& machine, const KeyRef& key, const std::vector<std::string>& versions)
      : key_(key), versions_(versions), comparison_(machine.registry(), key.key_vault) {
    if (key.version) versions_.push_back(*key.version);
  }

  // Whether a version that a vault knows so is a version of this key; of this very one if a version is asked about.
  [[nodiscard]] Sameness is(const std::string& key_vault, const std::string& key, const std::string& version) {
    if (key_vault == key_.key_vault && key == key_.key) return Sameness::same;
    const bool asked = std::ranges::find(versions_, version) != versions_.end();
    // The very version counts under any name: its key may have been imported here under another one. A number is a
    // version of its own key only, which may be registered twice.
    if (asked && is_unique_version(version)) return Sameness::same;
    if (key_vault.empty()) return Sameness::different;
    return asked ? comparison_.same_version(key_.key, key_vault, key, version)
                 : comparison_.same_key(key_.key, key_vault, key);
  }
  [[nodiscard]] bool may_be(const std::string& key_vault, const std::string& key, const std::string& version) {
    return is(key_vault, key, version) != Sameness::different;
  }

 private:
  const KeyRef& key_;
  std::vector<std::string> versions_;
  KeyVaultComparison comparison_;
};

bool may_need(Env& env, const Registration& registration, AskedKey& key) {
  if (key.may_be(registration.key_vault, registration.key, "")) return true;
  if (!registration.needed) return true;  // of an older vaultfs: nobody knows what it leaves out
  const auto needs = [&key](const auto& use) { return key.may_be(use.key_vault, use.key, use.version); };
  if (std::ranges::any_of(*registration.needed, needs)) return true;
  const auto glance = glance_at_vault(env, registration.path);
  // Nothing to look at, or another vault in its place: the registration is all that is known.
  if (!glance.ok() || glance->header.id != registration.vault) return false;
  return std::ranges::any_of(
      glance->slots, [&needs](const KeyringSlot& slot) { return slot.kind == SlotKind::key_vault && needs(slot); });
}

// KEYVAULT and KEY of a record, as usage tells them; both empty for a platform key.
std::pair<std::string, std::string> names_of(const json& record) {
  const std::string key = record.value("key", "");
  const std::size_t slash = key.find('/');
  if (slash == std::string::npos) return {};
  return {key.substr(0, slash), key.substr(slash + 1)};
}

}  // namespace

Result<std::vector<VaultImpact>> find_impact(CommandContext& context, const KeyRef& key,
                                             const std::vector<std::string>& versions) {
  VAULTFS_ASSIGN_OR_RETURN(Machine * machine, context.machine());
  VAULTFS_ASSIGN_OR_RETURN(const std::vector<Registration> registrations, machine->state().registrations());
  AskedKey asked(*machine, key, versions);
  std::vector<VaultImpact> impacts;
  for (const Registration& registration : registrations) {
    VaultImpact impact;
    const auto usage = ask_usage(context, impact, registration);
    if (!usage.ok()) {
      if (may_need(machine->env(), registration, asked)) impacts.push_back(std::move(impact));
      continue;
    }
    for (const json& record : (*usage)["versions"]) {
      const auto [key_vault, name] = names_of(record);
      const Sameness sameness = asked.is(key_vault, name, record.value("version", ""));
      if (sameness == Sameness::different) continue;
      impact.versions.push_back(record);
      impact.versions.back()["in_doubt"] = sameness == Sameness::unknown;
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
    if (key_vault.empty()) return false;
    if (!is_unique_version(version)) return may_be_known_otherwise(key_vault, key, version);
    if (has(key_vault, key, version)) return false;
    if (!versions_) versions_ = list();
    if (versions_->ok()) return std::ranges::find(**versions_, version) != (*versions_)->end();
    // It can't be asked. A vault whose own key vault this machine has will rather wait for that one.
    return !machine_.registry().find(key_vault).ok();
  }

 private:
  // A number says nothing by itself. A vault whose key vault is not registered here under the name that it knows may
  // mean this one.
  [[nodiscard]] bool may_be_known_otherwise(const std::string& key_vault, const std::string& key,
                                            const std::string& version) {
    if (machine_.registry().find(key_vault).ok()) return false;
    const auto opened = machine_.registry().open(name_);
    const auto found =
        opened.ok() ? (*opened)->list_versions(key) : Result<std::vector<KeyVersionInfo>>(opened.error());
    if (!found.ok()) return found.code() != ErrorCode::KeyNotFound;
    return std::ranges::find(*found, version, &KeyVersionInfo::id) != found->end();
  }
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

}  // namespace

Result<std::vector<VaultImpact>> find_key_vault_impact(CommandContext& context, const std::string& name,
                                                       const VaultFilter& counts) {
  VAULTFS_ASSIGN_OR_RETURN(Machine * machine, context.machine());
  VAULTFS_ASSIGN_OR_RETURN(const std::vector<Registration> registrations, machine->state().registrations());
  GoingKeyVault going(*machine, name);
  std::vector<VaultImpact> impacts;
  for (const Registration& registration : registrations) {
    VaultImpact impact;
    const auto usage = ask_usage(context, impact, registration);
    if (usage.ok()) {
      for (const json& record : (*usage)["versions"]) {
        const std::string role = record.value("role", "");
        const auto [key_vault, key] = names_of(record);
        const bool needed = role == "Active" || role == "Retiring";
        if (needed && going.holds(key_vault, key, record.value("version", ""))) impact.versions.push_back(record);
      }
    }
    const bool needs = usage.ok() ? !impact.versions.empty() : may_need_key_vault(registration, name, going);
    if (needs && (!counts || counts(registration, impact))) impacts.push_back(std::move(impact));
  }
  return impacts;
}

}  // namespace vaultfs
