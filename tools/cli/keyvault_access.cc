// vaultctl keyvault update|allow|deny: what protects a local key vault and whom it lets in.

#include "tools/cli/keyvault_access.h"

#include <memory>

#include "crypto/keyvault/key_ref.h"
#include "tools/cli/key_arguments.h"
#include "tools/cli/text_output.h"

namespace vaultfs {
namespace {

using nlohmann::json;

struct AccessArguments {
  std::string name, identity, permissions, access_template;
  bool enforce = false, soft_delete = false, purge_protection = false;
};

Result<std::shared_ptr<LocalKeyVault>> open_local(CommandContext& context, const std::string& name) {
  VAULTFS_RETURN_IF_ERROR(check_key_name("key vault", name));
  return open_local_key_vault(context, {name, "", std::nullopt});
}

Result<int> update(CommandContext& context, const AccessArguments& arguments) {
  if (!arguments.soft_delete && !arguments.purge_protection) {
    return Error{ErrorCode::Usage, "say what to turn on: --enable-soft-delete, --enable-purge-protection"};
  }
  VAULTFS_ASSIGN_OR_RETURN(const auto key_vault, open_local(context, arguments.name));
  VAULTFS_RETURN_IF_ERROR(key_vault->enable_protection(arguments.soft_delete, arguments.purge_protection));
  VAULTFS_ASSIGN_OR_RETURN(const KeyVaultProperties properties, key_vault->properties());
  const json form = {{"name", arguments.name},
                     {"soft_delete", properties.soft_delete.value_or(false)},
                     {"purge_protection", properties.purge_protection.value_or(false)}};
  print(context, form, [&form] {
    print_pairs({{"Key vault", plain(form["name"])},
                 {"Soft delete", plain(form["soft_delete"])},
                 {"Purge protection", plain(form["purge_protection"])}});
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

Result<int> allow(CommandContext& context, const AccessArguments& arguments) {
  VAULTFS_ASSIGN_OR_RETURN(const KeyPermissions permissions, permissions_of(arguments));
  VAULTFS_ASSIGN_OR_RETURN(Machine * machine, context.machine());
  VAULTFS_ASSIGN_OR_RETURN(const auto key_vault, open_local(context, arguments.name));
  VAULTFS_ASSIGN_OR_RETURN(const Identity identity, machine->identities().find(arguments.identity));
  VAULTFS_RETURN_IF_ERROR(key_vault->allow({identity.id, identity.description(), permissions}, arguments.enforce));
  note_audit(*machine, "keyvault.allow", arguments.name + " " + identity.id);
  const json form = {{"name", arguments.name}, {"identity", identity.id}, {"permissions", permissions.names()}};
  print(context, form,
        [&] { say("The key vault %s lets %s in.\n", arguments.name.c_str(), identity.description().c_str()); });
  return 0;
}

// An identity that is gone can still be denied: by its id.
Result<int> deny(CommandContext& context, const AccessArguments& arguments) {
  VAULTFS_ASSIGN_OR_RETURN(Machine * machine, context.machine());
  VAULTFS_ASSIGN_OR_RETURN(const auto key_vault, open_local(context, arguments.name));
  std::string id = arguments.identity;
  if (!is_identity_id(id)) {
    VAULTFS_ASSIGN_OR_RETURN(const Identity identity, machine->identities().find(arguments.identity));
    id = identity.id;
  }
  VAULTFS_RETURN_IF_ERROR(key_vault->deny(id));
  note_audit(*machine, "keyvault.deny", arguments.name + " " + id);
  print(context, {{"name", arguments.name}, {"identity", id}}, [&] {
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
  CLI::App* updated = group.add_subcommand("update", "Turn protection of a local key vault on (never off)");
  updated->add_option("NAME", arguments->name)->required();
  updated->add_flag("--enable-soft-delete", arguments->soft_delete);
  updated->add_flag("--enable-purge-protection", arguments->purge_protection);
  on_run(*updated, context, [&context, arguments] { return update(context, *arguments); });

  CLI::App* allowed = group.add_subcommand("allow", "Let an identity use the keys of a local key vault");
  allowed->add_option("NAME", arguments->name)->required();
  allowed->add_option("--identity", arguments->identity, "its id, or the name of a user-assigned one")->required();
  allowed->add_option("--permissions", arguments->permissions, "get,list,wrapkey,unwrapkey");
  allowed->add_option("--template", arguments->access_template, "backup: what a vault needs (the default)");
  allowed->add_flag("--enforce", arguments->enforce,
                    "also in a key vault that lets every identity in until now: shut out all the others");
  on_run(*allowed, context, [&context, arguments] { return allow(context, *arguments); });

  CLI::App* denied = group.add_subcommand("deny", "Take an identity's access away");
  denied->add_option("NAME", arguments->name)->required();
  denied->add_option("--identity", arguments->identity, "its id, or the name of a user-assigned one")->required();
  on_run(*denied, context, [&context, arguments] { return deny(context, *arguments); });
}

}  // namespace vaultfs
