#include "crypto/keyvault/http/curl_library.h"

#include <curl/curl.h>

#include <algorithm>
#include <cstring>

#include "crypto/memory/locked_pool.h"

namespace vaultfs {
namespace {

// libcurl's memory: request headers, bodies and answers pass through it.
void* curl_malloc(std::size_t size) { return LockedPool::instance().allocate(std::max<std::size_t>(size, 1)); }
void curl_release(void* block) { LockedPool::instance().release(block); }
void* curl_realloc(void* block, std::size_t size) {
  return LockedPool::instance().reallocate(block, std::max<std::size_t>(size, 1));
}
char* curl_strdup(const char* text) {
  const std::size_t bytes = std::strlen(text) + 1;
  void* const copy = curl_malloc(bytes);
  if (copy != nullptr) std::memcpy(copy, text, bytes);
  return static_cast<char*>(copy);
}
void* curl_calloc(std::size_t count, std::size_t size) {
  if (size != 0 && count > static_cast<std::size_t>(-1) / size) return nullptr;
  return curl_malloc(count * size);  // the pool's memory is zeroed
}

}  // namespace

bool curl_ready() {
  static const bool ready = curl_global_init_mem(CURL_GLOBAL_ALL, curl_malloc, curl_release, curl_realloc, curl_strdup,
                                                 curl_calloc) == CURLE_OK;
  return ready;
}

Error no_memory_for_curl() {
  return {ErrorCode::MemoryLockFailed,
          "no more locked memory for a request to a key vault; raise the limit (ulimit -l, LimitMEMLOCK=)"};
}

}  // namespace vaultfs
