#include "fs/tree/format/section.h"

#include "base/byte_codec.h"

namespace vaultfs {
namespace {

constexpr std::uint8_t kSectionVersion = 1;

}  // namespace

Bytes TreeSection::encode() const {
  ByteWriter out;
  out.u8(kSectionVersion);
  out.u64(next_inode.value);
  out.u32(static_cast<std::uint32_t>(items.size()));
  for (const ItemChange& item : items) {
    out.text(item.name);
    out.u64(item.last_change.value);
  }
  out.u32(static_cast<std::uint32_t>(inodes.size()));
  for (const InodeRecord& inode : inodes) inode.encode(out);
  out.u32(static_cast<std::uint32_t>(fragments.size()));
  for (const SectionFragment& fragment : fragments) {
    out.u64(fragment.inode.value);
    out.u64(fragment.offset);
    out.blob(fragment.bytes);
  }
  return std::move(out).take();
}

Result<TreeSection> TreeSection::decode(ByteView bytes) {
  constexpr std::size_t kSmallestItem = 4 + 8;
  constexpr std::size_t kSmallestInode = 8 + 1;
  constexpr std::size_t kSmallestFragment = 8 + 8 + 4;
  ByteReader in(bytes);
  TreeSection section;
  const std::uint8_t version = in.u8();
  if (version > kSectionVersion) {
    return Error{ErrorCode::UnsupportedFormat, "the working tree in the checkpoint has version " +
                                                   std::to_string(version) +
                                                   ", which a newer vaultfs made; use that one"};
  }
  if (version != kSectionVersion) in.fail();
  section.next_inode = InodeNumber(in.u64());
  const std::uint32_t items = in.count(kSmallestItem);
  for (std::uint32_t i = 0; i < items && !in.failed(); ++i) {
    std::string name = in.text(kMaxNameBytes);
    section.items.push_back({std::move(name), Lsn(in.u64())});
  }
  const std::uint32_t inodes = in.count(kSmallestInode);
  for (std::uint32_t i = 0; i < inodes && !in.failed(); ++i) section.inodes.push_back(InodeRecord::decode(in));
  const std::uint32_t fragments = in.count(kSmallestFragment);
  for (std::uint32_t i = 0; i < fragments && !in.failed(); ++i) {
    SectionFragment fragment;
    fragment.inode = InodeNumber(in.u64());
    fragment.offset = in.u64();
    fragment.bytes = to_bytes(in.blob(kChunkBytes));
    if (fragment.offset >= kMaxFileBytes || fragment.offset % kChunkBytes + fragment.bytes.size() > kChunkBytes)
      in.fail();
    section.fragments.push_back(std::move(fragment));
  }
  VAULTFS_RETURN_IF_ERROR(in.finish(ErrorCode::DamagedCheckpoint, "the working tree in the checkpoint"));
  return section;
}

}  // namespace vaultfs
