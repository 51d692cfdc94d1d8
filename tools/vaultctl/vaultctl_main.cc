// vaultctl: vaults, key vaults, keys, backups.

#include <CLI/CLI.hpp>
#include <cstdio>
#include <exception>
#include <filesystem>
#include <new>

#include "crypto/memory/secret_buffer.h"
#include "tools/inheritance.h"
#include "tools/stop_signals.h"
#include "tools/vaultctl/command_context.h"
#include "tools/vaultctl/text_output.h"
#include "tools/vaultctl/usage_error.h"

namespace vaultfs {
namespace {

int fail(const CommandContext& context, const Error& error) {
  const std::string name(error_name(error.code));
  if (context.json) {
    const nlohmann::json form = {{"error", {{"name", name}, {"message", error.message}}}};
    print_json(form);
  }
  tell("vaultctl: %s: %s\n", name.c_str(), error.message.c_str());
  return error_exit_code(error.code);
}

// The standard library's own failures are no reason to abort: an empty path, a working directory that is gone.
Result<int> run_command(const CommandContext& context) {
  try {
    return context.run();
  } catch (const std::filesystem::filesystem_error& problem) {
    const ErrorCode code = problem.path1().empty() ? ErrorCode::Usage : error_from_errno(problem.code().value());
    return Error{code, problem.path1().empty() ? "a path is empty" : problem.what()};
  } catch (const std::bad_alloc&) {
    return Error{ErrorCode::OutOfMemory, "there is no memory for it"};
  } catch (const std::exception& problem) {
    return Error{ErrorCode::Internal, problem.what()};
  }
}

int run(int argc, char** argv) {
  CommandContext context;
  CLI::App app("vaultctl: encrypted, deduplicated backups of VM disks under keys that can be rotated", "vaultctl");
  app.require_subcommand(1);
  app.fallthrough();  // --json and the like may stand behind the command too
  app.set_version_flag("--version", "vaultctl " VAULTFS_VERSION);
  app.add_flag("--json", context.json, "print JSON");
  app.add_option("--wait", context.wait_seconds, "seconds to wait for a vault that another command is using")
      ->check(CLI::Range(0, 86400));
  app.add_option("--passphrase-file", context.machine_options.passphrase_file,
                 "passphrase of a local key vault that has one");
  app.add_option("--passphrase-fd", context.machine_options.passphrase_fd, "the same, from an open descriptor");
  app.add_option("--home", context.machine_options.home, "instead of $VAULTFS_HOME");
  add_vault_commands(app, context);
  add_keyvault_commands(app, context);
  add_identity_commands(app, context);
  add_key_commands(app, context);
  add_encryption_commands(app, context);
  add_backup_commands(app, context);
  add_reencrypt_command(app, context);
  add_report_commands(app, context);
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& problem) {
    if (problem.get_exit_code() == 0) return app.exit(problem);  // --help, --version
    return fail(context, {ErrorCode::Usage, usage_problem(app, argc, argv, problem) + "; see vaultctl --help"});
  }
  const Status hardened = harden_process();
  if (!hardened.ok()) return fail(context, hardened.error());
  hear_stop_signals();
  auto result = run_command(context);
  if (!result.ok() && stop_signal() != 0) {
    const Error& error = result.error();
    const std::string name = error.code == ErrorCode::Interrupted ? "" : std::string(error_name(error.code)) + ": ";
    static_cast<void>(
        fail(context, {ErrorCode::Interrupted, "by " + stop_signal_name() + ": " + name + error.message}));
    return 128 + stop_signal();
  }
  if (!result.ok()) return fail(context, result.error());
  if (std::fflush(stdout) != 0) return fail(context, {ErrorCode::IoError, "cannot write to stdout"});
  return result.value();
}

}  // namespace
}  // namespace vaultfs

int main(int argc, char** argv) {
  vaultfs::repair_inheritance();
  return vaultfs::run(argc, argv);
}
