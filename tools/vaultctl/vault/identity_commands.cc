// vaultctl identity create|list|enable|disable|delete

#include <algorithm>
#include <memory>

#include "crypto/keyvault/provider_table.h"
#include "tools/api/json_forms.h"
#include "tools/api/keys/identity_withdrawal.h"
#include "tools/vaultctl/command_context.h"
#include "tools/vaultctl/key/refusal_text.h"
#include "tools/vaultctl/keyvault/provider_options.h"
#include "tools/vaultctl/text_output.h"
#include "vaultmeta/vault/registration.h"
#include "vaultmeta/vault/vault.h"

namespace vaultfs {
namespace {

using nlohmann::json;

struct IdentityArguments {
  std::string name, vault, override_name;
  std::vector<std::string> options;
};

json identity_to_json(const Identity& identity) {
  json form = {{"id", identity.id},
               {"name", identity.name},
               {"kind", identity.vault ? "SystemAssigned" : "UserAssigned"},
               {"state", identity.enabled ? "Enabled" : "Disabled"},
               {"created", seconds_to_json(identity.created_unix_seconds)},
               {"options", identity.options}};
  form["vault"] = identity.vault ? json(to_hex(identity.vault->view())) : json(nullptr);
  return form;
}

Result<int> create_identity(CommandContext& context, const IdentityArguments& arguments) {
  if (arguments.name.empty() == arguments.vault.empty()) {
    return Error{ErrorCode::Usage, "give a NAME for a user-assigned identity, or --vault VAULT for that vault's own"};
  }
  VAULTFS_ASSIGN_OR_RETURN(const ProviderOptions options, parse_provider_options(arguments.options));
  VAULTFS_RETURN_IF_ERROR(check_identity_options(options));
  VAULTFS_ASSIGN_OR_RETURN(const MachineContext machine, context.machine_context());
  Identity identity;
  if (arguments.vault.empty()) {
    VAULTFS_ASSIGN_OR_RETURN(identity, machine.machine.identities().create(arguments.name, options));
  } else {
    if (!options.empty()) return Error{ErrorCode::Usage, "a vault's own identity has no options"};
    const auto path = std::filesystem::absolute(arguments.vault).lexically_normal();
    VAULTFS_ASSIGN_OR_RETURN(const VaultGlance glance, glance_at_vault(machine.machine.env(), path));
    // First, so that no identity is there of a vault that `key disable` would not ask.
    VAULTFS_RETURN_IF_ERROR(register_from_slots(machine.machine.state(), glance.header.id, path, glance.slots));
    VAULTFS_ASSIGN_OR_RETURN(identity, machine.machine.identities().create_system(glance.header.id));
  }
  note_audit(machine, "identity.create", identity.id + " " + identity.name);
  print(context, identity_to_json(identity), [&] {
    say("Created %s: %s\n", identity.description().c_str(), identity.id.c_str());
    say("Let it in at a local key vault with: vaultctl keyvault allow KEYVAULT --identity %s\n", identity.id.c_str());
  });
  return 0;
}

Result<int> list_identities(CommandContext& context) {
  VAULTFS_ASSIGN_OR_RETURN(Machine * machine, context.machine());
  VAULTFS_ASSIGN_OR_RETURN(const std::vector<Identity> identities, machine->identities().list());
  VAULTFS_ASSIGN_OR_RETURN(const std::vector<Registration> vaults, machine->state().registrations());
  json forms = json::array();
  for (const Identity& identity : identities) {
    json form = identity_to_json(identity);
    const auto known = std::find_if(vaults.begin(), vaults.end(),
                                    [&](const Registration& vault) { return vault.vault == identity.vault; });
    form["vault_path"] = known == vaults.end() ? json(nullptr) : json(known->path.string());
    forms.push_back(std::move(form));
  }
  print(context, {{"identities", forms}}, [&] {
    std::vector<std::vector<std::string>> rows;
    for (const json& form : forms) {
      rows.push_back({plain(form["id"]), plain(form["name"]), plain(form["kind"]), plain(form["state"]),
                      plain(form["vault_path"])});
    }
    print_table({"ID", "NAME", "KIND", "STATE", "VAULT"}, rows);
  });
  return 0;
}

// What takes an identity away from the vaults that speak as it.
Result<IdentityWithdrawalAnswer> take_away(CommandContext& context, const IdentityArguments& arguments,
                                           IdentityWithdrawal what, const std::string& what_else) {
  VAULTFS_RETURN_IF_ERROR(check_override(arguments.override_name, arguments.name, ""));
  VAULTFS_ASSIGN_OR_RETURN(const MachineContext machine, context.machine_context());
  VAULTFS_ASSIGN_OR_RETURN(IdentityWithdrawalAnswer answer,
                           withdraw_identity(machine, {arguments.name, what, !arguments.override_name.empty()}));
  if (answer.outcome != Withdrawn::refused) return answer;
  return Error{ErrorCode::IdentityInUse, answer.identity.description() + " is used by:" + needing_lines(answer.users) +
                                             "\nThat would be a revocation for them" + what_else +
                                             ". To do it all the same: --override " + arguments.name};
}

Result<int> enable_identity(CommandContext& context, const IdentityArguments& arguments) {
  VAULTFS_ASSIGN_OR_RETURN(const MachineContext machine, context.machine_context());
  IdentityStore& identities = machine.machine.identities();
  VAULTFS_ASSIGN_OR_RETURN(Identity identity, identities.find(arguments.name));
  VAULTFS_RETURN_IF_ERROR(
      audited<Status>(machine, "identity.enable", identity.id, [&] { return identities.set_enabled(identity, true); }));
  identity.enabled = true;
  print(context, identity_to_json(identity), [&] { say("Enabled %s.\n", identity.description().c_str()); });
  return 0;
}

Result<int> disable_identity(CommandContext& context, const IdentityArguments& arguments) {
  VAULTFS_ASSIGN_OR_RETURN(const IdentityWithdrawalAnswer answer,
                           take_away(context, arguments, IdentityWithdrawal::disable, ""));
  json form = identity_to_json(answer.identity);
  form["overridden"] = answer.outcome == Withdrawn::done_although_needed;
  print(context, form, [&] {
    say("Disabled %s: a revocation for every vault that uses it.\n", answer.identity.description().c_str());
  });
  return 0;
}

Result<int> remove_identity(CommandContext& context, const IdentityArguments& arguments) {
  VAULTFS_ASSIGN_OR_RETURN(
      const IdentityWithdrawalAnswer answer,
      take_away(context, arguments, IdentityWithdrawal::remove, ", and one made again under the same name is another"));
  print(context, {{"id", answer.identity.id}, {"overridden", answer.outcome == Withdrawn::done_although_needed}},
        [&] { say("Deleted %s.\n", answer.identity.description().c_str()); });
  return 0;
}

}  // namespace

void add_identity_commands(CLI::App& app, CommandContext& context) {
  CLI::App* group = app.add_subcommand("identity", "As whom vaults speak to key vaults");
  group->require_subcommand(1);
  const auto arguments = std::make_shared<IdentityArguments>();

  CLI::App* created = group->add_subcommand("create", "Make a user-assigned identity, or a vault's own one again");
  created->add_option("NAME", arguments->name);
  created->add_option("--vault", arguments->vault, "the system-assigned identity of this vault");
  created->add_option("--option", arguments->options, "NAME=VALUE, for the key vault's provider")
      ->allow_extra_args(false);
  on_run(*created, context, [&context, arguments] { return create_identity(context, *arguments); });

  CLI::App* listed = group->add_subcommand("list", "The identities of this machine");
  on_run(*listed, context, [&context] { return list_identities(context); });

  const auto add = [&](const char* name, const char* what, std::function<Result<int>()> body) {
    CLI::App* command = group->add_subcommand(name, what);
    command->add_option("IDENTITY", arguments->name, "its id, or the name of a user-assigned one")->required();
    on_run(*command, context, std::move(body));
    return command;
  };
  add("enable", "Enable an identity", [&context, arguments] { return enable_identity(context, *arguments); });
  add("disable", "Disable an identity, reversibly, unless a vault uses it", [&context, arguments] {
    return disable_identity(context, *arguments);
  })->add_option("--override", arguments->override_name, "as IDENTITY: disable although a vault uses it");
  add("delete", "Delete an identity, unless a vault uses it", [&context, arguments] {
    return remove_identity(context, *arguments);
  })->add_option("--override", arguments->override_name, "as IDENTITY: delete although a vault uses it");
}

}  // namespace vaultfs
