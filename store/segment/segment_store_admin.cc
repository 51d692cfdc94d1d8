#include <algorithm>
#include <utility>

#include "base/thread/mutex.h"
#include "store/record/file_origin.h"
#include "store/record/stream.h"
#include "store/segment/segment_store_impl.h"

namespace vaultfs {

Status SegmentStoreImpl::save_index(const IndexHead& newest) {
  if (options_.read_only) return Error{ErrorCode::ReadOnly, "the vault is open for reading only"};
  const MutexLock closing(closing_mutex_);
  ChunkIndexFile::Segments closed;
  std::set<ContainerNumber> missing;
  {
    const MutexLock lock(mutex_);
    for (const auto& [number, segment] : segments_) {
      if (segment.closed) closed[number] = segment.file_bytes;
      if (segment.missing) missing.insert(number);
    }
  }
  bases_.keep_for(keys_);
  VAULTFS_ASSIGN_OR_RETURN(const auto names, blobs_.list("index"));
  std::set<std::uint64_t> taken;
  for (const std::string& name : names) {
    if (const auto number = number_of(name, "index")) taken.insert(*number);
  }
  const ContainerNumber number(free_number(last_index_, taken));
  VAULTFS_ASSIGN_OR_RETURN(const Bytes bytes,
                           seal_stream(env_, keys_, ContainerKind::index, number,
                                       ChunkIndexFile::encode(newest, closed, missing, index_, bases_)));
  VAULTFS_RETURN_IF_ERROR(blobs_.put("index/" + numbered_name(number.value, "index"), bytes));
  last_index_ = number.value;
  VAULTFS_RETURN_IF_ERROR(remove_own_indexes());
  own_indexes_ = {number.value};
  return ok_status();
}

Status SegmentStoreImpl::remove_own_indexes() {
  while (!own_indexes_.empty()) {
    VAULTFS_RETURN_IF_ERROR(blobs_.remove("index/" + numbered_name(*own_indexes_.begin(), "index")));
    own_indexes_.erase(own_indexes_.begin());
  }
  return ok_status();
}

std::vector<SegmentInfo> SegmentStoreImpl::segments() const {
  const MutexLock lock(mutex_);
  std::vector<SegmentInfo> out;
  const MutexLock unused_lock(unused_mutex_);
  for (const auto& [number, segment] : segments_) {
    const auto unused = unused_.find(number);
    out.push_back({number, segment.closed ? segment.file_bytes : 0,
                   segment.writer ? segment.writer->stored_bytes() : segment.file_bytes,
                   unused == unused_.end() ? 0 : unused->second, segment.closed});
  }
  return out;
}

ContainerNumber SegmentStoreImpl::next_segment() const {
  const MutexLock lock(mutex_);
  return next_segment_;
}

std::uint64_t SegmentStoreImpl::stored_bytes() const {
  const MutexLock lock(mutex_);
  std::uint64_t sum = 0;
  for (const auto& [number, segment] : segments_) {
    sum += segment.writer ? segment.writer->stored_bytes() : segment.file_bytes;
  }
  return sum;
}

std::uint64_t SegmentStoreImpl::chunk_count() const { return index_.size(); }

void SegmentStoreImpl::drop_ciphers() {
  readers_.clear();
  patches_.clear();
  checked_.clear();
  const MutexLock lock(mutex_);
  for (const auto& [number, segment] : segments_) {
    if (segment.writer) segment.writer->drop_cipher();
  }
}

}  // namespace vaultfs
