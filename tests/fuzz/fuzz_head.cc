#include <algorithm>
#include <cstdlib>

#include "crypto/hash.h"
#include "tests/fuzz/fuzz_keys.h"
#include "vaultmeta/heads/head.h"

// A head file. What is taken must encode to the same bytes, and a chain of one head must be found or refused cleanly.
namespace {

using namespace vaultfs;

void read_head(ByteView input) {
  const auto stored = Head::decode(input);
  if (!stored.ok()) {
    if (stored.code() != ErrorCode::DamagedHead && stored.code() != ErrorCode::UnsupportedFormat) std::abort();
    return;
  }
  // Optional fields that this program does not know are not written again: then it is shorter.
  const Bytes again = stored->head.encode();
  if (stored->head.format == Head::kFormat1 && again.size() != stored->body.size()) std::abort();
  if (again.size() == stored->body.size() && !bytes_equal(again, stored->body)) std::abort();
  if (!choose_head({*stored}, stored->head.generation, stored->file_digest).ok()) std::abort();
  if (choose_head({*stored}, stored->head.generation.next(), stored->file_digest).ok()) std::abort();
}

}  // namespace

// Once as it is, and once with the digest that a file of format 2 ends with.
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  Bytes file = to_bytes(fuzz_input(data, size));
  read_head(file);
  if (file.size() < Digest::kSize) return 0;
  const Digest digest = sha256(ByteView(file).first(file.size() - Digest::kSize));
  std::copy(digest.view().begin(), digest.view().end(), file.end() - static_cast<std::ptrdiff_t>(Digest::kSize));
  read_head(file);
  return 0;
}
