#include "fs/image_format.h"

#include <cstdint>
#include <string_view>

namespace vaultfs {
namespace {

std::uint64_t big_endian(ByteView header, std::size_t at, std::size_t bytes) {
  std::uint64_t value = 0;
  for (std::size_t i = 0; i < bytes && at + i < header.size(); ++i) {
    value = value << 8U | std::to_integer<std::uint64_t>(header[at + i]);
  }
  return value;
}

std::uint64_t little_endian(ByteView header, std::size_t at, std::size_t bytes) {
  std::uint64_t value = 0;
  for (std::size_t i = bytes; i > 0; --i) {
    if (at + i <= header.size()) value = value << 8U | std::to_integer<std::uint64_t>(header[at + i - 1]);
  }
  return value;
}

bool begins_with(ByteView header, std::string_view magic) { return text_of(header).substr(0, magic.size()) == magic; }

// Versions 1 to 3 have the offset of the backing file's name at byte 8; version 3 has features that a reader must know.
std::string why_qcow(ByteView header) {
  constexpr std::uint64_t kDirty = 1, kCorrupt = 2, kExternalData = 4;
  if (big_endian(header, 8, 8) != 0) return "is a qcow2 image on top of a backing file, which is not part of it";
  const std::uint64_t features = big_endian(header, 4, 4) >= 3 ? big_endian(header, 72, 8) : 0;
  if ((features & kExternalData) != 0) return "is a qcow2 image whose content is in another file";
  if ((features & kCorrupt) != 0) return "is a qcow2 image that is marked as corrupt";
  if ((features & kDirty) != 0) return "is a qcow2 image that was not closed";
  return "";
}

std::string why_qed(ByteView header) {
  constexpr std::uint64_t kBackingFile = 1, kNeedsCheck = 2;
  const std::uint64_t features = little_endian(header, 16, 8);
  if ((features & kBackingFile) != 0) return "is a QED image on top of a backing file, which is not part of it";
  return (features & kNeedsCheck) != 0 ? "is a QED image that was not closed" : "";
}

std::string why_vmdk(ByteView header) {
  const std::string_view text = text_of(header);
  if (begins_with(header, "# Disk DescriptorFile"))
    return "is the descriptor of a VMDK image, whose content is elsewhere";
  const std::size_t parent = text.find("parentCID=");
  if (parent == std::string_view::npos || text.substr(parent + 10, 8) == "ffffffff") return "";
  return "is a VMDK image on top of a parent, which is not part of it";
}

}  // namespace

std::string why_image_is_incomplete(ByteView header) {
  if (begins_with(header, std::string_view("QFI\xfb", 4))) return why_qcow(header);
  if (begins_with(header, std::string_view("QED\0", 4))) return why_qed(header);
  if (begins_with(header, "KDMV") || begins_with(header, "# Disk DescriptorFile")) return why_vmdk(header);
  constexpr std::uint64_t kVdi = 0xbeda107f, kVdiDifferencing = 4;
  if (little_endian(header, 64, 4) == kVdi && little_endian(header, 76, 4) == kVdiDifferencing) {
    return "is a VDI image on top of another one, which is not part of it";
  }
  constexpr std::uint64_t kVhdDifferencing = 4;
  if (begins_with(header, "conectix") && big_endian(header, 60, 4) == kVhdDifferencing) {
    return "is a VHD image on top of a parent, which is not part of it";
  }
  return "";
}

}  // namespace vaultfs
