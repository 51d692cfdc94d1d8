#include "vaultmeta/damage_walk.h"

#include <algorithm>

namespace vaultfs {
namespace {

// The first path of each inode below the manifest's root.
std::unordered_map<std::uint64_t, std::string> paths_of(const Manifest& manifest) {
  std::unordered_map<std::uint64_t, const InodeRecord*> by_number;
  for (const InodeRecord& inode : manifest.inodes) by_number[inode.number.value] = &inode;
  std::unordered_map<std::uint64_t, std::string> paths;
  std::vector<std::uint64_t> directories{manifest.root.value};
  while (!directories.empty()) {
    const std::uint64_t number = directories.back();
    directories.pop_back();
    const auto directory = by_number.find(number);
    if (directory == by_number.end()) continue;
    const std::string above = paths[number];
    for (const auto& [name, child] : directory->second->entries) {
      const bool fresh = paths.emplace(child.value, above.empty() ? name : above + "/" + name).second;
      const auto found = by_number.find(child.value);
      if (fresh && found != by_number.end() && found->second->type == InodeType::directory) {
        directories.push_back(child.value);
      }
    }
  }
  return paths;
}

void add_range(std::vector<DamagedRange>& ranges, DamagedRange range) {
  if (!ranges.empty()) {
    DamagedRange& last = ranges.back();
    if (last.path == range.path && last.offset + last.bytes == range.offset && last.error.code == range.error.code) {
      last.bytes += range.bytes;
      last.chunks += range.chunks;
      return;
    }
  }
  ranges.push_back(std::move(range));
}

}  // namespace

std::string describe(const std::vector<DamagedRange>& ranges) {
  if (ranges.empty()) return "";
  std::uint64_t chunks = 0;
  for (const DamagedRange& range : ranges) chunks += range.chunks;
  return std::to_string(chunks) + (chunks == 1 ? " damaged chunk" : " damaged chunks, first") + " in " +
         ranges.front().path + " at byte " + std::to_string(ranges.front().offset);
}

Result<const DamageWalk::Page*> DamageWalk::look_at_page(const ChunkId& id) {
  if (const auto known = pages_.find(id); known != pages_.end()) return &known->second;
  Page page;
  page.unreadable = look_(RecordType::map_page, id);
  if (!page.unreadable) {
    const auto decoded = [&]() -> Result<MapPage> {
      const UseGate::Use use = segments_.use();
      VAULTFS_ASSIGN_OR_RETURN(const Bytes content, segments_.read_verified(RecordType::map_page, id));
      return MapPage::decode(content);
    }();
    if (!decoded.ok()) {
      if (!is_integrity_error(decoded.code()) && decoded.code() != ErrorCode::IoError) return decoded.error();
      page.unreadable = decoded.error();
    } else {
      for (std::uint32_t i = 0; i < decoded->entries.size(); ++i) {
        if (decoded->entries[i].is_zero()) continue;
        if (auto error = look_(RecordType::chunk, decoded->entries[i])) page.damaged.push_back({i, std::move(*error)});
      }
    }
  }
  if (pages_.size() >= kMaxPages) pages_.clear();
  return &(pages_[id] = std::move(page));
}

Status DamageWalk::walk_file(const InodeRecord& inode, const std::string& path, std::vector<DamagedRange>& ranges) {
  // What is named beyond the end of the file is not part of it.
  const auto add = [&](std::uint64_t offset, std::uint64_t bytes, const Error& error) {
    if (offset < inode.size) add_range(ranges, {path, offset, std::min(bytes, inode.size - offset), 1, error});
  };
  for (std::size_t i = 0; i < inode.chunks.size(); ++i) {
    const std::uint64_t offset = std::uint64_t{i} * kChunkBytes;
    if (inode.chunks[i].is_zero() || offset >= inode.size) continue;
    if (const auto error = look_(RecordType::chunk, inode.chunks[i])) add(offset, kChunkBytes, *error);
  }
  for (std::size_t i = 0; i < inode.pages.size(); ++i) {
    if (inode.pages[i].is_zero()) continue;
    VAULTFS_ASSIGN_OR_RETURN(const Page* page, look_at_page(inode.pages[i]));
    const std::uint64_t start = std::uint64_t{i} * kMapPageSpanBytes;
    if (page->unreadable) add(start, kMapPageSpanBytes, *page->unreadable);
    for (const Place& place : page->damaged) {
      add(start + std::uint64_t{place.index} * kChunkBytes, kChunkBytes, place.error);
    }
  }
  return ok_status();
}

Result<std::vector<DamagedRange>> DamageWalk::walk(const Manifest& manifest) {
  std::vector<DamagedRange> ranges;
  const auto paths = paths_of(manifest);
  for (const InodeRecord& inode : manifest.inodes) {
    if (inode.type != InodeType::file) continue;
    const auto path = paths.find(inode.number.value);
    VAULTFS_RETURN_IF_ERROR(walk_file(inode, path == paths.end() ? "" : path->second, ranges));
  }
  return ranges;
}

Result<bool> DamageWalk::meets_any(const Manifest& manifest) {
  std::vector<DamagedRange> ranges;
  for (const InodeRecord& inode : manifest.inodes) {
    VAULTFS_RETURN_IF_ERROR(walk_file(inode, "", ranges));
    if (!ranges.empty()) return true;
  }
  return false;
}

}  // namespace vaultfs
