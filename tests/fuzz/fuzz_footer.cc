#include <cstdlib>

#include "store/index/segment_format.h"
#include "tests/fuzz/fuzz_keys.h"

// A footer's plaintext, and the same bytes as a trailer.
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace vaultfs;
  const ByteView input = fuzz_input(data, size);
  const auto entries = decode_segment_footer(input, 1ULL << 35U);
  if (entries.ok() && !bytes_equal(encode_segment_footer(*entries), input)) std::abort();
  if (input.size() == SegmentTrailer::kEncodedBytes) {
    const auto trailer = SegmentTrailer::decode(input);
    if (trailer.ok() && !bytes_equal(trailer->encode(), input)) std::abort();
  }
  return 0;
}
