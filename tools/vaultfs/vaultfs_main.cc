// vaultfs VAULT MOUNTPOINT: the mount daemon.

#include <fcntl.h>
#include <spdlog/sinks/basic_file_sink.h>
#include <spdlog/sinks/stdout_color_sinks.h>
#include <spdlog/sinks/syslog_sink.h>
#include <spdlog/spdlog.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <syslog.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstring>
#include <exception>
#include <new>
#include <system_error>

#include "base/files/mount_table.h"
#include "base/thread/thread.h"
#include "base/visible_text.h"
#include "crypto/memory/secret_buffer.h"
#include "fs/engine/vault_engine.h"
#include "fs/mount/mount.h"
#include "tools/api/request_handler.h"
#include "tools/control/control_server.h"
#include "tools/control/request_target.h"
#include "tools/control/socket_path.h"
#include "tools/inheritance.h"
#include "tools/log_form.h"
#include "tools/long_call.h"
#include "tools/machine.h"
#include "tools/mount_options.h"
#include "tools/vaultfs/daemon.h"
#include "vaultmeta/machine/vault_place.h"

#ifndef PR_SET_IO_FLUSHER
#define PR_SET_IO_FLUSHER 57
#endif

namespace vaultfs {
namespace {

int fail(const Error& error) {
  static_cast<void>(std::fprintf(stderr, "vaultfs: %s: %s\n", std::string(error_name(error.code)).c_str(),
                                 visible_text(error.message).c_str()));
  return error_exit_code(error.code);
}

// Once the terminal is gone, its stderr is nobody's: the log has it too.
int end_of(const Status& served) {
  if (served.ok()) return 0;
  spdlog::error("{}: {}", error_name(served.error().code), served.error().message);
  return fail(served.error());
}

// A loop device on a file of this mount writes back through this process: without this, memory reclaim could wait for
// itself. Threads take it over from the one that makes them, so it comes before there are any others.
void become_io_flusher() {
  if (::prctl(PR_SET_IO_FLUSHER, 1, 0, 0, 0) == 0) return;
  spdlog::info(
      "PR_SET_IO_FLUSHER is not permitted ({}): loop devices on images in the mount may stall under memory pressure",
      std::strerror(errno));
}

bool has_syslog() {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  std::strncpy(address.sun_path, "/dev/log", sizeof address.sun_path - 1);
  for (const int type : {SOCK_DGRAM, SOCK_STREAM}) {
    const FileDescriptor socket(::socket(AF_UNIX, type | SOCK_CLOEXEC, 0));
    if (::connect(socket.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0) return true;
  }
  return false;
}

std::shared_ptr<spdlog::logger> file_logger(const std::filesystem::path& file) {
  spdlog::file_event_handlers own;
  own.after_open = [](const spdlog::filename_t& /*name*/, std::FILE* opened) {
    ::fcntl(::fileno(opened), F_SETFD, FD_CLOEXEC);
  };
  return spdlog::basic_logger_mt("vaultfs", file.string(), false, own);
}

// Where there is no syslog, words would be lost without a trace: they go to a file in the machine's state, and that is
// said. Nothing if there is no such place either.
std::shared_ptr<spdlog::logger> log_without_syslog(const MountCommand& command) {
  const std::filesystem::path home = command.machine.home.empty() ? default_machine_home() : command.machine.home;
  const std::filesystem::path file = home / "vaultfs.log";
  const mode_t before = ::umask(077);
  std::shared_ptr<spdlog::logger> logger;
  try {
    std::error_code ignored;
    std::filesystem::create_directories(home, ignored);
    logger = file_logger(file);
    static_cast<void>(std::fprintf(stderr,
                                   "vaultfs: note: there is no syslog here, the log goes to %s (see -o log=FILE)\n",
                                   visible_text(file.string()).c_str()));
  } catch (const spdlog::spdlog_ex&) {
    static_cast<void>(std::fprintf(stderr,
                                   "vaultfs: note: there is no syslog here, what happens is written nowhere; "
                                   "use -o log=FILE\n"));
  }
  ::umask(before);
  return logger;
}

// IoError if the log file can't be opened.
Status start_logging(const MountCommand& command) {
  try {
    std::shared_ptr<spdlog::logger> instead;
    if (command.log_file.empty() && !command.foreground && !has_syslog()) instead = log_without_syslog(command);
    if (instead) {
      spdlog::set_default_logger(instead);
    } else if (!command.log_file.empty()) {
      VAULTFS_RETURN_IF_ERROR(check_outside_vaults(posix_env(), command.log_file));
      // A name that is mistyped makes no directories.
      if (std::error_code none; !std::filesystem::is_directory(command.log_file.parent_path(), none)) {
        return Error{ErrorCode::NotFound, "-o log=" + command.log_file.string() + ": there is no directory " +
                                              command.log_file.parent_path().string() +
                                              "; make it, or name another one"};
      }
      const mode_t own = ::umask(inherited().umask);  // the log is its user's
      spdlog::set_default_logger(file_logger(command.log_file));
      ::umask(own);
    } else if (command.foreground) {
      spdlog::set_default_logger(spdlog::stderr_color_mt("vaultfs"));
    } else {
      spdlog::set_default_logger(spdlog::syslog_logger_mt("vaultfs", "vaultfs", LOG_PID, LOG_DAEMON, true));
    }
  } catch (const spdlog::spdlog_ex& failure) {
    return Error{ErrorCode::IoError, std::string("no log: ") + failure.what()};
  }
  spdlog::default_logger()->set_formatter(make_log_form());
  spdlog::set_level(spdlog::level::info);
  spdlog::flush_on(spdlog::level::info);
  return ok_status();
}

// What the vault has to say since the last call.
void log_words_of(Vault& vault) {
  for (const std::string& news : vault.take_news()) spdlog::info("{}", news);
  for (const std::string& warning : vault.take_warnings()) spdlog::warn("{}", warning);
}

// Waits for SIGTERM, SIGINT and SIGHUP in a thread of its own and unmounts: at once if nothing is open, else as soon as
// that is so.
class SignalThread {
 public:
  // Blocks the signals for the calling thread and all it starts later. To be called before any thread is started.
  static sigset_t block_signals() {
    sigset_t set{};
    sigemptyset(&set);
    for (const int signal : {SIGTERM, SIGINT, SIGHUP, SIGUSR1}) sigaddset(&set, signal);
    pthread_sigmask(SIG_BLOCK, &set, nullptr);
    // A background process may have inherited an ignored SIGINT; ignored signals are not even left pending.
    for (const int signal : {SIGTERM, SIGINT, SIGHUP, SIGUSR1}) static_cast<void>(std::signal(signal, SIG_DFL));
    static_cast<void>(std::signal(SIGPIPE, SIG_IGN));
    return set;
  }

  SignalThread(const sigset_t& signals, VaultEngine& engine, Mount& mount)
      : thread_("signals", [this, signals, &engine, &mount] { loop(signals, engine, mount); }) {}
  ~SignalThread() {
    stop_ = true;
    pthread_kill(thread_.native_handle(), SIGUSR1);
    thread_.join();
  }
  SignalThread(const SignalThread&) = delete;
  SignalThread& operator=(const SignalThread&) = delete;
  SignalThread(SignalThread&&) = delete;
  SignalThread& operator=(SignalThread&&) = delete;

 private:
  void loop(const sigset_t& signals, VaultEngine& engine, Mount& mount) {
    bool ending = false;
    while (!stop_) {
      timespec pause{1, 0};
      const int signal = sigtimedwait(&signals, nullptr, &pause);
      log_words_of(engine.vault());
      if (stop_ || signal == SIGUSR1) continue;
      if (signal > 0) {
        spdlog::info("signal {}: syncing, then unmounting", signal);
        const Status synced = engine.vault().read_only() ? ok_status() : engine.tree().sync_all();
        if (!synced.ok()) spdlog::error("{}: {}", error_name(synced.error().code), synced.error().message);
      } else if (!ending) {
        continue;
      }
      const Status unmounted = mount.request_unmount();
      if (!unmounted.ok() && !ending) spdlog::warn("{}; serving on until it is free", unmounted.error().message);
      ending = !unmounted.ok();
    }
  }

  std::atomic<bool> stop_ = false;
  Thread thread_;  // last: starts when all else is there
};

// `mount_device` is that of the mount as soon as there is one.
Result<std::unique_ptr<ControlServer>> start_control(const MountCommand& command, Machine& machine, VaultEngine& engine,
                                                     const std::atomic<dev_t>& mount_device) {
  VAULTFS_ASSIGN_OR_RETURN(const SocketName name, control_socket_name(engine.vault().directory()));
  VAULTFS_ASSIGN_OR_RETURN(std::vector<std::filesystem::path> sockets, make_runtime_directories());
  for (std::filesystem::path& socket : sockets) socket /= name.name;
  return ControlServer::start(
      sockets,
      [&machine, &engine, &mount_device, mount_point = command.mount_point](
          const Caller& caller, Message& request, const ControlServer::SendProgress& send) -> Result<nlohmann::json> {
        const auto verb = request.body.find("verb");
        const auto arguments = request.body.find("arguments");
        if (verb == request.body.end() || !verb->is_string() || arguments == request.body.end() ||
            !arguments->is_object()) {
          return Error{ErrorCode::Usage, "the request has another form"};
        }
        const ProgressCallback progress = [&send](const Progress& now) {
          return send({{"done_bytes", now.done_bytes}, {"total_bytes", now.total_bytes}});
        };
        VAULTFS_RETURN_IF_ERROR(check_request_target(request.body, engine.vault()));
        const RequestContext context{engine, machine, caller.uid, mount_point, mount_device.load(), progress};
        auto result = handle_request(context, verb->get<std::string>(), *arguments, request.descriptors);
        if (result.ok() || result.code() != ErrorCode::IoError) return result;
        // The disk may have been taken away meanwhile, or another one put in its place.
        const Status still = engine.vault().directory().check_place();
        if (still.ok()) return result;
        return with_context(still.error(), result.error().message);
      },
      long_pending_call);
}

// Serves until the file system is unmounted; the engine is still open.
Status serve(const MountCommand& command, VaultEngine& engine, ControlServer* control, std::atomic<dev_t>& mount_device,
             Daemon& daemon, const sigset_t& signals) {
  VAULTFS_ASSIGN_OR_RETURN(const auto mount, Mount::create(engine, command.mount));
  mount_device = number_of_device(mount->device());
  if (control != nullptr) control->name_mount(mount->device());
  const SignalThread signal_thread(signals, engine, *mount);
  return mount->run([&daemon, &command] {
    spdlog::info("mounted {} on {}", command.vault.string(), command.mount_point.string());
    daemon.ready();
  });
}

Status serve(const MountCommand& command, Daemon& daemon, const sigset_t& signals) {
  VAULTFS_ASSIGN_OR_RETURN(const auto machine, Machine::open(command.machine));
  VAULTFS_ASSIGN_OR_RETURN(auto engine, VaultEngine::open(machine->for_vault(), command.engine));
  for (const std::string& note : engine->vault().opening_notes()) {
    static_cast<void>(std::fprintf(stderr, "vaultfs: note: %s\n", visible_text(note).c_str()));
    spdlog::warn("{}", note);
  }
  std::atomic<dev_t> mount_device = 0;  // outlives the server
  std::unique_ptr<ControlServer> control;
  if (!command.mount.read_only) {
    VAULTFS_ASSIGN_OR_RETURN(control, start_control(command, *machine, *engine, mount_device));
  }
  Status outcome = serve(command, *engine, control.get(), mount_device, daemon, signals);
  // A re-encryption goes on with what is left at the next request; an unmount does not wait for its end.
  engine->stop_long_work();
  if (control) control->stop();
  Status closed = engine->close();
  log_words_of(engine->vault());
  if (!closed.ok()) {
    spdlog::error("closing the vault: {}: {}", error_name(closed.error().code), closed.error().message);
    outcome = std::move(closed);
  }
  engine.reset();
  spdlog::info("closed {}", command.vault.string());
  // The last word: who unmounts may go on now.
  if (control) control->tell_end(outcome);
  return outcome;
}

int run(int argc, char** argv) {
  const std::vector<std::string> words(argv + 1, argv + argc);
  for (const std::string& word : words) {
    if (word == "--help" || word == "-h") {
      static_cast<void>(std::fputs(kMountUsage, stdout));
      return 0;
    }
    if (word == "--version" || word == "-V") {
      std::puts("vaultfs " VAULTFS_VERSION);
      return 0;
    }
  }
  auto command = parse_mount_command(words);
  if (!command.ok()) return fail(command.error());
  const Status lives = check_limits_of_daemon();
  if (!lives.ok()) return fail(lives.error());
  const Status usable = check_mount_point(command->mount_point, command->vault, command->mount.nonempty);
  if (!usable.ok()) return fail(usable.error());
  command->mount.source = command->vault.string();

  Daemon daemon = Daemon::attached();
  if (!command->foreground) {
    auto detached = Daemon::detach();
    if (!detached.ok()) return fail(detached.error());
    daemon = std::move(detached).value();
  }
  // Only now: locked memory and threads do not survive a fork.
  const Status hardened = harden_process();
  if (!hardened.ok()) return fail(hardened.error());
  const sigset_t signals = SignalThread::block_signals();
  const Status logging = start_logging(*command);
  if (!logging.ok()) return fail(logging.error());
  become_io_flusher();
  ::umask(0);  // modes come from the kernel, with the caller's umask applied; not the log's, which is open by now
  return end_of(serve(*command, daemon, signals));
}

// The standard library's own failures are no reason to abort: a path that is empty, no memory, no thread.
int guarded_run(int argc, char** argv) {
  try {
    return run(argc, argv);
  } catch (const std::bad_alloc&) {
    return fail({ErrorCode::OutOfMemory, "there is no memory for it"});
  } catch (const std::system_error& problem) {
    return fail({error_from_errno(problem.code().value()), problem.what()});
  } catch (const std::exception& problem) {
    return fail({ErrorCode::Internal, problem.what()});
  }
}

}  // namespace
}  // namespace vaultfs

int main(int argc, char** argv) {
  vaultfs::repair_inheritance();
  vaultfs::use_system_programs();
  return vaultfs::guarded_run(argc, argv);
}
