#pragma once

#include <array>
#include <cstddef>
#include <memory>
#include <optional>

#include "base/bytes.h"
#include "base/files/env.h"
#include "base/result.h"
#include "crypto/memory/secret_buffer.h"

namespace vaultfs {

// A file that holds one random 32-byte key in the clear, so its permissions are its only protection:
//   magic 4 ‖ version u16 = 1 ‖ id 16 ‖ key 32 ‖ SHA-256 of the 54 bytes before
// 86 bytes, little-endian. The checksum is against damage; whoever can write the file can write a matching one.
using KeyFileMagic = std::array<char, 4>;
inline constexpr std::size_t kKeyFileIdBytes = 16;
inline constexpr std::size_t kKeyFileKeyBytes = 32;
inline constexpr std::size_t kKeyFileBytes = 4 + 2 + kKeyFileIdBytes + kKeyFileKeyBytes + 32;

// The file's content. REQUIRES: id is 16 bytes, key is 32 bytes.
[[nodiscard]] Result<SecretBuffer> encode_key_file(const KeyFileMagic& magic, ByteView id, const SecretBuffer& key);

// The key in the file. NotFound if it is missing; PermissionDenied if anyone but the owner may use it, or if the owner
// is neither this user nor root;
// UnsupportedFormat for a newer version; DamagedMachineState for anything else, also for an id other than `id`, if
// given.
[[nodiscard]] Result<SecretBuffer> read_key_file(Env& env, const Env::Path& path, const KeyFileMagic& magic,
                                                 std::optional<ByteView> id);

// The content of a file of another form that holds a secret: a PIN, a token, a private key. NotFound if it is missing,
// PermissionDenied as above; InvalidArgument if it is empty or longer than `limit_bytes`.
[[nodiscard]] Result<SecretBuffer> read_private_file(Env& env, const Env::Path& path, std::size_t limit_bytes);

// Makes the directory (mode 0700) and its missing parents, durably; one that is there is left as it is.
[[nodiscard]] Status ensure_private_directory(Env& env, const Env::Path& directory);

// Env::lock, asked again for up to 30 s while another holder has it; then VaultBusy.
[[nodiscard]] Result<std::unique_ptr<FileLock>> wait_for_lock(Env& env, const Env::Path& path);

}  // namespace vaultfs
