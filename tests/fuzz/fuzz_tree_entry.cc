#include <cstdlib>

#include "fs/tree/format/entry.h"
#include "tests/fuzz/fuzz_keys.h"

// A journal entry of the working tree. What is taken must encode to the same bytes, or, of the first form, to an entry
// that says the same.
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace vaultfs;
  const ByteView input = fuzz_input(data, size);
  const auto changes = decode_tree_entry(input);
  if (!changes.ok()) {
    if (changes.code() != ErrorCode::JournalDamaged && changes.code() != ErrorCode::UnsupportedFormat) std::abort();
    return 0;
  }
  TreeEntryWriter writer;
  for (const TreeChange& change : *changes) writer.add(change);
  const Bytes again = std::move(writer).take();
  constexpr std::byte kFirstForm{1};
  if (input.front() != kFirstForm) {
    if (!bytes_equal(again, input)) std::abort();
  } else if (const auto same = decode_tree_entry(again); !same.ok() || same->size() != changes->size()) {
    std::abort();
  }
  return 0;
}
