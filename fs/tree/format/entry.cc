#include "fs/tree/format/entry.h"

#include <optional>
#include <string>
#include <string_view>
#include <utility>

namespace vaultfs {
namespace {

constexpr std::uint8_t kUnframedVersion = 1;  // changes without lengths: read only
constexpr std::uint8_t kEntryVersion = 2;
constexpr std::size_t kCountOffset = 1;
constexpr std::size_t kMaxLinkTargetBytes = 4096;
constexpr std::size_t kMaxChangeBytes = std::size_t{4} * 1024 * 1024;  // as an entry

template <typename Tag>
StrongNumber<Tag> number(ByteReader& reader) {
  return StrongNumber<Tag>(reader.u64());
}

struct Encoder {
  ByteWriter& out;
  void times(UnixNanos a, UnixNanos m, UnixNanos c) const {
    out.i64(a.value);
    out.i64(m.value);
    out.i64(c.value);
  }
  void owner(std::uint32_t mode, std::uint32_t uid, std::uint32_t gid) const {
    out.u32(mode);
    out.u32(uid);
    out.u32(gid);
  }
  void operator()(const CreateInode& c) const {
    out.u64(c.number.value);
    out.u8(static_cast<std::uint8_t>(c.type));
    owner(c.mode, c.uid, c.gid);
    out.u64(c.rdev);
    out.i64(c.time.value);
    out.text(c.target);
  }
  void operator()(const SetAttributes& c) const {
    out.u64(c.number.value);
    owner(c.mode, c.uid, c.gid);
    times(c.atime, c.mtime, c.ctime);
  }
  void operator()(const LinkName& c) const {
    out.u64(c.directory.value);
    out.text(c.name);
    out.u64(c.inode.value);
  }
  void operator()(const UnlinkName& c) const {
    out.u64(c.directory.value);
    out.text(c.name);
  }
  void operator()(const WriteFragment& c) const {
    out.u64(c.number.value);
    out.u64(c.changed.value);
    out.u64(c.offset);
    out.blob(c.bytes);
  }
  void operator()(const SetExtent& c) const {
    out.u64(c.number.value);
    out.u64(c.changed.value);
    out.u64(c.index);
    out.id(c.id);
    out.u64(c.covers.value);
  }
  void operator()(const CutContent& c) const {
    out.u64(c.number.value);
    out.u64(c.size);
  }
  void operator()(const ZeroRange& c) const {
    out.u64(c.number.value);
    out.u64(c.begin);
    out.u64(c.end);
  }
  void operator()(const GrowFile& c) const {
    out.u64(c.number.value);
    out.u64(c.changed.value);
    out.u64(c.size);
  }
  void operator()(const SnapshotMark&) const {}
  void operator()(const SetExtended& c) const {
    out.u64(c.number.value);
    out.text(c.name);
    out.blob(c.value);
  }
  void operator()(const RemoveExtended& c) const {
    out.u64(c.number.value);
    out.text(c.name);
  }
};

TreeChange read_create(ByteReader& in) {
  CreateInode c;
  c.number = number<InodeNumberTag>(in);
  const std::uint8_t type = in.u8();
  if (type < 1 || type > 7 || c.number.value < 2) in.fail();
  c.type = static_cast<InodeType>(type);
  c.mode = in.u32();
  c.uid = in.u32();
  c.gid = in.u32();
  c.rdev = in.u64();
  c.time = {in.i64()};
  c.target = in.text(kMaxLinkTargetBytes);
  return c;
}

TreeChange read_attributes(ByteReader& in) {
  SetAttributes c;
  c.number = number<InodeNumberTag>(in);
  c.mode = in.u32();
  c.uid = in.u32();
  c.gid = in.u32();
  c.atime = {in.i64()};
  c.mtime = {in.i64()};
  c.ctime = {in.i64()};
  return c;
}

TreeChange read_fragment(ByteReader& in) {
  WriteFragment c;
  c.number = number<InodeNumberTag>(in);
  c.changed = number<LsnTag>(in);
  c.offset = in.u64();
  c.bytes = in.blob(kChunkBytes);
  if (c.offset >= kMaxFileBytes || c.offset % kChunkBytes + c.bytes.size() > kChunkBytes) in.fail();
  return c;
}

TreeChange read_extent(ByteReader& in) {
  SetExtent c;
  c.number = number<InodeNumberTag>(in);
  c.changed = number<LsnTag>(in);
  c.index = in.u64();
  c.id = in.id<ChunkId>();
  c.covers = number<LsnTag>(in);
  if (c.index >= kMaxFileBytes / kChunkBytes) in.fail();
  return c;
}

// Nothing for a kind that this program does not know.
std::optional<TreeChange> read_change(std::uint8_t kind, ByteReader& in) {
  // Braced initialisation evaluates from left to right.
  switch (kind) {
    case 1:
      return read_create(in);
    case 2:
      return read_attributes(in);
    case 3:
      return LinkName{number<InodeNumberTag>(in), in.text(kMaxNameBytes), number<InodeNumberTag>(in)};
    case 4:
      return UnlinkName{number<InodeNumberTag>(in), in.text(kMaxNameBytes)};
    case 5:
      return read_fragment(in);
    case 6:
      return read_extent(in);
    case 7:
      return CutContent{number<InodeNumberTag>(in), in.u64()};
    case 8:
      return ZeroRange{number<InodeNumberTag>(in), in.u64(), in.u64()};
    case 9:
      return GrowFile{number<InodeNumberTag>(in), number<LsnTag>(in), in.u64()};
    case 10:
      return SnapshotMark{};
    case 11:
      return SetExtended{number<InodeNumberTag>(in), in.text(kMaxNameBytes), in.blob(kMaxAttributeValueBytes)};
    case 12:
      return RemoveExtended{number<InodeNumberTag>(in), in.text(kMaxNameBytes)};
    default:
      return std::nullopt;
  }
}

constexpr std::string_view kEntryName = "a journal entry of the working tree";

Error newer_entry(const std::string& what) {
  return {ErrorCode::UnsupportedFormat,
          std::string(kEntryName) + " " + what + ", which a newer vaultfs made; use that one"};
}

}  // namespace

TreeEntryWriter::TreeEntryWriter(std::size_t expected_bytes) {
  if (expected_bytes > 0)
    bytes_.reserve(expected_bytes + expected_bytes / 64 + 256);  // what frames 4 KiB is less than 64 bytes
  bytes_.u8(kEntryVersion);
  bytes_.u32(0);
}

void TreeEntryWriter::add(const TreeChange& change) {
  bytes_.u8(static_cast<std::uint8_t>(change.index() + 1));
  const std::size_t length_at = bytes_.size();
  bytes_.u32(0);
  std::visit(Encoder{bytes_}, change);
  bytes_.patch_u32(length_at, static_cast<std::uint32_t>(bytes_.size() - length_at - 4));
  ++count_;
}

Bytes TreeEntryWriter::take() && {
  bytes_.patch_u32(kCountOffset, count_);
  return std::move(bytes_).take();
}

Result<std::vector<TreeChange>> decode_tree_entry(ByteView entry) {
  ByteReader in(entry);
  const std::uint8_t version = in.u8();
  if (!in.failed() && version > kEntryVersion) return newer_entry("has version " + std::to_string(version));
  if (version != kEntryVersion && version != kUnframedVersion) in.fail();
  const std::uint32_t count = in.count(1);
  std::vector<TreeChange> changes;
  changes.reserve(count);
  for (std::uint32_t i = 0; i < count && !in.failed(); ++i) {
    const std::uint8_t kind = in.u8();
    std::optional<TreeChange> change;
    if (version == kUnframedVersion) {
      change = read_change(kind, in);
      if (!change.has_value()) in.fail();
    } else {
      ByteReader fields(in.blob(kMaxChangeBytes));
      change = read_change(kind, fields);
      if (!change.has_value() && !in.failed()) return newer_entry("has a change of kind " + std::to_string(kind));
      if (!fields.finish(ErrorCode::JournalDamaged, kEntryName).ok()) in.fail();
    }
    if (change.has_value()) changes.push_back(std::move(*change));
  }
  VAULTFS_RETURN_IF_ERROR(in.finish(ErrorCode::JournalDamaged, kEntryName));
  return changes;
}

}  // namespace vaultfs
