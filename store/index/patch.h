#pragma once

#include <bitset>
#include <cstdint>

#include "base/bytes.h"
#include "base/ids.h"
#include "base/result.h"
#include "store/index/segment_format.h"

namespace vaultfs {

inline constexpr std::uint32_t kPatchPageBytes = 4096;
inline constexpr std::uint32_t kPatchPages = kMaxChunkBytes / kPatchPageBytes;
inline constexpr std::uint8_t kPatchFrameLog2 = 12;  // a page is a frame
inline constexpr std::uint32_t kMaxPatchBytes = (1 + kPatchPages) * kPatchPageBytes;

// A set of 4 KiB pages of a chunk; page i is the bytes from i · kPatchPageBytes on.
using PatchPages = std::bitset<kPatchPages>;

// The pages that have a byte of [begin, end). REQUIRES: end <= kMaxChunkBytes.
[[nodiscard]] PatchPages patch_pages_of(std::uint32_t begin, std::uint32_t end);

// What a patch replaces of what: the first frame of its record (docs/format.md, section 4.4). The pages follow it, in
// ascending order.
struct PatchHeader {
  static constexpr std::size_t kEncodedBytes = kPatchPageBytes;
  ChunkId base;              // zero: a hole
  std::uint32_t length = 0;  // of the content
  PatchPages pages;

  // Offset of a page in the record's plaintext. REQUIRES: pages.test(page).
  [[nodiscard]] std::uint32_t offset_of(std::uint32_t page) const;
  // Of the whole record's plaintext.
  [[nodiscard]] std::uint32_t plaintext_bytes() const;
  // kEncodedBytes.
  [[nodiscard]] Bytes encode() const;
  // From the first kEncodedBytes of a record whose plaintext has that many bytes. DamagedRecord.
  [[nodiscard]] static Result<PatchHeader> decode(ByteView first_frame, std::uint32_t plaintext_bytes);
  // From a record's whole plaintext, whose padding is checked too. DamagedRecord.
  [[nodiscard]] static Result<PatchHeader> decode_whole(ByteView plaintext);
  bool operator==(const PatchHeader&) const = default;
};

}  // namespace vaultfs
