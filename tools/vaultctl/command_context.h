#pragma once

#include <CLI/CLI.hpp>
#include <functional>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "base/files/file_descriptor.h"
#include "base/result.h"
#include "tools/api/keys/machine_context.h"
#include "tools/machine.h"

namespace vaultfs {

// What all commands of vaultctl share. The command line fills it; the chosen command is run afterwards, so that its
// options are all known.
struct CommandContext {
  bool json = false;
  MachineOptions machine_options;
  std::int64_t wait_seconds = 0;     // --wait: for a vault that is in use by a command
  std::function<Result<int>()> run;  // set by the chosen command; its value is the exit code

  // Opened at first use.
  [[nodiscard]] Result<Machine*> machine();
  // The same for requests about keys, key vaults and identities: vaults are asked as the commands ask them, notices are
  // printed. It lives as long as this.
  [[nodiscard]] Result<MachineContext> machine_context();

 private:
  std::unique_ptr<Machine> machine_;
  std::unique_ptr<VaultContact> vaults_;
};

// Runs a verb on a vault: by its owner if it is mounted, else in this process, which owns the vault for the length of
// the command (only reading verbs open it without a lock). Progress is drawn on a terminal. VaultBusy when another
// command holds the vault.
struct VaultRequest {
  std::string vault;  // as given on the command line
  std::string verb;
  nlohmann::json arguments = nlohmann::json::object();
  std::vector<FileDescriptor> descriptors = {};
  bool allow_unverified = false;
  std::string fingerprint = {};  // for a reading verb: what somebody kept of the vault; empty: nothing
  // For a verb that stores. A mounted vault compresses as its mount was told: then there is a note if somebody wants
  // it.
  std::optional<Compression> compression = {};
  bool compression_is_wanted = false;
  bool quiet = false;  // without the notes of the opening, which were told before
};
[[nodiscard]] Result<nlohmann::json> request(CommandContext& context, VaultRequest request);

// Has the vault's owner, or this process as one, look at segments in which a reader found damage, so that it is
// remembered and heals. What came of it as `damage.examine` tells it.
[[nodiscard]] Result<nlohmann::json> remember_damage(CommandContext& context, const std::string& vault,
                                                     const nlohmann::json& segments);

// Prints `form` as JSON if --json was given; otherwise calls `text`.
void print(const CommandContext& context, const nlohmann::json& form, const std::function<void()>& text);

// A command whose body is `body`; its value is the exit code.
void on_run(CLI::App& command, CommandContext& context, std::function<Result<int>()> body);

void add_hold_command(CLI::App& group, CommandContext& context);     // of the group `vault`
void add_recover_command(CLI::App& group, CommandContext& context);  // of the group `vault`
void add_forget_command(CLI::App& group, CommandContext& context);   // of the group `vault`
void add_key_verbs(CLI::App& group, CommandContext& context);        // of the group `key`
void add_vault_commands(CLI::App& app, CommandContext& context);
void add_keyvault_commands(CLI::App& app, CommandContext& context);
void add_identity_commands(CLI::App& app, CommandContext& context);
void add_key_commands(CLI::App& app, CommandContext& context);
void add_encryption_commands(CLI::App& app, CommandContext& context);
void add_backup_commands(CLI::App& app, CommandContext& context);
void add_reencrypt_command(CLI::App& app, CommandContext& context);
void add_report_commands(CLI::App& app, CommandContext& context);

}  // namespace vaultfs
