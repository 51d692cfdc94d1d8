#include "vaultmeta/points/inode_record.h"

#include <algorithm>
#include <cstdlib>

namespace vaultfs {
namespace {

constexpr std::uint32_t kModeBits = 07777;

// How a file lists its content.
constexpr std::uint8_t kFormChunks = 0;
constexpr std::uint8_t kFormPages = 1;

std::uint64_t units(std::uint64_t bytes, std::uint64_t unit) { return bytes / unit + (bytes % unit != 0 ? 1 : 0); }

bool is_entry_name(std::string_view name) {
  return !name.empty() && name != "." && name != ".." && name.find('/') == std::string_view::npos &&
         name.find('\0') == std::string_view::npos;
}

void encode_ids(ByteWriter& writer, const std::vector<ChunkId>& ids) {
  writer.u32(static_cast<std::uint32_t>(ids.size()));
  for (const ChunkId& id : ids) writer.id(id);
}

std::vector<ChunkId> decode_ids(ByteReader& reader) {
  std::vector<ChunkId> ids(reader.count(ChunkId::kSize));
  for (ChunkId& id : ids) id = reader.id<ChunkId>();
  return ids;
}

void decode_content(ByteReader& reader, InodeRecord& inode) {
  const std::uint8_t form = reader.u8();
  if (form == kFormChunks) {
    inode.chunks = decode_ids(reader);
    if (inode.size > std::uint64_t{kInlineChunks} * kChunkBytes ||
        inode.chunks.size() != units(inode.size, kChunkBytes)) {
      reader.fail();
    }
  } else if (form == kFormPages) {
    inode.pages = decode_ids(reader);
    if (inode.size == 0 || inode.pages.size() != units(inode.size, kMapPageSpanBytes)) reader.fail();
  } else {
    reader.fail();
  }
}

void decode_entries(ByteReader& reader, InodeRecord& inode) {
  constexpr std::size_t kSmallestEntry = 4 + 1 + 8;
  const std::uint32_t count = reader.count(kSmallestEntry);
  inode.entries.reserve(count);
  for (std::uint32_t i = 0; i < count && !reader.failed(); ++i) {
    std::string name = reader.text(kMaxNameBytes);
    const InodeNumber child(reader.u64());
    const bool in_order = inode.entries.empty() || inode.entries.back().first < name;
    if (!is_entry_name(name) || child.value == 0 || !in_order) reader.fail();
    inode.entries.emplace_back(std::move(name), child);
  }
}

void decode_attributes(ByteReader& reader, InodeRecord& inode) {
  constexpr std::size_t kSmallestAttribute = 4 + 1 + 4;
  const std::uint32_t count = reader.count(kSmallestAttribute);
  inode.attributes.reserve(count);
  for (std::uint32_t i = 0; i < count && !reader.failed(); ++i) {
    std::string name = reader.text(kMaxNameBytes);
    const ByteView value = reader.blob(kMaxAttributeValueBytes);
    const bool in_order = inode.attributes.empty() || inode.attributes.back().first < name;
    if (name.empty() || name.find('\0') != std::string::npos || !in_order) reader.fail();
    inode.attributes.emplace_back(std::move(name), to_bytes(value));
  }
}

}  // namespace

void InodeRecord::encode(ByteWriter& writer) const {
  writer.u64(number.value);
  writer.u8(static_cast<std::uint8_t>(type));
  writer.u32(mode);
  writer.u32(uid);
  writer.u32(gid);
  writer.u32(link_count);
  writer.u64(rdev);
  writer.u64(size);
  writer.i64(atime.value);
  writer.i64(mtime.value);
  writer.i64(ctime.value);
  if (type == InodeType::file) {
    writer.u8(pages.empty() ? kFormChunks : kFormPages);
    encode_ids(writer, pages.empty() ? chunks : pages);
  } else if (type == InodeType::directory) {
    writer.u32(static_cast<std::uint32_t>(entries.size()));
    for (const auto& [name, child] : entries) {
      writer.text(name);
      writer.u64(child.value);
    }
  } else if (type == InodeType::symlink) {
    writer.text(target);
  }
  writer.u32(static_cast<std::uint32_t>(attributes.size()));
  for (const auto& [name, value] : attributes) {
    writer.text(name);
    writer.blob(value);
  }
}

InodeRecord InodeRecord::decode(ByteReader& reader) {
  InodeRecord inode;
  inode.number = InodeNumber(reader.u64());
  const std::uint8_t type_value = reader.u8();
  inode.mode = reader.u32();
  inode.uid = reader.u32();
  inode.gid = reader.u32();
  inode.link_count = reader.u32();
  inode.rdev = reader.u64();
  inode.size = reader.u64();
  inode.atime.value = reader.i64();
  inode.mtime.value = reader.i64();
  inode.ctime.value = reader.i64();
  if (inode.number.value == 0 || type_value < 1 || type_value > 7 || inode.mode > kModeBits ||
      inode.size > kMaxFileBytes) {
    reader.fail();
    return inode;
  }
  inode.type = static_cast<InodeType>(type_value);
  if (inode.type == InodeType::file) {
    decode_content(reader, inode);
  } else if (inode.type == InodeType::directory) {
    decode_entries(reader, inode);
  } else if (inode.type == InodeType::symlink) {
    inode.target = reader.text(kMaxTargetBytes);
    if (inode.target.empty() || inode.target.find('\0') != std::string::npos) reader.fail();
  }
  decode_attributes(reader, inode);
  return inode;
}

Bytes MapPage::encode() const {
  if (entries.size() > kEntriesPerMapPage) std::abort();
  Bytes bytes(kEncodedBytes);
  auto out = bytes.begin();
  for (const ChunkId& id : entries) out = std::copy(id.view().begin(), id.view().end(), out);
  return bytes;
}

Result<MapPage> MapPage::decode(ByteView bytes) {
  if (bytes.size() != kEncodedBytes) return Error{ErrorCode::DamagedRecord, "a map page has a wrong length"};
  ByteReader reader(bytes);
  MapPage page;
  page.entries.resize(kEntriesPerMapPage);
  for (ChunkId& id : page.entries) id = reader.id<ChunkId>();
  return page;
}

bool MapPage::all_holes() const {
  return std::all_of(entries.begin(), entries.end(), [](const ChunkId& id) { return id.is_zero(); });
}

}  // namespace vaultfs
