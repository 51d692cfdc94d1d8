// vault hold: an outside tool copies a vault that is mounted.
#include <spawn.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstring>
#include <utility>

#include "tools/inheritance.h"
#include "tools/stop_signals.h"
#include "tools/vaultctl/command_context.h"
#include "tools/vaultctl/text_output.h"
#include "vaultmeta/vault/opening.h"

namespace vaultfs {
namespace {

// Runs the command and waits for it. Its exit code, or 128 + the signal that ended it, as a shell has it.
Result<int> run_and_wait(const std::vector<std::string>& words) {
  std::vector<char*> arguments;
  arguments.reserve(words.size() + 1);
  // NOLINTNEXTLINE(cppcoreguidelines-pro-type-const-cast): posix_spawnp writes to none of them; the type is C's
  for (const std::string& word : words) arguments.push_back(const_cast<char*>(word.c_str()));
  arguments.push_back(nullptr);
  // Ctrl-C reaches the command, too, and the hold lasts until it has ended; what was sent to this process alone is
  // handed on. It gets back what this process was started with.
  struct sigaction ignore {};
  ignore.sa_handler = SIG_IGN;
  for (const int signal : {SIGINT, SIGQUIT}) ::sigaction(signal, &ignore, nullptr);
  const Inherited& before = inherited();
  sigset_t defaults{};
  sigemptyset(&defaults);
  for (const int signal : {SIGQUIT, SIGXFSZ}) sigaddset(&defaults, signal);
  if (!before.ignores_interrupt) sigaddset(&defaults, SIGINT);
  if (!before.ignores_pipe) sigaddset(&defaults, SIGPIPE);
  posix_spawnattr_t attributes;
  ::posix_spawnattr_init(&attributes);
  ::posix_spawnattr_setsigdefault(&attributes, &defaults);
  ::posix_spawnattr_setsigmask(&attributes, &before.blocked);
  ::posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETSIGMASK);
  ::umask(before.umask);
  ::setrlimit(RLIMIT_NOFILE, &before.descriptors);
  pid_t child = 0;
  const int failed = ::posix_spawnp(&child, arguments[0], nullptr, &attributes, arguments.data(), environ);
  ::posix_spawnattr_destroy(&attributes);
  if (failed != 0) {
    return Error{ErrorCode::InvalidArgument, "cannot run " + words[0] + ": " + std::strerror(failed)};
  }
  int status = 0;
  bool told = false;
  while (::waitpid(child, &status, 0) < 0) {
    // Once: the second signal ends this process at once.
    if (stop_signal() != 0 && !std::exchange(told, true)) ::kill(child, stop_signal());
    if (errno != EINTR) return Error{ErrorCode::IoError, std::string("waitpid: ") + std::strerror(errno)};
  }
  return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

void wait_for_signal() {
  sigset_t ends{};
  sigemptyset(&ends);
  for (const int signal : {SIGINT, SIGTERM, SIGHUP}) sigaddset(&ends, signal);
  ::sigprocmask(SIG_BLOCK, &ends, nullptr);
  int signal = 0;
  ::sigwait(&ends, &signal);
}

Result<int> hold(const std::string& vault, const std::vector<std::string>& command) {
  VaultDirectory directory(posix_env(), vault);
  VAULTFS_RETURN_IF_ERROR(directory.open());
  Digest digest;
  VAULTFS_RETURN_IF_ERROR(read_vault_header(directory, digest));
  const std::unique_ptr<FileLock> held = hold_segments(directory, directory.place());
  if (held == nullptr) {
    return Error{ErrorCode::VaultBusy,
                 "the vault can't be held: its owner is removing what nobody needs, or it was never opened by this "
                 "version; try again"};
  }
  if (!command.empty()) return run_and_wait(command);
  tell("vaultctl: nothing is removed from %s until this command is ended (Ctrl-C)\n", vault.c_str());
  wait_for_signal();
  return 0;
}

}  // namespace

void add_hold_command(CLI::App& group, CommandContext& context) {
  const auto vault = std::make_shared<std::string>();
  const auto command = std::make_shared<std::vector<std::string>>();
  CLI::App* held = group.add_subcommand(
      "hold", "Keep the owner from removing data while a command (or, without one, anybody) copies the vault");
  held->add_option("VAULT", *vault)->required();
  held->add_option("COMMAND", *command, "after --: run for as long as the vault is held");
  held->positionals_at_end();
  on_run(*held, context, [vault, command] {
    // Behind VAULT everything belongs to the command, the separator too.
    if (!command->empty() && command->front() == "--") command->erase(command->begin());
    return hold(*vault, *command);
  });
}

}  // namespace vaultfs
