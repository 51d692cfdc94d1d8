#include "tools/vaultctl/keyvault/identity_impact.h"

#include <algorithm>

#include "base/visible_text.h"
#include "tools/vaultctl/text_output.h"
#include "vaultmeta/vault/vault.h"

namespace vaultfs {
namespace {

using nlohmann::json;

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
auto slot_of(const VaultImpact& impact) {
  return [&impact](const KeyringSlot& slot) {
    return !impact.reachable || std::ranges::any_of(impact.versions, [&slot](const json& record) {
      return record.value("version", "") == slot.version && record.value("key", "") == slot.key_vault + "/" + slot.key;
    });
  };
}

}  // namespace

Result<std::vector<VaultImpact>> find_identity_impact(CommandContext& context, const Identity& identity) {
  VAULTFS_ASSIGN_OR_RETURN(Machine * machine, context.machine());
  VAULTFS_ASSIGN_OR_RETURN(const std::vector<Registration> vaults, machine->state().registrations());
  std::vector<VaultImpact> users;
  for (const Registration& vault : vaults) {
    VaultImpact impact;
    const auto usage = ask_usage(context, impact, vault);
    const Speaker speaker(*machine, vault, identity);
    if (!speaker.as_it(impact.reachable, [](const KeyringSlot&) { return true; })) continue;
    if (usage.ok()) {
      for (const json& record : (*usage)["versions"]) {
        const std::string role = record.value("role", "");
        if (role == "Active" || role == "Retiring") impact.versions.push_back(record);
      }
    }
    users.push_back(std::move(impact));
  }
  return users;
}

VaultFilter speaking_as(Machine& machine, const Identity& identity) {
  return [&machine, &identity](const Registration& vault, const VaultImpact& impact) {
    return Speaker(machine, vault, identity).as_it(impact.reachable, slot_of(impact));
  };
}

VaultFilter speaking_as_others(Machine& machine, const Identity& identity) {
  return [&machine, &identity](const Registration& vault, const VaultImpact& impact) {
    return Speaker(machine, vault, identity).as_another(impact.reachable, slot_of(impact));
  };
}

std::string needing_lines(const std::vector<VaultImpact>& needing) {
  std::string text;
  for (const VaultImpact& impact : needing) {
    text += "\n  " + visible_text(impact.path) + ": ";
    text += impact.reachable
                ? std::to_string(impact.versions.size()) + " key versions, " + std::to_string(impact.recovery_points) +
                      " recovery points"
                : unreachable_text(impact) + ", so it counts as needing them; " + unreachable_advice(impact);
  }
  return text;
}

}  // namespace vaultfs
