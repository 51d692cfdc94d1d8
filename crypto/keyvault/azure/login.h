#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>

#include "base/files/env.h"
#include "base/result.h"
#include "base/thread/mutex.h"
#include "crypto/keyvault/azure/answers.h"
#include "crypto/keyvault/azure/options.h"
#include "crypto/keyvault/http/client.h"
#include "crypto/memory/secret_buffer.h"

namespace vaultfs {

// Access tokens for a key vault: of the machine's managed identity from its metadata service, or of an application from
// the login service. A token is kept until near its end. Thread-safe; no lock is held across I/O.
class AzureLogin {
 public:
  AzureLogin(Env& env, const AzureOptions& options) : env_(env), options_(options) {}

  using Token = std::shared_ptr<const SecretBuffer>;

  // A token that the challenge asks for. `refused`, if not null, is one that the key vault did not take: it is
  // forgotten. IdentityNotFound, IdentityDisabled or KeyVaultDenied if the service says so; KeyVaultUnavailable.
  [[nodiscard]] Result<Token> token(HttpCall& call, const AzureChallenge& challenge, const Token& refused);

 private:
  [[nodiscard]] Result<AzureToken> ask_metadata(HttpCall& call, const AzureChallenge& challenge) const;
  [[nodiscard]] Result<AzureToken> ask_authority(HttpCall& call, const AzureChallenge& challenge) const;
  [[nodiscard]] Status append_credential(LockedText& form, const std::string& endpoint) const;
  [[nodiscard]] Status check_authority(const AzureChallenge& challenge) const;

  Env& env_;
  const AzureOptions& options_;
  Mutex mutex_;  // A leaf in the lock order.
  Token kept_ GUARDED_BY(mutex_);
  std::string kept_audience_ GUARDED_BY(mutex_);
  std::int64_t kept_until_nanos_ GUARDED_BY(mutex_) = 0;  // by the monotonic clock
};

}  // namespace vaultfs
