// vaultctl keyvault update|allow|deny: what protects a local key vault and whom it lets in.

#include "tools/vaultctl/keyvault/keyvault_access.h"

#include <algorithm>
#include <functional>
#include <memory>
#include <optional>

#include "crypto/keyvault/key_ref.h"
#include "tools/vaultctl/audited.h"
#include "tools/vaultctl/key/guarded_change.h"
#include "tools/vaultctl/key/key_arguments.h"
#include "tools/vaultctl/keyvault/identity_impact.h"
#include "tools/vaultctl/text_output.h"

namespace vaultfs {
namespace {

using nlohmann::json;

struct AccessArguments {
  std::string name, identity, permissions, access_template, override_name;
  std::optional<std::string> region;
  bool enforce = false, soft_delete = false, purge_protection = false;
};

Result<std::shared_ptr<LocalKeyVault>> open_local(CommandContext& context, const std::string& name) {
  VAULTFS_RETURN_IF_ERROR(check_key_name("key vault", name));
  return open_local_key_vault(context, {name, "", std::nullopt});
}

Result<int> update(CommandContext& context, const AccessArguments& arguments) {
  const bool protect = arguments.soft_delete || arguments.purge_protection;
  if (!protect && !arguments.region) {
    return Error{ErrorCode::Usage,
                 "say what to change: --enable-soft-delete, --enable-purge-protection, --region REGION"};
  }
  VAULTFS_RETURN_IF_ERROR(check_key_name("key vault", arguments.name));
  VAULTFS_ASSIGN_OR_RETURN(Machine * machine, context.machine());
  std::string what = arguments.name;
  if (arguments.soft_delete) what += " soft-delete";
  if (arguments.purge_protection) what += " purge-protection";
  if (arguments.region) what += " region " + *arguments.region;
  json form = {{"name", arguments.name}};
  VAULTFS_ASSIGN_OR_RETURN(const auto key_vault, open_key_vault(context, {arguments.name, "", std::nullopt}));
  if (protect) VAULTFS_RETURN_IF_ERROR(open_local(context, arguments.name));  // no other can be told to
  const auto change = [&]() -> Status {
    if (protect) {
      VAULTFS_ASSIGN_OR_RETURN(const auto local, open_local(context, arguments.name));
      VAULTFS_RETURN_IF_ERROR(local->enable_protection(arguments.soft_delete, arguments.purge_protection));
    }
    return arguments.region ? machine->registry().set_region(arguments.name, *arguments.region) : ok_status();
  };
  VAULTFS_RETURN_IF_ERROR(audited<Status>(*machine, "keyvault.update", what, change));
  if (const auto* local = dynamic_cast<LocalKeyVault*>(key_vault.get()); local != nullptr) {
    VAULTFS_ASSIGN_OR_RETURN(const KeyVaultProperties properties, key_vault->properties());
    form["soft_delete"] = properties.soft_delete.value_or(false);
    form["purge_protection"] = properties.purge_protection.value_or(false);
    form["region"] = properties.region ? json(*properties.region) : json(nullptr);
  } else {
    form["region"] = arguments.region->empty() ? json(nullptr) : json(*arguments.region);
  }
  print(context, form, [&form] {
    std::vector<std::pair<std::string, std::string>> pairs{{"Key vault", plain(form["name"])},
                                                           {"Region", plain(form["region"])}};
    if (form.contains("soft_delete")) {
      pairs.emplace_back("Soft delete", plain(form["soft_delete"]));
      pairs.emplace_back("Purge protection", plain(form["purge_protection"]));
    }
    print_pairs(pairs);
  });
  return 0;
}

Result<KeyPermissions> permissions_of(const AccessArguments& arguments) {
  if (!arguments.permissions.empty() && !arguments.access_template.empty()) {
    return Error{ErrorCode::Usage, "give permissions or a template, not both"};
  }
  if (!arguments.permissions.empty()) return KeyPermissions::parse(arguments.permissions);
  if (arguments.access_template.empty() || arguments.access_template == "backup") return KeyPermissions::backup();
  return Error{ErrorCode::Usage, "the one template is \"backup\": get, list, wrapkey and unwrapkey"};
}

Status check_access_override(const AccessArguments& arguments) {
  if (arguments.override_name.empty() || arguments.override_name == arguments.name) return ok_status();
  return Error{ErrorCode::Usage,
               "--override wants the key vault's name, " + arguments.name + ", so that it is not given by mistake"};
}

// What the policies of a key vault are to become, and whom that shuts out: nobody, if `shuts_out` is empty.
struct AccessChange {
  std::string operation;
  std::string identity;  // id
  std::string who;       // for people
  VaultFilter shuts_out;
  std::function<Status()> change;
  std::function<Status()> undo;
};

// True if vaults needed what was taken away.
Result<bool> change_access(CommandContext& context, const AccessArguments& arguments, LocalKeyVault& key_vault,
                           const AccessChange& what) {
  VAULTFS_ASSIGN_OR_RETURN(Machine * machine, context.machine());
  AskedVaults asked;
  VAULTFS_ASSIGN_OR_RETURN(asked.registrations, machine->state().registrations());
  if (what.shuts_out) {
    VAULTFS_ASSIGN_OR_RETURN(asked.impacts, find_key_vault_impact(context, arguments.name, what.shuts_out));
  }
  asked.needing = asked.impacts;
  GuardedChange guarded;
  guarded.operation = what.operation;
  guarded.subject = arguments.name + " " + what.identity;
  guarded.activity_subject = guarded.subject;
  guarded.overridden = !arguments.override_name.empty();
  guarded.refusal = {ErrorCode::KeyVaultInUse, "the access of " + what.who + " to the key vault " + arguments.name +
                                                   " is still needed:" + needing_lines(asked.needing) +
                                                   "\nThat would be a revocation for them. To do it all the same: "
                                                   "--override " +
                                                   arguments.name};
  guarded.key_vault = &key_vault;
  guarded.change = what.change;
  guarded.undo = what.undo;
  return change_unless_needed(context, asked, guarded);
}

// What that identity may do now; all, where a key vault lets everybody in.
Result<std::optional<AccessPolicy>> policy_of(LocalKeyVault& key_vault, const std::string& identity) {
  VAULTFS_ASSIGN_OR_RETURN(const auto policies, key_vault.access());
  if (!policies) return std::optional(AccessPolicy{identity, "", KeyPermissions::backup()});
  const auto found = std::ranges::find(*policies, identity, &AccessPolicy::identity);
  return found == policies->end() ? std::optional<AccessPolicy>() : std::optional(*found);
}

Result<int> allow(CommandContext& context, const AccessArguments& arguments) {
  VAULTFS_RETURN_IF_ERROR(check_access_override(arguments));
  VAULTFS_ASSIGN_OR_RETURN(const KeyPermissions permissions, permissions_of(arguments));
  VAULTFS_ASSIGN_OR_RETURN(Machine * machine, context.machine());
  VAULTFS_ASSIGN_OR_RETURN(const auto key_vault, open_local(context, arguments.name));
  VAULTFS_ASSIGN_OR_RETURN(const Identity identity, machine->identities().find(arguments.identity));
  VAULTFS_ASSIGN_OR_RETURN(const auto policies, key_vault->access());
  VAULTFS_ASSIGN_OR_RETURN(const std::optional<AccessPolicy> before, policy_of(*key_vault, identity.id));
  const AccessPolicy policy{identity.id, identity.description(), permissions};
  AccessChange change{"keyvault.allow", identity.id, identity.description(), {}, {}, {}};
  const bool fewer = before && (before->permissions | permissions) != permissions;
  // The first policy of a key vault that let everybody in shuts out all the others.
  const bool first = !policies && arguments.enforce;
  if (fewer && first) {
    change.shuts_out = [](const Registration&, const VaultImpact&) { return true; };
  } else if (fewer) {
    change.shuts_out = speaking_as(*machine, identity);
  } else if (first) {
    change.who = "all other identities than " + identity.description();
    change.shuts_out = speaking_as_others(*machine, identity);
  }
  change.change = [&] { return key_vault->allow(policy, arguments.enforce); };
  if (fewer && policies) change.undo = [&] { return key_vault->allow(*before, false); };
  VAULTFS_ASSIGN_OR_RETURN(const bool overridden, change_access(context, arguments, *key_vault, change));
  const json form = {{"name", arguments.name},
                     {"identity", identity.id},
                     {"permissions", permissions.names()},
                     {"overridden", overridden}};
  print(context, form,
        [&] { say("The key vault %s lets %s in.\n", arguments.name.c_str(), identity.description().c_str()); });
  return 0;
}

// An identity that is gone can still be denied, by its id: nobody speaks as it any more.
Result<int> deny(CommandContext& context, const AccessArguments& arguments) {
  VAULTFS_RETURN_IF_ERROR(check_access_override(arguments));
  VAULTFS_ASSIGN_OR_RETURN(Machine * machine, context.machine());
  VAULTFS_ASSIGN_OR_RETURN(const auto key_vault, open_local(context, arguments.name));
  const auto identity = machine->identities().find(arguments.identity);
  const bool gone = !identity.ok() && identity.code() == ErrorCode::IdentityNotFound;
  if (!identity.ok() && !(gone && is_identity_id(arguments.identity))) return identity.error();
  const std::string id = identity.ok() ? identity->id : arguments.identity;
  VAULTFS_ASSIGN_OR_RETURN(const std::optional<AccessPolicy> before, policy_of(*key_vault, id));
  AccessChange change{"keyvault.deny", id, identity.ok() ? identity->description() : id, {}, {}, {}};
  if (identity.ok() && before) change.shuts_out = speaking_as(*machine, *identity);
  change.change = [&] { return key_vault->deny(id); };
  if (before) change.undo = [&] { return key_vault->allow(*before, false); };
  VAULTFS_ASSIGN_OR_RETURN(const bool overridden, change_access(context, arguments, *key_vault, change));
  print(context, {{"name", arguments.name}, {"identity", id}, {"overridden", overridden}}, [&] {
    say("The key vault %s lets %s in no more: a revocation for every vault that uses it so.\n", arguments.name.c_str(),
        id.c_str());
  });
  return 0;
}

}  // namespace

json access_to_json(const std::optional<std::vector<AccessPolicy>>& access) {
  if (!access) return nullptr;
  json list = json::array();
  for (const AccessPolicy& policy : *access) {
    list.push_back(
        {{"identity", policy.identity}, {"label", policy.label}, {"permissions", policy.permissions.names()}});
  }
  return list;
}

void add_keyvault_access_commands(CLI::App& group, CommandContext& context) {
  const auto arguments = std::make_shared<AccessArguments>();
  CLI::App* updated =
      group.add_subcommand("update", "Turn protection of a local key vault on (never off); say where one is");
  updated->add_option("NAME", arguments->name)->required();
  updated->add_flag("--enable-soft-delete", arguments->soft_delete);
  updated->add_flag("--enable-purge-protection", arguments->purge_protection);
  updated->add_option("--region", arguments->region, "where it is, local or not, to be compared with a vault's region");
  on_run(*updated, context, [&context, arguments] { return update(context, *arguments); });

  CLI::App* allowed = group.add_subcommand("allow", "Let an identity use the keys of a local key vault");
  allowed->add_option("NAME", arguments->name)->required();
  allowed->add_option("--identity", arguments->identity, "its id, or the name of a user-assigned one")->required();
  allowed->add_option("--permissions", arguments->permissions, "get,list,wrapkey,unwrapkey");
  allowed->add_option("--template", arguments->access_template, "backup: what a vault needs (the default)");
  allowed->add_flag("--enforce", arguments->enforce,
                    "also in a key vault that lets every identity in until now: shut out all the others");
  allowed->add_option("--override", arguments->override_name,
                      "the key vault's name: take permissions away although a vault needs them");
  on_run(*allowed, context, [&context, arguments] { return allow(context, *arguments); });

  CLI::App* denied = group.add_subcommand("deny", "Take an identity's access away, unless a vault needs it");
  denied->add_option("NAME", arguments->name)->required();
  denied->add_option("--identity", arguments->identity, "its id, or the name of a user-assigned one")->required();
  denied->add_option("--override", arguments->override_name, "the key vault's name: although a vault needs the access");
  on_run(*denied, context, [&context, arguments] { return deny(context, *arguments); });
}

}  // namespace vaultfs
