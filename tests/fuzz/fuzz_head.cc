#include <cstdlib>

#include "tests/fuzz/fuzz_keys.h"
#include "vaultmeta/head.h"

// A head file. What is taken must encode to the same bytes, and a chain of one head must be found or refused cleanly.
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace vaultfs;
  const ByteView input = fuzz_input(data, size);
  const auto stored = Head::decode(input);
  if (!stored.ok()) return 0;
  Bytes again = stored->head.encode();
  again.insert(again.end(), stored->mac.view().begin(), stored->mac.view().end());
  if (!bytes_equal(again, input)) std::abort();
  if (!choose_head({*stored}, stored->head.generation, stored->file_digest).ok()) std::abort();
  if (choose_head({*stored}, stored->head.generation.next(), stored->file_digest).ok()) std::abort();
  return 0;
}
