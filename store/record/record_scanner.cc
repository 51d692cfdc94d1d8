#include "store/record/record_scanner.h"

#include <algorithm>
#include <cstring>

namespace vaultfs {
namespace {

constexpr std::size_t kScanWindowBytes = std::size_t{8} * 1024 * 1024;
constexpr std::size_t kAlignment = 8;

}  // namespace

std::size_t bytes_before_record(ByteView bytes) noexcept {
  if (is_all_zero(bytes)) return bytes.size();
  std::uint32_t magic = 0;
  static_assert(sizeof magic == kRecordMagic.size());
  std::memcpy(&magic, kRecordMagic.data(), sizeof magic);
  std::size_t at = kAlignment;
  for (; at + sizeof magic <= bytes.size(); at += kAlignment) {
    std::uint32_t here = 0;
    std::memcpy(&here, bytes.data() + at, sizeof here);
    if (here == magic) return at;
  }
  // A magic that the view cuts off may be one.
  return std::min(at, bytes.size());
}

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

void RecordScanner::give_up() {
  gap_bytes_ += end_ - at_;
  gap_is_zero_ = false;  // for all that is known
  gave_up_ = true;
  at_ = end_;
}

Status RecordScanner::pass_over() {
  if (passed_over_ >= kMaxPassedOverBytes) {
    give_up();
    return ok_status();
  }
  VAULTFS_ASSIGN_OR_RETURN(const ByteView piece, view(at_, kPassOverBytes));
  const ByteView skipped = piece.first(bytes_before_record(piece));
  gap_bytes_ += skipped.size();
  passed_over_ += skipped.size();
  gap_is_zero_ = gap_is_zero_ && is_all_zero(skipped);
  at_ += skipped.size();
  if (skipped.empty()) at_ = end_;  // the file has become shorter
  return ok_status();
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
    VAULTFS_RETURN_IF_ERROR(pass_over());
  }
  return std::optional<Found>();
}

}  // namespace vaultfs
