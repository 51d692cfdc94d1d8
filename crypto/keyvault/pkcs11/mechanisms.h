#pragma once

#include <p11-kit/pkcs11.h>

#include "base/bytes.h"
#include "base/result.h"
#include "crypto/keyvault/pkcs11/oaep.h"
#include "crypto/keyvault/pkcs11/session.h"
#include "crypto/memory/secret_buffer.h"

namespace vaultfs {

inline constexpr CK_ULONG kBitsPerByte = 8;

// The token's side of each way to wrap, one call each. All leave the module's answer in `answer` (CKR_OK if the failure
// was not the module's); their errors are Pkcs11Session::check's. Used on the module's thread only.

[[nodiscard]] Result<SecretBuffer> pkcs11_oaep_decrypt(Pkcs11Session& session, CK_OBJECT_HANDLE key, OaepHash hash,
                                                       ByteView wrapped, CK_RV& answer);

inline constexpr std::size_t kPkcs11GcmNonceBytes = 12;
inline constexpr std::size_t kPkcs11GcmTagBytes = 16;

// ciphertext ‖ tag 16. REQUIRES: 12 bytes of nonce, never used before with this key.
[[nodiscard]] Result<Bytes> pkcs11_gcm_encrypt(Pkcs11Session& session, CK_OBJECT_HANDLE key, ByteView nonce,
                                               ByteView associated, ByteView plaintext, CK_RV& answer);
[[nodiscard]] Result<SecretBuffer> pkcs11_gcm_decrypt(Pkcs11Session& session, CK_OBJECT_HANDLE key, ByteView nonce,
                                                      ByteView associated, ByteView ciphertext, CK_RV& answer);

// CKM_AES_KEY_WRAP_PAD of a message, by way of a session object that is destroyed again. The message that comes back
// may have up to 7 zero bytes more than the one that went in.
[[nodiscard]] Result<Bytes> pkcs11_kwp_wrap(Pkcs11Session& session, CK_OBJECT_HANDLE key, ByteView message,
                                            CK_RV& answer);
[[nodiscard]] Result<SecretBuffer> pkcs11_kwp_unwrap(Pkcs11Session& session, CK_OBJECT_HANDLE key, ByteView wrapped,
                                                     CK_RV& answer);

}  // namespace vaultfs
