#include <algorithm>
#include <cstdlib>

#include "store/index/patch.h"
#include "tests/fuzz/fuzz_keys.h"

// A patch's plaintext as a whole, and its first frame with the length that it then must have.
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace vaultfs;
  const ByteView input = fuzz_input(data, size);
  const auto whole = PatchHeader::decode_whole(input);
  const ByteView frame = input.first(std::min(input.size(), PatchHeader::kEncodedBytes));
  const auto header = PatchHeader::decode(frame, static_cast<std::uint32_t>(input.size()));
  if (whole.ok() && (!header.ok() || *header != *whole)) std::abort();
  if (!header.ok()) return 0;
  if (!bytes_equal(header->encode(), frame) || header->plaintext_bytes() != input.size()) std::abort();
  // Every page that it names lies in the record, within the content, and where the one before ends.
  std::uint32_t next = PatchHeader::kEncodedBytes;
  for (std::uint32_t page = 0; page < kPatchPages; ++page) {
    if (!header->pages.test(page)) continue;
    if (header->offset_of(page) != next || page * kPatchPageBytes >= header->length) std::abort();
    next += kPatchPageBytes;
  }
  if (next != input.size()) std::abort();
  return 0;
}
