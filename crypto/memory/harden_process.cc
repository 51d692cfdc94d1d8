#include <openssl/crypto.h>
#include <sodium.h>
#include <sys/prctl.h>
#include <sys/resource.h>

#include <cerrno>
#include <cstdlib>
#include <cstring>

#include "base/thread/mutex.h"
#include "crypto/memory/locked_pool.h"
#include "crypto/memory/secret_buffer.h"

namespace vaultfs {
namespace {

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
constexpr bool kSanitized = true;
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer) || __has_feature(memory_sanitizer)
constexpr bool kSanitized = true;
#else
constexpr bool kSanitized = false;
#endif
#else
constexpr bool kSanitized = false;
#endif

// The shapes that CRYPTO_set_mem_functions wants; file and line are OpenSSL's own debugging aid.
void* pool_malloc(std::size_t size, const char* /*file*/, int /*line*/) {
  return LockedPool::instance().allocate(size);
}
void* pool_realloc(void* block, std::size_t size, const char* /*file*/, int /*line*/) {
  return LockedPool::instance().reallocate(block, size);
}
void pool_free(void* block, const char* /*file*/, int /*line*/) { LockedPool::instance().release(block); }

Status move_openssl_into_pool() {
  // Locking is tried before OpenSSL depends on it, so that the error names the cause.
  void* const trial = LockedPool::instance().allocate(1);
  if (trial == nullptr) {
    return Error{ErrorCode::MemoryLockFailed, "cannot lock memory for keys: " + std::string(std::strerror(errno)) +
                                                  "; raise the limit on locked memory (ulimit -l, LimitMEMLOCK=)"};
  }
  LockedPool::instance().release(trial);
  if (CRYPTO_set_mem_functions(pool_malloc, pool_realloc, pool_free) != 1) {
    return Error{ErrorCode::MemoryLockFailed, "OpenSSL was used before its memory could be locked"};
  }
  return ok_status();
}

Status forbid_dumps() {
  const struct rlimit none { 0, 0 };
  if (::setrlimit(RLIMIT_CORE, &none) != 0) {
    return Error{ErrorCode::Internal, "cannot turn core dumps off: " + std::string(std::strerror(errno))};
  }
  if (!kSanitized && ::prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) != 0) {
    return Error{ErrorCode::Internal, "cannot turn tracing off: " + std::string(std::strerror(errno))};
  }
  return ok_status();
}

}  // namespace

Status harden_process() {
  static Mutex mutex;  // Guards in_pool and orders concurrent first calls. Taken before the pool's mutex.
  static bool in_pool GUARDED_BY(mutex) = false;
  const MutexLock lock(mutex);
  if (sodium_init() < 0) return Error{ErrorCode::Internal, "libsodium cannot start"};
  if (!in_pool) {
    // libcurl would write the secrets of each TLS connection to that file. At the first call no other thread runs.
    ::unsetenv("SSLKEYLOGFILE");
    VAULTFS_RETURN_IF_ERROR(move_openssl_into_pool());
    in_pool = true;
  }
  return forbid_dumps();
}

}  // namespace vaultfs
