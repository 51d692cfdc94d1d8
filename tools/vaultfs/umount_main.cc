// umount.fuse.vaultfs: called by umount(8). Unmounts, then waits until the daemon has written everything and says so: a
// successful umount means that the data is safe.

#include <poll.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <charconv>
#include <chrono>
#include <cstdio>
#include <cstring>
#include <exception>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "base/files/mount_table.h"
#include "base/visible_text.h"
#include "tools/control/control_client.h"
#include "tools/control/message.h"
#include "tools/inheritance.h"
#include "tools/vaultfs/mount_holders.h"

namespace vaultfs {
namespace {

constexpr int kFailed = 32;  // umount(8)'s own code

using Clock = std::chrono::steady_clock;

__attribute__((format(printf, 1, 0))) void tell(const char* format, const std::string& what = {},
                                                const std::string& more = {}) {
  static_cast<void>(std::fputs("umount.fuse.vaultfs: ", stderr));
  static_cast<void>(std::fprintf(stderr, format, visible_text(what).c_str(), visible_text(more).c_str()));
  static_cast<void>(std::fputc('\n', stderr));
}

// umount(8) without helpers: it keeps its own table right. Its exit code.
int run_umount(const std::vector<std::string>& flags, const std::string& mount_point) {
  std::vector<std::string> words{"umount", "-i"};
  words.insert(words.end(), flags.begin(), flags.end());
  words.push_back(mount_point);
  std::vector<char*> arguments;
  arguments.reserve(words.size() + 1);
  for (std::string& word : words) arguments.push_back(word.data());
  arguments.push_back(nullptr);
  pid_t child = 0;
  if (::posix_spawnp(&child, "umount", nullptr, nullptr, arguments.data(), environ) != 0) return kFailed;
  int status = 0;
  while (::waitpid(child, &status, 0) < 0) {
    if (errno != EINTR) return kFailed;
  }
  return WIFEXITED(status) ? WEXITSTATUS(status) : kFailed;
}

// The end of one mount, as its daemon tells it. Connected before the mount is gone, because afterwards nobody could say
// which daemon it was.
class Watch {
 public:
  explicit Watch(const MountEntry& mount) : mount_(mount) {}

  // Why there is no daemon to ask.
  [[nodiscard]] Status begin() {
    uid_t user = 0;
    const std::string text = mount_.value_of("user_id");
    std::from_chars(text.data(), text.data() + text.size(), user);
    VAULTFS_ASSIGN_OR_RETURN(auto connection, connect_to_mount(mount_.device, user));
    if (!connection) return Error{ErrorCode::NotFound, "it has no control socket"};
    VAULTFS_RETURN_IF_ERROR(
        send_message(connection->get(), {{"verb", "mount.end"}, {"arguments", {{"device", mount_.device}}}}));
    connection_ = std::move(*connection);
    // Only once it has said something is it sure that it will say the rest.
    if (!wait_for_word(kAnswer)) return Error{ErrorCode::IoError, "it does not answer"};
    VAULTFS_ASSIGN_OR_RETURN(const Message first, receive_message(connection_.get()));
    return first.body.contains("progress") ? ok_status() : Status(error_from_json(first.body));
  }

  // The exit code.
  [[nodiscard]] int wait() {
    const auto began = Clock::now();
    while (true) {
      // It speaks every second.
      if (!wait_for_word(kSilence)) {
        tell("the daemon of %s has said nothing for 30 s; nothing is known to be safe", mount_.source);
        return kFailed;
      }
      const auto message = receive_message(connection_.get());
      if (!message.ok()) {
        tell("the daemon of %s ended without a word: what was not synced before may be lost", mount_.source);
        return kFailed;
      }
      if (message->body.contains("result")) return 0;
      const auto progress = message->body.find("progress");
      if (progress == message->body.end()) {
        const Error error = error_from_json(message->body);
        tell("not everything is safe: %s: %s", std::string(error_name(error.code)), error.message);
        return kFailed;
      }
      if (gives_up(*progress)) return kFailed;
      if (Clock::now() - began > kTellAfter) tell_once(progress->value("state", ""));
    }
  }

 private:
  static constexpr std::chrono::seconds kAnswer{10};
  static constexpr std::chrono::seconds kSilence{30};
  static constexpr std::chrono::seconds kTellAfter{5};

  [[nodiscard]] bool wait_for_word(std::chrono::milliseconds patience) const {
    pollfd watched{connection_.get(), POLLIN, 0};
    int ready = 0;
    do ready = ::poll(&watched, 1, static_cast<int>(patience.count()));
    while (ready < 0 && errno == EINTR);
    return ready > 0;
  }

  // Whether the kernel keeps a call of the daemon's.
  [[nodiscard]] bool gives_up(const nlohmann::json& progress) const {
    const auto call = progress.find("waits_for");
    if (call == progress.end() || !call->is_object()) return false;
    tell(
        "not everything is safe: the disk does not answer, %s has taken %s s by now. The daemon goes on as soon as it "
        "does; until then its vault is in use",
        call->value("what", ""), std::to_string(call->value("seconds", 0)));
    return true;
  }

  void tell_once(const std::string& state) {
    if (state == told_) return;
    told_ = state;
    if (state == "closing") {
      tell("waiting until all of %s is written", mount_.source);
      return;
    }
    // The kernel has not ended the file system yet, so that it is not the data that is waited for.
    if (const std::string holder = holder_of_file_system(mount_.device); !holder.empty()) {
      tell("%s is still %s; waiting until that ends", mount_.source, holder);
    } else {
      tell(
          "%s is still in use, by what can't be seen from here (a process of another user, a mount namespace that is "
          "kept without one); waiting until that ends",
          mount_.source);
    }
  }

  const MountEntry mount_;
  FileDescriptor connection_;
  std::string told_;
};

int run(int argc, char** argv) {
  std::vector<std::string> flags;
  bool lazy = false;
  std::string mount_point;
  for (int i = 1; i < argc; ++i) {
    const std::string word = argv[i];
    if (word == "-f" || word == "-l") {
      flags.push_back(word);
      lazy = lazy || word == "-l";
    } else if (word == "-t" || word == "-N" || word == "-O") {
      ++i;
    } else if (!word.empty() && word[0] != '-' && mount_point.empty()) {
      mount_point = word;
    }
  }
  if (mount_point.empty()) {
    static_cast<void>(std::fprintf(stderr, "usage: umount.fuse.vaultfs MOUNTPOINT [-f] [-l]\n"));
    return 1;
  }
  std::error_code problem;
  const std::filesystem::path real = std::filesystem::canonical(mount_point, problem);
  if (!problem) mount_point = real.string();
  const std::optional<MountEntry> mount = uppermost_at(mount_table(), mount_point);
  // A lazy unmount ends when its last user does.
  if (lazy || !mount || mount->type != "fuse.vaultfs") return run_umount(flags, mount_point);
  Watch watch(*mount);
  const Status watched = watch.begin();
  const int code = run_umount(flags, mount_point);  // it has said what is wrong
  if (code != 0) return code;
  if (watched.ok()) return watch.wait();
  // A daemon that was mounted read-only has no socket, and nothing to write. One that was remounted read-only has both.
  if (mount->has("ro") && watched.code() == ErrorCode::NotFound) return 0;
  tell("unmounted, but the daemon can't be asked whether all is safe: %s. Its log and 'vaultctl job list' tell",
       watched.error().message);
  return kFailed;
}

}  // namespace
}  // namespace vaultfs

int main(int argc, char** argv) {
  vaultfs::repair_inheritance();
  vaultfs::use_system_programs();
  try {
    return vaultfs::run(argc, argv);
  } catch (const std::exception& problem) {
    static_cast<void>(std::fprintf(stderr, "umount.fuse.vaultfs: %s\n", problem.what()));
    return vaultfs::kFailed;
  }
}
