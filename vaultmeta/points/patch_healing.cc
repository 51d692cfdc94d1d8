#include "vaultmeta/points/patch_healing.h"

#include <algorithm>

namespace vaultfs {
namespace {

bool is_of_content(ErrorCode code) { return is_integrity_error(code) || code == ErrorCode::IoError; }

}  // namespace

Status PatchHealing::walk(const Manifest& manifest, const std::function<bool(std::uint64_t page)>& wanted,
                          std::set<std::pair<std::uint64_t, ChunkId>>& walked, const Entry& visit) {
  for (const InodeRecord& inode : manifest.inodes) {
    for (std::size_t i = 0; i < inode.chunks.size(); ++i) {
      if (!inode.chunks[i].is_zero()) VAULTFS_RETURN_IF_ERROR(visit(i, inode.chunks[i]));
    }
    for (std::size_t page = 0; page < inode.pages.size(); ++page) {
      const ChunkId& id = inode.pages[page];
      if (id.is_zero() || !wanted(page) || !walked.emplace(page, id).second) continue;
      const auto decoded = [&]() -> Result<MapPage> {
        const UseGate::Use use = segments_.use();
        VAULTFS_ASSIGN_OR_RETURN(const Bytes content, segments_.read_verified(RecordType::map_page, id));
        return MapPage::decode(content);
      }();
      if (!decoded.ok() && is_of_content(decoded.code())) continue;
      if (!decoded.ok()) return decoded.error();
      for (std::size_t i = 0; i < decoded->entries.size(); ++i) {
        const ChunkId& entry = decoded->entries[i];
        if (!entry.is_zero()) VAULTFS_RETURN_IF_ERROR(visit(page * kEntriesPerMapPage + i, entry));
      }
    }
  }
  return ok_status();
}

Status PatchHealing::find_places(const std::set<ChunkIndex::Key>& damaged, const Points& points) {
  if (std::ranges::includes(looked_for_, damaged)) return ok_status();
  places_.clear();
  tried_.clear();
  std::set<std::pair<std::uint64_t, ChunkId>> walked;
  VAULTFS_RETURN_IF_ERROR(points([&](const Manifest& manifest) {
    return walk(
        manifest, [](std::uint64_t) { return true; }, walked,
        [&](std::uint64_t index, const ChunkId& id) -> Status {
          if (damaged.contains(ChunkIndex::key_of(id))) places_[index].insert(id);
          return ok_status();
        });
  }));
  looked_for_ = damaged;
  return ok_status();
}

Status PatchHealing::try_content(const ChunkId& patch, const ChunkId& content) {
  if (patch == content || tried_.contains({patch, content})) return ok_status();
  const UseGate::Use use = segments_.use();
  const auto place = segments_.place_of(ChunkIndex::key_of(patch));
  if (!place || !place->damaged) return ok_status();
  Bytes bytes(kChunkBytes);
  const auto length = segments_.read_content(content, bytes);
  if (!length.ok()) return is_of_content(length.code()) ? ok_status() : Status(length.error());
  VAULTFS_ASSIGN_OR_RETURN(const bool healed, segments_.heal_patch(patch, ByteView(bytes).first(*length)));
  if (!healed) tried_.emplace(patch, content);
  return ok_status();
}

Status PatchHealing::heal(const std::set<ChunkIndex::Key>& damaged, const Points& points, const Points& newer) {
  if (damaged.empty()) return ok_status();
  VAULTFS_RETURN_IF_ERROR(find_places(damaged, points));
  std::set<std::uint64_t> pages;
  for (const auto& [index, patches] : places_) pages.insert(index / kEntriesPerMapPage);
  if (pages.empty()) return ok_status();
  std::set<std::pair<std::uint64_t, ChunkId>> walked;
  return newer([&](const Manifest& manifest) {
    return walk(
        manifest, [&](std::uint64_t page) { return pages.contains(page); }, walked,
        [&](std::uint64_t index, const ChunkId& id) -> Status {
          const auto found = places_.find(index);
          if (found == places_.end()) return ok_status();
          for (const ChunkId& patch : found->second) VAULTFS_RETURN_IF_ERROR(try_content(patch, id));
          return ok_status();
        });
  });
}

}  // namespace vaultfs
