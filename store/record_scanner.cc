#include "store/record_scanner.h"

#include <algorithm>

namespace vaultfs {
namespace {

constexpr std::size_t kScanWindowBytes = std::size_t{8} * 1024 * 1024;
constexpr std::size_t kAlignment = 8;

}  // namespace

Result<ByteView> RecordScanner::view(std::uint64_t offset, std::size_t size) {
  const std::uint64_t window_end = window_offset_ + window_.size();
  if (offset < window_offset_ || offset > window_end || std::min(offset + size, end_) > window_end) {
    const std::uint64_t left = end_ - std::min(end_, offset);
    window_.resize(static_cast<std::size_t>(std::min<std::uint64_t>(std::max(size, kScanWindowBytes), left)));
    window_offset_ = offset;
    VAULTFS_ASSIGN_OR_RETURN(const std::size_t read, file_.read_at(offset, window_));
    window_.resize(read);
  }
  const ByteView rest = ByteView(window_).subspan(static_cast<std::size_t>(offset - window_offset_));
  return rest.first(std::min(size, rest.size()));
}

void RecordScanner::count_gap(ByteView bytes) {
  gap_bytes_ += bytes.size();
  gap_is_zero_ = gap_is_zero_ && is_all_zero(bytes);
}

Result<std::optional<RecordScanner::Found>> RecordScanner::next() {
  gap_offset_ = at_;
  gap_bytes_ = 0;
  gap_is_zero_ = true;
  while (at_ < end_) {
    VAULTFS_ASSIGN_OR_RETURN(const ByteView start, view(at_, RecordHeader::kEncodedBytes));
    if (start.empty()) break;
    if (const auto header = RecordHeader::decode(start); header.ok()) {
      const std::uint64_t size = header->stored_bytes();
      VAULTFS_ASSIGN_OR_RETURN(const ByteView stored, view(at_, static_cast<std::size_t>(size)));
      if (check_record(*header, stored).ok()) {
        Found found{*header, at_, stored};
        at_ += size;
        return std::optional<Found>(found);
      }
    }
    VAULTFS_ASSIGN_OR_RETURN(const ByteView skipped, view(at_, kAlignment));
    count_gap(skipped);
    at_ += skipped.size();
  }
  return std::optional<Found>();
}

}  // namespace vaultfs
