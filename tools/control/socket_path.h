#pragma once

#include <sys/types.h>

#include <filesystem>
#include <string>
#include <vector>

#include "base/result.h"
#include "vaultmeta/layout/vault_directory.h"

namespace vaultfs {

// Where owners of a user's vaults listen. They are found by the user's id, never by what a process has inherited:
// /run/vaultfs for root; for others /run/user/UID/vaultfs, which goes with their last session, and
// .local/share/vaultfs/run in the home that the machine's list of users names. $VAULTFS_RUNTIME_DIR is one more, for
// this user; it takes no place of another.
[[nodiscard]] std::vector<std::filesystem::path> runtime_directories(uid_t user);
// Those of this process's user that can be used, made with mode 0700 where they are missing. Never empty: otherwise the
// error of the first. A directory that is no directory, or not this user's alone, is PermissionDenied.
[[nodiscard]] Result<std::vector<std::filesystem::path>> make_runtime_directories();
// Whether sockets in there are that user's: a directory of his that nobody else may write to.
[[nodiscard]] bool is_private_to(const std::filesystem::path& directory, uid_t user);

// The socket of a vault's owner: named by device and inode of VAULT/vault.lock, so that every path to the vault leads
// there. VaultNotFound, NotAVault; ForeignFile if the lock file is a link or has more names.
struct SocketName {
  std::string name;
  uid_t vault_owner = 0;  // who made the vault
};
[[nodiscard]] Result<SocketName> control_socket_name(const std::filesystem::path& vault);
// The same of what is open, for its owner: whatever lies at its path by now.
[[nodiscard]] Result<SocketName> control_socket_name(VaultDirectory& vault);

// The same socket by the mount that its owner serves: `device` is the file system's, MAJOR:MINOR.
[[nodiscard]] std::string mount_socket_name(const std::string& device);

}  // namespace vaultfs
