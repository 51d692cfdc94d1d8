#pragma once

#include "base/result.h"
#include "crypto/keyvault/pkcs11/objects.h"
#include "crypto/keyvault/pkcs11/session.h"

namespace vaultfs {

// Whether the token has a certificate of that key: an X.509 certificate object with the CKA_ID of the pair and its
// public key. Where one of both keys can't be read, the CKA_ID alone decides. Never of a key that is no RSA pair.
[[nodiscard]] Result<bool> pkcs11_has_certificate(Pkcs11Session& session, const Pkcs11KeyObject& key);

}  // namespace vaultfs
