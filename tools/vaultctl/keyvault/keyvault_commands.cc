// vaultctl keyvault create|add|remove|list|show: key vaults of this machine.

#include <memory>

#include "crypto/keyvault/key_ref.h"
#include "crypto/keyvault/provider_table.h"
#include "tools/api/json_forms.h"
#include "tools/api/keys/key_vault_removal.h"
#include "tools/vaultctl/command_context.h"
#include "tools/vaultctl/key/refusal_text.h"
#include "tools/vaultctl/keyvault/keyvault_access.h"
#include "tools/vaultctl/keyvault/provider_options.h"
#include "tools/vaultctl/text_output.h"

namespace vaultfs {
namespace {

using nlohmann::json;

struct CreateArguments {
  std::string name, region, passphrase_file;
  int passphrase_fd = -1;
  unsigned retention_days = 90;
  bool with_passphrase = false, no_purge_protection = false, no_soft_delete = false;
};

Result<int> create_key_vault(CommandContext& context, const CreateArguments& arguments) {
  LocalKeyVaultOptions options;
  options.region = arguments.region;
  options.soft_delete = !arguments.no_soft_delete;
  // Without soft delete there is nothing that purge protection could keep.
  options.purge_protection = !arguments.no_purge_protection && options.soft_delete;
  options.retention_days = arguments.retention_days;
  SecretBuffer passphrase;
  const bool protect = arguments.with_passphrase || !arguments.passphrase_file.empty() || arguments.passphrase_fd >= 0;
  if (protect) {
    options.protection = LocalProtection::passphrase;
    VAULTFS_ASSIGN_OR_RETURN(passphrase,
                             obtain_passphrase(arguments.passphrase_file, arguments.passphrase_fd, true, true,
                                               "the key vault " + arguments.name, "--new-passphrase"));
  }
  VAULTFS_ASSIGN_OR_RETURN(const MachineContext machine, context.machine_context());
  VAULTFS_RETURN_IF_ERROR(check_key_name("key vault", arguments.name));
  VAULTFS_RETURN_IF_ERROR(audited<Status>(machine, "keyvault.create", arguments.name, [&] {
    return machine.machine.key_vaults().create(arguments.name, options, protect ? &passphrase : nullptr);
  }));
  const json form = {{"name", arguments.name}, {"path", machine.machine.key_vaults().path_of(arguments.name).string()}};
  print(context, form, [&] {
    say("Created the key vault %s in %s.\n", arguments.name.c_str(),
        machine.machine.key_vaults().path_of(arguments.name).c_str());
    say("Make a key with: vaultctl key create %s/KEY\n", arguments.name.c_str());
  });
  return 0;
}

// What can be told without asking anybody: a list must not hang on a server that is away.
json describe_registration(Machine& machine, const KeyVaultRegistry::Entry& entry) {
  json form = {
      {"name", entry.name}, {"provider", entry.provider}, {"path", machine.key_vaults().path_of(entry.name).string()},
      {"region", nullptr},  {"soft_delete", nullptr},     {"purge_protection", nullptr},
      {"keys", nullptr},    {"options", entry.options}};
  return form;
}

// Asks the key vault.
Result<json> describe(Machine& machine, const KeyVaultRegistry::Entry& entry) {
  VAULTFS_ASSIGN_OR_RETURN(const auto key_vault, machine.registry().open(entry.name));
  VAULTFS_ASSIGN_OR_RETURN(const KeyVaultProperties properties, key_vault->properties());
  VAULTFS_ASSIGN_OR_RETURN(const std::vector<std::string> keys, key_vault->list_keys());
  json form = describe_registration(machine, entry);
  form["keys"] = keys;
  if (properties.region) form["region"] = *properties.region;
  if (properties.soft_delete) form["soft_delete"] = *properties.soft_delete;
  if (properties.purge_protection) form["purge_protection"] = *properties.purge_protection;
  if (entry.provider != kLocalProvider) return form;
  VAULTFS_ASSIGN_OR_RETURN(const auto local, machine.registry().open_local(entry.name));
  VAULTFS_ASSIGN_OR_RETURN(const auto access, local->access());
  form["access"] = access_to_json(access);
  VAULTFS_ASSIGN_OR_RETURN(const LocalKeyVaultOptions options, local->options());
  form["retention_days"] = options.retention_days;
  return form;
}

void note(const std::string& name, const Error& error) {
  tell("vaultctl: note: %s: %s: %s\n", name.c_str(), std::string(error_name(error.code)).c_str(),
       error.message.c_str());
}

Result<int> list_key_vaults(CommandContext& context) {
  VAULTFS_ASSIGN_OR_RETURN(Machine * machine, context.machine());
  VAULTFS_ASSIGN_OR_RETURN(const std::vector<KeyVaultRegistry::Entry> entries, machine->registry().list());
  json key_vaults = json::array();
  for (const KeyVaultRegistry::Entry& entry : entries) {
    auto form = entry.provider == kLocalProvider ? describe(*machine, entry)
                                                 : Result<json>(describe_registration(*machine, entry));
    if (entry.problem) form = *entry.problem;
    if (!form.ok()) {
      note(entry.name, form.error());  // one that is damaged must not hide the others
      continue;
    }
    key_vaults.push_back(std::move(form).value());
  }
  print(context, {{"keyvaults", key_vaults}}, [&] {
    std::vector<std::vector<std::string>> rows;
    for (const json& form : key_vaults) {
      rows.push_back({plain(form["name"]), plain(form["provider"]), plain(form["region"]),
                      form["keys"].is_null() ? "-" : std::to_string(form["keys"].size()), plain(form["path"])});
    }
    print_table({"NAME", "PROVIDER", "REGION", "KEYS", "PATH"}, rows);
  });
  return 0;
}

void print_access(const json& form) {
  print_pairs({{"Retention of deleted keys", plain(form["retention_days"]) + " days"}});
  if (form["access"].is_null()) {
    say("Every identity is let in: this key vault is older than access policies.\n");
    return;
  }
  std::vector<std::vector<std::string>> rows;
  for (const json& policy : form["access"]) {
    std::string permissions;
    for (const json& one : policy["permissions"]) permissions += (permissions.empty() ? "" : ",") + plain(one);
    rows.push_back({plain(policy["identity"]), permissions, plain(policy["label"])});
  }
  if (!rows.empty()) print_table({"IDENTITY", "MAY", "WHO"}, rows);
}

void print_key_vault(const json& form) {
  std::string keys;
  if (!form["keys"].is_null()) {
    for (const json& key : form["keys"]) keys += (keys.empty() ? "" : ", ") + plain(key);
  }
  print_pairs({{"Key vault", plain(form["name"])},
               {"Provider", plain(form["provider"])},
               {"Connection", plain(form["connection"])},
               {"Region", plain(form["region"])},
               {"Soft delete", plain(form["soft_delete"])},
               {"Purge protection", plain(form["purge_protection"])},
               {"Path", plain(form["path"])},
               {"Keys", keys.empty() ? "-" : keys}});
  if (form.contains("access")) print_access(form);
  for (const auto& [name, value] : form["options"].items()) {
    say("Option %s: %s\n", visible_text(name).c_str(), plain(value).c_str());
  }
}

Result<KeyVaultRegistry::Entry> find_key_vault(Machine& machine, const std::string& name) {
  auto entry = machine.registry().find(name);
  if (!entry.ok() && entry.code() == ErrorCode::KeyVaultUnavailable) {
    return Error{ErrorCode::KeyVaultNotFound,
                 "this machine has no key vault " + name + "; see: vaultctl keyvault list"};
  }
  return entry;
}

// Tries the connection. What is known without it is shown in any case.
Result<int> show_key_vault(CommandContext& context, const std::string& name) {
  VAULTFS_ASSIGN_OR_RETURN(Machine * machine, context.machine());
  VAULTFS_ASSIGN_OR_RETURN(const KeyVaultRegistry::Entry entry, find_key_vault(*machine, name));
  auto described = describe(*machine, entry);
  if (!described.ok() && entry.provider == kLocalProvider) return std::move(described).error();
  json form = described.ok() ? std::move(described).value() : describe_registration(*machine, entry);
  form["connection"] = described.ok() ? "Available" : "Failed";
  form["problem"] = described.ok() ? json(nullptr) : error_to_json_form(described.error());
  print(context, form, [&] { print_key_vault(form); });
  if (described.ok()) return 0;
  tell("vaultctl: %s: %s\n", std::string(error_name(described.code())).c_str(), described.error().message.c_str());
  return error_exit_code(described.code());
}

struct AddArguments {
  std::string name, provider, override_name;
  std::vector<std::string> options;
};

Result<int> add(CommandContext& context, const AddArguments& arguments) {
  VAULTFS_ASSIGN_OR_RETURN(const ProviderOptions options, parse_provider_options(arguments.options));
  VAULTFS_ASSIGN_OR_RETURN(const MachineContext machine, context.machine_context());
  VAULTFS_RETURN_IF_ERROR(check_key_name("key vault", arguments.name));
  VAULTFS_RETURN_IF_ERROR(audited<Status>(machine, "keyvault.add", arguments.name + " " + arguments.provider, [&] {
    return machine.machine.registry().add(arguments.name, arguments.provider, options);
  }));
  print(context, {{"name", arguments.name}, {"provider", arguments.provider}}, [&] {
    say("Registered the key vault %s (%s). Try it with: vaultctl keyvault show %s\n", arguments.name.c_str(),
        arguments.provider.c_str(), arguments.name.c_str());
  });
  return 0;
}

Result<int> remove(CommandContext& context, const AddArguments& arguments) {
  VAULTFS_RETURN_IF_ERROR(check_override(arguments.override_name, arguments.name, "the key vault's name, "));
  VAULTFS_ASSIGN_OR_RETURN(const MachineContext machine, context.machine_context());
  VAULTFS_ASSIGN_OR_RETURN(const KeyVaultRemovalAnswer answer,
                           remove_key_vault(machine, {arguments.name, !arguments.override_name.empty()}));
  if (answer.outcome == Withdrawn::refused) {
    return Error{ErrorCode::KeyVaultInUse,
                 "keys of the key vault " + arguments.name + " are still needed:" + needing_lines(answer.needing) +
                     "\nThis machine could not open them any more. To do it all the same: --override " +
                     arguments.name};
  }
  const bool overridden = answer.outcome == Withdrawn::done_although_needed;
  print(context, {{"name", arguments.name}, {"overridden", overridden}}, [&] {
    say(answer.local ? "Deleted the empty local key vault %s.\n"
                     : "Removed %s from this machine. The key vault itself was not "
                       "touched.\n",
        arguments.name.c_str());
  });
  return 0;
}

}  // namespace

Result<ProviderOptions> parse_provider_options(const std::vector<std::string>& texts) {
  ProviderOptions options;
  for (const std::string& text : texts) {
    const std::size_t equals = text.find('=');
    if (equals == 0 || equals == std::string::npos) {
      return Error{ErrorCode::Usage, "an option is NAME=VALUE, not \"" + visible_text(text) + "\""};
    }
    if (!options.emplace(text.substr(0, equals), text.substr(equals + 1)).second) {
      return Error{ErrorCode::Usage, "the option " + visible_text(text.substr(0, equals)) + " is given twice"};
    }
  }
  return options;
}

void add_keyvault_commands(CLI::App& app, CommandContext& context) {
  CLI::App* group = app.add_subcommand("keyvault", "Key vaults: where key-encryption keys live");
  group->require_subcommand(1);
  const auto arguments = std::make_shared<CreateArguments>();

  CLI::App* created = group->add_subcommand("create", "Make a local key vault");
  created->add_option("NAME", arguments->name)->required();
  created->add_option("--region", arguments->region, "region label");
  created->add_option("--retention-days", arguments->retention_days, "how long deleted keys are kept: 7 to 90");
  created->add_flag("--no-purge-protection", arguments->no_purge_protection);
  created->add_flag("--no-soft-delete", arguments->no_soft_delete);
  created->add_flag("--passphrase", arguments->with_passphrase,
                    "protect the private keys by a passphrase, asked for on the terminal");
  created->add_option("--new-passphrase-file", arguments->passphrase_file, "the same, read from a file");
  created->add_option("--new-passphrase-fd", arguments->passphrase_fd, "the same, read from an open descriptor");
  on_run(*created, context, [&context, arguments] { return create_key_vault(context, *arguments); });

  CLI::App* listed = group->add_subcommand("list", "The key vaults of this machine");
  on_run(*listed, context, [&context] { return list_key_vaults(context); });

  CLI::App* shown = group->add_subcommand("show", "One key vault");
  shown->add_option("NAME", arguments->name)->required();
  on_run(*shown, context, [&context, arguments] { return show_key_vault(context, arguments->name); });

  add_keyvault_access_commands(*group, context);

  const auto added = std::make_shared<AddArguments>();
  CLI::App* adding = group->add_subcommand("add", "Register a key vault that is elsewhere");
  adding->add_option("NAME", added->name)->required();
  adding->add_option("--provider", added->provider, "pkcs11, azure, transit or kmip")->required();
  adding->add_option("--option", added->options, "NAME=VALUE, of that provider; secrets are named by their files")
      ->allow_extra_args(false);
  on_run(*adding, context, [&context, added] { return add(context, *added); });

  CLI::App* removed = group->add_subcommand("remove", "Drop a registration, unless a vault needs a key in there");
  removed->add_option("NAME", added->name)->required();
  removed->add_option("--override", added->override_name, "the key vault's name: although a vault needs it");
  on_run(*removed, context, [&context, added] { return remove(context, *added); });
}

}  // namespace vaultfs
