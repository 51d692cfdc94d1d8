#pragma once

#include <filesystem>

#include "base/result.h"

namespace vaultfs {

// $VAULTFS_RUNTIME_DIR, else /run/vaultfs for root, else $XDG_RUNTIME_DIR/vaultfs, else /tmp/vaultfs-UID. Made with
// mode 0700 if missing; PermissionDenied if it belongs to somebody else or others may write to it.
[[nodiscard]] Result<std::filesystem::path> runtime_directory();

// Where the owner of a vault listens: named by device and inode of VAULT/vault.lock, so that every path to the vault
// leads there. VaultNotFound, NotAVault; ForeignFile if the lock file is a link or has more names.
[[nodiscard]] Result<std::filesystem::path> control_socket_path(const std::filesystem::path& vault);

}  // namespace vaultfs
