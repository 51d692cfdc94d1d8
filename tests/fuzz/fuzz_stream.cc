#include "store/index/chunk_index_file.h"
#include "store/record/stream.h"
#include "tests/fuzz/fuzz_keys.h"

// A stream's file, and (as what an index's stream would hold) the same bytes as a stored chunk index.
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace vaultfs;
  const ByteView file = fuzz_input(data, size);
  for (const auto kind : {ContainerKind::manifest, ContainerKind::index}) {
    const auto opened = open_stream(fuzz_keys(), kind, ContainerNumber(1), file, ErrorCode::DamagedManifest);
    if (opened.ok()) static_cast<void>(ChunkIndexFile::decode(opened->content));
  }
  const auto index_file = ChunkIndexFile::decode(file);
  if (index_file.ok()) {
    ChunkIndex index;
    for (const auto& entry : index_file->entries) index.insert(entry.key, entry.place);
  }
  return 0;
}
