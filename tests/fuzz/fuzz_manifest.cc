#include <cstdlib>

#include "base/byte_codec.h"
#include "tests/fuzz/fuzz_keys.h"
#include "vaultmeta/points/manifest.h"

// u32 length of the sealed part, the sealed part, the inventory. What is taken must encode to the same bytes.
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace vaultfs;
  ByteReader reader(fuzz_input(data, size));
  const ByteView sealed = reader.blob(size);
  const ByteView inventory = reader.raw(reader.remaining());
  const auto segments = Manifest::decode_inventory(inventory);
  if (segments.ok()) {
    Manifest only_inventory;
    only_inventory.inventory = *segments;
    if (!bytes_equal(only_inventory.encode_inventory(), inventory)) std::abort();
  }
  const auto manifest = Manifest::decode(sealed, inventory);
  if (manifest.ok() && !bytes_equal(manifest->encode(), sealed)) std::abort();
  if (!manifest.ok() && manifest.code() != ErrorCode::DamagedManifest) std::abort();
  return 0;
}
