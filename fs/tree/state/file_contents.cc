#include "fs/tree/state/file_contents.h"

#include <algorithm>
#include <new>

#include "base/thread/mutex.h"

namespace vaultfs {
namespace {

// A slot with more scattered ranges than this is merged with its chunk: lists stay short.
constexpr std::size_t kMaxRanges = 2048;

// A write from this size on belongs to a stream, as a rule, that fills its chunk.
constexpr std::size_t kStreamingBytes = std::size_t{64} * 1024;

}  // namespace

FileContents::FileContents(const Parts& parts)
    : log_(parts.log),
      gate_(parts.gate),
      open_files_(parts.open_files),
      memory_(parts.memory),
      buffer_(parts.buffer),
      space_(parts.space),
      queue_(parts.queue) {}

void FileContents::start(SegmentStore& store) {
  store_ = &store;
  maker_ = std::make_unique<ChunkMaker>(store, memory_);
}

Status FileContents::readable(const Inode& inode) {
  if (inode.content != nullptr && inode.content->poison != nullptr) return *inode.content->poison;
  return ok_status();
}

Status FileContents::load_page(const InodePointer& inode, std::uint64_t page) {
  const UseGate::Use use = store_->use();
  ChunkId stored;
  {
    const ReaderLock lock(inode->mutex);
    if (inode->content == nullptr) return ok_status();
    stored = inode->content->extents.stored_page(page);
  }
  if (stored.is_zero()) return ok_status();
  VAULTFS_ASSIGN_OR_RETURN(std::shared_ptr<ExtentMap::Page> loaded, load_map_page(*store_, stored));
  const WriterLock lock(inode->mutex);
  if (inode->content != nullptr) inode->content->extents.install(page, stored, std::move(loaded));
  return ok_status();
}

Status FileContents::load_pages(const InodePointer& inode, std::initializer_list<std::uint64_t> indexes) {
  for (const std::uint64_t index : indexes) {
    for (;;) {
      std::optional<std::uint64_t> page;
      {
        const ReaderLock lock(inode->mutex);
        if (inode->content != nullptr) page = inode->content->extents.page_to_load(index);
      }
      if (!page.has_value()) break;
      VAULTFS_RETURN_IF_ERROR(load_page(inode, *page));
    }
  }
  return ok_status();
}

Slot& FileContents::active_slot(const InodePointer& inode, std::uint64_t index, bool streaming) {
  auto& dirty = inode->image().dirty;
  const auto place = dirty.try_emplace(index).first;
  DirtyChunk& chunk = place->second;
  if (chunk.active != nullptr) return *chunk.active;
  try {
    // Fragments of this chunk in the journal so far belong to older slots, over which this one lies.
    auto slot =
        std::make_unique<Slot>(streaming ? memory_.take() : memory_.take_untouched(), streaming, log_.last_appended());
    buffer_.add_slot(inode, index, slot.get());
    buffer_.add_bytes(std::uint64_t{slot->resident_pages()} * kSlotPageBytes);
    chunk.active = std::shared_ptr<Slot>(slot.release(), [this](Slot* gone) {
      buffer_.release_slot(gone, gone->resident_pages());
      delete gone;
    });
  } catch (const std::bad_alloc&) {
    if (chunk.storing.empty()) dirty.erase(place);
    throw;
  }
  return *chunk.active;
}

void FileContents::write_piece(const InodePointer& inode, std::uint64_t index, std::uint32_t begin, ByteView piece,
                               WriteBuffer::Reservation& room, Lsn changed) {
  Slot& slot = active_slot(inode, index, piece.size() >= kStreamingBytes);
  room.use(std::uint64_t{slot.write(begin, piece)} * kSlotPageBytes);
  space_.use_part(inode->image().set_aside, index, begin, begin + static_cast<std::uint32_t>(piece.size()));
  slot.set_changed(changed);
  if (slot.full() || slot.dirty().ranges().size() > kMaxRanges) freeze(inode, index);
}

void FileContents::drop_chunk(DiskImage& image, std::map<std::uint64_t, DirtyChunk>::iterator chunk) {
  for (const JobPointer& job : chunk->second.storing) job->cancelled = true;
  image.dirty.erase(chunk);
}

void FileContents::zero_piece(const InodePointer& inode, std::uint64_t index, std::uint32_t begin, std::uint32_t end,
                              Lsn lsn) {
  DiskImage& image = *inode->content;
  const auto chunk = image.dirty.find(index);
  const bool storing = chunk != image.dirty.end() && !chunk->second.storing.empty();
  if (!storing && image.extents.get(index).is_zero()) {
    // Nothing lies below: what the slot forgets is zero.
    if (chunk == image.dirty.end()) return;
    Slot& slot = *chunk->second.active;
    slot.forget(begin, end);
    // The zeros in the journal must not outlive what is written here later.
    slot.raise_covers(lsn);
    if (slot.dirty().empty()) image.dirty.erase(chunk);
    return;
  }
  Slot& slot = active_slot(inode, index);
  buffer_.add_bytes(std::uint64_t{slot.write_zeros(begin, end)} * kSlotPageBytes);
  slot.journalled(begin, end, lsn);
  slot.set_changed(inode->changed);
}

void FileContents::zero_content(const InodePointer& inode, std::uint64_t begin, std::uint64_t end,
                                std::uint64_t live_end, Lsn lsn) {
  if (inode->content == nullptr || begin >= end) return;
  DiskImage& image = *inode->content;
  const std::uint64_t first_whole = begin / kChunkBytes + (begin % kChunkBytes != 0 ? 1 : 0);
  const std::uint64_t last_whole = end / kChunkBytes;
  const auto piece = [&](std::uint64_t from, std::uint64_t to) {
    inode->mutex.assert_held();
    const std::uint64_t index = from / kChunkBytes;
    const std::uint64_t start = index * kChunkBytes;
    space_.use_part(image.set_aside, index, static_cast<std::uint32_t>(from - start),
                    static_cast<std::uint32_t>(to - start));
    const std::uint64_t stop = std::max(from, std::min(to, live_end));
    zero_piece(inode, index, static_cast<std::uint32_t>(from - start), static_cast<std::uint32_t>(stop - start), lsn);
  };
  if (begin % kChunkBytes != 0) piece(begin, std::min(end, first_whole * kChunkBytes));
  if (first_whole < last_whole) {
    auto chunk = image.dirty.lower_bound(first_whole);
    while (chunk != image.dirty.end() && chunk->first < last_whole) drop_chunk(image, chunk++);
    note_unused(image, first_whole, last_whole);
    image.extents.clear(first_whole, last_whole);
    space_.use(image.set_aside, first_whole, last_whole);
  }
  if (end % kChunkBytes != 0 && last_whole >= first_whole) piece(last_whole * kChunkBytes, end);
}

void FileContents::note_unused(const DiskImage& image, std::uint64_t begin, std::uint64_t end) const {
  if (log_.read_only()) return;
  image.extents.for_each_loaded(begin, end, [&](const ChunkId& id) { store_->note_unused(id); });
}

}  // namespace vaultfs
