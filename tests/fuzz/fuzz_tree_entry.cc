#include <cstdlib>

#include "fs/tree_entry.h"
#include "tests/fuzz/fuzz_keys.h"

// A journal entry of the working tree. What is taken must encode to the same bytes.
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace vaultfs;
  const ByteView input = fuzz_input(data, size);
  const auto changes = decode_tree_entry(input);
  if (!changes.ok()) {
    if (changes.code() != ErrorCode::JournalDamaged) std::abort();
    return 0;
  }
  TreeEntryWriter writer;
  for (const TreeChange& change : *changes) writer.add(change);
  if (!bytes_equal(std::move(writer).take(), input)) std::abort();
  return 0;
}
