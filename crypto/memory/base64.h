#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "base/bytes.h"
#include "base/result.h"
#include "crypto/memory/locked_text.h"
#include "crypto/memory/secret_buffer.h"

namespace vaultfs {

// libsodium's base64, in a time that depends on the length alone. Decoding is strict: of any other character, missing
// or surplus padding or non-zero spare bits nothing is taken, so that one value has one text.

// The two forms of RFC 4648: section 4 with padding, section 5 (URL and file names) without.
enum class Base64 : std::uint8_t { standard_padded, url_unpadded };

// What is no secret, in the first form.
[[nodiscard]] std::string to_base64(ByteView bytes);
// False (and out is empty) on any other text.
[[nodiscard]] bool from_base64(std::string_view text, Bytes& out);

// Bytes that may be a secret.
[[nodiscard]] LockedText locked_base64(ByteView bytes, Base64 form);
// InvalidArgument on any other text; MemoryLockFailed.
[[nodiscard]] Result<SecretBuffer> from_locked_base64(std::string_view text, Base64 form);

// True if from_locked_base64 takes it. Of what is no secret.
[[nodiscard]] bool is_base64(std::string_view text, Base64 form);

}  // namespace vaultfs
