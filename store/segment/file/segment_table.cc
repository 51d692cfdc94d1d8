#include "store/segment/file/segment_table.h"

#include <algorithm>
#include <utility>

#include "store/index/chunk_index.h"

namespace vaultfs {

std::optional<SegmentTable::Segment> SegmentTable::find(ContainerNumber number) const {
  const MutexLock lock(mutex_);
  const auto found = segments_.find(number);
  return found == segments_.end() ? std::nullopt : std::optional(found->second);
}

void SegmentTable::set(ContainerNumber number, Segment segment) {
  const MutexLock lock(mutex_);
  segments_[number] = std::move(segment);
}

void SegmentTable::set_file_bytes(ContainerNumber number, std::uint64_t bytes) {
  const MutexLock lock(mutex_);
  if (const auto found = segments_.find(number); found != segments_.end()) found->second.file_bytes = bytes;
}

void SegmentTable::set_epoch(ContainerNumber number, EpochNumber epoch) {
  const MutexLock lock(mutex_);
  if (const auto found = segments_.find(number); found != segments_.end()) found->second.epoch = epoch;
}

void SegmentTable::erase(ContainerNumber number) {
  const MutexLock lock(mutex_);
  segments_.erase(number);
}

std::vector<SegmentTable::Listed> SegmentTable::list() const {
  const MutexLock lock(mutex_);
  std::vector<Listed> out;
  out.reserve(segments_.size());
  for (const auto& [number, segment] : segments_) {
    out.push_back({number, segment.closed ? segment.file_bytes : 0,
                   segment.writer ? segment.writer->stored_bytes() : segment.file_bytes, segment.closed});
  }
  return out;
}

std::uint64_t SegmentTable::stored_bytes() const {
  const MutexLock lock(mutex_);
  std::uint64_t sum = 0;
  for (const auto& [number, segment] : segments_) {
    sum += segment.writer ? segment.writer->stored_bytes() : segment.file_bytes;
  }
  return sum;
}

void SegmentTable::list_closed(FileSizes& closed, std::set<ContainerNumber>& missing) const {
  const MutexLock lock(mutex_);
  for (const auto& [number, segment] : segments_) {
    if (segment.closed) closed[number] = segment.file_bytes;
    if (segment.missing) missing.insert(number);
  }
}

SegmentTable::FileSizes SegmentTable::closed_files() const {
  FileSizes sizes;
  const MutexLock lock(mutex_);
  for (const auto& [number, segment] : segments_) {
    if (segment.closed && !segment.missing) sizes[number] = segment.file_bytes;
  }
  return sizes;
}

std::vector<std::pair<ContainerNumber, SegmentTable::Writer>> SegmentTable::left_open() const {
  std::vector<std::pair<ContainerNumber, Writer>> left;
  const MutexLock lock(mutex_);
  for (const auto& [number, segment] : segments_) {
    const bool goes_on = segment.writer && !segment.writer->abandoned();
    if (!segment.closed && !segment.missing && !goes_on) left.emplace_back(number, segment.writer);
  }
  return left;
}

void SegmentTable::raise_next(ContainerNumber least) {
  const MutexLock lock(mutex_);
  next_segment_ = std::max(next_segment_, least);
}

ContainerNumber SegmentTable::next() const {
  const MutexLock lock(mutex_);
  return next_segment_;
}

void SegmentTable::add_stranger(ContainerNumber number) {
  const MutexLock lock(mutex_);
  strangers_.insert(number.value);
}

Result<ContainerNumber> SegmentTable::take_number() {
  const MutexLock lock(mutex_);
  while (strangers_.contains(next_segment_.value)) next_segment_ = next_segment_.next();
  if (next_segment_.value > ChunkIndex::kMaxSegment) {
    return Error{ErrorCode::OutOfRange, "the vault has used up its segment numbers"};
  }
  const ContainerNumber number = next_segment_;
  next_segment_ = number.next();
  return number;
}

SegmentTable::Writer SegmentTable::active() const {
  const MutexLock lock(mutex_);
  return active_;
}

SegmentTable::Writer SegmentTable::active_of(EpochNumber epoch) const {
  const MutexLock lock(mutex_);
  return active_ && active_->epoch() == epoch ? active_ : nullptr;
}

void SegmentTable::activate(const Writer& writer) {
  const MutexLock lock(mutex_);
  segments_[writer->number()] = {0, false, false, writer};
  active_ = writer;
}

void SegmentTable::retire(const Writer& writer) {
  const MutexLock lock(mutex_);
  if (active_ != writer) return;
  active_.reset();
  retired_.push_back(writer);
}

std::vector<SegmentTable::Writer> SegmentTable::retired() const {
  const MutexLock lock(mutex_);
  return retired_;
}

void SegmentTable::end_retired(const Writer& writer, std::uint64_t file_bytes) {
  const MutexLock lock(mutex_);
  std::erase(retired_, writer);
  if (file_bytes == 0) {
    segments_.erase(writer->number());
  } else {
    segments_[writer->number()] = {file_bytes, true, false, nullptr};
  }
}

void SegmentTable::forget_abandoned(const Writer& writer) {
  const MutexLock lock(mutex_);
  std::erase(retired_, writer);
  if (active_ == writer) active_.reset();
}

SegmentTable::Unsynced SegmentTable::take_unsynced() {
  const MutexLock lock(mutex_);
  Unsynced unsynced{retired_, std::exchange(unreported_loss_, std::nullopt)};
  if (active_) unsynced.writers.push_back(active_);
  return unsynced;
}

void SegmentTable::set_unreported_loss(std::optional<Error> loss) {
  const MutexLock lock(mutex_);
  unreported_loss_ = std::move(loss);
}

void SegmentTable::drop_ciphers() {
  const MutexLock lock(mutex_);
  for (const auto& [number, segment] : segments_) {
    if (segment.writer) segment.writer->drop_cipher();
  }
}

void SegmentTable::set_leaving(std::set<ContainerNumber> leaving) {
  const MutexLock lock(mutex_);
  leaving_ = std::move(leaving);
}

}  // namespace vaultfs
