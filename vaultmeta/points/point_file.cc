#include "vaultmeta/points/point_file.h"

#include <utility>

#include "store/record/container.h"
#include "store/record/record.h"
#include "vaultmeta/layout/vault_layout.h"

namespace vaultfs {
namespace {

constexpr std::size_t kMostProblems = 100;

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
    if (problems.size() == kMostProblems) break;
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

Result<StoredManifest> read_manifest_file(BlobStore& blobs, const EpochKeys& keys, PointNumber file,
                                          const ExpectedFile& expected) {
  const std::string name = kPointFiles.file(file.value);
  const auto stored = blobs.open(name);
  if (!stored.ok()) return stored_file_error(stored.error(), ErrorCode::ManifestMissing, name);
  const auto stream = read_stream(keys, ContainerKind::manifest, ContainerNumber(file.value), **stored,
                                  ErrorCode::DamagedManifest, expected);
  if (!stream.ok()) return with_context(stream.error(), name);
  if (!stream->inventory.has_value()) return Error{ErrorCode::DamagedManifest, name + " has no inventory"};
  VAULTFS_ASSIGN_OR_RETURN(Manifest manifest, Manifest::decode(stream->content, *stream->inventory));
  return StoredManifest{std::move(manifest), stream->file_bytes, stream->file_digest, stream->epoch};
}

Result<Manifest> read_manifest_of(BlobStore& blobs, const EpochKeys& keys, const PointInfo& point) {
  const ExpectedFile expected{point.manifest_bytes, point.manifest};
  VAULTFS_ASSIGN_OR_RETURN(StoredManifest stored, read_manifest_file(blobs, keys, point.manifest_file(), expected));
  const Manifest& manifest = stored.manifest;
  if (manifest.number != point.number || manifest.item != point.item || manifest.cut != point.cut) {
    return Error{ErrorCode::DamagedManifest,
                 kPointFiles.file(point.manifest_file().value) + " describes another recovery point"};
  }
  return std::move(stored.manifest);
}

Result<FoundPoint> describe_point(BlobStore& blobs, const EpochKeys& keys, PointNumber file_number) {
  VAULTFS_ASSIGN_OR_RETURN(const StoredManifest stored, read_manifest_file(blobs, keys, file_number));
  const Manifest& manifest = stored.manifest;
  if (manifest.number > file_number) {
    return Error{ErrorCode::DamagedManifest, kPointFiles.file(file_number.value) + " describes another recovery point"};
  }
  FoundPoint found;
  found.current_epoch = keys.is_current(stored.epoch);
  PointInfo& point = found.info;
  point.unproven = true;
  point.number = manifest.number;
  if (manifest.number != file_number) point.file = file_number;
  point.item = manifest.item;
  point.created = manifest.created;
  point.cut = manifest.cut;
  point.manifest = stored.file_digest;
  point.manifest_bytes = stored.file_bytes;
  for (const InodeRecord& inode : manifest.inodes) {
    if (inode.type != InodeType::file) continue;
    ++point.files;
    point.logical_bytes += inode.size;
  }
  return found;
}

}  // namespace vaultfs
