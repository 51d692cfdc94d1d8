#pragma once

#include <cstdint>
#include <initializer_list>
#include <map>
#include <memory>
#include <optional>
#include <vector>

#include "base/ids.h"
#include "base/result.h"
#include "fs/content/chunk_maker.h"
#include "fs/content/slot_memory.h"
#include "fs/content/space_promises.h"
#include "fs/content/store_job.h"
#include "fs/content/store_queue.h"
#include "fs/content/write_buffer.h"
#include "fs/tree/state/change_log.h"
#include "fs/tree/state/cut_gate.h"
#include "fs/tree/state/inode.h"
#include "fs/tree/state/open_files.h"
#include "store/segment/segment_store.h"

namespace vaultfs {

// The content of files, one inode at a time: slots that take what is written, zeros, and the way from a slot to a chunk
// (store_slots.cc). Knows no names and no sizes but an inode's own. Thread-safe: what REQUIRES an inode's mutex is
// called under it, all else without locks. docs/decisions/0002-write-path.md has why the order of these steps loses
// nothing.
class FileContents {
 public:
  // What it works with; all of it must outlive it.
  struct Parts {
    ChangeLog& log;
    CutGate& gate;
    OpenFiles& open_files;
    SlotMemoryPool& memory;
    WriteBuffer& buffer;
    SpacePromises& space;
    StoreQueue& queue;
  };
  explicit FileContents(const Parts& parts);
  // Before all else but drop_chunk().
  void start(SegmentStore& store);

  // The content can't be known: the error that says why.
  [[nodiscard]] static Status readable(const Inode& inode) REQUIRES_SHARED(inode.mutex);
  // Loads the map pages of these chunk indexes.
  [[nodiscard]] Status load_pages(const InodePointer& inode, std::initializer_list<std::uint64_t> indexes);
  [[nodiscard]] Status load_page(const InodePointer& inode, std::uint64_t page);

  // --- Slots.
  // The slot to write to. Where one is made: streaming writes take recycled memory, which saves page faults but counts
  // as a whole chunk; others take memory page by page.
  [[nodiscard]] Slot& active_slot(const InodePointer& inode, std::uint64_t index, bool streaming = false)
      REQUIRES(inode->mutex);
  // Copies bytes into one chunk of the file, at `begin` of it.
  void write_piece(const InodePointer& inode, std::uint64_t index, std::uint32_t begin, ByteView piece,
                   WriteBuffer::Reservation& room, Lsn changed) REQUIRES(inode->mutex);
  // Makes [begin, end) zero; `live_end` is where content ended before. REQUIRES: edge pages loaded.
  void zero_content(const InodePointer& inode, std::uint64_t begin, std::uint64_t end, std::uint64_t live_end, Lsn lsn)
      REQUIRES(inode->mutex);
  // Forgets the slots of a chunk, and cancels their jobs. REQUIRES: the image's inode's mutex.
  static void drop_chunk(DiskImage& image, std::map<std::uint64_t, DirtyChunk>::iterator chunk);
  // Tells the store that the chunks at [begin, end) are about to go. REQUIRES: the image's inode's mutex.
  void note_unused(const DiskImage& image, std::uint64_t begin, std::uint64_t end) const;

  // --- From slots to chunks (store_slots.cc).
  // Active slot → store queue. REQUIRES: an active slot there.
  JobPointer freeze(const InodePointer& inode, std::uint64_t index) REQUIRES(inode->mutex);
  // Freezes the write buffer's victim, if it is still there.
  void evict(const WriteBuffer::Victim& victim);
  // Freezes what is active in the chunks [first, first + count), and waits until all there is stored, or has failed.
  void store_range(const InodePointer& inode, std::uint64_t first, std::uint64_t count);
  // The same of all of these files. Failures are sticky: they have been reported by then.
  void store_all(const std::vector<InodePointer>& files);

 private:
  void zero_piece(const InodePointer& inode, std::uint64_t index, std::uint32_t begin, std::uint32_t end, Lsn lsn)
      REQUIRES(inode->mutex);
  // Freezes in [begin, end) of an image, and adds the last job of each chunk.
  void freeze_range(const InodePointer& inode, std::uint64_t begin, std::uint64_t end, std::vector<JobPointer>& jobs);
  void submit(const JobPointer& job);
  void run_store(const JobPointer& job);
  [[nodiscard]] Status apply_stored(const JobPointer& job);
  // A job failed: its bytes stay in memory, to be tried again.
  void give_back(const JobPointer& job);
  void finish(const JobPointer& job, std::optional<Error> error);

  ChangeLog& log_;
  CutGate& gate_;
  OpenFiles& open_files_;
  SlotMemoryPool& memory_;
  WriteBuffer& buffer_;
  SpacePromises& space_;
  StoreQueue& queue_;
  SegmentStore* store_ = nullptr;  // set by start(), as are the next two
  std::unique_ptr<ChunkMaker> maker_;
};

}  // namespace vaultfs
