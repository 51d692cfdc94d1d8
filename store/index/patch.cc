#include "store/index/patch.h"

#include <algorithm>

#include "base/byte_codec.h"

namespace vaultfs {
namespace {

constexpr std::size_t kBitmapBytes = kPatchPages / 8;

Error malformed(const char* what) { return Error{ErrorCode::DamagedRecord, what}; }

}  // namespace

PatchPages patch_pages_of(std::uint32_t begin, std::uint32_t end) {
  PatchPages pages;
  for (std::uint32_t page = begin / kPatchPageBytes; begin < end && page <= (end - 1) / kPatchPageBytes; ++page) {
    pages.set(page);
  }
  return pages;
}

std::uint32_t PatchHeader::offset_of(std::uint32_t page) const {
  const auto before = static_cast<std::uint32_t>((pages << (kPatchPages - page)).count());
  return (1 + before) * kPatchPageBytes;
}

std::uint32_t PatchHeader::plaintext_bytes() const {
  return (1 + static_cast<std::uint32_t>(pages.count())) * kPatchPageBytes;
}

Bytes PatchHeader::encode() const {
  ByteWriter writer;
  writer.id(base);
  writer.u32(length);
  writer.u32(0);
  for (std::uint32_t first = 0; first < kPatchPages; first += 8) {
    std::uint8_t bits = 0;
    for (std::uint32_t bit = 0; bit < 8; ++bit) {
      bits = static_cast<std::uint8_t>(bits | (pages.test(first + bit) ? 1U << bit : 0U));
    }
    writer.u8(bits);
  }
  Bytes out = std::move(writer).take();
  out.resize(kEncodedBytes);
  return out;
}

Result<PatchHeader> PatchHeader::decode(ByteView first_frame, std::uint32_t plaintext_bytes) {
  if (first_frame.size() != kEncodedBytes) return malformed("a patch has no whole header");
  ByteReader reader(first_frame);
  PatchHeader header;
  header.base = reader.id<ChunkId>();
  header.length = reader.u32();
  const std::uint32_t zero = reader.u32();
  const ByteView bitmap = reader.raw(kBitmapBytes);
  for (std::uint32_t page = 0; page < kPatchPages; ++page) {
    header.pages[page] = (std::to_integer<unsigned>(bitmap[page / 8]) >> (page % 8) & 1U) != 0;
  }
  if (zero != 0 || !is_all_zero(reader.raw(reader.remaining())))
    return malformed("a patch's header is not zero where it must be");
  if (header.length == 0 || header.length > kMaxChunkBytes) return malformed("a patch has a length that no chunk has");
  if (header.pages.none()) return malformed("a patch replaces nothing");
  if ((header.pages & ~patch_pages_of(0, header.length)).any()) return malformed("a patch has pages behind its end");
  if (header.plaintext_bytes() != plaintext_bytes) return malformed("a patch has not as many pages as it says");
  return header;
}

Result<PatchHeader> PatchHeader::decode_whole(ByteView plaintext) {
  VAULTFS_ASSIGN_OR_RETURN(const PatchHeader header, decode(plaintext.first(std::min(plaintext.size(), kEncodedBytes)),
                                                            static_cast<std::uint32_t>(plaintext.size())));
  const std::uint32_t last = (header.length - 1) / kPatchPageBytes;
  const std::uint32_t used = header.length - last * kPatchPageBytes;
  if (header.pages.test(last) &&
      !is_all_zero(plaintext.subspan(header.offset_of(last) + used, kPatchPageBytes - used))) {
    return malformed("a patch's last page is not zero behind its end");
  }
  return header;
}

}  // namespace vaultfs
