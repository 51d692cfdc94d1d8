#pragma once

#include <cstddef>

#include "base/bytes.h"
#include "base/result.h"

namespace vaultfs {

// Bytes that must never leave memory in the clear: keys, passphrases, unwrapped secrets.
//
// Guarded, page-locked memory (sodium_malloc, and the lock is checked), excluded from core dumps, wiped before it is
// freed, and not there in a child of fork(): what a child does with it, or with OpenSSL once harden_process() was
// called, ends it. A child may only exec or end. Move-only: a copy has to be asked for. It has no stream operator and
// no conversion to text on purpose. Each one takes a locked page of its own (RLIMIT_MEMLOCK is 8 MiB for ordinary
// users): don't make them per frame. Threading: like a std::vector; distinct buffers may be used from distinct threads.
class SecretBuffer {
 public:
  SecretBuffer() = default;
  SecretBuffer(SecretBuffer&& other) noexcept;
  SecretBuffer& operator=(SecretBuffer&& other) noexcept;
  SecretBuffer(const SecretBuffer&) = delete;
  SecretBuffer& operator=(const SecretBuffer&) = delete;
  ~SecretBuffer();

  // `size` zero bytes. MemoryLockFailed if the memory can't be locked (RLIMIT_MEMLOCK).
  [[nodiscard]] static Result<SecretBuffer> allocate(std::size_t size);
  // A copy of `bytes`; wiping the source is the caller's business.
  [[nodiscard]] static Result<SecretBuffer> copy_of(ByteView bytes);
  // `size` bytes from the kernel's generator.
  [[nodiscard]] static Result<SecretBuffer> random(std::size_t size);

  [[nodiscard]] Result<SecretBuffer> clone() const { return copy_of(view()); }
  [[nodiscard]] ByteView view() const noexcept { return {data_, size_}; }
  [[nodiscard]] MutableByteView mutable_view() noexcept { return {data_, size_}; }
  [[nodiscard]] std::size_t size() const noexcept { return size_; }
  [[nodiscard]] bool empty() const noexcept { return size_ == 0; }
  // Wipes and frees now.
  void reset() noexcept;

 private:
  SecretBuffer(std::byte* data, std::size_t size) noexcept : data_(data), size_(size) {}
  std::byte* data_ = nullptr;
  std::size_t size_ = 0;
};

// Equality in a time that depends on the sizes only.
[[nodiscard]] bool constant_time_equal(ByteView a, ByteView b) noexcept;

// Overwrites memory in a way that the compiler can't drop.
void wipe(MutableByteView bytes) noexcept;

// To be called once, first thing in main: starts libsodium, moves OpenSSL's allocations (contexts, key schedules) into
// a locked pool that is wiped on free, turns core dumps and ptrace off (RLIMIT_CORE 0, PR_SET_DUMPABLE 0).
// Idempotent. Tests call it too. MemoryLockFailed if memory can't be locked, or if OpenSSL has allocated already, so
// that its memory can't be moved any more. Under a sanitizer ptrace stays on, which the leak checker needs.
[[nodiscard]] Status harden_process();

}  // namespace vaultfs
