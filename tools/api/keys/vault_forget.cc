#include "tools/api/keys/vault_forget.h"

#include <algorithm>
#include <cstring>

#include "vaultmeta/keys/machine_key_vaults.h"
#include "vaultmeta/vault/vault.h"

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
                                           "opened any more, and its keys may be disabled without asking it"};
}

Result<ForgetChoice> choose_by_id(MachineState& state, Env& env, const VaultId& id) {
  auto found = state.registrations_of(id);
  if (!found.ok()) {
    // What is damaged tells of no place to look at; the id was named.
    if (found.code() != ErrorCode::DamagedMachineState) return std::move(found).error();
    return ForgetChoice{id, "the vault " + to_hex(id.view()), {}, std::move(found).error()};
  }
  if (found->empty()) {
    return Error{ErrorCode::VaultNotFound, "this machine knows no vault " + to_hex(id.view())};
  }
  ForgetChoice gone{id, "", {}, std::nullopt};
  ForgetChoice all{id, "", {}, std::nullopt};
  const auto add = [](ForgetChoice& choice, const Registration& one) {
    choice.description += (choice.description.empty() ? "" : ", ") + one.path.string();
    choice.places.push_back(one.path);
  };
  for (const Registration& registration : *found) {
    add(all, registration);
    if (lies_there(env, registration)) {
      all.refusal = still_there(registration);
    } else {
      add(gone, registration);
    }
  }
  return gone.places.empty() ? all : gone;
}

Result<ForgetChoice> choose_by_path(MachineState& state, Env& env, const std::filesystem::path& path) {
  VAULTFS_ASSIGN_OR_RETURN(const std::vector<Registration> registrations, state.registrations());
  const auto glance = glance_at_vault(env, path);
  std::vector<Registration> gone;
  std::optional<Registration> there;
  for (const Registration& registration : registrations) {
    const bool is_it = glance.ok() && glance->header.id == registration.vault;
    if (is_it && (!there || registration.path == path)) there = registration;
    if (registration.path == path && !is_it) gone.push_back(registration);
  }
  if (gone.size() > 1) {
    std::string text = "several vaults that are gone were at " + path.string() + "; name one by its id:";
    for (const Registration& registration : gone) text += "\n  " + to_hex(registration.vault.view());
    return Error{ErrorCode::Usage, text};
  }
  if (!gone.empty()) return ForgetChoice{gone.front().vault, path.string(), {path}, std::nullopt};
  if (!there) {
    return Error{ErrorCode::VaultNotFound,
                 "this machine knows no vault at " + path.string() + "; name its path or its id"};
  }
  ForgetChoice choice{there->vault, path.string(), {there->path}, std::nullopt};
  there->path = path;  // it may have been moved since it was registered
  choice.refusal = still_there(*there);
  return choice;
}

}  // namespace

Result<ForgetChoice> choose_vault_to_forget(MachineState& state, Env& env, const std::string& name) {
  if (const auto id = parse_vault_id(name)) return choose_by_id(state, env, *id);
  return choose_by_path(state, env, std::filesystem::absolute(name).lexically_normal());
}

namespace {

// Whether the vault stays on the list, at another place.
Result<bool> is_elsewhere(MachineState& state, const ForgetChoice& choice) {
  if (choice.places.empty()) return false;
  VAULTFS_ASSIGN_OR_RETURN(const std::vector<Registration> known, state.registrations_of(choice.vault));
  return std::ranges::any_of(known, [&choice](const Registration& one) {
    return std::ranges::find(choice.places, one.path) == choice.places.end();
  });
}

}  // namespace

Result<ForgetAnswer> forget_vault(const MachineContext& context, const ForgetChoice& choice, bool although_refused) {
  Machine& machine = context.machine;
  if (choice.refusal && !although_refused) return *choice.refusal;
  const std::string id = to_hex(choice.vault.view());
  const bool overridden = choice.refusal.has_value();
  if (overridden) VAULTFS_RETURN_IF_ERROR(machine.state().audit("vault.forget.override", id));
  ForgetAnswer answer;
  VAULTFS_ASSIGN_OR_RETURN(answer.known_elsewhere, is_elsewhere(machine.state(), choice));
  // The list goes last: what fails before can be tried again.
  if (!answer.known_elsewhere) {
    VAULTFS_RETURN_IF_ERROR(dismiss_vault(machine.registry(), machine.identities(), choice.vault));
  }
  if (choice.places.empty()) VAULTFS_RETURN_IF_ERROR(machine.state().forget_vault(choice.vault));
  for (const std::filesystem::path& place : choice.places) {
    VAULTFS_RETURN_IF_ERROR(machine.state().forget_vault(choice.vault, place));
  }
  if (!overridden) note_audit(context, "vault.forget", id);
  return answer;
}

}  // namespace vaultfs
