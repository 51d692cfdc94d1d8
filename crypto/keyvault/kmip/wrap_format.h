#pragma once

#include "base/bytes.h"
#include "base/result.h"
#include "crypto/keyvault/kmip/messages.h"

namespace vaultfs {

// The bytes that wrap() of a KMIP key vault gives: version u8 = 1 ‖ IV 12 ‖ tag 16 ‖ ciphertext (0 to 190).
[[nodiscard]] Bytes encode_kmip_wrap(const KmipSealed& sealed);
// AuthenticationFailed if the bytes are none.
[[nodiscard]] Result<KmipSealed> decode_kmip_wrap(ByteView wrapped);

}  // namespace vaultfs
