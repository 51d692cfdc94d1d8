#include "crypto/memory/secret_buffer.h"

#include <sodium.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <unistd.h>

#include <cerrno>
#include <cstdint>
#include <cstring>
#include <utility>

namespace vaultfs {
namespace {

Error lock_error(int errno_value) {
  return Error{ErrorCode::MemoryLockFailed, "cannot lock memory for keys: " + std::string(std::strerror(errno_value)) +
                                                "; raise the limit on locked memory (ulimit -l, LimitMEMLOCK=)"};
}

// The pages of the buffer are not mapped in a child of fork(). sodium_malloc has them between two guard pages, so
// nothing else lies in them.
bool keep_from_children(std::byte* data, std::size_t size) {
  static const auto page = static_cast<std::uintptr_t>(::sysconf(_SC_PAGESIZE));
  const auto address = reinterpret_cast<std::uintptr_t>(data);
  const std::uintptr_t offset = address % page;
  return ::madvise(data - offset, (offset + size + page - 1) / page * page, MADV_DONTFORK) == 0;
}

// sodium_malloc needs libsodium's page size; a second sodium_init does nothing.
bool sodium_ready() {
  static const bool ready = sodium_init() >= 0;
  return ready;
}

}  // namespace

SecretBuffer::SecretBuffer(SecretBuffer&& other) noexcept
    : data_(std::exchange(other.data_, nullptr)), size_(std::exchange(other.size_, 0)) {}

SecretBuffer& SecretBuffer::operator=(SecretBuffer&& other) noexcept {
  if (this != &other) {
    reset();
    data_ = std::exchange(other.data_, nullptr);
    size_ = std::exchange(other.size_, 0);
  }
  return *this;
}

SecretBuffer::~SecretBuffer() { reset(); }

Result<SecretBuffer> SecretBuffer::allocate(std::size_t size) {
  if (size == 0) return SecretBuffer();
  if (!sodium_ready()) return Error{ErrorCode::Internal, "libsodium cannot start"};
  auto* const data = static_cast<std::byte*>(sodium_malloc(size));
  if (data == nullptr) return lock_error(errno);
  // sodium_malloc ignores a failing lock; asking once more tells.
  if (sodium_mlock(data, size) != 0 || !keep_from_children(data, size)) {
    const int saved_errno = errno;
    sodium_free(data);
    return lock_error(saved_errno);
  }
  std::memset(data, 0, size);
  return SecretBuffer(data, size);
}

Result<SecretBuffer> SecretBuffer::copy_of(ByteView bytes) {
  VAULTFS_ASSIGN_OR_RETURN(SecretBuffer copy, allocate(bytes.size()));
  if (!bytes.empty()) std::memcpy(copy.data_, bytes.data(), bytes.size());
  return copy;
}

Result<SecretBuffer> SecretBuffer::random(std::size_t size) {
  VAULTFS_ASSIGN_OR_RETURN(SecretBuffer buffer, allocate(size));
  std::size_t done = 0;
  while (done < size) {
    const ssize_t n = ::getrandom(buffer.data_ + done, size - done, 0);
    if (n < 0) {
      if (errno == EINTR) continue;
      return Error{ErrorCode::Internal, "the kernel gives no random bytes: " + std::string(std::strerror(errno))};
    }
    done += static_cast<std::size_t>(n);
  }
  return buffer;
}

void SecretBuffer::reset() noexcept {
  if (data_ == nullptr) return;
  sodium_memzero(data_, size_);
  sodium_free(data_);
  data_ = nullptr;
  size_ = 0;
}

bool constant_time_equal(ByteView a, ByteView b) noexcept {
  return a.size() == b.size() && (a.empty() || sodium_memcmp(a.data(), b.data(), a.size()) == 0);
}

void wipe(MutableByteView bytes) noexcept {
  if (!bytes.empty()) sodium_memzero(bytes.data(), bytes.size());
}

}  // namespace vaultfs
