#include <cstdlib>

#include "fs/tree/format/section.h"
#include "tests/fuzz/fuzz_keys.h"

// The working tree's part of a checkpoint. What is taken must encode to the same bytes.
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace vaultfs;
  const ByteView input = fuzz_input(data, size);
  const auto section = TreeSection::decode(input);
  if (!section.ok()) {
    if (section.code() != ErrorCode::DamagedCheckpoint && section.code() != ErrorCode::UnsupportedFormat) std::abort();
    return 0;
  }
  if (!bytes_equal(section->encode(), input)) std::abort();
  return 0;
}
