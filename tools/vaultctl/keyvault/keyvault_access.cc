// vaultctl keyvault update|allow|deny: what protects a local key vault and whom it lets in.

#include "tools/vaultctl/keyvault/keyvault_access.h"

#include <algorithm>
#include <memory>
#include <optional>

#include "crypto/keyvault/key_ref.h"
#include "tools/api/keys/key_vault_access.h"
#include "tools/api/keys/opened_key_vault.h"
#include "tools/vaultctl/key/refusal_text.h"
#include "tools/vaultctl/text_output.h"

namespace vaultfs {
namespace {

using nlohmann::json;

struct AccessArguments {
  std::string name, identity, permissions, access_template, override_name;
  std::optional<std::string> region;
  bool enforce = false, soft_delete = false, purge_protection = false;
};

Result<int> update(CommandContext& context, const AccessArguments& arguments) {
  const bool protect = arguments.soft_delete || arguments.purge_protection;
  if (!protect && !arguments.region) {
    return Error{ErrorCode::Usage,
                 "say what to change: --enable-soft-delete, --enable-purge-protection, --region REGION"};
  }
  VAULTFS_RETURN_IF_ERROR(check_key_name("key vault", arguments.name));
  VAULTFS_ASSIGN_OR_RETURN(const MachineContext machine, context.machine_context());
  std::string what = arguments.name;
  if (arguments.soft_delete) what += " soft-delete";
  if (arguments.purge_protection) what += " purge-protection";
  if (arguments.region) what += " region " + *arguments.region;
  json form = {{"name", arguments.name}};
  VAULTFS_ASSIGN_OR_RETURN(const auto key_vault, open_key_vault(machine.machine, arguments.name));
  if (protect)
    VAULTFS_RETURN_IF_ERROR(open_local_key_vault(machine.machine, arguments.name));  // no other can be told to
  const auto change = [&]() -> Status {
    if (protect) {
      VAULTFS_ASSIGN_OR_RETURN(const auto local, open_local_key_vault(machine.machine, arguments.name));
      VAULTFS_RETURN_IF_ERROR(local->enable_protection(arguments.soft_delete, arguments.purge_protection));
    }
    return arguments.region ? machine.machine.registry().set_region(arguments.name, *arguments.region) : ok_status();
  };
  VAULTFS_RETURN_IF_ERROR(audited<Status>(machine, "keyvault.update", what, change));
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

// Whether vaults needed what was taken away; KeyVaultInUse if that was refused.
Result<bool> overridden_or_refusal(const AccessAnswer& answer, const std::string& key_vault) {
  if (answer.outcome != Withdrawn::refused) return answer.outcome == Withdrawn::done_although_needed;
  const std::string who = (answer.shuts_out_others ? "all other identities than " : "") + answer.description;
  return Error{ErrorCode::KeyVaultInUse, "the access of " + who + " to the key vault " + key_vault +
                                             " is still needed:" + needing_lines(answer.needing) +
                                             "\nThat would be a revocation for them. To do it all the same: "
                                             "--override " +
                                             key_vault};
}

Result<int> allow(CommandContext& context, const AccessArguments& arguments) {
  VAULTFS_RETURN_IF_ERROR(check_override(arguments.override_name, arguments.name, "the key vault's name, "));
  VAULTFS_ASSIGN_OR_RETURN(const KeyPermissions permissions, permissions_of(arguments));
  VAULTFS_ASSIGN_OR_RETURN(const MachineContext machine, context.machine_context());
  const AllowRequest wanted{arguments.name, arguments.identity, permissions, arguments.enforce,
                            !arguments.override_name.empty()};
  VAULTFS_ASSIGN_OR_RETURN(const AccessAnswer answer, allow_identity(machine, wanted));
  VAULTFS_ASSIGN_OR_RETURN(const bool overridden, overridden_or_refusal(answer, arguments.name));
  const json form = {{"name", arguments.name},
                     {"identity", answer.identity},
                     {"permissions", permissions.names()},
                     {"overridden", overridden}};
  print(context, form,
        [&] { say("The key vault %s lets %s in.\n", arguments.name.c_str(), answer.description.c_str()); });
  return 0;
}

Result<int> deny(CommandContext& context, const AccessArguments& arguments) {
  VAULTFS_RETURN_IF_ERROR(check_override(arguments.override_name, arguments.name, "the key vault's name, "));
  VAULTFS_ASSIGN_OR_RETURN(const MachineContext machine, context.machine_context());
  VAULTFS_ASSIGN_OR_RETURN(const AccessAnswer answer, deny_identity(machine, {arguments.name, arguments.identity,
                                                                              !arguments.override_name.empty()}));
  VAULTFS_ASSIGN_OR_RETURN(const bool overridden, overridden_or_refusal(answer, arguments.name));
  const std::string& id = answer.identity;
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
