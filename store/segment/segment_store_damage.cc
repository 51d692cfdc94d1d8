// What is known to be damaged: docs/format.md, sections 4.3 and 9.1.
#include <algorithm>
#include <array>
#include <utility>

#include "base/thread/mutex.h"
#include "store/segment/segment_recovery.h"
#include "store/segment/segment_store_impl.h"

namespace vaultfs {
namespace {

// Of more than this nothing is told: the segments that they lie in are named by verify.
constexpr std::size_t kMostDamageTold = 1U << 18;

}  // namespace

bool is_damage(ErrorCode code) {
  switch (code) {
    case ErrorCode::DamagedRecord:
    case ErrorCode::DamagedHeader:
    case ErrorCode::DamagedSegment:
    case ErrorCode::SegmentMissing:
    case ErrorCode::ChunkMismatch:
    case ErrorCode::AuthenticationFailed:
    case ErrorCode::KeyCommitmentMismatch:
    case ErrorCode::EpochClosed:
    case ErrorCode::IoError:
      return true;
    default:
      return false;
  }
}

void SegmentStoreImpl::note_failure(const ChunkId& id, const ChunkPlace& place, const Error& error) {
  if (says_damage(place, error.code)) tell_damaged(ChunkIndex::key_of(id), place);
}

void SegmentStoreImpl::tell_damaged(const ChunkIndex::Key& key, const ChunkPlace& place) {
  if (!index_.mark_damaged(key, place)) return;
  const MutexLock lock(damage_mutex_);
  if (found_damaged_.size() < kMostDamageTold) found_damaged_.push_back({key, place.type, place.segment});
}

bool SegmentStoreImpl::says_damage(const ChunkPlace& place, ErrorCode code) const {
  if (!is_damage(code)) return false;
  // One bad sector is damage of what lies there; a disk that is gone is not.
  if (code == ErrorCode::IoError) return still_readable(place.segment);
  if (code != ErrorCode::SegmentMissing) return true;
  const auto folder = env_.info(root_ / "segments");
  return folder.ok() && folder->kind == FileKind::directory;
}

bool SegmentStoreImpl::still_readable(ContainerNumber segment) const {
  const auto file = file_of(segment);
  if (!file.ok()) return false;
  const auto size = (*file)->size();
  if (!size.ok() || *size < ContainerHeader::kEncodedBytes) return false;
  std::array<std::byte, ContainerHeader::kEncodedBytes> bytes{};
  const auto begin = (*file)->read_at(0, bytes);
  if (!begin.ok() || !ContainerHeader::decode(ByteView(bytes).first(*begin)).ok()) return false;
  return (*file)->read_at(*size - bytes.size(), bytes).ok();
}

Result<std::shared_ptr<File>> SegmentStoreImpl::file_of(ContainerNumber number) const {
  Segment segment;
  {
    const MutexLock lock(mutex_);
    const auto found = segments_.find(number);
    if (found == segments_.end()) return Error{ErrorCode::SegmentMissing, "a segment is gone"};
    segment = found->second;
  }
  if (segment.writer) return segment.writer->file();
  const std::string name = segment.closed ? closed_segment_name(number) : open_segment_name(number);
  auto file = segment.closed ? blobs_.open(name) : env_.open(root_ / name, OpenMode::read_only);
  if (file.ok()) return std::shared_ptr<File>(std::move(*file));
  if (file.code() != ErrorCode::NotFound) return std::move(file).error();
  return Error{ErrorCode::SegmentMissing, name + " is gone"};
}

Result<ChunkId> SegmentStoreImpl::id_at(const ChunkIndex::Key& key, const ChunkPlace& place) const {
  VAULTFS_ASSIGN_OR_RETURN(const std::shared_ptr<File> file, file_of(place.segment));
  std::array<std::byte, RecordHeader::kEncodedBytes> bytes{};
  VAULTFS_ASSIGN_OR_RETURN(const std::size_t read, file->read_at(place.offset, bytes));
  VAULTFS_ASSIGN_OR_RETURN(const RecordHeader header, RecordHeader::decode(ByteView(bytes).first(read)));
  if (ChunkIndex::key_of(header.id) == key) return header.id;
  return Error{ErrorCode::ChunkMismatch, "another record stands where a chunk should be"};
}

std::vector<DamagedChunk> SegmentStoreImpl::take_damage() {
  const MutexLock lock(damage_mutex_);
  return std::exchange(found_damaged_, {});
}

void SegmentStoreImpl::lay_damage(const std::vector<DamagedChunk>& known) {
  for (const DamagedChunk& chunk : known) {
    const auto place = index_.find(chunk.key);
    if (place && place->segment == chunk.segment) index_.mark_damaged(chunk.key, *place);
  }
}

Result<bool> SegmentStoreImpl::probe(const ChunkIndex::Key& key) {
  const auto place = locate(key);
  if (!place && any_unread_.load()) return missing("a chunk that is referred to");
  if (!place) return false;
  ChunkPlace read_at = *place;
  const auto read_whole = [&]() -> Status {
    VAULTFS_ASSIGN_OR_RETURN(const ChunkId id, id_at(key, *place));
    const auto content = read_verified_record(id, read_at);
    return content.ok() ? ok_status() : Status(content.error());
  };
  const Status read = read_whole();
  if (read.ok()) return true;
  if (!says_damage(*place, read.code())) return read.error();
  tell_damaged(key, *place);
  return false;
}

std::vector<ChunkIndex::Key> SegmentStoreImpl::keys_in(const std::set<ContainerNumber>& segments) const {
  std::vector<ChunkIndex::Key> keys;
  if (segments.empty()) return keys;
  index_.for_each([&](const ChunkIndex::Key& key, const ChunkPlace& place) {
    if (segments.contains(place.segment)) keys.push_back(key);
  });
  return keys;
}

Result<std::optional<ChunkIndex::Key>> SegmentStoreImpl::base_key_of(const ChunkId& id) {
  const auto place = locate(ChunkIndex::key_of(id));
  if (!place) return missing("a chunk that is referred to");
  if (place->type != RecordType::patch) return std::optional<ChunkIndex::Key>();
  return base_of(id, *place);
}

// The header says what was replaced of what; whether it is the patch's own, and the content that of its pages, the id
// says.
Result<bool> SegmentStoreImpl::heal_patch(const ChunkId& id, ByteView content) {
  const auto place = index_.find(id);
  if (!place || !place->damaged || place->type != RecordType::patch) return false;
  const auto find_header = [&]() -> Result<PatchHeader> {
    if (auto known = patches_.find(id, keys_)) return *known;
    VAULTFS_ASSIGN_OR_RETURN(const auto reader, reader_of(place->segment));
    Bytes frame(PatchHeader::kEncodedBytes);
    VAULTFS_RETURN_IF_ERROR(reader->read(id, *place, 0, frame));
    return PatchHeader::decode(frame, place->plaintext_bytes);
  };
  const auto header = find_header();
  if (!header.ok()) return false;
  Bytes plaintext = header->encode();
  plaintext.reserve(header->plaintext_bytes());
  const ByteView known = content.first(std::min<std::size_t>(content.size(), header->length));
  for (std::uint32_t page = 0; page < kPatchPages; ++page) {
    if (!header->pages.test(page)) continue;
    const std::size_t begin = std::min<std::size_t>(std::size_t{page} * kPatchPageBytes, known.size());
    const ByteView bytes = known.subspan(begin, std::min<std::size_t>(kPatchPageBytes, known.size() - begin));
    plaintext.insert(plaintext.end(), bytes.begin(), bytes.end());
    plaintext.resize(plaintext.size() + kPatchPageBytes - bytes.size());
  }
  VAULTFS_ASSIGN_OR_RETURN(const ChunkId computed, id_of(RecordType::patch, plaintext));
  if (computed != id) return false;
  VAULTFS_RETURN_IF_ERROR(put_content(RecordType::patch, id, plaintext));
  return true;
}

void SegmentStoreImpl::tell_what_is_marked() {
  index_.for_each([this](const ChunkIndex::Key& key, const ChunkPlace& place) {
    if (!place.damaged) return;
    const MutexLock lock(damage_mutex_);
    if (found_damaged_.size() < kMostDamageTold) found_damaged_.push_back({key, place.type, place.segment});
  });
}

}  // namespace vaultfs
