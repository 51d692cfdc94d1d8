#include <cstdlib>

#include "tests/fuzz/fuzz_keys.h"
#include "vaultmeta/catalogue/catalogue.h"

// Changes of the catalogue, as a journal's entry and as a checkpoint's section have them. After any of them the
// catalogue must be one that can be stored and read back, with the same recovery points.
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace vaultfs;
  const ByteView input = fuzz_input(data, size);
  const auto check = [](const Catalogue& catalogue) {
    const Bytes section = catalogue.encode();
    Catalogue again;
    if (!again.load(section).ok() || !bytes_equal(again.encode(), section)) std::abort();
    if (again.points_digest() != catalogue.points_digest()) std::abort();
  };
  Catalogue applied;
  if (applied.apply(input).ok()) check(applied);
  Catalogue loaded;
  if (loaded.load(input).ok()) {
    check(loaded);
    // And once more over what is there.
    if (applied.apply(input).ok()) check(applied);
  }
  return 0;
}
