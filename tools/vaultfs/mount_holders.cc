#include "tools/vaultfs/mount_holders.h"

#include <fcntl.h>
#include <linux/loop.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <set>
#include <system_error>
#include <vector>

#include "base/files/file_descriptor.h"
#include "base/files/mount_table.h"

namespace vaultfs {
namespace {

namespace stdfs = std::filesystem;

std::string text_of_file(const stdfs::path& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
}

bool lists(const std::string& mountinfo, const std::string& device) {
  return std::ranges::any_of(parse_mount_table(mountinfo),
                             [&](const MountEntry& entry) { return entry.device == device; });
}

std::vector<stdfs::path> processes() {
  std::vector<stdfs::path> found;
  std::error_code problem;
  for (const auto& entry : stdfs::directory_iterator("/proc", problem)) {
    const std::string name = entry.path().filename().string();
    if (name.find_first_not_of("0123456789") == std::string::npos && name != std::to_string(::getpid())) {
      found.push_back(entry.path());
    }
  }
  return found;
}

// "12 (sh)".
std::string process_name(const stdfs::path& process) {
  std::string command = text_of_file(process / "comm");
  if (command.ends_with('\n')) command.pop_back();
  return process.filename().string() + (command.empty() ? "" : " (" + command + ")");
}

// What a link of /proc leads to is in that file system. The kernel tells by what it knows; the file system is not
// asked.
bool is_in(const stdfs::path& link, dev_t device) {
  struct statx st {};
  constexpr int kFlags = AT_STATX_DONT_SYNC | AT_NO_AUTOMOUNT;
  return ::statx(AT_FDCWD, link.c_str(), kFlags, STATX_TYPE, &st) == 0 &&
         makedev(st.stx_dev_major, st.stx_dev_minor) == device;
}

bool maps_file_in(const stdfs::path& process, dev_t device) {
  std::ifstream file(process / "maps");
  for (std::string line; std::getline(file, line);) {
    unsigned first = 0;
    unsigned second = 0;
    // Addresses, permissions and offset come before.
    if (std::sscanf(line.c_str(), "%*s %*s %*s %x:%x", &first, &second) == 2 && makedev(first, second) == device) {
      return true;
    }
  }
  return false;
}

// "which …", or nothing.
std::string use_by(const stdfs::path& process, dev_t device) {
  if (is_in(process / "root", device)) return "which has its root directory in it";
  if (is_in(process / "cwd", device)) return "which has its working directory in it";
  if (is_in(process / "exe", device)) return "whose program is in it";
  std::error_code problem;
  for (const auto& descriptor : stdfs::directory_iterator(process / "fd", problem)) {
    if (is_in(descriptor.path(), device)) return "which has a file in it open";
  }
  return maps_file_in(process, device) ? "which has a file in it mapped" : "";
}

// A process lists what its own root leads to; the namespace may have more. A child goes into it to look, which takes
// root.
bool namespace_has(const stdfs::path& process, const std::string& device) {
  const FileDescriptor there(::open((process / "ns/mnt").c_str(), O_RDONLY | O_CLOEXEC));
  const FileDescriptor proc(::open("/proc", O_PATH | O_DIRECTORY | O_CLOEXEC));
  if (!there.valid() || !proc.valid()) return false;
  constexpr int kYes = 3;
  const pid_t child = ::fork();
  if (child < 0) return false;
  if (child == 0) {
    if (::setns(there.get(), CLONE_NEWNS) != 0) ::_exit(0);
    const FileDescriptor table(::openat(proc.get(), "self/mountinfo", O_RDONLY | O_CLOEXEC));
    std::string text;
    char buffer[4096];
    for (ssize_t read = 0; table.valid() && (read = ::read(table.get(), buffer, sizeof buffer)) > 0;) {
      text.append(buffer, static_cast<std::size_t>(read));
    }
    ::_exit(lists(text, device) ? kYes : 0);
  }
  int status = 0;
  while (::waitpid(child, &status, 0) < 0) {
    if (errno != EINTR) return false;
  }
  return WIFEXITED(status) && WEXITSTATUS(status) == kYes;
}

std::string namespace_of(const stdfs::path& process) {
  std::error_code problem;
  return stdfs::read_symlink(process / "ns/mnt", problem).string();
}

// A process in another mount namespace that has the file system mounted. A container or service that was started while
// it was mounted has a copy of the mount, and the kernel ends a file system with its last one only.
std::string in_another_namespace(const std::vector<stdfs::path>& all, const std::string& device) {
  std::set<std::string> seen{namespace_of("/proc/self"), ""};
  std::vector<stdfs::path> others;
  for (const stdfs::path& process : all) {
    if (lists(text_of_file(process / "mountinfo"), device)) return process_name(process);
    if (seen.insert(namespace_of(process)).second) others.push_back(process);
  }
  if (::geteuid() != 0) return "";
  for (const stdfs::path& process : others) {
    if (namespace_has(process, device)) return process_name(process);
  }
  return "";
}

// A loop device on a file in there: the kernel itself has that open.
std::string loop_device_in(dev_t device) {
  std::error_code problem;
  for (const auto& entry : stdfs::directory_iterator("/sys/block", problem)) {
    const std::string name = entry.path().filename().string();
    if (!name.starts_with("loop") || !stdfs::exists(entry.path() / "loop", problem)) continue;
    const FileDescriptor loop(::open(("/dev/" + name).c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
    loop_info64 info{};
    if (loop.valid() && ::ioctl(loop.get(), LOOP_GET_STATUS64, &info) == 0 && info.lo_device == device) {
      return "/dev/" + name;
    }
  }
  return "";
}

}  // namespace

std::string holder_of_file_system(const std::string& device) {
  for (const MountEntry& entry : mount_table()) {
    if (entry.device == device) return "mounted on " + entry.point;
  }
  const std::vector<stdfs::path> all = processes();
  if (const std::string process = in_another_namespace(all, device); !process.empty()) {
    return "mounted in another mount namespace, that of process " + process +
           " (a container or service that was started meanwhile?)";
  }
  const dev_t number = number_of_device(device);
  if (number == 0) return "";
  for (const stdfs::path& process : all) {
    if (const std::string use = use_by(process, number); !use.empty()) {
      return "in use by process " + process_name(process) + ", " + use;
    }
  }
  if (const std::string loop = loop_device_in(number); !loop.empty()) return "in use by the loop device " + loop;
  return "";
}

}  // namespace vaultfs
