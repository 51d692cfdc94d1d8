#include "crypto/openssl_handle.h"

#include <openssl/err.h>

namespace vaultfs {

bool take_memory_failure() {
  bool failed = false;
  while (const unsigned long error = ERR_get_error()) failed = failed || ERR_GET_REASON(error) == ERR_R_MALLOC_FAILURE;
  return failed;
}

Error no_locked_memory(const std::string& what) {
  return Error{ErrorCode::MemoryLockFailed,
               what + ": no more locked memory; raise the limit (ulimit -l, LimitMEMLOCK=)"};
}

Error openssl_error(ErrorCode code, const std::string& what) {
  const unsigned long last = ERR_peek_last_error();
  // The failed allocation is often not the last in the queue: callers up OpenSSL's stack add what they could not do.
  if (take_memory_failure()) return no_locked_memory(what);
  if (last == 0) return Error{code, what};
  const char* const reason = ERR_reason_error_string(last);
  return Error{code, what + ": " + (reason != nullptr ? reason : "unknown reason")};
}

}  // namespace vaultfs
