#include "tools/vaultctl/attempts.h"

#include <unistd.h>

#include <algorithm>
#include <system_error>
#include <vector>

#include "tools/vaultctl/text_output.h"
#include "vaultmeta/layout/vault_directory.h"
#include "vaultmeta/machine/vault_place.h"
#include "vaultmeta/vault/opening.h"

namespace vaultfs {
namespace {

// Of the vaults that the machine knows at that path: the one that lies there, or all if that can't be told.
std::vector<Registration> meant_vaults(Machine& machine, const std::filesystem::path& vault) {
  const auto all = machine.state().registrations();
  if (!all.ok()) return {};
  std::error_code unresolved;
  const std::filesystem::path place = std::filesystem::weakly_canonical(vault, unresolved);
  std::vector<Registration> meant;
  for (const Registration& one : *all) {
    if (one.path == vault || one.path == place) meant.push_back(one);
  }
  VaultDirectory directory(posix_env(), vault);
  if (!directory.open().ok()) return meant;
  Digest digest;
  const auto header = read_vault_header(directory, digest);
  if (!header.ok()) return meant;
  const auto known = known_place(machine.state(), directory, header->id);
  for (const Registration& one : *all) {
    if (known.ok() && one.vault == header->id && one.path == *known) return {one};
  }
  return meant;
}

void warn_of(const Status& kept) {
  if (kept.ok()) return;
  tell("vaultctl: warning: this attempt is recorded nowhere: %s: %s\n", std::string(error_name(kept.code())).c_str(),
       kept.error().message.c_str());
}

}  // namespace

std::string attempted_operation(const std::string& verb) {
  if (verb == "backup.run" || verb == "backup.commit") return "backup";
  return verb == "restore" || verb == "reencrypt" ? verb : "";
}

void keep_unopened_attempt(Machine& machine, const std::filesystem::path& vault, const std::string& operation,
                           const Error& error) {
  const std::string outcome = error.code == ErrorCode::Interrupted ? "Cancelled" : std::string(error_name(error.code));
  const KeptAttempt attempt{posix_env().clock().now(), ::getuid(), operation, outcome};
  const std::vector<Registration> meant = meant_vaults(machine, vault);
  for (const Registration& one : meant) warn_of(machine.state().keep_attempt(one.vault, one.path, attempt));
  if (!meant.empty()) return;
  warn_of(machine.state().audit(operation + ".attempt",
                                "no vault that this machine knows, at " + vault.string() + ": " + outcome));
}

void keep_restore(Vault& vault, const nlohmann::json& arguments, UnixNanos started,
                  const Result<nlohmann::json>& outcome) {
  JobInfo job;
  job.kind = JobKind::restore;
  job.item = arguments.value("item", "");
  job.started = started;
  job.ended = vault.env().clock().now();
  if (outcome.ok()) {
    job.state = JobState::completed;
    job.logical_bytes = outcome->value("logical_bytes", std::uint64_t{0});
    if (const auto point = outcome->find("recovery_point"); point != outcome->end() && point->is_object()) {
      job.detail = "from " + point->value("id", "");
    }
  } else {
    job.state = outcome.code() == ErrorCode::Interrupted ? JobState::cancelled : JobState::failed;
    job.detail = std::string(error_name(outcome.code())) + ": " + outcome.error().message;
  }
  vault.keep_attempt(job);
}

}  // namespace vaultfs
