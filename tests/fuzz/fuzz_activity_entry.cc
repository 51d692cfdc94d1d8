#include <cstdlib>

#include "tests/fuzz/fuzz_keys.h"
#include "vaultmeta/activity/activity_verify.h"

// An entry of the activity log. What is taken must encode to the same bytes, its chain value behind them.
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace vaultfs;
  const ByteView input = fuzz_input(data, size);
  const auto entry = decode_activity_entry(input);
  if (!entry.ok()) {
    if (entry.code() != ErrorCode::DamagedActivityLog) std::abort();
    return 0;
  }
  Bytes again = encode_activity_entry(*entry);
  again.insert(again.end(), entry->chain.view().begin(), entry->chain.view().end());
  if (!bytes_equal(again, input)) std::abort();
  return 0;
}
