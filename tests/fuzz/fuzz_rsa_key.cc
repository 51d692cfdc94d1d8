#include <cstdlib>
#include <memory>

#include "crypto/rsa_key.h"
#include "crypto/rsa_pem.h"
#include "tests/fuzz/fuzz_keys.h"

// A key to import: the input as PEM, as PKCS#8 and as a public key. Two steps that cost seconds by design are left out:
// opening encrypted keys, and the check of the primes.
namespace {

using namespace vaultfs;

template <typename T>
bool taken(const Result<T>& read) {
  if (read.ok()) return true;
  switch (read.code()) {
    case ErrorCode::InvalidArgument:
    case ErrorCode::KeyNotRsa:
    case ErrorCode::KeySizeUnsupported:
    case ErrorCode::NotSupported:
    case ErrorCode::PassphraseRequired:
      return false;
    default:
      std::abort();
  }
}

void check(const Result<Pkcs8Handle>& pem) {
  if (taken(pem) && *pem == nullptr) std::abort();
}

// What is taken works as a key.
void check(const Result<std::unique_ptr<RsaKey>>& key) {
  if (!taken(key)) return;
  if ((*key)->bits() != 2048 && (*key)->bits() != 3072 && (*key)->bits() != 4096) std::abort();
  const auto der = (*key)->public_der();
  if (!der.ok()) std::abort();
  const auto again = RsaKey::from_public_der(*der);
  if (!again.ok() || (*again)->bits() != (*key)->bits()) std::abort();
  static_cast<void>((*key)->encrypt(bytes_of("an envelope")));
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const ByteView input = fuzz_input(data, size);
  check(read_pkcs8_pem(input, nullptr));
  check(RsaKey::from_private_der(input));
  check(RsaKey::from_public_der(input));
  return 0;
}
