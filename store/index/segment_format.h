#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/bytes.h"
#include "base/ids.h"
#include "base/result.h"
#include "store/record/record.h"

namespace vaultfs {

// docs/format.md, section 4: what a closed segment has besides its records, and the names of its file.

inline constexpr std::uint32_t kMaxSegmentRecords = 65536;
inline constexpr std::uint32_t kMaxChunkBytes = 1024 * 1024;
// No file of a segment is longer: its records end before 128 MiB, then come footer and trailer. What lies behind was
// not written by any owner; it is damage, and not read.
inline constexpr std::uint64_t kMaxSegmentFileBytes = std::uint64_t{160} * 1024 * 1024;
// The damage that a longer file is.
[[nodiscard]] Error overlong_segment(std::uint64_t file_bytes);

[[nodiscard]] std::string closed_segment_name(ContainerNumber number);  // "segments/000000000000002a.seg"
[[nodiscard]] std::string open_segment_name(ContainerNumber number);    // "segments/000000000000002a.open"

// Most plaintext that a record of a segment holds: 1 MiB for a chunk, 16 MiB for a map page, a header and all pages for
// a patch, 0 for any other type.
[[nodiscard]] std::uint32_t max_content_bytes(RecordType type) noexcept;

// One chunk, map page or patch of a segment.
struct SegmentEntry {
  static constexpr std::size_t kEncodedBytes = 49;
  ChunkId id;
  RecordType type = RecordType::chunk;
  std::uint64_t offset = 0;
  std::uint32_t stored_bytes = 0;
  std::uint32_t plaintext_bytes = 0;
  bool operator==(const SegmentEntry&) const = default;
};

// The footer's plaintext.
[[nodiscard]] Bytes encode_segment_footer(const std::vector<SegmentEntry>& entries);
// DamagedSegment unless every entry lies, in order and without overlap, between the container's header and
// `footer_offset`.
[[nodiscard]] Result<std::vector<SegmentEntry>> decode_segment_footer(ByteView plaintext, std::uint64_t footer_offset);

// The clear end of a closed segment.
struct SegmentTrailer {
  static constexpr std::size_t kEncodedBytes = 32;
  std::uint64_t footer_offset = 0;
  std::uint64_t record_count = 0;  // before the footer
  [[nodiscard]] Bytes encode() const;
  // DamagedSegment. `bytes` are the file's last 32.
  [[nodiscard]] static Result<SegmentTrailer> decode(ByteView bytes);
};

}  // namespace vaultfs
