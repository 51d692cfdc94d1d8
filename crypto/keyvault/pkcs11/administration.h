#pragma once

#include <p11-kit/pkcs11.h>

#include <cstdint>
#include <optional>
#include <string>

#include "base/bytes.h"
#include "base/result.h"
#include "crypto/keyvault/pkcs11/objects.h"
#include "crypto/keyvault/pkcs11/session.h"

namespace vaultfs {

// A version to be made.
struct Pkcs11NewKey {
  std::string label;
  Bytes id;
  CK_KEY_TYPE type = CKK_RSA;  // or CKK_AES, 256 bits
  unsigned bits = 0;           // of an RSA key
  std::optional<CK_DATE> start;
  std::optional<CK_DATE> end;
  bool dates_matter = false;  // they were asked for; else a token that takes none gets none
};

// Generates a key on the token: a token object, private, sensitive, not extractable, for decryption and unwrapping; the
// public half of a pair is readable by everybody. The dates stand on both halves. Nothing is left after an error of the
// token. NotSupportedByProvider if the token makes no such keys, or keeps no dates that matter.
[[nodiscard]] Status pkcs11_generate(Pkcs11Session& writing, const Pkcs11NewKey& wanted);

// Sets CKA_DECRYPT, which is all that an RSA pair and AES-GCM need, and CKA_UNWRAP of an AES key that may wrap
// (CKA_WRAP): an AES key wrap needs it, and a key whose owner never allowed wrapping is not to learn it.
// NotSupportedByProvider if the token or the object (CKA_MODIFIABLE) does not allow it.
[[nodiscard]] Status pkcs11_set_enabled(Pkcs11Session& writing, const Pkcs11KeyObject& key, bool enabled);

}  // namespace vaultfs
