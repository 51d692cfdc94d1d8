#include <cstdlib>

#include "tests/fuzz/fuzz_keys.h"
#include "vaultmeta/catalogue/catalogue.h"
#include "vaultmeta/catalogue/checkpoint.h"

// The content of a checkpoint. What is taken must encode to the same bytes, and a catalogue in it that loads must be
// written as one that loads to the same.
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace vaultfs;
  const ByteView input = fuzz_input(data, size);
  const auto checkpoint = Checkpoint::decode(input);
  if (!checkpoint.ok()) {
    if (checkpoint.code() != ErrorCode::DamagedCheckpoint && checkpoint.code() != ErrorCode::UnsupportedFormat) {
      std::abort();
    }
    return 0;
  }
  if (!bytes_equal(checkpoint->encode(), input)) std::abort();
  Catalogue catalogue;
  if (!catalogue.load(checkpoint->catalogue).ok()) return 0;
  const Bytes section = catalogue.encode();
  Catalogue again;
  if (!again.load(section).ok() || !bytes_equal(again.encode(), section)) std::abort();
  return 0;
}
