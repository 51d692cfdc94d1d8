#include "store/segment/file/segment_files.h"

#include <array>
#include <string>
#include <utility>

#include "store/index/segment_format.h"
#include "store/record/container.h"
#include "store/record/record.h"

namespace vaultfs {

Result<std::shared_ptr<File>> SegmentFiles::file_of(ContainerNumber number) const {
  const auto segment = table_.find(number);
  if (!segment) return Error{ErrorCode::SegmentMissing, "a segment is gone"};
  if (segment->writer) return segment->writer->file();
  const std::string name = segment->closed ? closed_segment_name(number) : open_segment_name(number);
  auto file = segment->closed ? blobs_.open(name) : env_.open(root_ / name, OpenMode::read_only);
  if (file.ok()) return std::shared_ptr<File>(std::move(*file));
  if (file.code() != ErrorCode::NotFound) return std::move(file).error();
  return Error{ErrorCode::SegmentMissing, name + " is gone"};
}

Result<std::shared_ptr<const SegmentReader>> SegmentFiles::reader_of(ContainerNumber number) {
  if (auto reader = readers_.find(number)) return reader;
  VAULTFS_ASSIGN_OR_RETURN(auto reader, open_reader(number));
  readers_.insert(number, reader);
  return reader;
}

Result<std::shared_ptr<const SegmentReader>> SegmentFiles::open_reader(ContainerNumber number) {
  const auto segment = table_.find(number);
  if (!segment) return Error{ErrorCode::SegmentMissing, "a chunk lies in a segment that is gone"};
  if (segment->writer) {
    VAULTFS_ASSIGN_OR_RETURN(auto cipher, segment->writer->cipher());
    return std::shared_ptr<const SegmentReader>(std::make_shared<SegmentReader>(
        SegmentReader::Source{segment->writer->file(), number, open_segment_name(number), maps_}, std::move(cipher),
        segment->writer->epoch()));
  }
  // A segment that was found open may have got its final name since, by its owner.
  const std::string closed_name = closed_segment_name(number);
  const std::string open_name = open_segment_name(number);
  auto file = segment->closed ? blobs_.open(closed_name) : env_.open(root_ / open_name, OpenMode::read_only);
  if (!file.ok() && file.code() == ErrorCode::NotFound && !segment->closed) file = blobs_.open(closed_name);
  if (!file.ok()) {
    if (file.code() != ErrorCode::NotFound) return std::move(file).error();
    return Error{ErrorCode::SegmentMissing, closed_name + " is gone"};
  }
  return SegmentReader::open({std::move(file).value(), number, segment->closed ? closed_name : open_name, maps_},
                             keys_);
}

Result<ChunkId> SegmentFiles::id_at(const ChunkIndex::Key& key, const ChunkPlace& place) const {
  VAULTFS_ASSIGN_OR_RETURN(const std::shared_ptr<File> file, file_of(place.segment));
  std::array<std::byte, RecordHeader::kEncodedBytes> bytes{};
  VAULTFS_ASSIGN_OR_RETURN(const std::size_t read, file->read_at(place.offset, bytes));
  VAULTFS_ASSIGN_OR_RETURN(const RecordHeader header, RecordHeader::decode(ByteView(bytes).first(read)));
  if (ChunkIndex::key_of(header.id) == key) return header.id;
  return Error{ErrorCode::ChunkMismatch, "another record stands where a chunk should be"};
}

Result<EpochNumber> SegmentFiles::epoch_of(ContainerNumber segment) {
  const auto known = table_.find(segment);
  if (!known) return Error{ErrorCode::SegmentMissing, "a segment is gone"};
  if (known->epoch.value != 0) return known->epoch;
  if (known->writer) return known->writer->epoch();
  const std::string name = known->closed ? closed_segment_name(segment) : open_segment_name(segment);
  auto file = known->closed ? blobs_.open(name) : env_.open(root_ / name, OpenMode::read_only);
  if (!file.ok()) {
    if (file.code() != ErrorCode::NotFound) return std::move(file).error();
    return Error{ErrorCode::SegmentMissing, name + " is gone"};
  }
  Bytes start(ContainerHeader::kEncodedBytes);
  VAULTFS_ASSIGN_OR_RETURN(const std::size_t read, (*file)->read_at(0, start));
  if (read != start.size()) return Error{ErrorCode::DamagedHeader, name + " is cut off"};
  VAULTFS_ASSIGN_OR_RETURN(const ContainerHeader header, ContainerHeader::decode(start));
  if (header.kind != ContainerKind::segment || header.number != segment) {
    return Error{ErrorCode::DamagedHeader, name + " is another file than its name says"};
  }
  table_.set_epoch(segment, header.epoch);
  return header.epoch;
}

}  // namespace vaultfs
