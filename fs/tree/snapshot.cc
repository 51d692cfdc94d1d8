// One atomic cut over an item, or over everything.
#include <algorithm>

#include "base/thread/mutex.h"
#include "fs/tree/tree_engine.h"
#include "vaultmeta/catalogue/item_errors.h"

namespace vaultfs {
namespace {

// A checkpoint copies slots with little in them instead of merging them with their chunks, up to this in all.
constexpr std::uint32_t kSmallSlotBytes = 128 * 1024;
constexpr std::uint64_t kSmallSlotsBytes = 16ULL << 20;

}  // namespace

void TreeEngine::cut_open_files(const Item* item, Cut& cut, bool keep_small_slots) {
  for (const InodePointer& inode : open_files_.open_for_writing(item)) {
    if (inode->cut_number.load() == cut.number) continue;
    // One that has no name any more is in no cut.
    if (inode->links > 0) {
      cut_inode(inode, cut, keep_small_slots);
    } else {
      inode->cut_number = cut.number;
    }
  }
}

InodeRecord TreeEngine::record_of(const Inode& inode) {
  InodeRecord record;
  record.number = inode.number;
  record.type = inode.type;
  record.mode = inode.mode;
  record.uid = inode.uid;
  record.gid = inode.gid;
  record.link_count = inode.links;
  record.rdev = inode.rdev;
  record.size = inode.size;
  record.atime = inode.atime;
  record.mtime = inode.mtime;
  record.ctime = inode.ctime;
  if (inode.target != nullptr) record.target = *inode.target;
  if (inode.extended != nullptr) record.attributes.assign(inode.extended->begin(), inode.extended->end());
  if (inode.entries != nullptr) {
    record.entries.reserve(inode.entries->size());
    for (const auto& [name, entry] : *inode.entries) record.entries.emplace_back(name, entry.number);
  }
  return record;
}

void TreeEngine::cut_inode(const InodePointer& inode, Cut& cut, bool keep_small_slots) {
  const WriterLock lock(inode->mutex);
  inode->cut_number = cut.number;
  // A file whose content is not known here would lose in the cut what the journal may still have of it.
  if (const Status known = FileContents::readable(*inode); !known.ok()) cut.failure = known.error();
  cut.records.push_back(record_of(*inode));
  cut.logical_bytes += inode->size;
  if (inode->type != InodeType::file) return;
  FileCut file{cut.records.size() - 1, inode, inode->size, {}, {}};
  if (inode->content != nullptr) {
    DiskImage& image = *inode->content;
    file.extents = image.extents.share();
    for (auto& [index, chunk] : image.dirty) {
      if (keep_small_slots && chunk.storing.empty() && cut.fragment_bytes < kSmallSlotsBytes &&
          chunk.active->dirty().total_bytes() <= kSmallSlotBytes) {
        for (const ByteRanges::Range& range : chunk.active->dirty().ranges()) {
          const MutableByteView bytes = chunk.active->memory().subspan(range.begin, range.end - range.begin);
          cut.fragments.push_back({inode->number, index * kChunkBytes + range.begin, to_bytes(bytes)});
          cut.fragment_bytes += bytes.size();
        }
        continue;
      }
      if (chunk.active != nullptr) contents_.freeze(inode, index);
      // A truncation from now on must not keep the cut from getting what it has seen.
      for (const JobPointer& job : chunk.storing) job->wanted = true;
      file.jobs.push_back(chunk.storing.back());
    }
  }
  cut.files.push_back(std::move(file));
}

void TreeEngine::cut_tree(const InodePointer& top, Cut& cut, bool keep_small_slots) {
  std::vector<InodePointer> directories{top};
  while (!directories.empty()) {
    const InodePointer directory = std::move(directories.back());
    directories.pop_back();
    cut_inode(directory, cut, keep_small_slots);
    for (const auto& [name, entry] : *directory->entries) {
      const InodePointer& child = table_.at(entry.number);
      if (entry.type == InodeType::directory) {
        directories.push_back(child);
      } else if (child->cut_number.load() != cut.number) {
        cut_inode(child, cut, keep_small_slots);
      }
    }
  }
}

Status TreeEngine::finish_cut(Cut& cut) {
  if (cut.failure.has_value()) return *cut.failure;
  SegmentStore& store = vault_->segments();
  for (FileCut& file : cut.files) {
    for (const JobPointer& job : file.jobs) {
      queue_.wait_for(job);
      if (job->error.has_value()) return *job->error;
      if (const auto page = file.extents.page_to_load(job->index)) {
        const ChunkId stored = file.extents.stored_page(*page);
        VAULTFS_ASSIGN_OR_RETURN(std::shared_ptr<ExtentMap::Page> loaded, load_map_page(store, stored));
        file.extents.install(*page, stored, std::move(loaded));
      }
      file.extents.set(job->index, job->result);
    }
    file.jobs.clear();
    VAULTFS_ASSIGN_OR_RETURN(const std::vector<ExtentMap::KeptPage> kept, file.extents.store_pages(store));
    if (!kept.empty()) {
      const WriterLock lock(file.inode->mutex);
      if (file.inode->content != nullptr) {
        for (const ExtentMap::KeptPage& page : kept) file.inode->content->extents.page_stored(page);
      }
    }
    VAULTFS_RETURN_IF_ERROR(file.extents.fill_record(cut.records[file.record], store));
  }
  std::sort(cut.records.begin(), cut.records.end(),
            [](const InodeRecord& a, const InodeRecord& b) { return a.number < b.number; });
  return ok_status();
}

Result<TreeSnapshot> TreeEngine::snapshot(const std::string& item_name) {
  VAULTFS_RETURN_IF_ERROR(log_.writable());
  const MutexLock one_at_a_time(snapshot_mutex_);
  // The last of what was accepted is stored for it, too.
  const SpaceReserve::ContentUse use(vault_->space_reserve());
  TreeSnapshot snapshot;
  Cut cut;
  {
    CutGate::Closed closed(gate_);
    const ReaderLock names(table_.mutex());
    cut.number = closed.number();
    const Inode& root = *table_.at(kRootInode);
    const auto entry = root.entries->find(item_name);
    if (entry == root.entries->end()) return no_such_item(item_name);
    const InodePointer directory = table_.at(entry->second.number);
    {
      const MutexLock item_lock(directory->item->mutex);
      if (directory->item->failure.has_value()) {
        Error failure = *std::exchange(directory->item->failure, std::nullopt);
        return with_context(std::move(failure), "an acknowledged write could not be kept");
      }
    }
    TreeEntryWriter mark;
    mark.add(SnapshotMark{});
    VAULTFS_ASSIGN_OR_RETURN(const Lsn lsn, log_.append(std::move(mark)));
    snapshot.root = directory->number;
    snapshot.cut = lsn.next();
    snapshot.open_for_writing = directory->item->open_writers.load() > 0;
    cut_open_files(directory->item, cut, false);
    closed.let_content_pass(directory->item);
    cut_tree(directory, cut, false);
  }
  VAULTFS_RETURN_IF_ERROR(finish_cut(cut));
  // What the point will have is in the working tree, too, whenever the point is: the chunks are in the journal by now,
  // the sizes are not yet.
  for (const FileCut& file : cut.files) {
    VAULTFS_RETURN_IF_ERROR(flush_.journal_attributes(file.inode, file.size, snapshot.cut));
  }
  snapshot.inodes = std::move(cut.records);
  snapshot.logical_bytes = cut.logical_bytes;
  return snapshot;
}

Result<Bytes> TreeEngine::encode_section(const std::function<void()>& cut_made) {
  TreeSection section;
  Cut cut;
  {
    CutGate::Closed closed(gate_);
    const ReaderLock names(table_.mutex());
    cut.number = closed.number();
    cut_made();
    // A name given later stands in the journal only.
    for (const InodeNumber number : table_.unnamed()) cut_inode(table_.at(number), cut, true);
    cut_open_files(nullptr, cut, true);
    section.next_inode = table_.next_number();
    for (const auto& item : table_.items()) section.items.push_back({item->name, Lsn(item->last_change.load())});
    closed.let_content_pass(nullptr);
    cut_tree(table_.at(kRootInode), cut, true);
  }
  VAULTFS_RETURN_IF_ERROR(finish_cut(cut));
  // Of a chunk with several slots on their way, the section has the last result. A replay over it must not find only
  // the extent of an earlier one in the journal.
  VAULTFS_RETURN_IF_ERROR(flush_.commit());
  section.inodes = std::move(cut.records);
  section.fragments = std::move(cut.fragments);
  return section.encode();
}

Status TreeEngine::checkpoint() {
  VAULTFS_RETURN_IF_ERROR(log_.writable());
  const MutexLock one_at_a_time(snapshot_mutex_);
  return vault_->checkpoint([this](const std::function<void()>& cut_made) { return encode_section(cut_made); });
}

}  // namespace vaultfs
