#pragma once

#include <poll.h>

#include <cstdint>
#include <string>

#include "base/files/file_descriptor.h"
#include "base/result.h"
#include "crypto/keyvault/kmip/deadline.h"

namespace vaultfs {

// A connection to a KMIP server, closed with it.
class KmipSocket {
 public:
  KmipSocket() = default;
  explicit KmipSocket(int descriptor) noexcept : descriptor_(descriptor) {}
  [[nodiscard]] int get() const noexcept { return descriptor_.get(); }

  // A non-blocking TCP connection to the first address of the host that takes one. The name is resolved within the
  // deadline too: a resolver that hangs is left behind. TryAgain if there is none; KeyVaultUnavailable when time is
  // over.
  [[nodiscard]] static Result<KmipSocket> connect(const std::string& host, std::uint16_t port,
                                                  const KmipDeadline& deadline);

  // Waits for POLLIN or POLLOUT. KeyVaultUnavailable when time is over.
  [[nodiscard]] Status wait(short events, const KmipDeadline& deadline) const;

 private:
  FileDescriptor descriptor_;
};

}  // namespace vaultfs
