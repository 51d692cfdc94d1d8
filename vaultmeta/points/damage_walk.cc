#include "vaultmeta/points/damage_walk.h"

#include <algorithm>

namespace vaultfs {
namespace {

// Finds paths from below, so that a deep tree costs nothing but its names.
class Paths {
 public:
  explicit Paths(const Manifest& manifest) : root_(manifest.root) {
    for (const InodeRecord& inode : manifest.inodes) {
      for (const auto& [name, child] : inode.entries) names_.emplace(child.value, Name{inode.number, &name});
    }
  }
  // Inside the item; of very long ones the end.
  [[nodiscard]] std::string of(InodeNumber inode) const {
    constexpr std::size_t kMostBytes = 4096;
    std::string path;
    while (inode != root_) {
      const auto name = names_.find(inode.value);
      if (name == names_.end()) break;
      path = path.empty() ? *name->second.name : *name->second.name + "/" + path;
      if (path.size() > kMostBytes) return ".../" + path;
      inode = name->second.directory;
    }
    return path;
  }

 private:
  struct Name {
    InodeNumber directory;
    const std::string* name;  // of the manifest
  };
  const InodeNumber root_;
  std::unordered_map<std::uint64_t, Name> names_;
};

void add_range(std::vector<DamagedRange>& ranges, DamagedRange range) {
  if (!ranges.empty()) {
    DamagedRange& last = ranges.back();
    if (last.offset + last.bytes == range.offset && last.error.code == range.error.code) {
      last.bytes += range.bytes;
      return;
    }
  }
  ranges.push_back(std::move(range));
}

Error error_of_mark(const SegmentStore& segments, const ChunkIndex::Key& key) {
  if (const auto place = segments.place_of(key)) {
    return {ErrorCode::DamagedRecord, "its record in segment " + std::to_string(place->segment.value) + " is damaged"};
  }
  return {ErrorCode::ChunkMissing, "no segment has it"};
}

bool is_unmarked(const SegmentStore& segments, const ChunkIndex::Key& key) {
  const auto place = segments.place_of(key);
  return place && !place->damaged;
}

}  // namespace

std::optional<Error> look_at_marks(SegmentStore& segments, const ChunkId& id) {
  const ChunkIndex::Key key = ChunkIndex::key_of(id);
  if (!is_unmarked(segments, key)) return error_of_mark(segments, key);
  const UseGate::Use use = segments.use();
  const auto base = segments.base_key_of(id);
  if (!base.ok()) return base.error();
  if (*base && !is_unmarked(segments, **base)) return error_of_mark(segments, **base);
  if (*base && segments.place_of(**base)->type != RecordType::chunk) {
    return Error{ErrorCode::ChunkMismatch, "what lies below was lost when it was written over"};
  }
  return std::nullopt;
}

std::string describe(const std::vector<DamagedRange>& ranges) {
  if (ranges.empty()) return "";
  std::uint64_t bytes = 0;
  for (const DamagedRange& range : ranges) bytes += range.bytes;
  return std::to_string(bytes) + " bytes can't be read, first of " + ranges.front().path + " at byte " +
         std::to_string(ranges.front().offset);
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

Status DamageWalk::walk_file(const InodeRecord& inode, std::vector<DamagedRange>& ranges) {
  // What is named beyond the end of the file is not part of it.
  const auto add = [&](std::uint64_t offset, std::uint64_t bytes, const Error& error) {
    if (offset < inode.size) add_range(ranges, {"", offset, std::min(bytes, inode.size - offset), error});
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
  std::optional<Paths> paths;
  for (const InodeRecord& inode : manifest.inodes) {
    std::vector<DamagedRange> of_file;
    VAULTFS_RETURN_IF_ERROR(walk_file(inode, of_file));
    if (of_file.empty()) continue;
    if (!paths) paths.emplace(manifest);
    const std::string path = paths->of(inode.number);
    for (DamagedRange& range : of_file) {
      range.path = path;
      ranges.push_back(std::move(range));
    }
  }
  return ranges;
}

Result<bool> DamageWalk::meets_any(const Manifest& manifest) {
  std::vector<DamagedRange> ranges;
  for (const InodeRecord& inode : manifest.inodes) {
    VAULTFS_RETURN_IF_ERROR(walk_file(inode, ranges));
    if (!ranges.empty()) return true;
  }
  return false;
}

}  // namespace vaultfs
