#include "crypto/openssl_handle.h"

#include <openssl/err.h>

namespace vaultfs {

Error openssl_error(ErrorCode code, const std::string& what) {
  const unsigned long last = ERR_peek_last_error();
  ERR_clear_error();
  if (last == 0) return Error{code, what};
  if (ERR_GET_REASON(last) == ERR_R_MALLOC_FAILURE) {
    return Error{ErrorCode::MemoryLockFailed,
                 what + ": no more locked memory; raise the limit (ulimit -l, LimitMEMLOCK=)"};
  }
  const char* const reason = ERR_reason_error_string(last);
  return Error{code, what + ": " + (reason != nullptr ? reason : "unknown reason")};
}

}  // namespace vaultfs
