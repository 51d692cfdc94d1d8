#include "tools/machine.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/stat.h>
#include <termios.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <set>

#include "base/files/file_descriptor.h"
#include "base/thread/mutex.h"
#include "base/thread/stop_request.h"
#include "base/visible_text.h"
#include "crypto/files/trusted_file.h"
#include "crypto/passphrase.h"
#include "tools/open_or_duplicate.h"
#include "vaultmeta/keys/machine_key_vaults.h"

namespace vaultfs {
namespace {

// Turns the terminal's echo off for as long as it lives.
class SilentTerminal {
 public:
  SilentTerminal() {
    if (::tcgetattr(STDIN_FILENO, &before_) != 0) return;
    termios silent = before_;
    silent.c_lflag &= ~static_cast<tcflag_t>(ECHO);
    active_ = ::tcsetattr(STDIN_FILENO, TCSAFLUSH, &silent) == 0;
  }
  ~SilentTerminal() {
    if (active_) ::tcsetattr(STDIN_FILENO, TCSAFLUSH, &before_);
  }
  SilentTerminal(const SilentTerminal&) = delete;
  SilentTerminal& operator=(const SilentTerminal&) = delete;
  SilentTerminal(SilentTerminal&&) = delete;
  SilentTerminal& operator=(SilentTerminal&&) = delete;

 private:
  termios before_{};
  bool active_ = false;
};

// Passphrases by descriptor: each is read once, and is gone afterwards, so that no program which this one starts gets
// it.
class GivenDescriptors {
 public:
  [[nodiscard]] static GivenDescriptors& instance() {
    static GivenDescriptors given;
    return given;
  }
  [[nodiscard]] Result<SecretBuffer> take(int descriptor) {
    const MutexLock lock(mutex_);
    if (!taken_.insert(descriptor).second) {
      // By now the number may be that of any other file of this process.
      return Error{ErrorCode::PassphraseRequired, "descriptor " + std::to_string(descriptor) +
                                                      " was read to its end already; give each passphrase one of its "
                                                      "own, or a file"};
    }
    auto passphrase = read_passphrase(descriptor);
    if (descriptor > STDERR_FILENO) {
      ::close(descriptor);
    } else if (const FileDescriptor null(::open("/dev/null", O_RDWR | O_CLOEXEC)); null.valid()) {
      ::dup2(null.get(), descriptor);
    }
    return passphrase;
  }

 private:
  Mutex mutex_;  // held while one is read
  std::set<int> taken_ GUARDED_BY(mutex_);
};

// One character of stdin. A signal may come before the wait begins, so that it alone would not end it.
ssize_t read_unless_stopped(char& c) {
  constexpr int kLookMilliseconds = 200;
  pollfd terminal{STDIN_FILENO, POLLIN, 0};
  while (!stop_requested()) {
    const int ready = ::poll(&terminal, 1, kLookMilliseconds);
    if (ready > 0) return ::read(STDIN_FILENO, &c, 1);
    if (ready < 0 && errno != EINTR) return -1;
  }
  return -1;
}

Result<SecretBuffer> read_line_silently(const std::string& prompt) {
  constexpr std::size_t kLimit = 1024;
  VAULTFS_ASSIGN_OR_RETURN(SecretBuffer line, SecretBuffer::allocate(kLimit));
  std::size_t used = 0;
  {
    const SilentTerminal silent;  // before anybody is asked to type
    static_cast<void>(std::fprintf(stderr, "%s: ", visible_text(prompt).c_str()));
    static_cast<void>(std::fflush(stderr));
    char c = 0;
    ssize_t got = 0;
    // A signal ends it: the echo comes back, and what was typed is no passphrase.
    while ((got = read_unless_stopped(c)) == 1 && c != '\n') {
      if (used == kLimit) return Error{ErrorCode::InvalidArgument, "the passphrase is longer than 1024 bytes"};
      line.mutable_view()[used++] = static_cast<std::byte>(c);
    }
    if (got < 0) used = 0;
  }
  static_cast<void>(std::fputc('\n', stderr));
  if (stop_requested()) return Error{ErrorCode::Interrupted, "stopped while a passphrase was asked for"};
  if (used == 0) return Error{ErrorCode::PassphraseRequired, "an empty passphrase protects nothing"};
  return SecretBuffer::copy_of(line.view().first(used));
}

}  // namespace

Result<SecretBuffer> obtain_passphrase(const std::filesystem::path& file, int descriptor, bool prompt, bool confirm,
                                       const std::string& what, const std::string& option) {
  if (!file.empty()) {
    const FileDescriptor opened = open_or_duplicate(file.string());
    if (!opened.valid()) {
      return Error{error_from_errno(errno),
                   "cannot open the passphrase file " + file.string() + ": " + std::strerror(errno)};
    }
    // Of the file that is open, not of what has its name by now. Devices and pipes (/dev/stdin, <(command)) are the
    // caller's own doing.
    struct stat st {};
    if (::fstat(opened.get(), &st) != 0)
      return Error{error_from_errno(errno), file.string() + ": " + std::strerror(errno)};
    if (S_ISREG(st.st_mode)) {
      VAULTFS_RETURN_IF_ERROR(check_trusted_owner(file, st.st_uid));
      if ((st.st_mode & (S_IWGRP | S_IWOTH)) != 0) {
        return Error{ErrorCode::PermissionDenied, file.string() +
                                                      " can be written by others, who could choose the passphrase; "
                                                      "look at it, then: chmod 600 " +
                                                      file.string()};
      }
    }
    auto passphrase = read_passphrase(opened.get());
    const Status usable = !passphrase.ok() ? Status(passphrase.error())
                          : confirm        ? check_new_passphrase(passphrase->view())
                                           : ok_status();
    if (!usable.ok()) return with_context(usable.error(), "the passphrase file " + file.string());
    return passphrase;
  }
  if (descriptor >= 0) {
    auto passphrase = GivenDescriptors::instance().take(descriptor);
    const Status usable = !passphrase.ok() ? Status(passphrase.error())
                          : confirm        ? check_new_passphrase(passphrase->view())
                                           : ok_status();
    if (!usable.ok()) return with_context(usable.error(), option + "-fd " + std::to_string(descriptor));
    return passphrase;
  }
  if (!prompt || ::isatty(STDIN_FILENO) == 0) {
    return Error{ErrorCode::PassphraseRequired,
                 what + " needs a passphrase; give it with " + option + "-file FILE or " + option + "-fd N"};
  }
  VAULTFS_ASSIGN_OR_RETURN(SecretBuffer first, read_line_silently("Passphrase for " + what));
  if (confirm) {
    VAULTFS_ASSIGN_OR_RETURN(const SecretBuffer second, read_line_silently("Once more"));
    if (!constant_time_equal(first.view(), second.view())) {
      return Error{ErrorCode::InvalidArgument, "the two passphrases differ; nothing was changed"};
    }
  }
  return first;
}

Result<std::unique_ptr<Machine>> Machine::open(const MachineOptions& options) {
  auto machine = std::make_unique<Machine>();
  // It may be read late, or never; until then no program that this one starts gets it.
  if (options.passphrase_fd > STDERR_FILENO) ::fcntl(options.passphrase_fd, F_SETFD, FD_CLOEXEC);
  // A mount changes its working directory once it is ready.
  const std::filesystem::path wanted = options.home.empty() ? default_machine_home() : options.home;
  if (wanted.empty()) {
    return Error{ErrorCode::Usage,
                 "this user has no home directory for the machine's state; name one: --home DIR (when mounting -o "
                 "home=DIR) or VAULTFS_HOME"};
  }
  std::error_code no_directory;
  const std::filesystem::path home = std::filesystem::absolute(wanted, no_directory);
  if (no_directory) return Error{error_from_errno(no_directory.value()), "the working directory is gone"};
  VAULTFS_ASSIGN_OR_RETURN(machine->state_, MachineState::open(posix_env(), home));
  machine->platform_keys_ = std::make_unique<PlatformKeys>(posix_env(), home);
  machine->key_vaults_ = std::make_unique<LocalKeyVaults>(posix_env(), home, [options](const std::string& name) {
    return obtain_passphrase(options.passphrase_file, options.passphrase_fd, options.prompt, false,
                             "key vault " + name);
  });
  machine->registry_ = std::make_unique<KeyVaultRegistry>(posix_env(), home, *machine->key_vaults_);
  machine->identities_ = std::make_unique<IdentityStore>(posix_env(), home);
  machine->resolver_ = std::make_unique<MachineKeyVaults>(
      *machine->registry_, *machine->identities_,
      [state = machine->state_.get()](const std::string& what, const std::string& detail) {
        return state->audit(what, detail);
      });
  return machine;
}

}  // namespace vaultfs
