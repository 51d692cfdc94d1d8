#pragma once

#include <sys/types.h>

#include <filesystem>

namespace vaultfs {

// The home directory of a user by the machine's list of users, absolute; empty if there is none. Not by $HOME, which
// may be another user's (su, sudo) or missing (cron, services). Thread-safe.
[[nodiscard]] std::filesystem::path user_home(uid_t user);

}  // namespace vaultfs
