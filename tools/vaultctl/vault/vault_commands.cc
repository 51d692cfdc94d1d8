// vaultctl vault create|show|trust

#include <sys/stat.h>

#include <memory>

#include "crypto/keyvault/provider_table.h"
#include "tools/vaultctl/command_context.h"
#include "tools/vaultctl/pem_file.h"
#include "tools/vaultctl/text_output.h"
#include "vaultmeta/vault/vault.h"

namespace vaultfs {
namespace {

using nlohmann::json;

constexpr const char* kRecoveryPassphrase = "--recovery-passphrase";

struct CreateVaultArguments {
  std::string vault, key, identity = "system", region, recovery_file, passphrase_file, escrow_key;
  int passphrase_fd = -1;
  bool infrastructure = false, no_recovery = false;
};

// The key vault's disk is lost together with the vault's, or it is not: that is what a person should know. Of key
// vaults elsewhere this machine has no more than the registration.
void warn_of_same_disk(Machine& machine, const KeyRef& key, const std::filesystem::path& vault) {
  const auto entry = machine.registry().find(key.key_vault);
  if (!entry.ok() || entry->provider != kLocalProvider) return;
  struct stat a {};
  struct stat b {};
  const std::filesystem::path keys = machine.key_vaults().path_of(key.key_vault);
  if (::stat(keys.c_str(), &a) != 0 || ::stat(vault.c_str(), &b) != 0 || a.st_dev != b.st_dev) return;
  tell(
      "vaultctl: warning: the key vault %s lies on the same file system as the vault: whoever takes this disk takes "
      "both, and who loses it loses both. Keep a copy of the key elsewhere: vaultctl key export %s/%s --to FILE\n",
      key.key_vault.c_str(), key.key_vault.c_str(), key.key.c_str());
}

// An older daemon's answer has none.
std::string reserve_words(const json& form) {
  if (!form.contains("reserve") || form["reserve"].is_null()) return "none";
  const json& reserve = form["reserve"];
  const std::string size = human_bytes(reserve["bytes"]) + " in " + plain(reserve["files"]) + " files";
  if (reserve["spent"] == true) return size + ", in use: the disk is full";
  return size + (reserve["whole"] == true ? "" : ", not whole: made again by the next owner when there is room");
}

// The recovery file's passphrase. The general options name it too where no key vault could be meant by them.
Result<SecretBuffer> recovery_passphrase(const CommandContext& context, const CreateVaultArguments& arguments) {
  const bool given = !arguments.passphrase_file.empty() || arguments.passphrase_fd >= 0;
  const MachineOptions& general = context.machine_options;
  if (!given && arguments.key.empty()) {
    return obtain_passphrase(general.passphrase_file, general.passphrase_fd, true, true, "the recovery file",
                             kRecoveryPassphrase);
  }
  return obtain_passphrase(arguments.passphrase_file, arguments.passphrase_fd, true, true, "the recovery file",
                           kRecoveryPassphrase);
}

Result<int> create_vault(CommandContext& context, const CreateVaultArguments& arguments) {
  VAULTFS_ASSIGN_OR_RETURN(Machine * machine, context.machine());
  VaultCreateOptions options;
  options.path = std::filesystem::absolute(arguments.vault).lexically_normal();
  if (!arguments.key.empty()) {
    VAULTFS_ASSIGN_OR_RETURN(options.key, KeyRef::parse(arguments.key));
  }
  options.identity = arguments.identity;
  options.region = arguments.region;
  options.infrastructure_encryption = arguments.infrastructure;
  options.no_recovery = arguments.no_recovery;
  if (!arguments.escrow_key.empty()) {
    VAULTFS_ASSIGN_OR_RETURN(options.escrow_key, read_escrow_public_key(arguments.escrow_key));
  }
  SecretBuffer passphrase;
  if (!arguments.recovery_file.empty()) {
    options.recovery_file = std::filesystem::absolute(arguments.recovery_file);
    VAULTFS_ASSIGN_OR_RETURN(passphrase, recovery_passphrase(context, arguments));
    options.recovery_passphrase = &passphrase;
  }
  VAULTFS_ASSIGN_OR_RETURN(const VaultCreated created, Vault::create(machine->for_vault(), options));
  for (const std::string& warning : created.warnings) {
    tell("vaultctl: warning: %s\n", warning.c_str());
  }
  if (options.key) warn_of_same_disk(*machine, *options.key, options.path);
  const json form = {{"id", to_hex(created.id.view())},
                     {"path", options.path.string()},
                     {"root_fingerprint", format_fingerprint(created.root_fingerprint)},
                     {"fingerprint", format_fingerprint(created.fingerprint)},
                     {"epoch", created.fingerprint.epoch.value}};
  print(context, form, [&] {
    say("Created the vault %s.\n", options.path.c_str());
    say("Fingerprint (write it down, another machine will ask for it; another one takes its place whenever a key "
        "version is retired):\n  %s\n",
        format_fingerprint(created.fingerprint).c_str());
    say("Mount it with: vaultfs %s MOUNTPOINT\n", arguments.vault.c_str());
  });
  return 0;
}

// What of the vault's keys lies outside, for people; "-" where nothing can be exported.
std::string export_words(const nlohmann::json& exported) {
  if (exported.is_null()) return "-";
  if (exported["state"] != "Stale") return plain(exported["state"]);
  std::string missing;
  for (const auto& version : exported["versions"]) {
    if (!version["exported"].is_null()) continue;
    missing += (missing.empty() ? "" : ", ") + plain(version["key"]) + "/" + plain(version["version"]);
  }
  return "Stale: on another machine it opens this vault no more without " + missing +
         "; export again: vaultctl key export KEYVAULT/KEY --to FILE";
}

Result<int> show_vault(CommandContext& context, const std::string& vault) {
  auto result = request(context, {vault, "vault.show"});
  if (!result.ok()) {
    // Without its key something can still be told.
    auto glance = glance_at_vault(posix_env(), std::filesystem::absolute(vault).lexically_normal());
    if (!glance.ok() || is_integrity_error(result.code())) return std::move(result).error();
    if (context.json) return std::move(result).error();  // stdout has the error's object and nothing else
    tell("vaultctl: note: the vault can't be opened now; this is what its clear header says, not authenticated\n");
    print_pairs({{"Vault id", to_hex(glance->header.id.view())},
                 {"Root key id", format_fingerprint(glance->header.root_fingerprint)},
                 {"Region", plain(glance->header.region)}});
    for (const KeyringSlot& slot : glance->slots) {
      say("Key slot: %s\n", slot.kind == SlotKind::platform
                                ? "platform-managed key of the machine that made it"
                                : visible_text(slot.key_vault + "/" + slot.key + "/" + slot.version).c_str());
    }
    if (glance->escrow) say("Escrow key: %s\n", to_hex(glance->escrow->fingerprint.view()).c_str());
    return std::move(result).error();
  }
  const json& form = result.value();
  print(context, form, [&form] {
    const json& encryption = form["encryption"];
    print_pairs({{"Vault", plain(form["path"])},
                 {"Id", plain(form["id"])},
                 {"Created", plain(form["created"])},
                 {"Region", plain(form["region"])},
                 {"Mounted on", plain(form["mounted_on"])},
                 {"Fingerprint", plain(form["fingerprint"])},
                 {"Encryption", plain(encryption["encryption_at_rest_type"]) + ", key " + plain(encryption["key_uri"])},
                 {"Key access", plain(encryption["key_access"])},
                 {"Exported key", export_words(form["key_export"])},
                 {"Infrastructure encryption", plain(encryption["infrastructure_encryption_state"])},
                 {"Stored", human_bytes(form["stored_bytes"]) + " in " + plain(form["chunks"]) + " chunks"},
                 {"Known damage", form["damaged_chunks"] == 0 ? "none" : plain(form["damaged_chunks"]) + " chunks"},
                 {"Working tree", human_bytes(form["logical_bytes"]) + " in " + plain(form["files"]) + " files"},
                 {"Reserve", reserve_words(form)}});
    std::vector<std::vector<std::string>> rows;
    for (const json& item : form["items"]) {
      rows.push_back(
          {plain(item["name"]), plain(item["recovery_points"]), plain(item["interrupted"]), plain(item["first_seen"])});
    }
    if (!rows.empty()) {
      say("\n");
      print_table({"ITEM", "POINTS", "INTERRUPTED", "FIRST SEEN"}, rows);
    }
    for (const json& note : form["notes"]) say("note: %s\n", plain(note).c_str());
  });
  return 0;
}

Result<int> trust(CommandContext& context, const std::string& vault, const std::string& fingerprint,
                  bool accept_older) {
  VAULTFS_ASSIGN_OR_RETURN(Machine * machine, context.machine());
  VAULTFS_ASSIGN_OR_RETURN(const VaultFingerprint wanted, parse_fingerprint(fingerprint));
  const auto path = std::filesystem::absolute(vault).lexically_normal();
  VAULTFS_ASSIGN_OR_RETURN(const Pin pin, trust_vault(machine->for_vault(), path, wanted, accept_older));
  const json form = {{"id", to_hex(pin.vault.view())},
                     {"root_fingerprint", format_fingerprint(pin.root_fingerprint)},
                     {"fingerprint", format_fingerprint(pin.fingerprint)},
                     {"epoch", pin.fingerprint.epoch.value}};
  print(context, form, [&] {
    say("This machine now trusts %s (%s).\n", path.c_str(), format_fingerprint(pin.fingerprint).c_str());
    if (pin.restart_above != 0) {
      say("Whoever changes it first begins a new incarnation and a new data key, and with that a new fingerprint.\n");
    }
  });
  return 0;
}

}  // namespace

void add_vault_commands(CLI::App& app, CommandContext& context) {
  CLI::App* group = app.add_subcommand("vault", "Vaults: directories that hold encrypted backups");
  group->require_subcommand(1);
  const auto arguments = std::make_shared<CreateVaultArguments>();

  CLI::App* create = group->add_subcommand("create", "Make a new vault");
  create->add_option("VAULT", arguments->vault, "directory to make")->required();
  create->add_option("--key", arguments->key,
                     "customer-managed key: KEYVAULT/KEY follows new versions, KEYVAULT/KEY/VERSION is pinned");
  create->add_option(
      "--identity", arguments->identity,
      "as whom it speaks to key vaults: system (its own, made with it), or the name of a user-assigned one");
  create->add_option("--region", arguments->region, "region label; the key vault's must be the same");
  create->add_flag("--infrastructure-encryption", arguments->infrastructure,
                   "a second, independent layer of encryption");
  create->add_option("--recovery-file", arguments->recovery_file,
                     "write the machine-bound keys to this file, under a passphrase");
  create->add_flag("--no-recovery", arguments->no_recovery, "accept that the vault is lost with this machine's keys");
  const std::string option = kRecoveryPassphrase;
  create->add_option(option + "-file", arguments->passphrase_file, "file with the recovery file's passphrase");
  create->add_option(option + "-fd", arguments->passphrase_fd, "open descriptor to read it from");
  create->add_option("--escrow-key", arguments->escrow_key,
                     "PEM file of an RSA public key whose private half, kept offline, opens the vault too");
  on_run(*create, context, [&context, arguments] { return create_vault(context, *arguments); });

  CLI::App* show = group->add_subcommand("show", "What a vault is and holds");
  show->add_option("VAULT", arguments->vault)->required();
  on_run(*show, context, [&context, arguments] { return show_vault(context, arguments->vault); });

  add_hold_command(*group, context);

  const auto fingerprint = std::make_shared<std::string>();
  const auto accept_older = std::make_shared<bool>(false);
  CLI::App* trusted =
      group->add_subcommand("trust", "Trust a vault that came from another machine; nothing is written into it");
  trusted->add_option("VAULT", arguments->vault)->required();
  trusted->add_option("--fingerprint", *fingerprint, "the newest one that was printed for it")->required();
  trusted->add_flag("--accept-older", *accept_older,
                    "accept a copy that is older than what this machine has seen, or another branch");
  on_run(*trusted, context, [&context, arguments, fingerprint, accept_older] {
    return trust(context, arguments->vault, *fingerprint, *accept_older);
  });

  add_recover_command(*group, context);

  add_forget_command(*group, context);
}

}  // namespace vaultfs
