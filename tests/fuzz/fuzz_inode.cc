#include <cstdlib>

#include "base/byte_codec.h"
#include "tests/fuzz/fuzz_keys.h"
#include "vaultmeta/catalogue/catalogue.h"
#include "vaultmeta/points/inode_record.h"

// One inode; the same bytes as a map page and as a catalogue entry. What is taken must encode to the same bytes, and
// what a catalogue takes must survive a checkpoint.
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace vaultfs;
  const ByteView input = fuzz_input(data, size);
  ByteReader reader(input);
  const InodeRecord inode = InodeRecord::decode(reader);
  if (reader.finish(ErrorCode::DamagedManifest, "an inode").ok()) {
    ByteWriter writer;
    inode.encode(writer);
    if (!bytes_equal(writer.view(), input)) std::abort();
  }
  const auto page = MapPage::decode(input);
  if (page.ok() && !bytes_equal(page->encode(), input)) std::abort();
  Catalogue catalogue;
  if (catalogue.apply(input).ok()) {
    Catalogue loaded;
    if (!loaded.load(catalogue.encode()).ok() || loaded.encode() != catalogue.encode()) std::abort();
  }
  return 0;
}
