// vaultctl key new-epoch|drill

#include <algorithm>
#include <memory>

#include "tools/api/json_forms.h"
#include "tools/control/message.h"
#include "tools/vaultctl/command_context.h"
#include "tools/vaultctl/pem_file.h"
#include "tools/vaultctl/text_output.h"
#include "vaultmeta/vault/key_drill.h"
#include "vaultmeta/vault/recover.h"

namespace vaultfs {
namespace {

using nlohmann::json;

Result<int> new_epoch(CommandContext& context, const std::string& vault) {
  VAULTFS_ASSIGN_OR_RETURN(const json form, request(context, {vault, "key.new-epoch"}));
  print(context, form, [&form] {
    say("New data is encrypted under epoch %s from now on.\n"
        "What is stored already stays under the older epochs: whoever has one of their keys can still read it.\n",
        plain(form["current_epoch"]).c_str());
  });
  return 0;
}

struct DrillArguments {
  std::string vault, escrow_key_file, passphrase_file;
  int passphrase_fd = -1;
};

// What opens a vault that can't be opened now: one whose Active version is disabled or missing, above all. The reason
// for which it can't be opened if the slots are not it.
Result<json> slots_of_unopened(CommandContext& context, const std::filesystem::path& vault, const Error& why,
                               bool beside_escrow) {
  VAULTFS_ASSIGN_OR_RETURN(Machine * machine, context.machine());
  const auto drills = drill_vault(machine->for_vault(), vault);
  const auto failed = [](const KeyDrill& drill) { return drill.failure.has_value(); };
  if (drills.ok() && (beside_escrow || std::ranges::any_of(*drills, failed))) return to_json(*drills);
  return why;
}

// In this process, so that the private key is nowhere else.
Result<json> drill_escrow_slot(CommandContext& context, const std::filesystem::path& vault,
                               const DrillArguments& arguments) {
  VAULTFS_ASSIGN_OR_RETURN(const auto key, read_escrow_private_key(arguments.escrow_key_file, arguments.passphrase_file,
                                                                   arguments.passphrase_fd));
  VAULTFS_ASSIGN_OR_RETURN(const Bytes public_key, key->public_der());
  VAULTFS_ASSIGN_OR_RETURN(Machine * machine, context.machine());
  const auto opened = drill_escrow(machine->for_vault(), vault, *key);
  return json{{"role", "Escrow"},
              {"key", "escrow"},
              {"version", to_hex(escrow_fingerprint(public_key).view())},
              {"opens", opened.ok()},
              {"infrastructure_key", opened.ok() ? escrowed_infrastructure_to_json(*opened) : json(nullptr)},
              {"problem", opened.ok() ? json(nullptr) : error_to_json_form(opened.error())}};
}

// What the escrow key is not worth on another machine, which has no infrastructure key of its own.
void warn_of_infrastructure_key(const std::string& vault) {
  tell(
      "vaultctl: note: the vault opened by the infrastructure key of this machine, which its keyring does not hold for "
      "the escrow key yet: another machine would need the recovery file besides (vault recover --recovery-file). To "
      "give it to the escrow key: vaultctl key rewrap %s\n",
      vault.c_str());
}

// The exit code is that of the first slot that does not open.
Result<int> drill(CommandContext& context, const DrillArguments& arguments) {
  const auto path = std::filesystem::absolute(arguments.vault).lexically_normal();
  json escrow = nullptr;
  if (!arguments.escrow_key_file.empty()) {
    VAULTFS_ASSIGN_OR_RETURN(escrow, drill_escrow_slot(context, path, arguments));
  }
  auto asked = request(context, {arguments.vault, "key.drill"});
  if (!asked.ok()) asked = slots_of_unopened(context, path, asked.error(), !escrow.is_null());
  VAULTFS_ASSIGN_OR_RETURN(json form, std::move(asked));
  if (!escrow.is_null()) form["slots"].push_back(escrow);
  print(context, form, [&form, &escrow] {
    std::vector<std::vector<std::string>> rows;
    for (const json& slot : form["slots"]) {
      rows.push_back({plain(slot["role"]), plain(slot["key"]), plain(slot["version"]), plain(slot["opens"]),
                      slot["problem"].is_null() ? "-" : plain(slot["problem"]["name"])});
    }
    print_table({"ROLE", "KEY", "KEY VERSION", "OPENS THE VAULT", "PROBLEM"}, rows);
    print_key_expiry(form["key_expiry"]);
    if (!escrow.is_null() && escrow["infrastructure_key"] == "Escrowed") {
      say("The escrow key brings back the infrastructure key as well.\n");
    }
  });
  if (!escrow.is_null() && escrow["infrastructure_key"] == "NotEscrowed") warn_of_infrastructure_key(arguments.vault);
  const auto glance = glance_at_vault(posix_env(), path);
  if (escrow.is_null() && glance.ok() && glance->escrow) {
    tell(
        "vaultctl: note: the vault has an escrow key, which was not tested: give its private half by "
        "--escrow-key-file\n");
  }
  for (const json& slot : form["slots"]) {
    if (slot["opens"] == true) continue;
    return error_exit_code(error_from_json({{"error", slot["problem"]}}).code);
  }
  return 0;
}

}  // namespace

void add_key_verbs(CLI::App& group, CommandContext& context) {
  const auto vault = std::make_shared<std::string>();
  CLI::App* epoch = group.add_subcommand("new-epoch", "Encrypt a vault's new data under a new key");
  epoch->add_option("VAULT", *vault)->required();
  on_run(*epoch, context, [&context, vault] { return new_epoch(context, *vault); });

  const auto wanted = std::make_shared<DrillArguments>();
  CLI::App* drilled =
      group.add_subcommand("drill", "Prove by which key versions, and escrow key, a vault opens now; changes nothing");
  drilled->add_option("VAULT", wanted->vault)->required();
  drilled->add_option("--escrow-key-file", wanted->escrow_key_file,
                      "PEM file of the escrow key's private half: read by this command, kept nowhere");
  drilled->add_option("--passphrase-file", wanted->passphrase_file, "file with its passphrase");
  drilled->add_option("--passphrase-fd", wanted->passphrase_fd, "open descriptor to read it from");
  on_run(*drilled, context, [&context, wanted] { return drill(context, *wanted); });
}

}  // namespace vaultfs
