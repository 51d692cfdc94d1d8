#include "vaultmeta/catalogue/checkpoint.h"

#include "base/byte_codec.h"

namespace vaultfs {
namespace {

// Sections may be larger than a blob with its u32 length.
void write_section(ByteWriter& writer, ByteView section) {
  writer.u64(section.size());
  writer.raw(section);
}

Bytes read_section(ByteReader& reader) {
  const std::uint64_t size = reader.u64();
  if (size > reader.remaining()) {
    reader.fail();
    return {};
  }
  return to_bytes(reader.raw(size));
}

}  // namespace

Bytes Checkpoint::encode() const {
  ByteWriter writer;
  writer.u64(replay_from.value);
  writer.u64(cut.value);
  writer.u64(predecessor_head.value);
  write_section(writer, catalogue);
  write_section(writer, tree);
  return std::move(writer).take();
}

Result<Checkpoint> Checkpoint::decode(ByteView content) {
  ByteReader reader(content);
  Checkpoint checkpoint;
  checkpoint.replay_from = ContainerNumber(reader.u64());
  checkpoint.cut = Lsn(reader.u64());
  checkpoint.predecessor_head = Generation(reader.u64());
  checkpoint.catalogue = read_section(reader);
  checkpoint.tree = read_section(reader);
  if (checkpoint.replay_from.value == 0) reader.fail();
  VAULTFS_RETURN_IF_ERROR(reader.finish(ErrorCode::DamagedCheckpoint, "a checkpoint"));
  return checkpoint;
}

}  // namespace vaultfs
