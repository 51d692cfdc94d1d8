// vaultctl vault recover: machine-bound keys from a recovery file, or a new key by the escrow key.

#include <algorithm>
#include <memory>

#include "tools/api/json_forms.h"
#include "tools/vaultctl/command_context.h"
#include "tools/vaultctl/pem_file.h"
#include "tools/vaultctl/text_output.h"
#include "vaultmeta/machine/recovery_file.h"
#include "vaultmeta/vault/opening.h"
#include "vaultmeta/vault/recover.h"

namespace vaultfs {
namespace {

using nlohmann::json;

struct RecoverArguments {
  std::string vault, recovery_file, escrow_key_file, passphrase_file, key, identity, fingerprint;
  int passphrase_fd = -1;
  bool accept_older = false;
};

// The keys are there; whether what lies at `path` is the owner's vault is another question. Whoever wrote the recovery
// file knew the root key, which is enough as long as no key version was ever retired.
Status trust_recovered(Machine& machine, const std::filesystem::path& path, const RecoveryKeys& keys,
                       const std::string& fingerprint) {
  VAULTFS_ASSIGN_OR_RETURN(const std::optional<Pin> known, machine.state().newest_pin(keys.vault));
  VaultFingerprint kept{EpochNumber(), keys.root_fingerprint};
  if (!fingerprint.empty()) {
    VAULTFS_ASSIGN_OR_RETURN(kept, parse_fingerprint(fingerprint));
  } else if (known.has_value()) {
    VaultOpenOptions options;
    options.path = path;
    options.read_only = true;
    TreeLeftAlone tree;
    const auto opened = Vault::open(machine.for_vault(), options, tree);
    return opened.ok() ? ok_status() : Status(opened.error());
  }
  const auto trusted = trust_vault(machine.for_vault(), path, kept, false);
  if (trusted.ok()) return ok_status();
  return with_context(trusted.error(), "the machine-bound keys are installed, but the vault is not trusted");
}

// A platform key that the vault's newest keyring names no more is void: another key took its place. What lies in the
// vault is not authenticated here: it can only keep a key out that a person has in the file still.
bool needs_platform_key(const VaultGlance& glance, const PlatformKeyId& id) {
  if (PlatformKeyId(glance.header.infrastructure_key_id) == id) return true;
  return std::ranges::any_of(glance.slots, [&id](const KeyringSlot& slot) {
    return slot.kind == SlotKind::platform && slot.version == to_hex(id.view());
  });
}

Result<int> recover_by_file(CommandContext& context, const RecoverArguments& arguments) {
  VAULTFS_ASSIGN_OR_RETURN(Machine * machine, context.machine());
  const auto path = std::filesystem::absolute(arguments.vault).lexically_normal();
  VAULTFS_ASSIGN_OR_RETURN(const VaultGlance glance, glance_at_vault(posix_env(), path));
  VAULTFS_ASSIGN_OR_RETURN(const SecretBuffer passphrase,
                           obtain_passphrase(arguments.passphrase_file, arguments.passphrase_fd, true, false,
                                             "the recovery file", "--recovery-passphrase"));
  VAULTFS_ASSIGN_OR_RETURN(
      const RecoveryKeys keys,
      read_recovery_file(posix_env(), std::filesystem::absolute(arguments.recovery_file), passphrase));
  if (keys.vault != glance.header.id) {
    return Error{ErrorCode::FingerprintMismatch, "this recovery file belongs to the vault " +
                                                     to_hex(keys.vault.view()) + ", not to " +
                                                     to_hex(glance.header.id.view())};
  }
  std::size_t installed = 0;
  json void_keys = json::array();
  for (const RecoveryKeys::Key& key : keys.platform_keys) {
    const PlatformKeyId id(key.id);
    if (!needs_platform_key(glance, id)) {
      void_keys.push_back(to_hex(id.view()));
      continue;
    }
    VAULTFS_RETURN_IF_ERROR(machine->platform_keys().install(id, key.key));
    ++installed;
  }
  if (installed == 0) {
    return Error{
        ErrorCode::NotPermitted,
        "this recovery file is void: the vault is under a customer-managed key since it was written, and none of "
        "its keys opens anything of the vault; see: vaultctl encryption show"};
  }
  VAULTFS_RETURN_IF_ERROR(trust_recovered(*machine, path, keys, arguments.fingerprint));
  const json form = {
      {"id", to_hex(keys.vault.view())}, {"platform_keys", installed}, {"void_platform_keys", void_keys}};
  print(context, form, [&] {
    for (const json& id : void_keys) say("Left out, because it is void: platform key %s.\n", plain(id).c_str());
    say("Installed %zu machine-bound keys; %s opens on this machine now.\n", installed, path.c_str());
  });
  return 0;
}

Result<int> recover_by_escrow(CommandContext& context, const RecoverArguments& arguments) {
  RecoverOptions options;
  options.path = std::filesystem::absolute(arguments.vault).lexically_normal();
  if (!arguments.key.empty()) {
    VAULTFS_ASSIGN_OR_RETURN(options.keys.key, KeyRef::parse(arguments.key));
  }
  if (!arguments.identity.empty()) options.keys.identity = arguments.identity;
  if (!arguments.fingerprint.empty()) {
    VAULTFS_ASSIGN_OR_RETURN(options.fingerprint, parse_fingerprint(arguments.fingerprint));
  }
  options.accept_older = arguments.accept_older;
  options.lock_wait_seconds = context.wait_seconds;
  VAULTFS_ASSIGN_OR_RETURN(Machine * machine, context.machine());
  VAULTFS_ASSIGN_OR_RETURN(
      const auto escrow_key,
      read_escrow_private_key(arguments.escrow_key_file, arguments.passphrase_file, arguments.passphrase_fd));
  VAULTFS_ASSIGN_OR_RETURN(const EncryptionStatus status, recover_vault(machine->for_vault(), options, *escrow_key));
  const json form = to_json(status);
  print(context, form, [&] {
    say("Its fingerprint is now (write it down, it replaces the one you have kept):\n  %s\n",
        format_fingerprint(status.fingerprint).c_str());
    say("%s opens by %s now, and by no key version of before. Recovery points are as they were.\n",
        options.path.c_str(), options.keys.key ? options.keys.key->to_string().c_str() : "a new key of this machine");
    if (status.suite == Suite::aes_gcm_in_xchacha) {
      say("Its infrastructure key is on this machine.\n");
    }
    say("Copies of the vault still open by its old key versions and by the escrow key. Put the private key back to "
        "where it is safe, or name another one: vaultctl encryption set %s --escrow-key FILE\n",
        arguments.vault.c_str());
  });
  return 0;
}

Result<int> recover(CommandContext& context, const RecoverArguments& arguments) {
  const bool by_file = !arguments.recovery_file.empty();
  const bool by_escrow = !arguments.escrow_key_file.empty();
  if (by_file == by_escrow) {
    return Error{ErrorCode::Usage, "give --recovery-file, or --escrow-key-file with the vault's new --key"};
  }
  if (by_escrow) return recover_by_escrow(context, arguments);
  if (!arguments.key.empty() || !arguments.identity.empty() || arguments.accept_older) {
    return Error{ErrorCode::Usage,
                 "--key, --identity and --accept-older belong to --escrow-key-file: a recovery file "
                 "brings back the keys that were there"};
  }
  return recover_by_file(context, arguments);
}

}  // namespace

void add_recover_command(CLI::App& group, CommandContext& context) {
  const auto arguments = std::make_shared<RecoverArguments>();
  CLI::App* command = group.add_subcommand(
      "recover", "Install the machine-bound keys of a recovery file, or give a vault a new key by its escrow key");
  command->add_option("VAULT", arguments->vault)->required();
  command->add_option("--recovery-file", arguments->recovery_file);
  command->add_option("--escrow-key-file", arguments->escrow_key_file, "PEM file of the escrow key's private half");
  command->add_option(
      "--key", arguments->key,
      "with the escrow key: the vault's key from now on, KEYVAULT/KEY or KEYVAULT/KEY/VERSION; none for a "
      "platform-managed vault");
  command->add_option("--identity", arguments->identity,
                      "with the escrow key: as whom from now on; as before if not given");
  command->add_option("--fingerprint", arguments->fingerprint,
                      "on a machine that does not know the vault: the newest fingerprint that was printed for it");
  command->add_flag("--accept-older", arguments->accept_older,
                    "with --fingerprint: accept a copy that is older than what this machine has seen");
  command->add_option("--passphrase-file,--recovery-passphrase-file", arguments->passphrase_file,
                      "file with the passphrase of the recovery file or of the escrow key");
  command->add_option("--passphrase-fd,--recovery-passphrase-fd", arguments->passphrase_fd,
                      "open descriptor to read it from");
  on_run(*command, context, [&context, arguments] { return recover(context, *arguments); });
}

}  // namespace vaultfs
