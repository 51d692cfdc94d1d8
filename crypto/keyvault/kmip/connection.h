#pragma once

#include <cstddef>
#include <memory>

#include "base/bytes.h"
#include "base/files/env.h"
#include "base/result.h"
#include "crypto/keyvault/kmip/deadline.h"
#include "crypto/keyvault/kmip/options.h"
#include "crypto/memory/secret_buffer.h"

namespace vaultfs {

// One TLS connection (1.2 or later) to a KMIP server, whose certificate was checked against the CA file and the
// server's name, with the client's certificate shown. Not thread-safe.
//
// Errors:
//   TryAgain             no answer: not resolved, not connected, cut off; a new connection may get one
//   KeyVaultUnavailable  no use to try again at once: time over, a certificate that is not trusted on either side or
//                        can't be read, an answer that is no KMIP or too large
//   KeyVaultDenied       the server said, on a channel that proves that it was the server, that this client may not
//   PermissionDenied     the client's key file is open to others
//   MemoryLockFailed
class KmipConnection {
 public:
  // `settings` must outlive the connection.
  [[nodiscard]] static Result<std::unique_ptr<KmipConnection>> open(Env& env, const KmipSettings& settings,
                                                                    const KmipDeadline& deadline);
  KmipConnection(const KmipConnection&) = delete;
  KmipConnection& operator=(const KmipConnection&) = delete;
  ~KmipConnection();

  // Sends a message and reads the one that answers it, of at most `limit` bytes. After an error the connection is of no
  // more use.
  [[nodiscard]] Result<SecretBuffer> exchange(ByteView request, std::size_t limit, const KmipDeadline& deadline);

  // False if the server has closed the connection meanwhile or said what nobody asked for, or if this process is a
  // child of the one that opened it: two processes can't share a TLS session.
  [[nodiscard]] bool is_usable();

 private:
  class Tls;
  explicit KmipConnection(std::unique_ptr<Tls> tls);
  std::unique_ptr<Tls> tls_;
};

}  // namespace vaultfs
