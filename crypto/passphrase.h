#pragma once

#include <cstdint>
#include <string_view>

#include "base/bytes.h"
#include "base/result.h"
#include "crypto/memory/secret_buffer.h"

namespace vaultfs {

// Cost of Argon2id (RFC 9106), stored with what it protects. Decoders refuse more than 4 GiB or 64 passes.
struct Argon2Cost {
  std::uint32_t memory_kib = 256 * 1024;
  std::uint32_t passes = 3;
};

// Argon2id version 1.3 with one lane: 32 bytes from a passphrase and a salt of 16 bytes (InvalidArgument otherwise, or
// if the cost is out of its limits: 8 KiB to 4 GiB, 1 to 64 passes). Its work memory is not locked; the result is.
[[nodiscard]] Result<SecretBuffer> stretch_passphrase(const SecretBuffer& passphrase, ByteView salt, Argon2Cost cost);

// Seals a secret under a passphrase (format.md, "Passphrase box"):
//   memory_kib u32 ‖ passes u32 ‖ argon2 salt 16 ‖ sealed box under Argon2id's 32-byte output
[[nodiscard]] Result<Bytes> seal_with_passphrase(const SecretBuffer& passphrase, std::string_view label, ByteView aad,
                                                 ByteView secret, Argon2Cost cost = {});
// WrongPassphrase, or AuthenticationFailed if the content was changed.
[[nodiscard]] Result<SecretBuffer> open_with_passphrase(const SecretBuffer& passphrase, std::string_view label,
                                                        ByteView aad, ByteView box);

// Reads a passphrase from an open descriptor up to end of file, without one trailing newline; 1 to 1024 bytes
// (PassphraseRequired if empty, InvalidArgument if longer).
[[nodiscard]] Result<SecretBuffer> read_passphrase(int descriptor);

// Whether a new passphrase can be given again later, from another editor or by hand: InvalidArgument, with the reason,
// for one that begins with a byte order mark, has a carriage return, a second line or a NUL.
[[nodiscard]] Status check_new_passphrase(ByteView passphrase);

}  // namespace vaultfs
