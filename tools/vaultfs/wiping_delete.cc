// The mounting program wipes what it frees. Contents of files pass through many buffers, of which each is freed soon;
// without this they would stay in freed memory until something else is put there, also after a revocation. Keys don't
// depend on it: they have memory of their own (crypto/memory/secret_buffer.h, crypto/memory/locked_pool.h).
//
// [replacement.functions] lets a program replace these; all other forms of operator delete go through them, and the
// standard library's operator new takes its memory from malloc. The sanitizers bring their own.

#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)

#include <malloc.h>
#include <string.h>  // NOLINT(modernize-deprecated-headers): explicit_bzero is glibc's, not the standard library's

#include <cstdlib>
#include <new>

namespace {

void wipe_and_free(void* memory) noexcept {
  if (memory == nullptr) return;
  ::explicit_bzero(memory, ::malloc_usable_size(memory));
  std::free(memory);  // NOLINT(cppcoreguidelines-no-malloc)
}

}  // namespace

// NOLINTNEXTLINE(misc-new-delete-overloads): the standard library's operator new stays, see above
void operator delete(void* memory) noexcept { wipe_and_free(memory); }
void operator delete(void* memory, std::size_t /*size*/) noexcept { wipe_and_free(memory); }
void operator delete(void* memory, std::align_val_t /*alignment*/) noexcept { wipe_and_free(memory); }
void operator delete(void* memory, std::size_t /*size*/, std::align_val_t /*alignment*/) noexcept {
  wipe_and_free(memory);
}

#endif
