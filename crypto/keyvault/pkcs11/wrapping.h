#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>

#include "base/bytes.h"
#include "base/result.h"
#include "crypto/keyvault/key_vault.h"
#include "crypto/keyvault/pkcs11/oaep.h"
#include "crypto/keyvault/pkcs11/objects.h"
#include "crypto/keyvault/pkcs11/session.h"
#include "crypto/memory/secret_buffer.h"

namespace vaultfs {

// Random bytes for one call, drawn before it: the wrap's nonce, and one for a trial on the same key.
struct Pkcs11Nonces {
  static constexpr std::size_t kBytes = 16;
  Bytes wrap;
  Bytes trial;
};

// The type of key that an algorithm is for, CKK_RSA or CKK_AES; nothing for an algorithm that is not known here.
[[nodiscard]] std::optional<CK_KEY_TYPE> pkcs11_algorithm_key_type(std::string_view algorithm) noexcept;

// Wrapping and unwrapping on one token, by the best algorithm that it has for a type of key. What it has is found out
// by wrapping and unwrapping something with the key at hand, because mechanism lists tell too little (SoftHSM lists
// OAEP and refuses it with SHA-256), and remembered.
//
// RSA: "RSA-OAEP-256", else "RSA-OAEP"; wrapped bytes are the ciphertext.
//
// AES: "A256GCM" by C_Encrypt, where the token has it: nonce 12 ‖ ciphertext ‖ tag 16, associated data
// "vaultfs/1 kek wrap". Else "A256KWP" by C_WrapKey with CKM_AES_KEY_WRAP_PAD (RFC 5649), which is what tokens without
// GCM for users have. KWP takes no associated data and is deterministic, and of its integrity value 32 bits are
// constant and 32 the length. It is however a permutation of the whole message in which every bit of the output depends
// on every bit of the input, so what it lacks can go into the message: 16 random bytes (equal contents don't show) ‖
// "vaultfs/1 kek wrap" (144 bits that any change destroys) ‖ length u16 ‖ content. The length is there because SoftHSM
// returns the padding as content. The message goes to and from the token as a session object of an extractable generic
// secret, since wrapping functions take objects only.
//
// Nothing is wrapped under an RSA version before its private key has opened, in this session, what was encrypted under
// the modulus and exponent that the token tells of it. To compare those numbers with the private key's own is not
// enough: modules whose cards keep none with the private key (OpenSC) tell those of a public key or certificate of its
// CKA_ID, which anybody who may put public objects on the token can have made; he would read what is wrapped.
//
// Used on the module's thread only.
class Pkcs11Wrapping {
 public:
  // KeyNotRsa, KeySizeUnsupported; KeyVersionDisabled; NotSupportedByProvider if the token has none of the algorithms,
  // or the version a flaw (objects.h). The same for wrap, and NotSupportedByProvider for an RSA version whose
  // private key does not belong to the public key that the token tells; unwrap looks at neither.
  [[nodiscard]] Result<std::string> algorithm(Pkcs11Session& session, const Pkcs11KeyObject& key,
                                              const Pkcs11Nonces& nonces);
  // REQUIRES: plaintext is at most kWrapLimitBytes.
  [[nodiscard]] Result<Bytes> wrap(Pkcs11Session& session, const Pkcs11KeyObject& key, ByteView plaintext,
                                   const Pkcs11Nonces& nonces);
  // AuthenticationFailed for bytes that this key did not wrap: where the module's answer may mean a fault as well, a
  // trial with the same key decides. NotSupportedByProvider if the algorithm is none for this key.
  [[nodiscard]] Result<SecretBuffer> unwrap(Pkcs11Session& session, const Pkcs11KeyObject& key,
                                            std::string_view algorithm, ByteView wrapped, const Pkcs11Nonces& nonces);

 private:
  enum class Scheme : std::uint8_t { oaep_sha256, oaep_sha1, gcm, kwp };

  [[nodiscard]] static std::string_view name_of(Scheme scheme) noexcept;
  [[nodiscard]] Result<Scheme> scheme_for(Pkcs11Session& session, const Pkcs11KeyObject& key,
                                          const Pkcs11Nonces& nonces);
  [[nodiscard]] static Result<Bytes> wrap_by(Scheme scheme, Pkcs11Session& session, const Pkcs11KeyObject& key,
                                             ByteView plaintext, ByteView nonce, CK_RV& answer);
  [[nodiscard]] static Result<SecretBuffer> unwrap_by(Scheme scheme, Pkcs11Session& session, const Pkcs11KeyObject& key,
                                                      ByteView wrapped, CK_RV& answer);
  // Wraps and unwraps something. `answer` is the module's last one.
  [[nodiscard]] static Status try_out(Scheme scheme, Pkcs11Session& session, const Pkcs11KeyObject& key,
                                      const Pkcs11Nonces& nonces, CK_RV& answer);

  // Success if the private key of an RSA version has shown that it is the other half of what `key` says of it.
  [[nodiscard]] Status check_public_half(Scheme scheme, Pkcs11Session& session, const Pkcs11KeyObject& key,
                                         const Pkcs11Nonces& nonces);
  void remember_public_half(const Pkcs11KeyObject& key);

  // What a private key has shown to be its other half. The handle changes with the session, and with it what it names.
  struct PublicHalf {
    CK_OBJECT_HANDLE private_key = 0;
    Bytes modulus;
    Bytes exponent;
    bool operator==(const PublicHalf&) const = default;
  };

  std::optional<Scheme> for_rsa_;
  std::optional<Scheme> for_aes_;
  std::map<std::string, PublicHalf> shown_;  // by version
};

}  // namespace vaultfs
