#include "tools/api/keys/who_needs_key.h"

#include <algorithm>
#include <optional>
#include <utility>

#include "vaultmeta/machine/key_vault_comparison.h"
#include "vaultmeta/vault/vault.h"

namespace vaultfs {

std::string_view use_name(VersionUse use) noexcept {
  switch (use) {
    case VersionUse::active:
      return "Active";
    case VersionUse::retiring:
      return "Retiring";
    case VersionUse::retired:
      return "Retired";
    case VersionUse::not_used:
      return "not used";
    case VersionUse::unknown:
      break;
  }
  return "unknown";
}

const UsedVersion* VaultNeed::record_of(const std::string& version) const {
  const UsedVersion* newest = nullptr;
  // A version that came back has several records; the newest counts. Where versions are numbered, several keys of one
  // vault can have one of that number: what is needed counts before what is not.
  for (const UsedVersion& used : versions) {
    const VersionRecord& record = used.record;
    if (record.version != version) continue;
    const bool same_key = newest != nullptr && newest->record.name() == record.name();
    if (newest == nullptr || same_key || newest->record.role == VersionRole::retired) newest = &used;
  }
  return newest;
}

VersionUse VaultNeed::use_of(const std::string& version) const {
  if (!reachable) return VersionUse::unknown;
  const UsedVersion* used = record_of(version);
  if (used == nullptr) return VersionUse::not_used;
  switch (used->record.role) {
    case VersionRole::active:
      return VersionUse::active;
    case VersionRole::retiring:
      return VersionUse::retiring;
    case VersionRole::retired:
      return VersionUse::retired;
  }
  return VersionUse::unknown;
}

bool VaultNeed::needs(const std::string& version) const {
  const VersionUse use = use_of(version);
  return use == VersionUse::active || use == VersionUse::retiring || use == VersionUse::unknown;
}

bool VaultNeed::needs_any() const {
  return !reachable ||
         std::ranges::any_of(versions, [this](const UsedVersion& used) { return needs(used.record.version); });
}

Result<KeyUsage> ask_usage(const MachineContext& context, VaultNeed& need, const Registration& registration) {
  need.vault = to_hex(registration.vault.view());
  need.path = registration.path.string();
  auto usage = context.vaults.key_usage(registration.path);
  if (usage.ok() && usage->vault != need.vault) {
    usage = Error{ErrorCode::VaultNotFound, need.path + " is another vault now"};
  }
  if (!usage.ok()) {
    need.reachable = false;
    need.problem = usage.error();
    return usage;
  }
  need.recovery_points = usage->recovery_points;
  need.keyring_generation = usage->keyring_generation;
  need.follows_new_versions = usage->follows_new_versions;
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

}  // namespace

Result<std::vector<VaultNeed>> who_needs_key(const MachineContext& context, const KeyRef& key,
                                             const std::vector<std::string>& versions) {
  Machine& machine = context.machine;
  VAULTFS_ASSIGN_OR_RETURN(const std::vector<Registration> registrations, machine.state().registrations());
  AskedKey asked(machine, key, versions);
  std::vector<VaultNeed> needs;
  for (const Registration& registration : registrations) {
    VaultNeed need;
    const auto usage = ask_usage(context, need, registration);
    if (!usage.ok()) {
      if (may_need(machine.env(), registration, asked)) needs.push_back(std::move(need));
      continue;
    }
    for (const VersionRecord& record : usage->versions) {
      const Sameness sameness = asked.is(record.key_vault, record.key, record.version);
      if (sameness != Sameness::different) need.versions.push_back({record, sameness == Sameness::unknown});
    }
    if (!need.versions.empty()) needs.push_back(std::move(need));
  }
  return needs;
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

Result<std::vector<VaultNeed>> who_needs_key_vault(const MachineContext& context, const std::string& name,
                                                   const VaultFilter& counts) {
  VAULTFS_ASSIGN_OR_RETURN(const std::vector<Registration> registrations, context.machine.state().registrations());
  GoingKeyVault going(context.machine, name);
  std::vector<VaultNeed> needs;
  for (const Registration& registration : registrations) {
    VaultNeed need;
    const auto usage = ask_usage(context, need, registration);
    if (usage.ok()) {
      for (const VersionRecord& record : usage->versions) {
        const bool needed = record.role == VersionRole::active || record.role == VersionRole::retiring;
        if (needed && going.holds(record.key_vault, record.key, record.version)) need.versions.push_back({record});
      }
    }
    const bool counted = usage.ok() ? !need.versions.empty() : may_need_key_vault(registration, name, going);
    if (counted && (!counts || counts(registration, need))) needs.push_back(std::move(need));
  }
  return needs;
}

Result<std::vector<std::string>> versions_to_export(const MachineContext& context, const KeyRef& key,
                                                    AdministeredKeyVault& key_vault) {
  VAULTFS_ASSIGN_OR_RETURN(const std::vector<KeyVersionInfo> infos, key_vault.list_versions(key.key));
  std::vector<std::string> all;
  for (const KeyVersionInfo& info : infos) all.push_back(info.id);
  VAULTFS_ASSIGN_OR_RETURN(const std::vector<VaultNeed> asked, who_needs_key(context, key, all));
  std::vector<std::string> chosen;
  for (const std::string& version : all) {
    const auto needs = [&version](const VaultNeed& need) { return need.needs(version); };
    if (version == all.back() || std::ranges::any_of(asked, needs)) chosen.push_back(version);
  }
  return chosen;
}

}  // namespace vaultfs
