#include "store/segment/chunk_writer.h"

#include <algorithm>
#include <cstddef>
#include <memory>
#include <optional>

#include "base/no_memory.h"
#include "crypto/aead.h"
#include "store/record/frame_compression.h"
#include "store/segment/file/segment_writer.h"

namespace vaultfs {
namespace {

// A put's sealed record on its way to the file. Per thread, without zeroing; what a map page needed beyond a chunk's
// size is given back.
class SealBuffer {
 public:
  MutableByteView of(std::size_t size) {
    if (size > capacity_ || (capacity_ > kKeepBytes && size <= kKeepBytes)) {
      const std::size_t wanted = std::max(size, kKeepBytes);
      // Nothing is there while there is no memory for it.
      capacity_ = 0;
      bytes_.reset();
      bytes_.reset(new std::byte[wanted]);
      capacity_ = wanted;
    }
    return {bytes_.get(), size};
  }

 private:
  static constexpr std::size_t kKeepBytes = kMaxChunkBytes + 64 * 1024;
  std::unique_ptr<std::byte[]> bytes_;
  std::size_t capacity_ = 0;
};

Error read_only() { return {ErrorCode::ReadOnly, "the vault is open for reading only"}; }

Status check_content(RecordType type, ByteView content) {
  // Patches are made by put_patch() only, which knows their form.
  if (content.empty() || type == RecordType::patch || content.size() > max_content_bytes(type)) {
    return Error{ErrorCode::InvalidArgument, "a chunk has 1 byte to 1 MiB, a map page 1 byte to 16 MiB"};
  }
  return ok_status();
}

}  // namespace

Result<PutOutcome> ChunkWriter::put(RecordType type, ByteView content) {
  VAULTFS_RETURN_IF_ERROR(check_content(type, content));
  VAULTFS_ASSIGN_OR_RETURN(const ChunkId id, id_of(keys_, type, content));
  return put_content(type, id, content);
}

Result<PutOutcome> ChunkWriter::put(RecordType type, const ChunkId& id, ByteView content) {
  VAULTFS_RETURN_IF_ERROR(check_content(type, content));
  return put_content(type, id, content);
}

Result<PutOutcome> ChunkWriter::put_content(RecordType type, const ChunkId& id, ByteView content) {
  if (options_.read_only) return read_only();
  const PutOutcome hit{id, false, 0};
  if (const auto known = index_.touch(id); known && !known->damaged) {
    VAULTFS_ASSIGN_OR_RETURN(const bool there, confirmed(id, *known));
    if (there) return hit;
  }
  const auto claim = claims_.take(ChunkIndex::key_of(id), [&] { return is_stored(id); });
  // What another put has just stored is newer than any collection.
  if (!claim) return hit;
  return store_new(type, id, content);
}

bool ChunkWriter::is_stored(const ChunkId& id) const {
  const auto place = index_.find(id);
  return place && !place->damaged && !place->unconfirmed;
}

Result<bool> ChunkWriter::confirmed(const ChunkId& id, const ChunkPlace& place) {
  if (!place.unconfirmed) return true;
  const auto look = [&]() -> Status {
    VAULTFS_ASSIGN_OR_RETURN(const auto reader, files_.reader_of(place.segment));
    return reader->check_header(id, place);
  };
  const Status found = look();
  if (found.ok()) {
    index_.confirm(id, place);
    return true;
  }
  if (found.code() == ErrorCode::KeyRevoked || found.code() == ErrorCode::MemoryLockFailed) return found.error();
  // Who asks has the content and stores it anew. A disk that can't be read says nothing of what is on it.
  if (found.code() != ErrorCode::IoError) index_.erase_if_at(id, place);
  return false;
}

Result<PutOutcome> ChunkWriter::store_new(RecordType type, const ChunkId& id, ByteView content) {
  const std::size_t overhead = keys_.suite() == Suite::aes_gcm ? kAeadTagBytes : 2 * kAeadTagBytes;
  const std::uint8_t frame_log2 =
      type == RecordType::patch ? kPatchFrameLog2 : frame_log2_for(content, options_.compression);
  const std::size_t max_stored = max_stored_bytes(content.size(), frame_log2, overhead);
  OpenSegments::Writer writer;
  std::optional<SegmentWriter::Admission> admission;
  bool rolled_over = false;
  while (!admission) {
    VAULTFS_ASSIGN_OR_RETURN(writer, open_.current_writer());
    VAULTFS_ASSIGN_OR_RETURN(admission, writer->admit(frame_count_of(content.size(), frame_log2), max_stored));
    if (!admission) {
      open_.retire(writer);
      rolled_over = true;
    }
  }
  thread_local SealBuffer buffer;
  MutableByteView room;
  RecordDraft draft;
  draft.type = type;
  draft.frame_log2 = frame_log2;
  draft.id = id;
  draft.nonce_base = admission->nonce_base;
  // Frames of the plain size were chosen because nothing compresses.
  draft.compression = frame_log2 == kPlainFrameLog2 ? Compression::off : options_.compression;
  // What was admitted is written or cancelled, whatever happens: the next sync waits for it.
  const auto sealed = or_no_memory([&] {
    room = buffer.of(max_stored);
    return seal_record_into(*admission->cipher, draft, content, room);
  });
  if (!sealed.ok()) {
    writer->cancel(*admission);
    return sealed.error();
  }
  SegmentEntry entry;
  entry.id = id;
  entry.type = type;
  entry.stored_bytes = static_cast<std::uint32_t>(*sealed);
  entry.plaintext_bytes = static_cast<std::uint32_t>(content.size());
  const Status written = writer->write(*admission, entry, room.first(*sealed));
  // This put is through by itself; a close that fails shows at the next sync or close.
  if (rolled_over) static_cast<void>(closed_.close_retired());
  if (!written.ok()) return written.error();
  return PutOutcome{id, true, entry.stored_bytes};
}

}  // namespace vaultfs
