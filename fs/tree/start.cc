// From what was replayed to a tree at work.
#include <unistd.h>

#include <algorithm>
#include <limits>

#include "base/thread/mutex.h"
#include "fs/tree/tree_engine.h"

namespace vaultfs {

void TreeEngine::start(Vault& vault, ChangeObserver& observer) {
  vault_ = &vault;
  log_.start(vault.read_only() ? nullptr : &vault.journal(), observer);
  space_.start(vault.env(), vault.path(), vault.space_reserve());
  queue_.start(options_.store_workers);
  reader_ = std::make_unique<ChunkReader>(vault.segments(), cache_, memory_, frames_, queue_.workers());
  contents_.start(vault.segments());
  flush_.start(vault.env().clock());
  {
    const WriterLock lock(table_.mutex());
    if (!table_.contains(kRootInode)) static_cast<void>(load_section({}).ok());
  }
  finish_replay();
  if (log_.read_only()) return;
  // A replay may have found more than the buffer holds.
  static_cast<void>(buffer_.reserve(0, [this](const WriteBuffer::Victim& victim) { contents_.evict(victim); }).ok());
  flush_.start_flusher();
}

void TreeEngine::attach_items() {
  const InodePointer root = table_.at(kRootInode);
  InodeTable::Inodes reached;
  reached.emplace(kRootInode, root);
  root->links = 2;
  root->parent = kRootInode;
  const auto take_over_root = [&] {
    const WriterLock lock(root->mutex);
    if (root->ctime.value == 0) root->atime = root->mtime = root->ctime = now();
    // Somebody's own vault is his to write to: nobody else made its top directory, which begins as root's.
    if (root->uid == 0 && ::geteuid() != 0) {
      root->uid = ::geteuid();
      root->gid = ::getegid();
    }
  };
  take_over_root();
  std::vector<InodePointer> directories{root};
  while (!directories.empty()) {
    const InodePointer directory = std::move(directories.back());
    directories.pop_back();
    for (auto entry = directory->entries->begin(); entry != directory->entries->end();) {
      const InodePointer child = table_.get(entry->second.number);
      const bool is_directory = child != nullptr && child->type == InodeType::directory;
      if (child == nullptr || (is_directory && reached.contains(entry->second.number))) {
        entry = directory->entries->erase(entry);
        continue;
      }
      entry->second.type = child->type;
      child->item = directory == root ? &table_.item_named(entry->first) : directory->item;
      if (reached.emplace(child->number, child).second) child->links = is_directory ? 2 : 0;
      if (is_directory) {
        child->parent = directory->number;
        ++directory->links;
        directories.push_back(child);
      } else {
        ++child->links;
      }
      ++entry;
    }
  }
  // What has no name any more was open when the last owner ended.
  table_.replace_all(std::move(reached));
}

void TreeEngine::finish_replay() {
  const WriterLock lock(table_.mutex());
  attach_items();
  for (const auto& [name, changed] : replay_.item_changed) ChangeLog::stamp(&table_.item_named(name), changed);
  for (const auto& [number, inode] : table_.all()) {
    const WriterLock inode_lock(inode->mutex);
    inode->journalled_size = inode->size;
    if (inode->type != InodeType::file) continue;
    ++files_;
    logical_bytes_ += inode->size;
  }
  for (const auto& [number, changed] : replay_.changed) {
    const InodePointer inode = table_.get(number);
    if (inode == nullptr) continue;
    const WriterLock inode_lock(inode->mutex);
    inode->changed = changed;
    ChangeLog::stamp(inode->item, changed);
  }
  for (auto& [number, file] : replay_.files) {
    const InodePointer inode = table_.get(number);
    if (inode != nullptr && inode->type == InodeType::file) finish_replayed_file(inode, file);
  }
  replay_ = {};
}

void TreeEngine::finish_replayed_file(const InodePointer& inode, FileReplay& replay) {
  Status status = lay_extents(inode, replay);
  if (status.ok()) status = lay_fragments(inode, replay);
  if (status.ok()) status = cut_beyond_end(inode);
  if (status.ok()) return;
  // Damage: this file can't be read or changed, all others can.
  const WriterLock lock(inode->mutex);
  DiskImage& image = inode->image();
  while (!image.dirty.empty()) FileContents::drop_chunk(image, image.dirty.begin());
  image.poison = std::make_unique<Error>(status.error());
}

Status TreeEngine::lay_extents(const InodePointer& inode, const FileReplay& replay) {
  {
    const WriterLock lock(inode->mutex);
    static_cast<void>(inode->image());
  }
  for (const auto& [begin, end] : replay.cleared) {
    VAULTFS_RETURN_IF_ERROR(contents_.load_pages(inode, {begin, end - 1}));
    const WriterLock lock(inode->mutex);
    inode->content->extents.clear(begin, end);
  }
  for (const auto& [index, chunk] : replay.chunks) {
    VAULTFS_RETURN_IF_ERROR(contents_.load_pages(inode, {index}));
    if (!chunk.extent.has_value()) continue;
    const WriterLock lock(inode->mutex);
    inode->content->extents.set(index, *chunk.extent);
  }
  return ok_status();
}

Status TreeEngine::lay_fragments(const InodePointer& inode, const FileReplay& replay) {
  for (const auto& [index, chunk] : replay.chunks) {
    if (chunk.fragments.empty()) continue;
    VAULTFS_RETURN_IF_ERROR(contents_.load_pages(inode, {index}));
    const WriterLock lock(inode->mutex);
    DiskImage& image = *inode->content;
    const ChunkId base = image.extents.get(index);
    std::uint32_t base_length = 0;
    // Under a closed epoch that costs a look at the whole chunk.
    const bool has_zeros = std::ranges::any_of(chunk.fragments, [](const auto& part) { return part.bytes.empty(); });
    if (has_zeros && !base.is_zero()) {
      VAULTFS_ASSIGN_OR_RETURN(base_length, vault_->segments().length(base));
    }
    Slot& slot = contents_.active_slot(inode, index);
    std::uint32_t pages = 0;
    for (const FileReplay::Fragment& fragment : chunk.fragments) {
      if (!fragment.bytes.empty()) {
        pages += slot.write(fragment.begin, fragment.bytes);
        continue;
      }
      // Zeros matter where the chunk below has bytes.
      slot.forget(fragment.begin, fragment.end);
      pages += slot.write_zeros(fragment.begin, std::min(fragment.end, base_length));
    }
    buffer_.add_bytes(std::uint64_t{pages} * kSlotPageBytes);
    slot.journalled(log_.last_appended());
    slot.set_changed(inode->changed);
    if (slot.dirty().empty()) {
      image.dirty.erase(index);
    } else if (slot.full() && !log_.read_only()) {
      contents_.freeze(inode, index);
    }
  }
  return ok_status();
}

bool TreeEngine::has_content_beyond_end(const Inode& inode) const {
  const DiskImage& image = *inode.content;
  const std::uint64_t first_beyond = (inode.size + kChunkBytes - 1) / kChunkBytes;
  if (image.extents.next_candidate(first_beyond).has_value()) return true;
  if (image.dirty.lower_bound(first_beyond) != image.dirty.end()) return true;
  const auto tail = static_cast<std::uint32_t>(inode.size % kChunkBytes);
  if (tail == 0) return false;
  const std::uint64_t index = inode.size / kChunkBytes;
  const auto chunk = image.dirty.find(index);
  if (chunk != image.dirty.end()) {
    // A slot on its way holds more than the file's size lets show: only its end decides.
    if (!chunk->second.storing.empty()) return true;
    if (!chunk->second.active->dirty().inside(tail, kChunkBytes).empty()) return true;
  }
  const ChunkId base = image.extents.get(index);
  if (base.is_zero()) return false;
  const Result<std::uint32_t> length = vault_->segments().length(base);
  return length.ok() && *length > tail;
}

Status TreeEngine::cut_beyond_end(const InodePointer& inode) {
  // Chunks and fragments reach the journal before the growth that shows them. Where that growth was lost they must be
  // gone for good, or a later growth would show them.
  std::uint64_t size = 0;
  {
    const ReaderLock lock(inode->mutex);
    size = inode->size;
  }
  VAULTFS_RETURN_IF_ERROR(contents_.load_pages(inode, {size / kChunkBytes, (size + kChunkBytes - 1) / kChunkBytes}));
  const WriterLock lock(inode->mutex);
  if (!has_content_beyond_end(*inode)) return ok_status();
  Lsn lsn;
  if (!log_.read_only()) {
    TreeEntryWriter entry;
    entry.add(CutContent{inode->number, inode->size});
    VAULTFS_ASSIGN_OR_RETURN(lsn, log_.append(std::move(entry)));
  }
  constexpr std::uint64_t kEnd = std::numeric_limits<std::uint64_t>::max() / kChunkBytes * kChunkBytes;
  contents_.zero_content(inode, inode->size, kEnd, (inode->size / kChunkBytes + 1) * kChunkBytes, lsn);
  return ok_status();
}

}  // namespace vaultfs
