#pragma once

#include <cstdint>
#include <string_view>

#include "base/bytes.h"
#include "base/result.h"

namespace vaultfs {

// RSA-OAEP (RFC 8017 section 7.1) with an empty label, the same hash for the label and for MGF1. "RSA-OAEP" is the name
// that JOSE (RFC 7518 section 4.3) gives it with SHA-1, whose collisions do not matter here: OAEP asks of the hash only
// that it behaves like a random function, and no attack on OAEP with SHA-1 is known.
enum class OaepHash : std::uint8_t { sha256, sha1 };

[[nodiscard]] std::string_view oaep_algorithm(OaepHash hash) noexcept;  // "RSA-OAEP-256" or "RSA-OAEP"

// Encrypts under a public key given by its numbers, big-endian. Here and not on the token: what goes in is what the
// private key's own modulus says, while anybody who reaches a token may put a public key object with the right label on
// it. KeySizeUnsupported unless the modulus has 2048, 3072 or 4096 bits; InvalidArgument for numbers that are no RSA
// key.
[[nodiscard]] Result<Bytes> oaep_encrypt(ByteView modulus, ByteView exponent, OaepHash hash, ByteView plaintext);

}  // namespace vaultfs
