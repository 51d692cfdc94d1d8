#pragma once

#include <sys/stat.h>

#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "base/files/env.h"
#include "base/files/file_descriptor.h"

// What the two Envs of the real machine share: posix_env() and the directories that it holds. For base/ only.
namespace vaultfs::posix {

// `what PATH: strerror`, under the code of the errno.
[[nodiscard]] Error system_error(int errno_value, const std::string& what, const std::filesystem::path& path);

[[nodiscard]] FileInfo info_of(const struct stat& st);
// open(2)'s flags for a mode; a link is not followed (posix_env() does for reading), and opening a FIFO in the place of
// a file can't hang.
[[nodiscard]] int open_flags(OpenMode mode);
// A File on a descriptor; `path` is for messages.
[[nodiscard]] std::unique_ptr<File> make_file(FileDescriptor fd, std::filesystem::path path);
// flock(2) without waiting: VaultBusy if another process holds it.
[[nodiscard]] Result<std::unique_ptr<FileLock>> lock_descriptor(FileDescriptor fd, bool shared,
                                                                const std::filesystem::path& path);
// The names in a directory, sorted. Takes the descriptor over.
[[nodiscard]] Result<std::vector<std::string>> list_descriptor(FileDescriptor fd, const std::filesystem::path& path);
// By statfs, and by this process's quotas where the kernel tells of them (posix_space.cc).
[[nodiscard]] Result<FreeSpace> free_space_of(int fd, const std::filesystem::path& path);
// What one limit of a quota leaves (FreeSpace::kNoLimit: there is none), all in the same unit. A soft limit counts as a
// hard one when its grace is over; `grace_ends` and `now` in Unix seconds, 0: it has not begun.
[[nodiscard]] std::uint64_t left_of_limit(std::uint64_t hard, std::uint64_t soft, std::uint64_t used,
                                          std::uint64_t grace_ends, std::uint64_t now);
// Why the kernel said ENOSPC or EDQUOT of a file, and what to do.
[[nodiscard]] std::string what_is_short(int errno_value, const std::filesystem::path& path);

// Env::hold_directory of a directory that is open. `root` is what its paths begin with.
[[nodiscard]] Result<std::unique_ptr<Env>> hold(FileDescriptor fd, std::filesystem::path root);

}  // namespace vaultfs::posix
