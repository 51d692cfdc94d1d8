#pragma once

#include <array>
#include <filesystem>
#include <optional>
#include <vector>

#include "base/files/env.h"
#include "base/ids.h"
#include "base/result.h"
#include "crypto/memory/secret_buffer.h"
#include "vaultmeta/machine/platform_keys.h"

namespace vaultfs {

// Machine-bound keys of one vault for another machine, sealed under a passphrase (docs/format.md, section 12).
struct RecoveryKeys {
  VaultId vault;
  Digest root_fingerprint;
  struct Key {
    std::array<std::byte, 16> id{};
    SecretBuffer key;
  };
  std::vector<Key> platform_keys;
};

// Writes a new file (AlreadyExists), mode 0600, and proves it by reading it back.
[[nodiscard]] Status write_recovery_file(Env& env, const std::filesystem::path& path, const RecoveryKeys& keys,
                                         const SecretBuffer& passphrase);
// RecoveryFileNotFound, WrongPassphrase, DamagedMachineState.
[[nodiscard]] Result<RecoveryKeys> read_recovery_file(Env& env, const std::filesystem::path& path,
                                                      const SecretBuffer& passphrase);

}  // namespace vaultfs
