#include "store/segment/segment_store.h"

#include <algorithm>
#include <memory>
#include <utility>

#include "base/no_memory.h"
#include "base/thread/mutex.h"
#include "crypto/aead.h"
#include "crypto/chunk_id.h"
#include "store/record/frame_compression.h"
#include "store/segment/segment_store_impl.h"

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

// The right to store one chunk; whoever wants to store the same waits for its end.
class SegmentStoreImpl::Claim {
 public:
  // Nothing if the chunk is stored by then.
  static std::unique_ptr<Claim> take(SegmentStoreImpl& store, const ChunkId& id) {
    const ChunkIndex::Key key = ChunkIndex::key_of(id);
    MutexLock lock(store.claims_mutex_);
    while (true) {
      if (store.is_stored(id)) return nullptr;
      if (store.claims_.insert(key).second) return std::make_unique<Claim>(store, key);
      store.claims_changed_.wait(store.claims_mutex_);
    }
  }
  Claim(SegmentStoreImpl& store, const ChunkIndex::Key& key) : store_(store), key_(key) {}
  Claim(const Claim&) = delete;
  Claim& operator=(const Claim&) = delete;
  ~Claim() {
    {
      const MutexLock lock(store_.claims_mutex_);
      store_.claims_.erase(key_);
    }
    store_.claims_changed_.notify_all();
  }

 private:
  SegmentStoreImpl& store_;
  const ChunkIndex::Key key_;
};

SegmentStoreImpl::SegmentStoreImpl(Env& env, Env::Path root, BlobStore& blobs, const EpochKeys& keys,
                                   const Options& options)
    : env_(env),
      root_(std::move(root)),
      blobs_(blobs),
      keys_(keys),
      options_(options),
      readers_(options.max_open_segments),
      checked_(env, options.checked_bytes) {}

bool SegmentStoreImpl::is_stored(const ChunkId& id) const {
  const auto place = index_.find(id);
  return place && !place->damaged && !place->unconfirmed;
}

Result<PutOutcome> SegmentStoreImpl::put(RecordType type, ByteView content) {
  VAULTFS_RETURN_IF_ERROR(check_content(type, content));
  VAULTFS_ASSIGN_OR_RETURN(const ChunkId id, id_of(type, content));
  return put_content(type, id, content);
}

Result<ChunkId> SegmentStoreImpl::id_of(RecordType type, ByteView content) const {
  return keys_.with_id_key([&](const SecretBuffer& key) -> Result<ChunkId> {
    return chunk_id(key, static_cast<std::uint8_t>(type), content);
  });
}

Result<PutOutcome> SegmentStoreImpl::put(RecordType type, const ChunkId& id, ByteView content) {
  VAULTFS_RETURN_IF_ERROR(check_content(type, content));
  return put_content(type, id, content);
}

Result<PutOutcome> SegmentStoreImpl::put_content(RecordType type, const ChunkId& id, ByteView content) {
  if (options_.read_only) return read_only();
  const PutOutcome hit{id, false, 0};
  if (const auto known = index_.touch(id); known && !known->damaged) {
    VAULTFS_ASSIGN_OR_RETURN(const bool there, confirmed(id, *known));
    if (there) return hit;
  }
  const auto claim = Claim::take(*this, id);
  // What another put has just stored is newer than any collection.
  if (!claim) return hit;
  return store_new(type, id, content);
}

Result<bool> SegmentStoreImpl::confirmed(const ChunkId& id, const ChunkPlace& place) {
  if (!place.unconfirmed) return true;
  const auto look = [&]() -> Status {
    VAULTFS_ASSIGN_OR_RETURN(const auto reader, reader_of(place.segment));
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

Result<PutOutcome> SegmentStoreImpl::store_new(RecordType type, const ChunkId& id, ByteView content) {
  const std::size_t overhead = keys_.suite() == Suite::aes_gcm ? kAeadTagBytes : 2 * kAeadTagBytes;
  const std::uint8_t frame_log2 =
      type == RecordType::patch ? kPatchFrameLog2 : frame_log2_for(content, options_.compression);
  const std::size_t max_stored = max_stored_bytes(content.size(), frame_log2, overhead);
  Writer writer;
  std::optional<SegmentWriter::Admission> admission;
  bool rolled_over = false;
  while (!admission) {
    VAULTFS_ASSIGN_OR_RETURN(writer, current_writer());
    VAULTFS_ASSIGN_OR_RETURN(admission, writer->admit(frame_count_of(content.size(), frame_log2), max_stored));
    if (!admission) {
      retire(writer);
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
  if (rolled_over) static_cast<void>(close_retired());
  if (!written.ok()) return written.error();
  return PutOutcome{id, true, entry.stored_bytes};
}

Result<SegmentStoreImpl::Writer> SegmentStoreImpl::current_writer() {
  VAULTFS_ASSIGN_OR_RETURN(const EpochNumber epoch, keys_.current());
  const auto usable = [&]() -> Writer {
    const MutexLock lock(mutex_);
    return active_ && active_->epoch() == epoch ? active_ : nullptr;
  };
  if (Writer writer = usable()) return writer;
  const MutexLock creating(creating_mutex_);
  if (Writer writer = usable()) return writer;
  Writer old;
  {
    const MutexLock lock(mutex_);
    old = active_;  // of an epoch that is over
  }
  if (old) retire(old);
  VAULTFS_ASSIGN_OR_RETURN(const ContainerNumber number, take_segment_number());
  VAULTFS_ASSIGN_OR_RETURN(Writer writer,
                           SegmentWriter::create(env_, root_, keys_, number, options_.segment_bytes, index_));
  const MutexLock lock(mutex_);
  segments_[number] = {0, false, false, writer};
  active_ = writer;
  return writer;
}

// A number that no file has, neither this vault's nor a stranger's, which may have come since the opening.
Result<ContainerNumber> SegmentStoreImpl::take_segment_number() {
  while (true) {
    ContainerNumber number;
    {
      const MutexLock lock(mutex_);
      while (strangers_.contains(next_segment_.value)) next_segment_ = next_segment_.next();
      if (next_segment_.value > ChunkIndex::kMaxSegment) {
        return Error{ErrorCode::OutOfRange, "the vault has used up its segment numbers"};
      }
      number = next_segment_;
      next_segment_ = number.next();
    }
    VAULTFS_ASSIGN_OR_RETURN(const FileInfo closed, env_.info(root_ / closed_segment_name(number)));
    VAULTFS_ASSIGN_OR_RETURN(const FileInfo open, env_.info(root_ / open_segment_name(number)));
    if (closed.kind == FileKind::missing && open.kind == FileKind::missing) return number;
  }
}

void SegmentStoreImpl::retire(const Writer& writer) {
  writer->detach();
  const MutexLock lock(mutex_);
  if (active_ != writer) return;
  active_.reset();
  retired_.push_back(writer);
}

Status SegmentStoreImpl::close_retired() {
  const MutexLock closing(closing_mutex_);
  std::vector<Writer> writers;
  {
    const MutexLock lock(mutex_);
    writers = retired_;
  }
  Status first;
  for (const Writer& writer : writers) {
    const auto closed = writer->close(blobs_);
    note_closed(writer, closed);
    if (!closed.ok() && first.ok()) first = closed.error();
  }
  return first;
}

void SegmentStoreImpl::note_closed(const Writer& writer, const Result<std::uint64_t>& closed) {
  if (writer->abandoned()) {
    forget_abandoned(writer);
    const MutexLock lock(mutex_);
    unreported_loss_ = closed.ok() ? std::nullopt : std::optional<Error>(closed.error());
    return;
  }
  if (!closed.ok()) return;  // stays retired: the next close tries again
  const MutexLock lock(mutex_);
  std::erase(retired_, writer);
  if (*closed == 0) {
    segments_.erase(writer->number());
  } else {
    segments_[writer->number()] = {*closed, true, false, nullptr};
  }
}

// The file stays, as it is, for reading what was synced before and for the next opening's recovery.
void SegmentStoreImpl::forget_abandoned(const Writer& writer) {
  const MutexLock lock(mutex_);
  std::erase(retired_, writer);
  if (active_ == writer) active_.reset();
}

Status SegmentStoreImpl::sync() {
  if (options_.read_only) return ok_status();
  std::vector<Writer> writers;
  Status first;
  {
    const MutexLock lock(mutex_);
    writers = retired_;
    if (active_) writers.push_back(active_);
    if (unreported_loss_) first = *std::exchange(unreported_loss_, std::nullopt);
  }
  for (const Writer& writer : writers) {
    Status synced = writer->sync();
    if (writer->abandoned()) forget_abandoned(writer);
    if (!synced.ok() && first.ok()) first = std::move(synced);
  }
  return first;
}

Status SegmentStoreImpl::close_segment() {
  if (options_.read_only) return ok_status();
  Writer writer;
  {
    const MutexLock lock(mutex_);
    writer = active_;
  }
  if (writer) retire(writer);
  return close_retired();
}

bool SegmentStoreImpl::contains(const ChunkId& id) const {
  const auto place = index_.find(id);
  return place && !place->damaged;
}

Result<ContainerNumber> SegmentStoreImpl::segment_of(const ChunkId& id) {
  const auto place = locate(ChunkIndex::key_of(id));
  if (!place) return missing("a chunk that is referred to");
  return place->segment;
}

}  // namespace vaultfs
