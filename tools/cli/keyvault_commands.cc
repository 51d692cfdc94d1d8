// vaultctl keyvault create|list|show: key vaults of this machine.

#include <memory>

#include "tools/cli/command_context.h"
#include "tools/cli/text_output.h"

namespace vaultfs {
namespace {

using nlohmann::json;

struct CreateArguments {
  std::string name, region, passphrase_file;
  int passphrase_fd = -1;
  bool with_passphrase = false, no_purge_protection = false, no_soft_delete = false;
};

Result<int> create(CommandContext& context, const CreateArguments& arguments) {
  LocalKeyVaultOptions options;
  options.region = arguments.region;
  options.soft_delete = !arguments.no_soft_delete;
  // Without soft delete there is nothing that purge protection could keep.
  options.purge_protection = !arguments.no_purge_protection && options.soft_delete;
  SecretBuffer passphrase;
  const bool protect = arguments.with_passphrase || !arguments.passphrase_file.empty() || arguments.passphrase_fd >= 0;
  if (protect) {
    options.protection = LocalProtection::passphrase;
    VAULTFS_ASSIGN_OR_RETURN(passphrase, obtain_passphrase(arguments.passphrase_file, arguments.passphrase_fd, true,
                                                           true, "the key vault " + arguments.name));
  }
  VAULTFS_ASSIGN_OR_RETURN(Machine * machine, context.machine());
  VAULTFS_RETURN_IF_ERROR(machine->key_vaults().create(arguments.name, options, protect ? &passphrase : nullptr));
  const json form = {{"name", arguments.name}, {"path", machine->key_vaults().path_of(arguments.name).string()}};
  print(context, form, [&] {
    std::printf("Created the key vault %s in %s.\n", arguments.name.c_str(),
                machine->key_vaults().path_of(arguments.name).c_str());
    std::printf("Make a key with: vaultctl key create %s/KEY\n", arguments.name.c_str());
  });
  return 0;
}

Result<json> describe(Machine& machine, const std::string& name) {
  VAULTFS_ASSIGN_OR_RETURN(const auto key_vault, machine.key_vaults().open(name));
  VAULTFS_ASSIGN_OR_RETURN(const KeyVaultProperties properties, key_vault->properties());
  VAULTFS_ASSIGN_OR_RETURN(const std::vector<std::string> keys, key_vault->list_keys());
  json form = {{"name", name}, {"provider", properties.provider}, {"path", properties.location}, {"keys", keys}};
  form["region"] = properties.region ? json(*properties.region) : json(nullptr);
  form["soft_delete"] = properties.soft_delete ? json(*properties.soft_delete) : json(nullptr);
  form["purge_protection"] = properties.purge_protection ? json(*properties.purge_protection) : json(nullptr);
  return form;
}

Result<int> list(CommandContext& context) {
  VAULTFS_ASSIGN_OR_RETURN(Machine * machine, context.machine());
  VAULTFS_ASSIGN_OR_RETURN(const std::vector<std::string> names, machine->key_vaults().list());
  json key_vaults = json::array();
  for (const std::string& name : names) {
    auto form = describe(*machine, name);
    if (!form.ok()) {
      // One that is damaged must not hide the others.
      std::fprintf(stderr, "vaultctl: note: %s: %s: %s\n", name.c_str(), std::string(error_name(form.code())).c_str(),
                   form.error().message.c_str());
      continue;
    }
    key_vaults.push_back(std::move(form).value());
  }
  print(context, {{"keyvaults", key_vaults}}, [&] {
    std::vector<std::vector<std::string>> rows;
    for (const json& form : key_vaults) {
      rows.push_back({plain(form["name"]), plain(form["provider"]), plain(form["region"]),
                      std::to_string(form["keys"].size()), plain(form["path"])});
    }
    print_table({"NAME", "PROVIDER", "REGION", "KEYS", "PATH"}, rows);
  });
  return 0;
}

Result<int> show(CommandContext& context, const std::string& name) {
  VAULTFS_ASSIGN_OR_RETURN(Machine * machine, context.machine());
  auto form = describe(*machine, name);
  if (!form.ok()) {
    if (form.code() == ErrorCode::KeyVaultUnavailable) {
      return Error{ErrorCode::KeyVaultNotFound,
                   "this machine has no key vault " + name + "; see: vaultctl keyvault list"};
    }
    return std::move(form).error();
  }
  print(context, form.value(), [&] {
    std::string keys;
    for (const json& key : form.value()["keys"]) keys += (keys.empty() ? "" : ", ") + plain(key);
    print_pairs({{"Key vault", plain(form.value()["name"])},
                 {"Provider", plain(form.value()["provider"])},
                 {"Region", plain(form.value()["region"])},
                 {"Soft delete", plain(form.value()["soft_delete"])},
                 {"Purge protection", plain(form.value()["purge_protection"])},
                 {"Path", plain(form.value()["path"])},
                 {"Keys", keys.empty() ? "-" : keys}});
  });
  return 0;
}

}  // namespace

void add_keyvault_commands(CLI::App& app, CommandContext& context) {
  CLI::App* group = app.add_subcommand("keyvault", "Key vaults: where key-encryption keys live");
  group->require_subcommand(1);
  const auto arguments = std::make_shared<CreateArguments>();

  CLI::App* created = group->add_subcommand("create", "Make a local key vault");
  created->add_option("NAME", arguments->name)->required();
  created->add_option("--region", arguments->region, "region label");
  created->add_flag("--no-purge-protection", arguments->no_purge_protection);
  created->add_flag("--no-soft-delete", arguments->no_soft_delete);
  created->add_flag("--passphrase", arguments->with_passphrase,
                    "protect the private keys by a passphrase, asked for on the terminal");
  created->add_option("--new-passphrase-file", arguments->passphrase_file, "the same, read from a file");
  created->add_option("--new-passphrase-fd", arguments->passphrase_fd, "the same, read from an open descriptor");
  on_run(*created, context, [&context, arguments] { return create(context, *arguments); });

  CLI::App* listed = group->add_subcommand("list", "The key vaults of this machine");
  on_run(*listed, context, [&context] { return list(context); });

  CLI::App* shown = group->add_subcommand("show", "One key vault");
  shown->add_option("NAME", arguments->name)->required();
  on_run(*shown, context, [&context, arguments] { return show(context, arguments->name); });
}

}  // namespace vaultfs
