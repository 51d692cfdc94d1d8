#include "crypto/aes_gcm.h"

#include "crypto/ipsec_mb.h"

namespace vaultfs {

Result<std::unique_ptr<Aead>> make_aes_256_gcm(const SecretBuffer& key) { return make_aes_256_gcm(key.view()); }

Result<std::unique_ptr<Aead>> make_aes_256_gcm(ByteView key) {
  return ipsec_mb_usable() ? make_ipsec_mb_aes_256_gcm(key) : make_openssl_aes_256_gcm(key);
}

}  // namespace vaultfs
