// umount.fuse.vaultfs: called by umount(8). Unmounts, then waits until the daemon has written everything and is gone,
// so that a successful umount means that the data is safe.

#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <string>
#include <thread>
#include <vector>

#include "base/env.h"
#include "base/visible_text.h"

namespace {

// /proc/self/mountinfo writes blanks, tabs, newlines and backslashes as three octal digits.
std::string unescaped(const std::string& text) {
  std::string result;
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (text[i] == '\\' && i + 3 < text.size()) {
      result.push_back(static_cast<char>(std::stoi(text.substr(i + 1, 3), nullptr, 8)));
      i += 3;
    } else {
      result.push_back(text[i]);
    }
  }
  return result;
}

struct VaultMount {
  std::string vault;   // empty: nothing of ours is mounted there
  std::string device;  // of the file system, major:minor
  bool read_only = false;
};

// The newest vaultfs mount on `mount_point`.
VaultMount vault_mounted_on(const std::string& mount_point) {
  std::ifstream table("/proc/self/mountinfo");
  std::string line;
  VaultMount found;
  while (std::getline(table, line)) {
    std::istringstream words(line);
    std::string skip;
    std::string device;
    std::string target;
    words >> skip >> skip >> device >> skip >> target;
    const std::size_t separator = line.find(" - ");
    if (separator == std::string::npos || unescaped(target) != mount_point) continue;
    std::istringstream rest(line.substr(separator + 3));
    std::string type;
    std::string source;
    std::string options;
    rest >> type >> source >> options;
    if (type == "fuse.vaultfs") found = {unescaped(source), device, options == "ro" || options.starts_with("ro,")};
  }
  return found;
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
  if (::posix_spawnp(&child, "umount", nullptr, nullptr, arguments.data(), environ) != 0) return 32;
  int status = 0;
  while (::waitpid(child, &status, 0) < 0) {
    if (errno != EINTR) return 32;
  }
  return WIFEXITED(status) ? WEXITSTATUS(status) : 32;
}

// Whether the process that the vault's lock file names was told to serve this mount point.
bool owner_serves(const std::filesystem::path& vault, const std::string& mount_point) {
  std::ifstream lock_file(vault / "vault.lock");
  pid_t pid = 0;
  if (!(lock_file >> pid) || pid <= 0) return false;
  std::ifstream command("/proc/" + std::to_string(pid) + "/cmdline", std::ios::binary);
  std::string word;
  while (std::getline(command, word, '\0')) {
    std::error_code problem;
    if (word.starts_with('/') && std::filesystem::weakly_canonical(word, problem).string() == mount_point) return true;
  }
  return false;
}

// A process in another mount namespace that still has the file system `device` mounted; empty if there is none that
// may be looked at. A container or service that was started while it was mounted has a copy of the mount, and the
// kernel ends a file system with its last one only.
std::string who_still_has(const std::string& device) {
  std::error_code problem;
  for (const auto& entry : std::filesystem::directory_iterator("/proc", problem)) {
    const std::string pid = entry.path().filename().string();
    if (pid.find_first_not_of("0123456789") != std::string::npos) continue;
    std::ifstream table(entry.path() / "mountinfo");
    for (std::string line; std::getline(table, line);) {
      std::istringstream words(line);
      std::string skip;
      std::string here;
      words >> skip >> skip >> here;
      if (here == device) return pid;
    }
  }
  return {};
}

// Where this namespace still has it mounted, by a bind mount; empty if nowhere.
std::string also_mounted_on(const std::string& device) {
  std::ifstream table("/proc/self/mountinfo");
  for (std::string line; std::getline(table, line);) {
    std::istringstream words(line);
    std::string skip;
    std::string here;
    std::string target;
    words >> skip >> skip >> here >> skip >> target;
    if (here == device) return unescaped(target);
  }
  return {};
}

void tell_of_waiting(const VaultMount& mount) {
  const std::string bound = also_mounted_on(mount.device);
  if (!bound.empty()) {
    static_cast<void>(std::fprintf(stderr,
                                   "umount.fuse.vaultfs: %s is still mounted on %s; waiting until it is unmounted "
                                   "there, too\n",
                                   vaultfs::visible_text(mount.vault).c_str(), vaultfs::visible_text(bound).c_str()));
    return;
  }
  const std::string holder = who_still_has(mount.device);
  if (holder.empty()) {
    static_cast<void>(std::fprintf(stderr, "umount.fuse.vaultfs: waiting until all of %s is written\n",
                                   vaultfs::visible_text(mount.vault).c_str()));
  } else {
    static_cast<void>(std::fprintf(
        stderr,
        "umount.fuse.vaultfs: %s is still mounted in another mount namespace, that of process %s (a container or "
        "service that was started meanwhile?); waiting until it is unmounted there or that process ends\n",
        vaultfs::visible_text(mount.vault).c_str(), holder.c_str()));
  }
}

bool wait_for_owner(const VaultMount& mount) {
  constexpr auto kPause = std::chrono::milliseconds(20);
  constexpr auto kTellAfter = std::chrono::seconds(5);
  const auto began = std::chrono::steady_clock::now();
  bool told = false;
  while (true) {
    // Shared: the disk may be, or have become, read-only.
    auto lock = vaultfs::posix_env().lock_shared(std::filesystem::path(mount.vault) / "vault.lock");
    if (lock.ok()) return true;
    if (lock.code() != vaultfs::ErrorCode::VaultBusy) return lock.code() == vaultfs::ErrorCode::NotFound;
    if (!told && std::chrono::steady_clock::now() - began > kTellAfter) {
      tell_of_waiting(mount);
      told = true;
    }
    std::this_thread::sleep_for(kPause);
  }
}

}  // namespace

int main(int argc, char** argv) {
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
  const VaultMount mount = vault_mounted_on(mount_point);
  const int code = run_umount(flags, mount_point);  // it has said what is wrong
  if (code != 0) return code;
  if (lazy || mount.vault.empty()) return 0;  // a lazy unmount ends when its last user does
  // A read-only mount has nothing to write, and the vault's owner may be another mount, which stays.
  if (mount.read_only && !owner_serves(mount.vault, mount_point)) return 0;
  // The vault still has its owner until the daemon has synced; a vault under another owner by then would mean it is
  // gone too.
  if (!wait_for_owner(mount)) {
    static_cast<void>(std::fprintf(stderr, "umount.fuse.vaultfs: cannot tell whether the daemon of %s has finished\n",
                                   vaultfs::visible_text(mount.vault).c_str()));
    return 32;
  }
  return 0;
}
