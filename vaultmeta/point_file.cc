#include "vaultmeta/point_file.h"

#include "crypto/hash.h"
#include "store/container.h"
#include "store/record.h"
#include "store/stream.h"
#include "vaultmeta/vault_layout.h"

namespace vaultfs {
namespace {

Error no_inventory() { return {ErrorCode::DamagedManifest, "a recovery point's file has no readable inventory"}; }

}  // namespace

Result<std::vector<Manifest::SegmentNeeded>> read_clear_inventory(File& file) {
  Bytes start(RecordHeader::kEncodedBytes);
  VAULTFS_ASSIGN_OR_RETURN(const std::size_t read, file.read_at(ContainerHeader::kEncodedBytes, start));
  if (read != start.size()) return no_inventory();
  const auto header = RecordHeader::decode(start);
  if (!header.ok() || header->type != RecordType::clear_inventory || !header->clear) return no_inventory();
  Bytes stored(header->stored_bytes());
  VAULTFS_ASSIGN_OR_RETURN(const std::size_t got, file.read_at(ContainerHeader::kEncodedBytes, stored));
  if (got != stored.size() || !check_record(*header, stored).ok()) return no_inventory();
  return Manifest::decode_inventory(ByteView(stored).subspan(RecordHeader::kEncodedBytes, header->payload_bytes));
}

Result<std::vector<Error>> missing_segments(Env& env, const Env::Path& vault,
                                            const std::vector<Manifest::SegmentNeeded>& inventory) {
  std::vector<Error> problems;
  for (const Manifest::SegmentNeeded& segment : inventory) {
    const std::string name = kSegmentFiles.file(segment.number.value);
    VAULTFS_ASSIGN_OR_RETURN(const FileInfo info, env.info(vault / name));
    if (info.kind != FileKind::file) {
      problems.push_back({ErrorCode::SegmentMissing, name + " is missing"});
    } else if (info.size != segment.file_bytes) {
      problems.push_back({ErrorCode::DamagedSegment, name + " has " + std::to_string(info.size) + " bytes instead of " +
                                                         std::to_string(segment.file_bytes)});
    }
  }
  return problems;
}

Result<PointInfo> describe_point(BlobStore& blobs, const EpochKeys& keys, PointNumber file_number) {
  const std::string name = kPointFiles.file(file_number.value);
  auto file = blobs.get(name, kMaxStreamBytes);
  if (!file.ok()) return stored_file_error(std::move(file).error(), ErrorCode::ManifestMissing, name);
  VAULTFS_ASSIGN_OR_RETURN(const OpenedStream stream,
                           open_stream(keys, ContainerKind::manifest, ContainerNumber(file_number.value), *file,
                                       ErrorCode::DamagedManifest));
  if (!stream.inventory.has_value()) return no_inventory();
  VAULTFS_ASSIGN_OR_RETURN(const Manifest manifest, Manifest::decode(stream.content, *stream.inventory));
  if (manifest.number > file_number) {
    return Error{ErrorCode::DamagedManifest, name + " describes another recovery point"};
  }
  PointInfo point;
  point.number = manifest.number;
  if (manifest.number != file_number) point.file = file_number;
  point.item = manifest.item;
  point.created = manifest.created;
  point.cut = manifest.cut;
  point.manifest = sha256(*file);
  point.manifest_bytes = file->size();
  for (const InodeRecord& inode : manifest.inodes) {
    if (inode.type != InodeType::file) continue;
    ++point.files;
    point.logical_bytes += inode.size;
  }
  return point;
}

}  // namespace vaultfs
