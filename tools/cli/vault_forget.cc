// vaultctl vault forget: a vault that is gone leaves this machine's list.

#include "tools/cli/vault_forget.h"

#include <cstring>
#include <memory>

#include "tools/cli/command_context.h"
#include "tools/cli/text_output.h"
#include "vaultmeta/machine_resolver.h"
#include "vaultmeta/vault.h"

namespace vaultfs {

namespace {

std::optional<VaultId> parse_vault_id(const std::string& text) {
  Bytes bytes;
  if (!from_hex(text, bytes) || bytes.size() != VaultId::kSize) return std::nullopt;
  VaultId id;
  std::memcpy(id.mutable_view().data(), bytes.data(), bytes.size());
  return id;
}

// Whether the vault of that registration is where it says.
bool lies_there(Env& env, const Registration& registration) {
  const auto glance = glance_at_vault(env, registration.path);
  return glance.ok() && glance->header.id == registration.vault;
}

Error still_there(const Registration& registration) {
  const std::string id = to_hex(registration.vault.view());
  return Error{ErrorCode::VaultExists, registration.path.string() + " is there (vault " + id +
                                           "): without it on the list its own identity goes, so that it can't be "
                                           "opened any more, and its keys may be disabled without asking it. To do it "
                                           "all the same: --override " +
                                           id};
}

Result<ForgetChoice> choose_by_id(MachineState& state, Env& env, const VaultId& id) {
  auto found = state.registration(id);
  if (!found.ok()) {
    // What is damaged tells of no place to look at; the id was named.
    if (found.code() != ErrorCode::DamagedMachineState) return std::move(found).error();
    return ForgetChoice{id, "the vault " + to_hex(id.view()), std::move(found).error()};
  }
  if (!*found) {
    return Error{ErrorCode::VaultNotFound, "this machine knows no vault " + to_hex(id.view())};
  }
  const Registration& registration = **found;
  ForgetChoice choice{id, registration.path.string(), std::nullopt};
  if (lies_there(env, registration)) choice.refusal = still_there(registration);
  return choice;
}

Result<ForgetChoice> choose_by_path(MachineState& state, Env& env, const std::filesystem::path& path) {
  VAULTFS_ASSIGN_OR_RETURN(const std::vector<Registration> registrations, state.registrations());
  const auto glance = glance_at_vault(env, path);
  std::vector<Registration> gone;
  std::optional<Registration> there;
  for (const Registration& registration : registrations) {
    const bool is_it = glance.ok() && glance->header.id == registration.vault;
    if (is_it) there = registration;
    if (registration.path == path && !is_it) gone.push_back(registration);
  }
  if (gone.size() > 1) {
    std::string text = "several vaults that are gone were at " + path.string() + "; name one by its id:";
    for (const Registration& registration : gone) text += "\n  " + to_hex(registration.vault.view());
    return Error{ErrorCode::Usage, text};
  }
  if (!gone.empty()) return ForgetChoice{gone.front().vault, path.string(), std::nullopt};
  if (!there) {
    return Error{ErrorCode::VaultNotFound,
                 "this machine knows no vault at " + path.string() + "; name its path or its id"};
  }
  there->path = path;  // it may have been moved since it was registered
  return ForgetChoice{there->vault, path.string(), still_there(*there)};
}

}  // namespace

Result<ForgetChoice> choose_vault_to_forget(MachineState& state, Env& env, const std::string& name) {
  if (const auto id = parse_vault_id(name)) return choose_by_id(state, env, *id);
  return choose_by_path(state, env, std::filesystem::absolute(name).lexically_normal());
}

namespace {

Result<int> forget(CommandContext& context, const std::string& vault, const std::string& override_id) {
  VAULTFS_ASSIGN_OR_RETURN(Machine * machine, context.machine());
  VAULTFS_ASSIGN_OR_RETURN(const ForgetChoice choice, choose_vault_to_forget(machine->state(), machine->env(), vault));
  const std::string id = to_hex(choice.vault.view());
  if (!override_id.empty() && override_id != id) {
    return Error{ErrorCode::Usage, "--override wants the vault's id, " + id + ", so that it is not given by mistake"};
  }
  if (choice.refusal && override_id.empty()) return *choice.refusal;
  const bool overridden = choice.refusal.has_value();
  if (overridden) VAULTFS_RETURN_IF_ERROR(machine->state().audit("vault.forget.override", id));
  // The list goes last: what fails before can be tried again.
  VAULTFS_RETURN_IF_ERROR(dismiss_vault(machine->registry(), machine->identities(), choice.vault));
  VAULTFS_RETURN_IF_ERROR(machine->state().forget_vault(choice.vault));
  if (!overridden) note_audit(*machine, "vault.forget", id);
  print(context, {{"id", id}}, [&choice] {
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
