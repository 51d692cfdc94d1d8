#include <cstdlib>
#include <string>

#include "crypto/keyvault/key_ref.h"
#include "tests/fuzz/fuzz_keys.h"

// A key reference. What is taken must be the same again from its text, and what is refused must be told in one line
// that no terminal obeys.
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace vaultfs;
  const auto ref = KeyRef::parse(text_of(fuzz_input(data, size)));
  if (!ref.ok()) {
    if (ref.code() != ErrorCode::InvalidKeyRef) std::abort();
    for (const char c : ref.error().message) {
      if (c < 0x20 || c > 0x7e) std::abort();
    }
    return 0;
  }
  if (!is_key_name(ref->key_vault) || !is_key_name(ref->key)) std::abort();
  if (ref->pinned() && !is_pinnable_version(*ref->version)) std::abort();
  const auto again = KeyRef::parse(ref->to_string());
  if (!again.ok() || *again != *ref) std::abort();
  return 0;
}
