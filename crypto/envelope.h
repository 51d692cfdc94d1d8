#pragma once

#include "base/bytes.h"
#include "base/result.h"
#include "crypto/memory/secret_buffer.h"

namespace vaultfs {

// What is put inside a wrap: version u8 = 1 ‖ key 32 ‖ SHA-256(context) 32, 65 bytes, so that RSA-OAEP-256 of a
// 2048-bit key (190 bytes) holds it. RSA wrapping proves nothing about who wrapped: the context inside stops a wrap
// from being moved elsewhere, the root key's MAC over the keyring proves the origin.
inline constexpr std::size_t kEnvelopeBytes = 65;
[[nodiscard]] Result<SecretBuffer> encode_envelope(const SecretBuffer& key, ByteView context);
// AuthenticationFailed if the content has another shape or was bound to another context.
[[nodiscard]] Result<SecretBuffer> decode_envelope(const SecretBuffer& envelope, ByteView context);

}  // namespace vaultfs
