// vaultctl vault forget: a vault that is gone leaves this machine's list.

#include <memory>

#include "tools/api/keys/vault_forget.h"
#include "tools/vaultctl/command_context.h"
#include "tools/vaultctl/text_output.h"

namespace vaultfs {
namespace {

Result<int> forget(CommandContext& context, const std::string& vault, const std::string& override_id) {
  VAULTFS_ASSIGN_OR_RETURN(const MachineContext machine, context.machine_context());
  VAULTFS_ASSIGN_OR_RETURN(const ForgetChoice choice,
                           choose_vault_to_forget(machine.machine.state(), machine.machine.env(), vault));
  const std::string id = to_hex(choice.vault.view());
  if (!override_id.empty() && override_id != id) {
    return Error{ErrorCode::Usage, "--override wants the vault's id, " + id + ", so that it is not given by mistake"};
  }
  if (choice.refusal && override_id.empty()) {
    Error refusal = *choice.refusal;
    if (refusal.code == ErrorCode::VaultExists) refusal.message += ". To do it all the same: --override " + id;
    return refusal;
  }
  VAULTFS_ASSIGN_OR_RETURN(const ForgetAnswer answer, forget_vault(machine, choice, !override_id.empty()));
  print(context, {{"id", id}}, [&choice, &answer] {
    if (answer.known_elsewhere) {
      say("Forgot %s. The vault is known at another place: its keys are needed there, its identity stays.\n",
          choice.description.c_str());
      return;
    }
    say("Forgot %s: its keys may be disabled now without asking it, and its own identity is gone. The vault itself was "
        "not touched.\n",
        choice.description.c_str());
  });
  return 0;
}

}  // namespace

void add_forget_command(CLI::App& group, CommandContext& context) {
  struct Arguments {
    std::string vault, override_id;
  };
  const auto arguments = std::make_shared<Arguments>();
  CLI::App* command = group.add_subcommand("forget", "Drop a vault that is gone from this machine's list");
  command->add_option("VAULT", arguments->vault, "its path or id")->required();
  command->add_option("--override", arguments->override_id, "the vault's id: forget it although it is there");
  on_run(*command, context,
         [&context, arguments] { return forget(context, arguments->vault, arguments->override_id); });
}

}  // namespace vaultfs
