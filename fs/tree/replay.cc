// Rebuilding the tree from a checkpoint and the journal. Runs before start(): one thread, no store yet.
#include "fs/tree/replay.h"

#include <algorithm>
#include <limits>

#include "base/thread/mutex.h"
#include "fs/tree/tree_engine.h"

namespace vaultfs {

void FileReplay::add(Chunk& chunk, Fragment fragment) {
  // What is wholly covered can never show again: an extent that drops the newer fragment drops the older one too.
  std::erase_if(chunk.fragments,
                [&](const Fragment& old) { return old.begin >= fragment.begin && old.end <= fragment.end; });
  chunk.fragments.push_back(std::move(fragment));
}

void FileReplay::write(Lsn lsn, std::uint64_t offset, ByteView bytes) {
  if (bytes.empty()) return;
  const auto begin = static_cast<std::uint32_t>(offset % kChunkBytes);
  add(chunks[offset / kChunkBytes], {lsn, begin, begin + static_cast<std::uint32_t>(bytes.size()), to_bytes(bytes)});
}

void FileReplay::set_extent(std::uint64_t index, const ChunkId& id, Lsn covers) {
  Chunk& chunk = chunks[index];
  chunk.extent = id;
  std::erase_if(chunk.fragments, [&](const Fragment& fragment) { return fragment.lsn <= covers; });
}

void FileReplay::zero(Lsn lsn, std::uint64_t begin, std::uint64_t end) {
  if (begin >= end) return;
  const std::uint64_t first_whole = begin / kChunkBytes + (begin % kChunkBytes != 0 ? 1 : 0);
  const std::uint64_t last_whole = end / kChunkBytes;
  const auto piece = [&](std::uint64_t from, std::uint64_t to) {
    const std::uint64_t start = from / kChunkBytes * kChunkBytes;
    add(chunks[from / kChunkBytes],
        {lsn, static_cast<std::uint32_t>(from - start), static_cast<std::uint32_t>(to - start), {}});
  };
  if (begin % kChunkBytes != 0) piece(begin, std::min(end, first_whole * kChunkBytes));
  if (first_whole < last_whole) {
    chunks.erase(chunks.lower_bound(first_whole), chunks.lower_bound(last_whole));
    cleared.emplace_back(first_whole, last_whole);
  }
  if (end % kChunkBytes != 0 && last_whole >= first_whole) piece(last_whole * kChunkBytes, end);
}

Status TreeEngine::load(ByteView checkpoint_section) {
  if (vault_ != nullptr) return Error{ErrorCode::Internal, "a started tree can't be loaded"};
  const WriterLock lock(table_.mutex());
  return load_section(checkpoint_section);
}

Status TreeEngine::load_section(ByteView checkpoint_section) {
  table_.replace_all({});
  replay_ = {};
  const auto add = [this](const InodeRecord& record) {
    table_.mutex().assert_held();
    const auto inode = std::make_shared<Inode>(record.number, record.type);
    const WriterLock lock(inode->mutex);
    inode->mode = record.mode;
    inode->uid = record.uid;
    inode->gid = record.gid;
    inode->rdev = record.rdev;
    inode->size = record.size;
    inode->atime = record.atime;
    inode->mtime = record.mtime;
    inode->ctime = record.ctime;
    if (record.type == InodeType::symlink) inode->target = std::make_unique<std::string>(record.target);
    for (const auto& [name, value] : record.attributes) inode->set_extended(name, value);
    if (record.type == InodeType::file && (!record.chunks.empty() || !record.pages.empty())) {
      inode->image().extents = ExtentMap::from_record(record);
    }
    if (record.type == InodeType::directory) {
      inode->entries = std::make_unique<std::map<std::string, Inode::Entry, std::less<>>>();
      // The type is filled in at the start, when all inodes are known.
      for (const auto& [name, number] : record.entries) {
        inode->entries->emplace(name, Inode::Entry{number, InodeType::file});
      }
    }
    table_.put(inode);
  };
  if (!checkpoint_section.empty()) {
    VAULTFS_ASSIGN_OR_RETURN(TreeSection section, TreeSection::decode(checkpoint_section));
    for (const InodeRecord& record : section.inodes) {
      add(record);
      table_.raise_next(record.number.next());
    }
    table_.raise_next(section.next_inode);
    for (const TreeSection::ItemChange& item : section.items) replay_.item_changed[item.name] = item.last_change;
    for (const SectionFragment& fragment : section.fragments) {
      replay_.files[fragment.inode].write(Lsn{}, fragment.offset, fragment.bytes);
    }
  }
  const InodePointer root = table_.get(kRootInode);
  if (root == nullptr) {
    InodeRecord record;
    record.number = kRootInode;
    record.type = InodeType::directory;
    record.mode = 0755;
    add(record);
  } else if (root->type != InodeType::directory) {
    return Error{ErrorCode::DamagedCheckpoint, "the root of the working tree is no directory"};
  }
  return ok_status();
}

Inode* TreeEngine::replayed(InodeNumber number, Lsn changed) {
  const InodePointer found = table_.get(number);
  if (found == nullptr) return nullptr;
  Lsn& known = replay_.changed[number];
  known = std::max(known, changed);
  return found.get();
}

void TreeEngine::replay_name(Lsn lsn, const TreeChange& change) {
  if (const auto* create = std::get_if<CreateInode>(&change)) {
    const auto inode = std::make_shared<Inode>(create->number, create->type);
    const WriterLock lock(inode->mutex);
    inode->mode = create->mode;
    inode->uid = create->uid;
    inode->gid = create->gid;
    inode->rdev = create->rdev;
    inode->atime = inode->mtime = inode->ctime = create->time;
    if (create->type == InodeType::symlink) inode->target = std::make_unique<std::string>(create->target);
    if (create->type == InodeType::directory) {
      inode->entries = std::make_unique<std::map<std::string, Inode::Entry, std::less<>>>();
    }
    table_.raise_next(create->number.next());
    table_.add(inode);
    static_cast<void>(replayed(create->number, lsn));
  } else if (const auto* attributes = std::get_if<SetAttributes>(&change)) {
    Inode* inode = replayed(attributes->number, Lsn{});
    if (inode == nullptr) return;
    const WriterLock lock(inode->mutex);
    inode->mode = attributes->mode;
    inode->uid = attributes->uid;
    inode->gid = attributes->gid;
    inode->atime = attributes->atime;
    inode->mtime = attributes->mtime;
    inode->ctime = attributes->ctime;
  } else if (const auto* link = std::get_if<LinkName>(&change)) {
    Inode* directory = replayed(link->directory, lsn);
    const InodePointer inode = table_.get(link->inode);
    if (directory == nullptr || directory->entries == nullptr || inode == nullptr) return;
    directory->entries->insert_or_assign(link->name, Inode::Entry{link->inode, inode->type});
  } else if (const auto* unlink = std::get_if<UnlinkName>(&change)) {
    Inode* directory = replayed(unlink->directory, lsn);
    if (directory != nullptr && directory->entries != nullptr) directory->entries->erase(unlink->name);
  } else if (const auto* set = std::get_if<SetExtended>(&change)) {
    if (Inode* inode = replayed(set->number, lsn)) {
      const WriterLock lock(inode->mutex);
      inode->set_extended(set->name, to_bytes(set->value));
    }
  } else if (const auto* gone = std::get_if<RemoveExtended>(&change)) {
    if (Inode* inode = replayed(gone->number, lsn)) {
      const WriterLock lock(inode->mutex);
      inode->set_extended(gone->name, std::nullopt);
    }
  }
}

void TreeEngine::replay_content(Lsn lsn, const TreeChange& change) {
  const auto file = [&](InodeNumber number, Lsn changed) {
    table_.mutex().assert_held();
    Inode* inode = replayed(number, changed);
    return inode != nullptr && inode->type == InodeType::file ? inode : nullptr;
  };
  if (const auto* fragment = std::get_if<WriteFragment>(&change)) {
    if (file(fragment->number, fragment->changed) == nullptr) return;
    replay_.files[fragment->number].write(lsn, fragment->offset, fragment->bytes);
  } else if (const auto* extent = std::get_if<SetExtent>(&change)) {
    if (file(extent->number, extent->changed) == nullptr) return;
    replay_.files[extent->number].set_extent(extent->index, extent->id, extent->covers);
  } else if (const auto* cut = std::get_if<CutContent>(&change)) {
    Inode* inode = file(cut->number, lsn);
    if (inode == nullptr) return;
    const WriterLock lock(inode->mutex);
    inode->size = std::min(inode->size, cut->size);
    constexpr std::uint64_t kEnd = std::numeric_limits<std::uint64_t>::max() / kChunkBytes * kChunkBytes;
    replay_.files[cut->number].zero(lsn, cut->size, kEnd);
  } else if (const auto* zero = std::get_if<ZeroRange>(&change)) {
    if (file(zero->number, lsn) == nullptr) return;
    replay_.files[zero->number].zero(lsn, zero->begin, zero->end);
  } else if (const auto* grow = std::get_if<GrowFile>(&change)) {
    Inode* inode = file(grow->number, grow->changed);
    if (inode == nullptr) return;
    const WriterLock lock(inode->mutex);
    inode->size = std::max(inode->size, grow->size);
  }
}

void TreeEngine::replay_change(Lsn lsn, const TreeChange& change) {
  replay_name(lsn, change);
  replay_content(lsn, change);
}

Status TreeEngine::apply(Lsn lsn, ByteView entry) {
  VAULTFS_ASSIGN_OR_RETURN(const std::vector<TreeChange> changes, decode_tree_entry(entry));
  const WriterLock lock(table_.mutex());
  for (const TreeChange& change : changes) replay_change(lsn, change);
  replay_.last = std::max(replay_.last, lsn);
  return ok_status();
}

}  // namespace vaultfs
