#include "tools/api/keys/who_uses_identity.h"

#include <algorithm>

#include "vaultmeta/vault/vault.h"

namespace vaultfs {
namespace {

// One vault and one identity.
class Speaker {
 public:
  Speaker(Machine& machine, const Registration& vault, const Identity& identity)
      : vault_(vault), identity_(identity), glance_(glance_at_vault(machine.env(), vault.path)) {
    if (glance_.ok() && glance_->header.id != vault.vault) {
      glance_ = Error{ErrorCode::VaultNotFound, "another vault lies there"};
    }
  }

  // Whether a slot that `wanted` picks is opened as the identity. Of a vault that is not there, or can't be asked, it
  // is also what its registration says; one that says nothing may mean any.
  template <typename Wanted>
  [[nodiscard]] bool as_it(bool reachable, const Wanted& wanted) const {
    return any(reachable, wanted, [this](const std::string& name) { return is_it(name); });
  }
  template <typename Wanted>
  [[nodiscard]] bool as_another(bool reachable, const Wanted& wanted) const {
    return any(reachable, wanted, [this](const std::string& name) { return !is_it(name); });
  }

 private:
  // "system" is another identity in each vault.
  [[nodiscard]] bool is_it(const std::string& name) const {
    return name == identity_.name && (!identity_.vault || *identity_.vault == vault_.vault);
  }
  template <typename Wanted, typename Fits>
  [[nodiscard]] bool any(bool reachable, const Wanted& wanted, const Fits& fits) const {
    const bool by_slot = glance_.ok() && std::ranges::any_of(glance_->slots, [&](const KeyringSlot& slot) {
                           return slot.kind == SlotKind::key_vault && wanted(slot) && fits(slot.identity);
                         });
    if (by_slot || reachable) return by_slot;
    if (vault_.key_vault.empty() && vault_.needed && vault_.needed->empty()) return false;  // it has no key vault
    const bool own_of_another = identity_.vault && *identity_.vault != vault_.vault;
    return vault_.identity ? fits(*vault_.identity) : !own_of_another || fits(std::string(kSystemIdentity));
  }

  const Registration& vault_;
  const Identity& identity_;
  Result<VaultGlance> glance_;
};

// Of one that was asked only the slots of the versions that it gets from the key vault in question.
auto slot_of(const VaultNeed& need) {
  return [&need](const KeyringSlot& slot) {
    return !need.reachable || std::ranges::any_of(need.versions, [&slot](const UsedVersion& used) {
      return used.record.name() == VersionName{slot.version, slot.key_vault, slot.key};
    });
  };
}

}  // namespace

Result<std::vector<VaultNeed>> who_uses_identity(const MachineContext& context, const Identity& identity) {
  VAULTFS_ASSIGN_OR_RETURN(const std::vector<Registration> vaults, context.machine.state().registrations());
  std::vector<VaultNeed> users;
  for (const Registration& vault : vaults) {
    VaultNeed need;
    const auto usage = ask_usage(context, need, vault);
    const Speaker speaker(context.machine, vault, identity);
    if (!speaker.as_it(need.reachable, [](const KeyringSlot&) { return true; })) continue;
    if (usage.ok()) {
      for (const VersionRecord& record : usage->versions) {
        if (record.role != VersionRole::retired) need.versions.push_back({record});
      }
    }
    users.push_back(std::move(need));
  }
  return users;
}

VaultFilter speaking_as(Machine& machine, const Identity& identity) {
  return [&machine, &identity](const Registration& vault, const VaultNeed& need) {
    return Speaker(machine, vault, identity).as_it(need.reachable, slot_of(need));
  };
}

VaultFilter speaking_as_others(Machine& machine, const Identity& identity) {
  return [&machine, &identity](const Registration& vault, const VaultNeed& need) {
    return Speaker(machine, vault, identity).as_another(need.reachable, slot_of(need));
  };
}

}  // namespace vaultfs
