#pragma once

#include <cstdint>
#include <optional>

#include "base/bytes.h"
#include "base/files/env.h"
#include "base/result.h"
#include "store/record/record.h"

namespace vaultfs {

// So many bytes that are no record a reader passes over in one file before it gives up: no crash leaves as many, and
// whoever makes a file as long as a disk does not get to keep a reader busy with it.
inline constexpr std::uint64_t kMaxPassedOverBytes = std::uint64_t{256} * 1024 * 1024;
// In pieces of this size.
inline constexpr std::size_t kPassOverBytes = std::size_t{64} * 1024;

// How many bytes at the start of `bytes`, where no record begins, a search for one need not look at again: up to the
// next multiple of 8 where a record's magic stands, or all of them. Holes of sparse files go by at the speed of
// reading.
[[nodiscard]] std::size_t bytes_before_record(ByteView bytes) noexcept;

// Walks the records of a container file from front to back. Where no valid record stands it looks for the next one at
// the multiples of 8 behind (format.md, section 2.2). Valid means: header and whole record pass their checksums;
// whether a record is authentic is the caller's to check. Not thread-safe.
class RecordScanner {
 public:
  struct Found {
    RecordHeader header;
    std::uint64_t offset = 0;
    ByteView stored;  // the whole record; valid until the next call
  };

  // Scans [begin, end); both are offsets in the file, `begin` a multiple of 8.
  RecordScanner(File& file, std::uint64_t begin, std::uint64_t end) : file_(file), at_(begin), end_(end) {}

  // The next record, or nothing at the end, or where the search was given up. An error is a failure of reading.
  [[nodiscard]] Result<std::optional<Found>> next();

  // About the bytes between the last two records found (or before the first, or after the last).
  [[nodiscard]] std::uint64_t gap_offset() const noexcept { return gap_offset_; }
  [[nodiscard]] std::uint64_t gap_bytes() const noexcept { return gap_bytes_; }
  [[nodiscard]] bool gap_is_zero() const noexcept { return gap_is_zero_; }
  // Whether the last gap is longer than was looked at: all gaps together have more than kMaxPassedOverBytes.
  [[nodiscard]] bool gave_up() const noexcept { return gave_up_; }

 private:
  // `size` bytes at `offset`, or fewer where the file ends.
  [[nodiscard]] Result<ByteView> view(std::uint64_t offset, std::size_t size);
  // What stands at `at_` is no record: goes on to where one may stand.
  [[nodiscard]] Status pass_over();
  void give_up();

  File& file_;
  std::uint64_t at_;
  std::uint64_t end_;
  std::uint64_t gap_offset_ = 0;
  std::uint64_t gap_bytes_ = 0;
  bool gap_is_zero_ = true;
  bool gave_up_ = false;
  std::uint64_t passed_over_ = 0;  // in all gaps
  Bytes window_;
  std::uint64_t window_offset_ = 0;
};

}  // namespace vaultfs
