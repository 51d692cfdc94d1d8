// vaultctl key: its commands, and those that need no file of their own (create, rotate, list, show, enable, rewrap)

#include <algorithm>
#include <memory>
#include <string_view>

#include "base/rfc3339.h"
#include "tools/api/json_forms.h"
#include "tools/api/key_exports.h"
#include "tools/api/keys/opened_key_vault.h"
#include "tools/vaultctl/command_context.h"
#include "tools/vaultctl/key/key_arguments.h"
#include "tools/vaultctl/text_output.h"
#include "vaultmeta/vault/vault.h"

namespace vaultfs {
namespace {

using nlohmann::json;

// "2027-01-31" or "2027-01-31T12:00:00Z" as Unix seconds.
Result<std::optional<std::int64_t>> parse_time(const std::string& text) {
  if (text.empty()) return std::optional<std::int64_t>();
  const auto seconds = parse_rfc3339(text.find('T') == std::string::npos ? text + "T00:00:00Z" : text);
  // In UTC and without fractions: written back it has to be what was given.
  if (seconds && (to_rfc3339_day(*seconds) == text || to_rfc3339(*seconds) == text)) return seconds;
  return Error{ErrorCode::Usage, "\"" + text + "\" is no time; write 2027-01-31 or 2027-01-31T12:00:00Z"};
}

Result<KeyOptions> key_options(const KeyArguments& arguments) {
  KeyOptions options;
  if (arguments.bits != 0) options.bits = arguments.bits;
  VAULTFS_ASSIGN_OR_RETURN(options.not_before, parse_time(arguments.not_before));
  VAULTFS_ASSIGN_OR_RETURN(options.expires, parse_time(arguments.expires));
  if (options.expires && *options.expires <= system_clock().now().seconds()) {
    tell("vaultctl: warning: --expires %s is over already: this version can never wrap\n", arguments.expires.c_str());
  }
  return options;
}

Result<int> create(CommandContext& context, const KeyArguments& arguments) {
  VAULTFS_ASSIGN_OR_RETURN(const KeyRef key, unpinned_key(arguments));
  VAULTFS_ASSIGN_OR_RETURN(const auto options, key_options(arguments));
  VAULTFS_ASSIGN_OR_RETURN(const auto key_vault, key_vault_of(context, key));
  VAULTFS_ASSIGN_OR_RETURN(const MachineContext machine, context.machine_context());
  VAULTFS_ASSIGN_OR_RETURN(const KeyVersionInfo version,
                           audited<Result<KeyVersionInfo>>(machine, "key.create", key.to_string(),
                                                           [&] { return key_vault->create_key(key.key, options); }));
  print(context, version_to_json(version), [&] {
    say("Created the key %s (%s %u), version %s.\n", arguments.key.c_str(), version.key_type.c_str(), version.bits,
        version.id.c_str());
  });
  return 0;
}

Result<int> rotate(CommandContext& context, const KeyArguments& arguments) {
  if (arguments.due) {
    if (arguments.bits != 0 || !arguments.not_before.empty() || !arguments.expires.empty()) {
      return Error{ErrorCode::Usage, "with --due the rotation policy says what is made; leave the other options out"};
    }
    return key_rotate_due(context, arguments);
  }
  VAULTFS_ASSIGN_OR_RETURN(const KeyRef key, unpinned_key(arguments));
  VAULTFS_ASSIGN_OR_RETURN(const auto options, key_options(arguments));
  VAULTFS_ASSIGN_OR_RETURN(const auto key_vault, key_vault_of(context, key));
  VAULTFS_ASSIGN_OR_RETURN(const MachineContext machine, context.machine_context());
  VAULTFS_ASSIGN_OR_RETURN(const KeyVersionInfo version,
                           audited<Result<KeyVersionInfo>>(machine, "key.rotate", key.to_string(), [&] {
                             return key_vault->rotate_key(key.key, options, arguments.bits == 0);
                           }));
  json form = version_to_json(version);
  form["export"] = key_export_to_json(machine.machine, key);
  warn_of_stale_export(key, form["export"]);
  print(context, form, [&] {
    say("New version of %s: %s.\n", arguments.key.c_str(), version.id.c_str());
    say("Vaults that follow this key take it up at their next refresh (at most an hour; now with: vaultctl encryption "
        "refresh VAULT).\n"
        "Keep the old version enabled until each vault has completed a backup under the new one: vaultctl key impact "
        "%s\n",
        arguments.key.c_str());
  });
  return 0;
}

Result<int> list(CommandContext& context, const KeyArguments& arguments) {
  if (arguments.deleted) return key_list_deleted(context, arguments);
  VAULTFS_ASSIGN_OR_RETURN(const KeyRef key, KeyRef::parse(arguments.key));
  VAULTFS_ASSIGN_OR_RETURN(const auto key_vault, key_vault_of(context, key));
  VAULTFS_ASSIGN_OR_RETURN(const std::vector<KeyVersionInfo> versions, key_vault->list_versions(key.key));
  json forms = json::array();
  for (const KeyVersionInfo& version : versions) {
    if (!key.version || version.id == *key.version) forms.push_back(version_to_json(version));
  }
  if (key.version && forms.empty()) {
    return Error{ErrorCode::KeyVersionNotFound, "no version " + *key.version + " of " + key.key_vault + "/" + key.key};
  }
  VAULTFS_ASSIGN_OR_RETURN(Machine * machine, context.machine());
  const json exported = key_export_to_json(*machine, key);
  add_export_times(forms, exported);
  print(context, {{"versions", forms}, {"export", exported}}, [&] {
    std::vector<std::vector<std::string>> rows;
    for (const json& form : forms) {
      rows.push_back({plain(form["version"]), plain(form["state"]), plain(form["key_type"]) + " " + plain(form["bits"]),
                      plain(form["created"]), plain(form["not_before"]), plain(form["expires"]),
                      plain(form["exported"])});
    }
    print_table({"VERSION", "STATE", "TYPE", "CREATED", "NOT BEFORE", "EXPIRES", "EXPORTED"}, rows);
    warn_of_stale_export(key, exported);
  });
  return 0;
}

// The key as a whole; `list` shows its versions one by one.
Result<int> show(CommandContext& context, const KeyArguments& arguments) {
  VAULTFS_ASSIGN_OR_RETURN(const KeyRef key, unpinned_key(arguments));
  VAULTFS_ASSIGN_OR_RETURN(const auto key_vault, key_vault_of(context, key));
  VAULTFS_ASSIGN_OR_RETURN(const KeyVaultProperties properties, key_vault->properties());
  VAULTFS_ASSIGN_OR_RETURN(const std::vector<KeyVersionInfo> versions, key_vault->list_versions(key.key));
  if (versions.empty()) return Error{ErrorCode::KeyNotFound, "the key " + key.to_string() + " has no versions"};
  json form = {{"key", key.to_string()},
               {"provider", properties.provider},
               {"versions", versions.size()},
               {"newest", version_to_json(versions.back())},
               {"rotation_policy", nullptr}};
  // Reading it wants a permission of its own at some key vaults: without it the rest is still worth showing.
  const auto rotation = key_vault->describe_rotation_policy(key.key);
  if (rotation.ok()) {
    form["rotation_policy"] = rotation_policy_to_json(*rotation);
  } else if (rotation.code() == ErrorCode::KeyVaultDenied) {
    tell("vaultctl: note: the rotation policy is not shown: %s\n", rotation.error().message.c_str());
  } else if (rotation.code() != ErrorCode::NotSupportedByProvider) {
    return rotation.error();
  }
  print(context, form, [&form] {
    const json& newest = form["newest"];
    const json& policy = form["rotation_policy"];
    print_pairs({{"Key", plain(form["key"])},
                 {"Provider", plain(form["provider"])},
                 {"Versions", plain(form["versions"])},
                 {"Newest version", plain(newest["version"]) + " (" + plain(newest["state"]) + ")"},
                 {"Type", plain(newest["key_type"]) + " " + plain(newest["bits"])},
                 {"Created", plain(newest["created"])},
                 {"Not before", plain(newest["not_before"])},
                 {"Expires", plain(newest["expires"])},
                 {"Rotates after creation", policy.is_null() ? "-" : plain(policy["after_create"])},
                 {"Rotates before expiry", policy.is_null() ? "-" : plain(policy["before_expiry"])}});
  });
  return 0;
}

Result<int> enable(CommandContext& context, const KeyArguments& arguments) {
  VAULTFS_ASSIGN_OR_RETURN(const KeyRef key, pinned_key(arguments));
  VAULTFS_ASSIGN_OR_RETURN(const auto key_vault, key_vault_of(context, key));
  VAULTFS_ASSIGN_OR_RETURN(const MachineContext machine, context.machine_context());
  VAULTFS_RETURN_IF_ERROR(audited<Status>(machine, "key.enable", key.to_string(),
                                          [&] { return key_vault->set_enabled(key.key, *key.version, true); }));
  print(context, {{"version", *key.version}, {"enabled", true}}, [&] { say("Enabled %s.\n", arguments.key.c_str()); });
  return 0;
}

Result<int> rewrap(CommandContext& context, const KeyArguments& arguments) {
  VaultRequest wanted{arguments.vault, "key.rewrap"};
  wanted.arguments = {{"drop_retiring", arguments.drop_retiring}};
  VAULTFS_ASSIGN_OR_RETURN(const json form, request(context, std::move(wanted)));
  print(context, form, [&] {
    say("The keyring has a fresh key, wrapped by the active version.\n"
        "This does not take a leaked key back: whoever had the old version and a copy of this vault can still read "
        "what that copy holds.\n");
  });
  return 0;
}

void add_policy_commands(CLI::App& group, CommandContext& context, const std::shared_ptr<KeyArguments>& arguments) {
  CLI::App* policy =
      group.add_subcommand("rotation-policy", "New versions that make themselves (local key vaults, Azure)");
  policy->require_subcommand(1);
  CLI::App* set = policy->add_subcommand("set", "Say when a new version is made");
  set->add_option("KEYREF", arguments->key)->required();
  set->add_option("--after-create", arguments->after_create, "so long after the newest was made: P30D or 30d");
  set->add_option("--before-expiry", arguments->before_expiry, "so long before the newest expires");
  set->add_option("--expiry", arguments->expiry, "how long the versions so made are valid");
  set->add_flag("--none", arguments->none, "take the policy away");
  on_run(*set, context, [&context, arguments] { return key_policy_set(context, *arguments); });
  CLI::App* shown = policy->add_subcommand("show", "The rotation policy of a key");
  shown->add_option("KEYREF", arguments->key)->required();
  on_run(*shown, context, [&context, arguments] { return key_policy_show(context, *arguments); });
}

void add_secret_options(CLI::App& command, KeyArguments& arguments) {
  command.add_option("--file-passphrase-file", arguments.passphrase_file,
                     "file with the passphrase of the exported key");
  command.add_option("--file-passphrase-fd", arguments.passphrase_fd, "open descriptor to read it from");
}

}  // namespace

Result<KeyRef> unpinned_key(const KeyArguments& arguments) {
  VAULTFS_ASSIGN_OR_RETURN(KeyRef key, KeyRef::parse(arguments.key));
  if (!key.pinned()) return key;
  return Error{ErrorCode::InvalidKeyRef, "name the key without a version: " + key.key_vault + "/" + key.key};
}

Result<KeyRef> pinned_key(const KeyArguments& arguments) {
  VAULTFS_ASSIGN_OR_RETURN(KeyRef key, KeyRef::parse(arguments.key));
  if (key.pinned()) return key;
  return Error{ErrorCode::InvalidKeyRef,
               "name the version: " + key.key_vault + "/" + key.key + "/VERSION (see: vaultctl key list)"};
}

Result<std::shared_ptr<AdministeredKeyVault>> key_vault_of(CommandContext& context, const KeyRef& key) {
  VAULTFS_ASSIGN_OR_RETURN(Machine * machine, context.machine());
  return open_key_vault(*machine, key.key_vault);
}

Result<std::shared_ptr<LocalKeyVault>> local_key_vault_of(CommandContext& context, const KeyRef& key) {
  VAULTFS_ASSIGN_OR_RETURN(Machine * machine, context.machine());
  return open_local_key_vault(*machine, key.key_vault);
}

json version_to_json(const KeyVersionInfo& version) {
  json form = {{"version", version.id},
               {"state", version.enabled ? "Enabled" : "Disabled"},
               {"enabled", version.enabled},
               {"created", seconds_to_json(version.created_unix_seconds)},
               {"key_type", version.key_type},
               {"bits", version.bits},
               {"of_certificate", version.of_certificate}};
  form["not_before"] = version.not_before ? seconds_to_json(*version.not_before) : json(nullptr);
  form["expires"] = version.expires ? seconds_to_json(*version.expires) : json(nullptr);
  return form;
}

void add_key_commands(CLI::App& app, CommandContext& context) {
  CLI::App* group = app.add_subcommand("key", "Keys and their versions (KEYREF: KEYVAULT/KEY[/VERSION])");
  group->require_subcommand(1);
  add_key_verbs(*group, context);
  const auto arguments = std::make_shared<KeyArguments>();
  const auto add = [&](const char* name, const char* what, KeyCommand body) {
    CLI::App* command = group->add_subcommand(name, what);
    on_run(*command, context, [&context, arguments, body] { return body(context, *arguments); });
    return command;
  };
  const auto add_with_key = [&](const char* name, const char* what, KeyCommand body) {
    CLI::App* command = add(name, what, body);
    command->add_option("KEYREF", arguments->key)->required();
    return command;
  };
  CLI::App* rotated = add("rotate", "Make a new version", rotate);
  rotated->add_option("KEYREF", arguments->key, "the key; with --due a key vault, or nothing for all local ones");
  rotated->add_flag("--due", arguments->due, "only what a rotation policy says now; for timers");
  for (CLI::App* command : {add_with_key("create", "Make a key", create), rotated}) {
    command->add_option("--bits", arguments->bits, "2048, 3072 or 4096");
    command->add_option("--not-before", arguments->not_before, "wraps only from then on (UTC)");
    command->add_option("--expires", arguments->expires, "wraps only until then (UTC); it unwraps for ever");
  }
  add_with_key("list", "The versions of a key, oldest first", list)
      ->add_flag("--deleted", arguments->deleted, "the deleted keys of a key vault instead: name the key vault");
  add_with_key("show", "A key and its rotation policy", show);
  add_with_key("impact", "Which vaults need which version", key_impact);
  add_with_key("enable", "Enable a version", enable);
  add_with_key("disable", "Disable a version, unless a vault needs it", key_disable)
      ->add_option("--override", arguments->override_name, "the key's name: disable although a vault needs it");
  add_with_key("delete", "Delete a key with all its versions, unless a vault needs one", key_delete)
      ->add_option("--override", arguments->override_name, "the key's name: delete although a vault needs it");
  add_with_key("recover", "Bring a deleted key back", key_recover);
  add_with_key("purge", "Destroy a deleted key for good, unless a vault needs one of its versions", key_purge)
      ->add_option("--override", arguments->override_name, "the key's name: destroy it although a vault needs it");
  add_policy_commands(*group, context, arguments);
  CLI::App* exported = add_with_key(
      "export", "Write private keys as encrypted PEM: of a version, or of all that vaults need", key_export);
  exported->add_option("--to", arguments->file, "file to make")->required();
  add_secret_options(*exported, *arguments);
  CLI::App* imported = add_with_key("import", "Add versions from a PEM file, as key export wrote it", key_import);
  imported->add_option("--from", arguments->file, "PKCS#8 PEM")->required();
  imported->add_flag("--enable", arguments->enable, "also if the same version is disabled under another name here");
  add_secret_options(*imported, *arguments);
  CLI::App* rewrapped = add("rewrap", "Give a vault's keyring a fresh key under the active version", rewrap);
  rewrapped->add_option("VAULT", arguments->vault)->required();
  rewrapped->add_flag("--drop-retiring", arguments->drop_retiring,
                      "for a compromised version: do not wait for a backup");
}

}  // namespace vaultfs
