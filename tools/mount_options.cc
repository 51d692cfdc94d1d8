#include "tools/mount_options.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <map>
#include <string>
#include <vector>

#include "tools/did_you_mean.h"

namespace vaultfs {

const char* const kMountUsage = R"(usage: vaultfs VAULT MOUNTPOINT [-f] [-o OPTION[,OPTION…]]

Mounts the vault and returns when it is ready. Unmount with umount or fusermount3 -u.

  -f                    stay in the foreground, log to stderr
  -o settle=TIME        commit an item's job when none of its files has been open for writing for so long (10s)
  -o max-job=TIME       commit a job that lasts longer, also with files open (24h)
  -o commit=manual      commit only by `vaultctl backup commit`
  -o ro                 read-only; several read-only mounts may stand beside the owner
  -o cache=writeback    let the kernel gather small writes (default: cache=direct)
  -o compression=fast   quicker backups and random reads for a sixth more space (default: compression=default)
  -o write-buffer=SIZE  memory for data that is not stored yet (128M)
  -o read-cache=SIZE    memory for opened frames (64M)
  -o workers=N          threads that compress, hash, seal and read ahead (one for each core)
  -o wait=TIME          wait so long for a vault that is in use (0s)
  -o passphrase-file=F  passphrase of a local key vault that has one; passphrase-fd=N reads it from a descriptor
  -o home=DIR           instead of $VAULTFS_HOME
  -o log=FILE           instead of syslog
  -o allow_other        let other users in (the kernel checks their permissions)
  -o nonempty           mount over a directory that has entries
  -o accept-older       with ro: open a vault that is older than what this machine has seen
  -o unverified         with ro: open a vault that this machine does not know
  -o fingerprint=F      with ro: open it by what you have kept of it; an older one says how far it speaks for it
  -o sync               every change is on the disk before its call returns
and the kernel's nodev, dev, nosuid, suid, noexec, exec, noatime. Other words of fstab are passed over.
)";

namespace {

Error bad_value(std::string_view option, const char* wanted) {
  return Error{ErrorCode::Usage, "-o " + std::string(option) + ": give " + wanted};
}

bool parse_unsigned(std::string_view text, std::uint64_t& value) {
  const auto [end, problem] = std::from_chars(text.data(), text.data() + text.size(), value);
  return problem == std::errc() && end == text.data() + text.size() && !text.empty();
}

// Written by mount(8) or meant for it and for systemd; without a meaning for a FUSE file system.
bool is_for_others(std::string_view name) {
  static constexpr std::array<std::string_view, 28> kIgnored{"defaults",    "auto",          "noauto",
                                                             "user",        "nouser",        "users",
                                                             "owner",       "group",         "_netdev",
                                                             "nofail",      "atime",         "relatime",
                                                             "norelatime",  "diratime",      "nodiratime",
                                                             "strictatime", "nostrictatime", "lazytime",
                                                             "nolazytime",  "iversion",      "noiversion",
                                                             "mand",        "nomand",        "silent",
                                                             "loud",        "loop",          "default_permissions",
                                                             "nodirsync"};
  static constexpr std::array<std::string_view, 6> kIgnoredPrefixes{
      "x-", "X-", "comment=", "uhelper=", "helper=", "user="};
  const auto begins = [name](std::string_view prefix) { return name.starts_with(prefix); };
  return std::ranges::find(kIgnored, name) != kIgnored.end() || std::ranges::any_of(kIgnoredPrefixes, begins);
}

bool is_kernel_option(std::string_view name) {
  static constexpr std::array<std::string_view, 7> kKernel{"nodev",  "dev",  "nosuid", "suid",
                                                           "noexec", "exec", "noatime"};
  return std::ranges::find(kKernel, name) != kKernel.end();
}

Error unknown_option(std::string_view option, std::string_view name) {
  static const std::vector<std::string> kKnown{"settle",
                                               "max-job",
                                               "commit",
                                               "ro",
                                               "rw",
                                               "cache",
                                               "compression",
                                               "write-buffer",
                                               "read-cache",
                                               "workers",
                                               "passphrase-file",
                                               "passphrase-fd",
                                               "home",
                                               "log",
                                               "allow_other",
                                               "nonempty",
                                               "accept-older",
                                               "unverified",
                                               "wait",
                                               "fingerprint",
                                               "sync",
                                               "nodev",
                                               "dev",
                                               "nosuid",
                                               "suid",
                                               "noexec",
                                               "exec",
                                               "noatime"};
  return {ErrorCode::Usage,
          "unknown option -o " + std::string(option) + did_you_mean(name, kKnown) + "; see vaultfs --help"};
}

Status apply_flag(std::string_view name, MountCommand& command) {
  if (name == "ro" || name == "rw") {
    command.mount.read_only = name == "ro";
    command.engine.vault.read_only = command.mount.read_only;
  } else if (name == "sync" || name == "async" || name == "dirsync") {
    command.mount.synchronous = name != "async";
  } else if (name == "remount") {
    return Error{ErrorCode::Usage,
                 "-o remount: a vault's options are those that it was mounted with; unmount it and mount it again"};
  } else if (name == "allow_other") {
    command.mount.allow_other = true;
  } else if (name == "nonempty") {
    command.mount.nonempty = true;
  } else if (name == "accept-older") {
    command.engine.vault.accept_older = true;
  } else if (name == "unverified") {
    command.engine.vault.allow_unverified = true;
  } else if (is_kernel_option(name)) {
    command.mount.kernel_options.emplace_back(name);
  } else if (!is_for_others(name)) {
    return unknown_option(name, name);
  }
  return ok_status();
}

Status apply_value(std::string_view option, std::string_view name, std::string_view value, MountCommand& command) {
  std::uint64_t number = 0;
  if (name == "settle") {
    if (!parse_duration_seconds(value, command.engine.settle_seconds)) return bad_value(option, "a time such as 10s");
    if (command.engine.settle_seconds == 0) {
      return bad_value(option,
                       "at least 1s, or each file that is closed makes a recovery point of its own; to commit only "
                       "when asked: commit=manual");
    }
  } else if (name == "max-job") {
    if (!parse_duration_seconds(value, command.engine.max_job_seconds) || command.engine.max_job_seconds == 0) {
      return bad_value(option, "a time such as 24h");
    }
  } else if (name == "wait") {
    unsigned seconds = 0;
    if (!parse_duration_seconds(value, seconds)) return bad_value(option, "a time such as 30s");
    command.engine.vault.lock_wait_seconds = seconds;
  } else if (name == "fingerprint") {
    auto fingerprint = parse_fingerprint(value);
    if (!fingerprint.ok()) return bad_value(option, "a fingerprint as `vaultctl vault show` prints it");
    command.engine.vault.fingerprint = *fingerprint;
  } else if (name == "commit") {
    if (value != "manual" && value != "auto") return bad_value(option, "commit=manual or commit=auto");
    command.engine.manual_commit = value == "manual";
  } else if (name == "cache") {
    if (value != "writeback" && value != "direct") return bad_value(option, "cache=direct or cache=writeback");
    command.mount.writeback_cache = value == "writeback";
    command.engine.tree.caller_keeps_times = command.mount.writeback_cache;
  } else if (name == "compression") {
    if (value != "fast" && value != "default") return bad_value(option, "compression=default or compression=fast");
    command.engine.vault.compression = value == "fast" ? Compression::fast : Compression::automatic;
  } else if (name == "write-buffer") {
    if (!parse_byte_size(value, number) || number < (8ULL << 20)) return bad_value(option, "a size of at least 8M");
    command.engine.tree.write_buffer_bytes = number;
  } else if (name == "read-cache") {
    if (!parse_byte_size(value, number)) return bad_value(option, "a size such as 64M");
    command.engine.tree.frame_cache_bytes = number;
  } else if (name == "workers") {
    if (!parse_unsigned(value, number) || number == 0 || number > 256)
      return bad_value(option, "a number from 1 to 256");
    command.engine.tree.store_workers = static_cast<unsigned>(number);
  } else if (value.empty() && (name == "passphrase-file" || name == "home" || name == "log")) {
    return bad_value(option, "a path");
  } else if (name == "passphrase-file") {
    command.machine.passphrase_file = std::filesystem::absolute(value);
  } else if (name == "passphrase-fd") {
    if (!parse_unsigned(value, number) || number > 1'000'000)
      return bad_value(option, "the number of an open descriptor");
    command.machine.passphrase_fd = static_cast<int>(number);
  } else if (name == "home") {
    command.machine.home = std::filesystem::absolute(value);
  } else if (name == "log") {
    command.log_file = std::filesystem::absolute(value);
  } else if (!is_for_others(option)) {
    return unknown_option(option, name);
  }
  return ok_status();
}

Status apply_option_list(std::string_view list, MountCommand& command) {
  while (!list.empty()) {
    const std::size_t comma = list.find(',');
    const std::string_view option = list.substr(0, comma);
    if (!option.empty()) VAULTFS_RETURN_IF_ERROR(apply_mount_option(option, command));
    if (comma == std::string_view::npos) break;
    list.remove_prefix(comma + 1);
  }
  return ok_status();
}

}  // namespace

bool parse_duration_seconds(std::string_view text, unsigned& seconds) {
  constexpr std::uint64_t kYear = 366ULL * 24 * 3600;
  std::uint64_t unit = 1;
  if (!text.empty()) {
    const char last = text.back();
    if (last == 's' || last == 'm' || last == 'h') {
      unit = last == 'h' ? 3600 : last == 'm' ? 60 : 1;
      text.remove_suffix(1);
    }
  }
  std::uint64_t number = 0;
  if (!parse_unsigned(text, number) || number > kYear / unit) return false;
  seconds = static_cast<unsigned>(number * unit);
  return true;
}

bool parse_byte_size(std::string_view text, std::uint64_t& bytes) {
  unsigned shift = 0;
  if (!text.empty()) {
    const char last = text.back();
    if (last == 'K' || last == 'M' || last == 'G') {
      shift = last == 'K' ? 10 : last == 'M' ? 20 : 30;
      text.remove_suffix(1);
    }
  }
  std::uint64_t number = 0;
  if (!parse_unsigned(text, number) || number > (1ULL << 50) >> shift) return false;
  bytes = number << shift;
  return true;
}

Status apply_mount_option(std::string_view option, MountCommand& command) {
  const std::size_t equals = option.find('=');
  if (equals == std::string_view::npos) return apply_flag(option, command);
  return apply_value(option, option.substr(0, equals), option.substr(equals + 1), command);
}

Result<MountCommand> parse_mount_command(const std::vector<std::string>& words) {
  MountCommand command;
  std::vector<std::string> paths;
  for (std::size_t i = 0; i < words.size(); ++i) {
    const std::string& word = words[i];
    if (word == "-f" || word == "--foreground") {
      command.foreground = true;
    } else if (word == "-o") {
      if (++i == words.size()) return Error{ErrorCode::Usage, "-o wants options behind it"};
      VAULTFS_RETURN_IF_ERROR(apply_option_list(words[i], command));
    } else if (word.size() > 2 && word.starts_with("-o")) {
      VAULTFS_RETURN_IF_ERROR(apply_option_list(std::string_view{word}.substr(2), command));
    } else if (word.size() > 1 && word.front() == '-') {
      return Error{ErrorCode::Usage, "unknown flag " + word + "; see vaultfs --help"};
    } else {
      paths.push_back(word);
    }
  }
  if (paths.size() != 2 || paths[0].empty() || paths[1].empty()) {
    return Error{ErrorCode::Usage, "name a vault and a mount point: vaultfs VAULT MOUNTPOINT [-f] [-o OPTIONS]"};
  }
  const VaultOpenOptions& vault = command.engine.vault;
  if ((vault.accept_older || vault.allow_unverified || vault.fingerprint.has_value()) && !command.mount.read_only) {
    return Error{ErrorCode::Usage, "accept-older, unverified and fingerprint open a vault read-only: add -o ro"};
  }
  command.vault = std::filesystem::absolute(paths[0]).lexically_normal();
  command.mount_point = std::filesystem::absolute(paths[1]).lexically_normal();
  command.engine.vault.path = command.vault;
  command.mount.mount_point = command.mount_point;
  return command;
}

}  // namespace vaultfs
