#include "fs/backup/source/image_format.h"

#include <algorithm>
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

bool has_text(ByteView header, std::size_t at, std::string_view text) {
  return at <= header.size() && text_of(header).substr(at, text.size()) == text;
}

bool begins_with(ByteView header, std::string_view magic) { return has_text(header, 0, magic); }

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

constexpr std::string_view kVmdkDescriptor = "# Disk DescriptorFile";

// A descriptor (text) says where the content is: in this file too, or in others. Sparse extents may hold their own.
std::string why_vmdk(ByteView header, const ImageReader& image) {
  if (begins_with(header, kVmdkDescriptor)) return "is the descriptor of a VMDK image, whose content is elsewhere";
  constexpr std::size_t kSectorBytes = 512, kLongestDescriptor = std::size_t{64} << 10;
  constexpr std::uint64_t kMostSectors = std::uint64_t{1} << 40;
  const std::uint64_t sector = little_endian(header, 28, 8);
  const std::uint64_t sectors =
      std::min<std::uint64_t>(little_endian(header, 36, 8), kLongestDescriptor / kSectorBytes);
  const Bytes descriptor =
      sector == 0 || sector > kMostSectors ? Bytes{} : image(sector * kSectorBytes, sectors * kSectorBytes);
  const std::string_view text = text_of(descriptor);
  const std::size_t parent = text.find("parentCID=");
  if (parent == std::string_view::npos) {
    return "is one part of a VMDK image, whose descriptor and other parts are elsewhere";
  }
  if (text.substr(parent + 10, 8) != "ffffffff") return "is a VMDK image on top of a parent, which is not part of it";
  return little_endian(header, 72, 1) == 1 ? "is a VMDK image that was not closed" : "";
}

std::string why_vdi(ByteView header) {
  constexpr std::uint64_t kUndo = 3, kDifferencing = 4;
  const std::uint64_t type = little_endian(header, 76, 4);
  return type == kUndo || type == kDifferencing ? "is a VDI image on top of another one, which is not part of it" : "";
}

// [MS-VHDX]: two headers, of which the one with the greater sequence number counts; a table of regions; in the region
// of metadata a table of items, one of which has the flag for a parent.
class Vhdx {
 public:
  explicit Vhdx(const ImageReader& image) : image_(image) {}

  [[nodiscard]] std::string why() const {
    if (const std::uint64_t item = file_parameters(); item != 0) {
      constexpr std::uint64_t kHasParent = 2;
      const Bytes parameters = image_(item, 8);
      if ((little_endian(parameters, 4, 4) & kHasParent) != 0) {
        return "is a VHDX image on top of a parent, which is not part of it";
      }
    }
    return is_open() ? "is a VHDX image that was not closed" : "";
  }

 private:
  static constexpr std::size_t kFirstHeader = 64U << 10U, kSecondHeader = 128U << 10U, kRegions = 192U << 10U;
  static constexpr std::size_t kEntryBytes = 32, kMostEntries = 2047;
  static constexpr std::string_view kMetadataRegion{"\x06\xa2\x7c\x8b\x90\x47\x9a\x4b\xb8\xfe\x57\x5f\x05\x0f\x88\x6e",
                                                    16};
  static constexpr std::string_view kFileParameters{"\x37\x67\xa1\xca\x36\xfa\x43\x4d\xb3\xb6\x33\xf0\xaa\x44\xe7\x6b",
                                                    16};

  // The log has an id while there is something in it.
  [[nodiscard]] bool is_open() const {
    std::uint64_t newest = 0;
    bool open = false;
    for (const std::size_t at : {kFirstHeader, kSecondHeader}) {
      const Bytes header = image_(at, 80);
      const std::uint64_t sequence = little_endian(header, 8, 8);
      if (!begins_with(header, "head") || sequence < newest) continue;
      newest = sequence;
      open = little_endian(header, 48, 8) != 0 || little_endian(header, 56, 8) != 0;
    }
    return open;
  }

  // Where in the file that item is; 0: nowhere.
  [[nodiscard]] std::uint64_t file_parameters() const {
    const Bytes regions = image_(kRegions, kEntryBytes * (kMostEntries + 1));
    if (!begins_with(regions, "regi")) return 0;
    const std::uint64_t region = find(regions, 16, little_endian(regions, 8, 4), kMetadataRegion, 8);
    if (region == 0) return 0;
    const Bytes items = image_(region, kEntryBytes * (kMostEntries + 1));
    if (!begins_with(items, "metadata")) return 0;
    const std::uint64_t item = find(items, 32, little_endian(items, 10, 2), kFileParameters, 4);
    return item == 0 ? 0 : region + item;
  }

  // The offset, of so many bytes, in the entry of `table` that has this id.
  static std::uint64_t find(ByteView table, std::size_t begin, std::uint64_t entries, std::string_view id,
                            std::size_t offset_bytes) {
    for (std::uint64_t i = 0; i < std::min<std::uint64_t>(entries, kMostEntries); ++i) {
      const std::size_t at = begin + i * kEntryBytes;
      if (has_text(table, at, id)) return little_endian(table, at + id.size(), offset_bytes);
    }
    return 0;
  }

  const ImageReader& image_;
};

std::string why_parallels(ByteView header) {
  constexpr std::uint64_t kInUse = 0x746f6e59;
  return little_endian(header, 44, 4) == kInUse ? "is a Parallels image that was not closed" : "";
}

std::string why_bochs(ByteView header) {
  return has_text(header, 48, "Growing") ? "" : "is a Bochs image on top of another one, which is not part of it";
}

}  // namespace

std::string why_image_is_incomplete(const ImageReader& image) {
  constexpr std::size_t kHeaderBytes = 4096;
  const Bytes header = image(0, kHeaderBytes);
  if (begins_with(header, std::string_view("QFI\xfb", 4))) return why_qcow(header);
  if (begins_with(header, std::string_view("QED\0", 4))) return why_qed(header);
  if (begins_with(header, "KDMV") || begins_with(header, kVmdkDescriptor)) return why_vmdk(header, image);
  constexpr std::uint64_t kSeSparse = 0xcafebabe;
  if (begins_with(header, "COWD") || little_endian(header, 0, 8) == kSeSparse) {
    return "is one part of a VMDK image, whose descriptor and parent are elsewhere";
  }
  constexpr std::uint64_t kVdi = 0xbeda107f;
  if (little_endian(header, 64, 4) == kVdi) return why_vdi(header);
  constexpr std::uint64_t kVhdDifferencing = 4;
  if (begins_with(header, "conectix") && big_endian(header, 60, 4) == kVhdDifferencing) {
    return "is a VHD image on top of a parent, which is not part of it";
  }
  if (begins_with(header, "vhdxfile")) return Vhdx(image).why();
  if (begins_with(header, "WithoutFreeSpace") || begins_with(header, "WithouFreSpacExt")) return why_parallels(header);
  if (begins_with(header, "Bochs Virtual HD Image") && has_text(header, 32, "Redolog")) return why_bochs(header);
  return "";
}

}  // namespace vaultfs
