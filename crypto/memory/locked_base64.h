#pragma once

#include <optional>
#include <string_view>

#include "base/bytes.h"
#include "base/result.h"
#include "crypto/memory/locked_text.h"
#include "crypto/memory/secret_buffer.h"

namespace vaultfs {

// The two forms of RFC 4648: section 4 with padding, section 5 (URL and file names) without.
enum class Base64 : std::uint8_t { standard_padded, url_unpadded };

// Base64 of bytes that may be a secret.
[[nodiscard]] LockedText locked_base64(ByteView bytes, Base64 form);

// Strict decoding of the same form: InvalidArgument on any other character, missing or surplus padding or non-zero
// spare bits, so that one value has one text; MemoryLockFailed.
[[nodiscard]] Result<SecretBuffer> from_locked_base64(std::string_view text, Base64 form);

// True if from_locked_base64 takes it.
[[nodiscard]] bool is_base64(std::string_view text, Base64 form) noexcept;

}  // namespace vaultfs
