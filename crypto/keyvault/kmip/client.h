#pragma once

#include <chrono>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/bytes.h"
#include "base/files/env.h"
#include "base/result.h"
#include "base/thread/mutex.h"
#include "crypto/keyvault/kmip/connection.h"
#include "crypto/keyvault/kmip/deadline.h"
#include "crypto/keyvault/kmip/messages.h"
#include "crypto/keyvault/kmip/options.h"
#include "crypto/memory/secret_buffer.h"

namespace vaultfs {

// How often a request is sent again when it got no answer. Each pause is twice the one before.
struct KmipRetryPlan {
  unsigned retries = 3;
  std::chrono::milliseconds first_pause{800};
};

// Decrypt as a server answered it: the plaintext, or why not.
struct KmipDecrypted {
  std::optional<KmipRefusal> refusal;
  SecretBuffer plaintext;
};

// A KMIP server as its operations. Connections are kept between requests, and one that broke meanwhile is replaced at
// once. Thread-safe: requests of several threads go over connections of their own.
//
// Errors of every operation: KeyVaultUnavailable (no answer by the deadline or after all retries, malformed answers,
// failures of the server), KeyVaultDenied, NotSupportedByProvider (another KMIP version, an operation or a field that
// the server doesn't know), PermissionDenied, MemoryLockFailed. Operations on an object: KeyVersionNotFound,
// KeyVersionDisabled (it is archived).
class KmipClient {
 public:
  KmipClient(Env& env, KmipSettings settings, KmipRetryPlan retry);

  [[nodiscard]] const KmipSettings& settings() const noexcept { return settings_; }
  // The end of a call that begins now.
  [[nodiscard]] KmipDeadline deadline() const { return {env_.clock(), settings_.timeout}; }

  // Symmetric keys: those of that name, or all that this client may see.
  [[nodiscard]] Result<std::vector<std::string>> locate(const std::optional<std::string>& name,
                                                        const KmipDeadline& deadline);
  [[nodiscard]] Result<KmipAttributes> attributes(const std::string& id, const KmipDeadline& deadline);
  // Sent once: whether a request without answer has made a key is not known. Gives the refusal of a server that doesn't
  // take the attributes as NotSupportedByProvider.
  [[nodiscard]] Result<std::string> create(const std::string& name, const KmipDeadline& deadline);
  [[nodiscard]] Status activate(const std::string& id, const KmipDeadline& deadline);
  [[nodiscard]] Status destroy(const std::string& id, const KmipDeadline& deadline);
  // Under a random IV.
  [[nodiscard]] Result<KmipSealed> encrypt(const std::string& id, ByteView additional_data, ByteView plaintext,
                                           const KmipDeadline& deadline);
  [[nodiscard]] Result<KmipDecrypted> decrypt(const std::string& id, ByteView additional_data, const KmipSealed& sealed,
                                              const KmipDeadline& deadline);

  // The error that a refusal stands for, as far as its reason alone tells.
  [[nodiscard]] static Error refusal_error(KmipOperation operation, const KmipRefusal& refusal);

 private:
  struct Reply {
    SecretBuffer message;
    KmipAnswer answer;  // points into `message`
  };
  enum class Repeat : std::uint8_t { never, if_unanswered };

  [[nodiscard]] Result<Reply> ask(KmipOperation operation, const Result<TtlvWriter>& request,
                                  const KmipDeadline& deadline);
  // The same, but a refusal is an error.
  [[nodiscard]] Result<Reply> demand(KmipOperation operation, const Result<TtlvWriter>& request,
                                     const KmipDeadline& deadline);
  [[nodiscard]] Result<SecretBuffer> exchange(ByteView request, std::size_t limit, Repeat repeat,
                                              const KmipDeadline& deadline);
  [[nodiscard]] Result<std::unique_ptr<KmipConnection>> connect(const KmipDeadline& deadline, unsigned& retries_left);
  // Waits before another attempt, or gives `error` as what it finally is.
  [[nodiscard]] Status pause(const Error& error, const KmipDeadline& deadline, unsigned& retries_left) const;
  [[nodiscard]] std::unique_ptr<KmipConnection> take_idle();
  void keep(std::unique_ptr<KmipConnection> connection);

  Env& env_;
  const KmipSettings settings_;
  const KmipRetryPlan retry_;
  Mutex mutex_;  // a leaf, not held across I/O
  std::vector<std::unique_ptr<KmipConnection>> idle_ GUARDED_BY(mutex_);
};

}  // namespace vaultfs
