#include <cstdlib>

#include "crypto/hash.h"
#include "tests/fuzz/fuzz_keys.h"
#include "vaultmeta/heads/head_pack.h"

// A pack of heads, with the digest at its end that its bytes should have. What is taken must encode to the same bytes,
// and be of the vault and the heads that were asked for.
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace vaultfs;
  Bytes file = to_bytes(fuzz_input(data, size));
  if (file.size() >= Digest::kSize) {
    const Digest digest = sha256(ByteView(file).first(file.size() - Digest::kSize));
    std::copy(digest.view().begin(), digest.view().end(), file.end() - static_cast<std::ptrdiff_t>(Digest::kSize));
  }
  const Generation last(2 * kHeadsInPack);
  const auto pack = HeadPack::decode(file, fuzz_keys().vault(), last);
  if (!pack.ok()) {
    if (pack.code() != ErrorCode::DamagedHead && pack.code() != ErrorCode::UnsupportedFormat) std::abort();
    return 0;
  }
  if (!bytes_equal(pack->encode(), file) || pack->last != last || pack->digests.size() != kHeadsInPack) std::abort();
  if (HeadPack::decode(file, fuzz_keys().vault(), last.next()).ok()) std::abort();
  return 0;
}
