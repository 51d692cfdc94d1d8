#pragma once

#include <memory>
#include <string>

#include "base/result.h"

namespace vaultfs {

// Frees an OpenSSL object by the function that is its own.
template <auto Free>
struct OpensslFree {
  template <typename T>
  void operator()(T* object) const noexcept {
    Free(object);
  }
};

// The one owner of an OpenSSL object: OpensslHandle<EVP_PKEY, EVP_PKEY_free>.
template <typename T, auto Free>
using OpensslHandle = std::unique_ptr<T, OpensslFree<Free>>;

// An error with `what` and the reason of this thread's last OpenSSL error, whose queue is emptied, so that no later
// call takes it for its own. MemoryLockFailed if OpenSSL got no memory, which in a hardened process means no locked
// memory.
[[nodiscard]] Error openssl_error(ErrorCode code, const std::string& what);

// Empties this thread's OpenSSL error queue, and tells whether an allocation was among the failures: for calls whose
// other failures mean a wrong key or passphrase, which a lack of locked memory must not be taken for.
[[nodiscard]] bool take_memory_failure();
[[nodiscard]] Error no_locked_memory(const std::string& what);

}  // namespace vaultfs
