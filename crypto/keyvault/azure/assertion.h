#pragma once

#include <cstdint>
#include <string_view>

#include "base/bytes.h"
#include "base/result.h"
#include "crypto/memory/locked_text.h"

namespace vaultfs {

// A client assertion (RFC 7523 section 2.2): a JWT, signed by RS256 with a certificate's key, whose header names the
// certificate by x5t#S256 (RFC 7515 section 4.1.8), valid for 10 minutes from `now_unix_seconds`. `pem` holds the
// certificate and its private key, which is not encrypted. InvalidArgument if it does not, if they do not belong
// together, or if the key is not RSA of at least 2048 bits. REQUIRES: client_id, audience and id are plain ASCII.
[[nodiscard]] Result<LockedText> make_client_assertion(ByteView pem, std::string_view client_id,
                                                       std::string_view audience, std::string_view id,
                                                       std::int64_t now_unix_seconds);

}  // namespace vaultfs
