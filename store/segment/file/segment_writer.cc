#include "store/segment/file/segment_writer.h"

#include <algorithm>
#include <utility>

#include "base/no_memory.h"
#include "base/thread/mutex.h"

namespace vaultfs {

Result<std::uint64_t> write_segment_end(File& file, const ContainerCipher& cipher, std::uint64_t nonce_base,
                                        const std::vector<SegmentEntry>& entries, std::uint64_t record_count,
                                        std::uint64_t footer_offset) {
  RecordDraft draft;
  draft.type = RecordType::segment_footer;
  draft.nonce_base = nonce_base;
  Bytes end;
  VAULTFS_RETURN_IF_ERROR(seal_record(cipher, draft, encode_segment_footer(entries), end));
  const Bytes trailer = SegmentTrailer{footer_offset, record_count}.encode();
  end.insert(end.end(), trailer.begin(), trailer.end());
  VAULTFS_RETURN_IF_ERROR(file.write_at(footer_offset, end));
  const std::uint64_t file_bytes = footer_offset + end.size();
  VAULTFS_RETURN_IF_ERROR(file.truncate(file_bytes));
  return file_bytes;
}

Status write_zeros(File& file, std::uint64_t offset, std::uint64_t size) {
  const Bytes zeros(static_cast<std::size_t>(std::min(size, std::uint64_t{1024} * 1024)));
  while (size > 0) {
    const auto step = static_cast<std::size_t>(std::min<std::uint64_t>(size, zeros.size()));
    VAULTFS_RETURN_IF_ERROR(file.write_at(offset, ByteView(zeros).first(step)));
    offset += step;
    size -= step;
  }
  return ok_status();
}

SegmentWriter::SegmentWriter(Env& env, Env::Path root, const EpochKeys& keys, ContainerHeader header,
                             std::uint64_t segment_bytes, ChunkIndex& index)
    : env_(env),
      root_(std::move(root)),
      keys_(keys),
      header_(header),
      segment_bytes_(std::min(segment_bytes, ChunkIndex::kMaxOffset)),
      index_(index) {}

Result<std::shared_ptr<SegmentWriter>> SegmentWriter::create(Env& env, const Env::Path& root, const EpochKeys& keys,
                                                             ContainerNumber number, std::uint64_t segment_bytes,
                                                             ChunkIndex& index) {
  ContainerHeader header;
  VAULTFS_ASSIGN_OR_RETURN(auto cipher, ContainerCipher::create(env, keys, ContainerKind::segment, number, header));
  auto writer = std::make_shared<SegmentWriter>(env, root, keys, header, segment_bytes, index);
  {
    const MutexLock lock(writer->mutex_);
    writer->cipher_ = std::move(cipher);
  }
  const Env::Path path = root / open_segment_name(number);
  VAULTFS_ASSIGN_OR_RETURN(auto file, env.open(path, OpenMode::create_exclusive));
  writer->file_ = std::move(file);
  const auto make_durable = [&]() -> Status {
    VAULTFS_RETURN_IF_ERROR(writer->file_->write_at(0, header.encode()));
    VAULTFS_RETURN_IF_ERROR(writer->file_->sync());
    return env.sync_directory(path.parent_path());
  };
  if (Status made = make_durable(); !made.ok()) {
    static_cast<void>(env.remove_file(path));  // at worst the next opening removes it
    return std::move(made).error();
  }
  return writer;
}

Result<std::shared_ptr<const ContainerCipher>> SegmentWriter::cipher() {
  {
    const MutexLock lock(mutex_);
    if (cipher_) return cipher_;
  }
  VAULTFS_ASSIGN_OR_RETURN(auto derived,
                           ContainerCipher::open(keys_, header_, ContainerKind::segment, header_.number, env_));
  const MutexLock lock(mutex_);
  cipher_ = std::move(derived);
  return cipher_;
}

void SegmentWriter::drop_cipher() {
  const MutexLock lock(mutex_);
  cipher_.reset();
}

Result<std::optional<SegmentWriter::Admission>> SegmentWriter::admit(std::uint32_t frames, std::uint64_t max_stored) {
  Admission admission;
  VAULTFS_ASSIGN_OR_RETURN(admission.cipher, cipher());
  const MutexLock lock(mutex_);
  const bool empty = written_.empty() && in_flight_.empty();
  const bool fits =
      end_ + reserved_bytes_ + max_stored <= segment_bytes_ && written_.size() + in_flight_.size() < kMaxSegmentRecords;
  // An empty segment takes any record, or one that is larger than a segment would find no place at all.
  if (detached_ || abandoned_ || !(fits || empty)) return std::optional<Admission>();
  admission.ticket = next_ticket_++;
  admission.nonce_base = next_nonce_;
  admission.reserved_bytes = max_stored;
  next_nonce_ += frames;
  reserved_bytes_ += max_stored;
  in_flight_.insert(admission.ticket);
  return std::optional<Admission>(std::move(admission));
}

ChunkPlace SegmentWriter::place_of(const SegmentEntry& entry) const {
  return {header_.number, entry.offset, entry.stored_bytes, entry.plaintext_bytes, entry.type, false};
}

Status SegmentWriter::write(const Admission& admission, SegmentEntry entry, ByteView sealed) {
  {
    const MutexLock lock(mutex_);
    entry.offset = end_;
    end_ += sealed.size();
    reserved_bytes_ -= admission.reserved_bytes;
  }
  Status status = file_->write_at(entry.offset, sealed);
  MutexLock lock(mutex_);
  in_flight_.erase(admission.ticket);
  changed_.notify_all();
  if (!status.ok()) {
    // On a full disk every put fails: taking the room back keeps the file from growing by each attempt.
    if (end_ == entry.offset + sealed.size()) {
      end_ = entry.offset;
    } else {
      gaps_.push_back({entry.offset, sealed.size()});
    }
    return status;
  }
  if (abandoned_) {
    Error error = abandoned_error();
    lock.unlock();
    blot_out({entry});
    return error;
  }
  status = or_no_memory([&]() -> Status {
    mutex_.assert_held();
    written_.push_back({entry, admission.ticket});
    index_.insert(entry.id, place_of(entry));
    return ok_status();
  });
  if (status.ok()) return status;
  // A record of which the segment's end would not tell.
  const Lost lost = abandon(status.error());
  lock.unlock();
  blot_out(lost);
  return status;
}

void SegmentWriter::cancel(const Admission& admission) {
  const MutexLock lock(mutex_);
  in_flight_.erase(admission.ticket);
  reserved_bytes_ -= admission.reserved_bytes;
  changed_.notify_all();
}

void SegmentWriter::detach() {
  const MutexLock lock(mutex_);
  detached_ = true;
}

Error SegmentWriter::abandoned_error() const {
  return {abandoned_->code, "what was written since the last good sync is lost: " + abandoned_->message};
}

SegmentWriter::Lost SegmentWriter::abandon(const Error& why) {
  abandoned_ = why;
  detached_ = true;
  Lost lost;
  for (const Written& w : written_) {
    if (w.ticket <= synced_ticket_) continue;
    index_.erase_if_at(w.entry.id, place_of(w.entry));
    lost.push_back(w.entry);
  }
  std::erase_if(written_, [synced = synced_ticket_](const Written& w) { return w.ticket > synced; });
  return lost;
}

void SegmentWriter::blot_out(const Lost& lost) {
  for (const SegmentEntry& entry : lost) {
    // Where that fails, too, the disk is as good as gone.
    static_cast<void>(write_zeros(*file_, entry.offset, entry.stored_bytes));
  }
}

Status SegmentWriter::sync() {
  MutexLock lock(mutex_);
  const std::uint64_t target = next_ticket_ - 1;
  while (!abandoned_ && !in_flight_.empty() && *in_flight_.begin() <= target) changed_.wait(mutex_);
  while (true) {
    if (synced_ticket_ >= target) return ok_status();
    if (abandoned_) return abandoned_error();
    if (!syncing_) break;
    changed_.wait(mutex_);
  }
  syncing_ = true;
  // Later puts that are through as well are covered too.
  const std::uint64_t covered = in_flight_.empty() ? next_ticket_ - 1 : *in_flight_.begin() - 1;
  lock.unlock();
  Status status = file_->sync();
  lock.lock();
  syncing_ = false;
  Lost lost;
  if (status.ok()) {
    synced_ticket_ = std::max(synced_ticket_, covered);
  } else {
    lost = abandon(status.error());
  }
  changed_.notify_all();
  lock.unlock();
  blot_out(lost);
  return status;
}

Result<std::uint64_t> SegmentWriter::close(BlobStore& blobs) {
  bool empty = false;
  std::uint64_t closed_bytes = 0;
  {
    const MutexLock lock(mutex_);
    while (!in_flight_.empty() || syncing_) changed_.wait(mutex_);
    if (abandoned_) return abandoned_error();
    empty = written_.empty();
    closed_bytes = closed_bytes_;
  }
  if (empty) {
    const Env::Path path = root_ / open_segment_name(number());
    VAULTFS_RETURN_IF_ERROR(env_.remove_file(path));
    return std::uint64_t{0};
  }
  if (closed_bytes == 0) {
    VAULTFS_ASSIGN_OR_RETURN(closed_bytes, write_end());
    Status synced = file_->sync();
    MutexLock lock(mutex_);
    if (!synced.ok()) {
      const Lost lost = abandon(synced.error());
      lock.unlock();
      blot_out(lost);
      return std::move(synced).error();
    }
    synced_ticket_ = next_ticket_ - 1;
    closed_bytes_ = closed_bytes;
    changed_.notify_all();
  }
  VAULTFS_RETURN_IF_ERROR(adopt(blobs));
  return closed_bytes;
}

Result<std::uint64_t> SegmentWriter::write_end() {
  VAULTFS_ASSIGN_OR_RETURN(const auto sealing, cipher());
  std::vector<SegmentEntry> entries;
  std::vector<Gap> gaps;
  std::uint64_t footer_offset = 0;
  std::uint64_t nonce_base = 0;
  {
    const MutexLock lock(mutex_);
    for (const Written& w : written_) entries.push_back(w.entry);
    gaps = gaps_;
    footer_offset = end_;
    nonce_base = next_nonce_;
    // Burnt also if this attempt fails and another one follows.
    next_nonce_ += frame_count_of(4 + entries.size() * SegmentEntry::kEncodedBytes, kDefaultFrameLog2);
  }
  std::sort(entries.begin(), entries.end(), [](const auto& a, const auto& b) { return a.offset < b.offset; });
  for (const Gap& gap : gaps) VAULTFS_RETURN_IF_ERROR(write_zeros(*file_, gap.offset, gap.size));
  return write_segment_end(*file_, *sealing, nonce_base, entries, entries.size(), footer_offset);
}

Status SegmentWriter::adopt(BlobStore& blobs) {
  const std::string name = closed_segment_name(number());
  Status adopted = blobs.adopt(root_ / open_segment_name(number()), name);
  if (adopted.ok() || adopted.code() != ErrorCode::AlreadyExists) return adopted;
  // An earlier attempt renamed, but could not sync the directory.
  VAULTFS_ASSIGN_OR_RETURN(const FileInfo left, env_.info(root_ / open_segment_name(number())));
  if (left.kind != FileKind::missing) {
    // Somebody put a file there since the number was taken: it makes room.
    VAULTFS_RETURN_IF_ERROR(blobs.set_aside(name));
    return blobs.adopt(root_ / open_segment_name(number()), name);
  }
  return env_.sync_directory((root_ / name).parent_path());
}

bool SegmentWriter::abandoned() const {
  const MutexLock lock(mutex_);
  return abandoned_.has_value();
}

std::uint64_t SegmentWriter::stored_bytes() const {
  const MutexLock lock(mutex_);
  return end_;
}

}  // namespace vaultfs
