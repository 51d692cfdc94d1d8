#include "fs/points/recovery_point_tree.h"

#include <algorithm>
#include <map>
#include <utility>

#include "base/thread/mutex.h"
#include "fs/content/map_page_cache.h"

namespace vaultfs {
namespace {

Error not_found() { return Error{ErrorCode::NotFound, "there is no such file in the recovery point"}; }

class RecoveryPointTree final : public FileTree {
 public:
  RecoveryPointTree(Vault& vault, Manifest manifest)
      : segments_(vault.segments()), pages_(vault.segments()), manifest_(std::move(manifest)) {}

  Result<Attributes> lookup(InodeNumber parent, const std::string& name) override {
    VAULTFS_ASSIGN_OR_RETURN(const InodeRecord* directory, find(parent, InodeType::directory));
    const auto entry =
        std::lower_bound(directory->entries.begin(), directory->entries.end(), name,
                         [](const auto& candidate, const std::string& wanted) { return candidate.first < wanted; });
    if (entry == directory->entries.end() || entry->first != name) return not_found();
    return attributes(entry->second);
  }

  Result<Attributes> attributes(InodeNumber inode) override {
    VAULTFS_ASSIGN_OR_RETURN(const InodeRecord* record, find(inode));
    Attributes out{.number = record->number,
                   .type = record->type,
                   .mode = record->mode,
                   .uid = record->uid,
                   .gid = record->gid,
                   .link_count = record->link_count,
                   .rdev = record->rdev,
                   .size = record->type == InodeType::symlink ? record->target.size() : record->size,
                   .allocated_bytes = 0,
                   .atime = record->atime,
                   .mtime = record->mtime,
                   .ctime = record->ctime};
    VAULTFS_ASSIGN_OR_RETURN(out.allocated_bytes, allocated_bytes(*record));
    return out;
  }

  Result<InodeNumber> parent(InodeNumber directory) override {
    VAULTFS_RETURN_IF_ERROR(find(directory, InodeType::directory));
    for (const InodeRecord& record : manifest_.inodes) {
      const auto names_it = [directory](const auto& entry) { return entry.second == directory; };
      if (std::ranges::any_of(record.entries, names_it)) return record.number;
    }
    return not_found();
  }

  std::vector<InodeNumber> inode_numbers() override {
    std::vector<InodeNumber> numbers;
    numbers.reserve(manifest_.inodes.size());
    for (const InodeRecord& record : manifest_.inodes) numbers.push_back(record.number);
    return numbers;
  }

  Result<std::vector<DirectoryEntry>> list(InodeNumber directory) override {
    VAULTFS_ASSIGN_OR_RETURN(const InodeRecord* record, find(directory, InodeType::directory));
    std::vector<DirectoryEntry> out;
    out.reserve(record->entries.size());
    for (const auto& [name, number] : record->entries) {
      VAULTFS_ASSIGN_OR_RETURN(const InodeRecord* child, find(number));
      out.push_back({name, number, child->type});
    }
    return out;
  }

  Result<std::string> read_link(InodeNumber inode) override {
    VAULTFS_ASSIGN_OR_RETURN(const InodeRecord* record, find(inode));
    if (record->type != InodeType::symlink) return Error{ErrorCode::InvalidArgument, "the file is no symbolic link"};
    return record->target;
  }

  Result<Bytes> extended_attribute(InodeNumber inode, const std::string& name) override {
    VAULTFS_ASSIGN_OR_RETURN(const InodeRecord* record, find(inode));
    for (const auto& [known, value] : record->attributes) {
      if (known == name) return value;
    }
    return Error{ErrorCode::NoData, "there is no such extended attribute"};
  }

  Result<std::vector<std::string>> extended_names(InodeNumber inode) override {
    VAULTFS_ASSIGN_OR_RETURN(const InodeRecord* record, find(inode));
    std::vector<std::string> names;
    names.reserve(record->attributes.size());
    for (const auto& [name, value] : record->attributes) names.push_back(name);
    return names;
  }

  Result<std::size_t> read(InodeNumber inode, std::uint64_t offset, MutableByteView out) override {
    VAULTFS_ASSIGN_OR_RETURN(const InodeRecord* record, find(inode, InodeType::file));
    if (offset >= record->size) return std::size_t{0};
    const std::size_t wanted = std::min<std::uint64_t>(out.size(), record->size - offset);
    std::size_t done = 0;
    while (done < wanted) {
      const std::uint64_t at = offset + done;
      const auto within = static_cast<std::uint32_t>(at % kChunkBytes);
      const std::size_t piece = std::min<std::size_t>(wanted - done, kChunkBytes - within);
      VAULTFS_ASSIGN_OR_RETURN(const ChunkId id, chunk_id_at(*record, ChunkIndexInFile(at / kChunkBytes)));
      VAULTFS_RETURN_IF_ERROR(read_chunk(id, within, out.subspan(done, piece)));
      done += piece;
    }
    return done;
  }

  Result<std::uint64_t> seek_data(InodeNumber inode, std::uint64_t offset) override {
    return seek(inode, offset, /*data=*/true);
  }
  Result<std::uint64_t> seek_hole(InodeNumber inode, std::uint64_t offset) override {
    return seek(inode, offset, /*data=*/false);
  }

  Result<std::optional<ChunkId>> chunk_at(InodeNumber inode, ChunkIndexInFile index) override {
    VAULTFS_ASSIGN_OR_RETURN(const InodeRecord* record, find(inode, InodeType::file));
    if (index.value * kChunkBytes >= record->size) return std::optional<ChunkId>(ChunkId{});
    VAULTFS_ASSIGN_OR_RETURN(const ChunkId id, chunk_id_at(*record, index));
    return std::optional<ChunkId>(id);
  }

 private:
  Result<const InodeRecord*> find(InodeNumber number) const {
    const auto found =
        std::lower_bound(manifest_.inodes.begin(), manifest_.inodes.end(), number,
                         [](const InodeRecord& record, InodeNumber wanted) { return record.number < wanted; });
    if (found == manifest_.inodes.end() || found->number != number) return not_found();
    return &*found;
  }

  Result<const InodeRecord*> find(InodeNumber number, InodeType type) const {
    VAULTFS_ASSIGN_OR_RETURN(const InodeRecord* record, find(number));
    if (record->type == type) return record;
    if (type == InodeType::directory) return Error{ErrorCode::NotADirectory, "the file is no directory"};
    if (record->type == InodeType::directory) return Error{ErrorCode::IsADirectory, "the file is a directory"};
    return Error{ErrorCode::InvalidArgument, "the file is no regular file"};
  }

  Result<ChunkId> chunk_id_at(const InodeRecord& record, ChunkIndexInFile index) {
    if (record.pages.empty()) {
      return index.value < record.chunks.size() ? record.chunks[index.value] : ChunkId{};
    }
    const std::uint64_t page = index.value / kEntriesPerMapPage;
    if (page >= record.pages.size() || record.pages[page].is_zero()) return ChunkId{};
    VAULTFS_ASSIGN_OR_RETURN(const auto loaded, pages_.load(record.pages[page]));
    return loaded->entries[index.value % kEntriesPerMapPage];
  }

  // A chunk may be shorter than its place (a file that grew over its tail): what is not stored is zero.
  Status read_chunk(const ChunkId& id, std::uint32_t within, MutableByteView out) {
    if (id.is_zero()) {
      std::ranges::fill(out, std::byte{0});
      return ok_status();
    }
    if (within == 0 && out.size() == kChunkBytes) {
      VAULTFS_ASSIGN_OR_RETURN(const std::uint32_t stored, segments_.read_content(id, out));
      std::ranges::fill(out.subspan(stored), std::byte{0});
      return ok_status();
    }
    VAULTFS_ASSIGN_OR_RETURN(const std::uint32_t length, segments_.length(id));
    const std::size_t stored = length > within ? std::min<std::size_t>(out.size(), length - within) : 0;
    std::ranges::fill(out.subspan(stored), std::byte{0});
    return stored == 0 ? ok_status() : segments_.read(id, within, out.first(stored));
  }

  Result<std::uint64_t> seek(InodeNumber inode, std::uint64_t offset, bool data) {
    VAULTFS_ASSIGN_OR_RETURN(const InodeRecord* record, find(inode, InodeType::file));
    const Error beyond{ErrorCode::OutOfRange, "there is nothing more in the file"};
    if (offset >= record->size) return beyond;
    const std::uint64_t chunks = (record->size + kChunkBytes - 1) / kChunkBytes;
    std::uint64_t index = offset / kChunkBytes;
    while (index < chunks) {
      const std::uint64_t page = index / kEntriesPerMapPage;
      const bool empty_page = !record->pages.empty() && (page >= record->pages.size() || record->pages[page].is_zero());
      if (data && empty_page) {
        index = (page + 1) * kEntriesPerMapPage;
        continue;
      }
      VAULTFS_ASSIGN_OR_RETURN(const ChunkId id, chunk_id_at(*record, ChunkIndexInFile(index)));
      if (id.is_zero() != data) return std::max(offset, index * kChunkBytes);
      ++index;
    }
    if (data) return beyond;
    return record->size;  // the end of a file counts as a hole
  }

  Result<std::uint64_t> allocated_bytes(const InodeRecord& record) {
    if (record.type != InodeType::file || record.size == 0) return std::uint64_t{0};
    {
      const MutexLock lock(allocated_mutex_);
      const auto known = allocated_.find(record.number);
      if (known != allocated_.end()) return known->second;
    }
    std::uint64_t chunks = 0;
    for (const ChunkId& id : record.chunks) chunks += id.is_zero() ? 0 : 1;
    for (const ChunkId& page : record.pages) {
      if (page.is_zero()) continue;
      VAULTFS_ASSIGN_OR_RETURN(const auto loaded, pages_.load(page));
      for (const ChunkId& id : loaded->entries) chunks += id.is_zero() ? 0 : 1;
    }
    std::uint64_t bytes = chunks * kChunkBytes;
    VAULTFS_ASSIGN_OR_RETURN(const ChunkId tail,
                             chunk_id_at(record, ChunkIndexInFile((record.size - 1) / kChunkBytes)));
    if (!tail.is_zero() && record.size % kChunkBytes != 0) {
      constexpr std::uint64_t kPage = 4096;
      bytes -= kChunkBytes - (record.size % kChunkBytes + kPage - 1) / kPage * kPage;
    }
    const MutexLock lock(allocated_mutex_);
    allocated_[record.number] = bytes;
    return bytes;
  }

  SegmentStore& segments_;
  MapPageCache pages_;
  const Manifest manifest_;
  Mutex allocated_mutex_;  // a leaf
  std::map<InodeNumber, std::uint64_t> allocated_ GUARDED_BY(allocated_mutex_);
};

}  // namespace

Result<std::unique_ptr<FileTree>> open_point_tree(Vault& vault, const PointInfo& point, InodeNumber& root) {
  VAULTFS_ASSIGN_OR_RETURN(Manifest manifest, vault.load_manifest(point));
  root = manifest.root;
  return std::unique_ptr<FileTree>(std::make_unique<RecoveryPointTree>(vault, std::move(manifest)));
}

}  // namespace vaultfs
