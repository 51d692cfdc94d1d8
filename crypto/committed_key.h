#pragma once

#include <string_view>

#include "base/bytes.h"
#include "base/ids.h"
#include "base/result.h"
#include "crypto/memory/secret_buffer.h"

namespace vaultfs {

// A key with a commitment to it. AES-GCM and Poly1305 do not commit to their key, so whatever is sealed under a derived
// key stores the commitment beside the salt, and an opener compares it (in constant time) before it opens anything.
struct CommittedKey {
  SecretBuffer key;   // 32 bytes
  Digest commitment;  // 32 bytes, public
};

// HKDF-SHA-256(input_key, salt, info = label ‖ 0x00 ‖ context), 64 bytes: key ‖ commitment.
// `input_key` and `salt` are 32 bytes, `label` is one of format.md's labels.
[[nodiscard]] Result<CommittedKey> derive_committed_key(const SecretBuffer& input_key, ByteView salt,
                                                        std::string_view label, ByteView context);

// The key alone, after the stored commitment was compared with the derived one: KeyCommitmentMismatch if it differs.
[[nodiscard]] Result<SecretBuffer> derive_checked_key(const SecretBuffer& input_key, ByteView salt,
                                                      std::string_view label, ByteView context,
                                                      const Digest& stored_commitment);

// The same into `out`, 32 bytes of locked memory that the caller has: for keys that are needed for a moment only, of
// many files.
[[nodiscard]] Status derive_checked_key_into(const SecretBuffer& input_key, ByteView salt, std::string_view label,
                                             ByteView context, const Digest& stored_commitment, MutableByteView out);

// What a sealed box is longer than its secret: salt, commitment, tag.
inline constexpr std::size_t kSealedBoxOverheadBytes = 32 + 32 + 16;

// A small secret sealed under a key derived for it alone (format.md, "Sealed box"):
//   salt 32 ‖ commitment 32 ‖ AES-256-GCM(nonce 0^12, aad) of the secret
// The derived key is used once (fresh random salt), so the fixed nonce is safe.
[[nodiscard]] Result<Bytes> seal_box(const SecretBuffer& input_key, std::string_view label, ByteView aad,
                                     ByteView secret);
// WrongKey if the commitment does not match, AuthenticationFailed if the content was changed.
[[nodiscard]] Result<SecretBuffer> open_box(const SecretBuffer& input_key, std::string_view label, ByteView aad,
                                            ByteView box);

}  // namespace vaultfs
