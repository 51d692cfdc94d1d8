#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/bytes.h"
#include "base/clock.h"
#include "base/ids.h"
#include "base/thread/mutex.h"
#include "fs/content/byte_ranges.h"
#include "fs/content/extent_map.h"
#include "fs/content/set_aside.h"
#include "fs/content/slot.h"
#include "fs/content/store_job.h"
#include "vaultmeta/points/inode_record.h"

namespace vaultfs {

// A protected item as long as the tree lives, also after its directory went (it may be made again).
struct Item {
  const std::string name;
  std::atomic<std::uint64_t> last_change{0};       // LSN value, see Inode::changed
  std::atomic<std::uint32_t> open_writers{0};      // handles open for writing
  Mutex mutex;                                     // a leaf
  std::optional<Error> failure GUARDED_BY(mutex);  // an acknowledged write could not be kept since the last snapshot
};

// Positions of sequential readers of one file, for reading ahead.
struct ReadStreams {
  struct Stream {
    std::uint64_t next = 0;         // offset where its next read is expected
    std::uint64_t ahead_until = 0;  // chunks below this index were asked for
    std::uint32_t run = 0;          // reads in sequence so far
    std::uint64_t used = 0;
  };
  Mutex mutex;  // a leaf
  std::array<Stream, 4> streams GUARDED_BY(mutex);
  std::uint64_t clock GUARDED_BY(mutex) = 0;
};

// What of one chunk is newer than the extent map, newest last: jobs in the store queue, then the active slot.
// Only the front job may be at work.
struct DirtyChunk {
  std::vector<std::shared_ptr<StoreJob>> storing;
  std::shared_ptr<Slot> active;
};

// The content of one file. Guarded by its inode's mutex.
struct DiskImage {
  ExtentMap extents;
  std::map<std::uint64_t, DirtyChunk> dirty;  // by chunk index; never both members empty
  std::unique_ptr<ReadStreams> streams;       // made at the first read of a large file, then never replaced
  SetAside set_aside;                         // by fallocate
  std::unique_ptr<Error> poison;              // the content can't be known: reads, writes and cuts give this
};

// Errors that came after an acknowledged write: like Linux's errseq_t, each open file sees each once.
struct StickyError {
  Error error;
  std::uint64_t count = 0;
  bool reported = false;
};

// What OpenFiles, who alone uses it, knows of an inode under its lock.
class OpenState {
  friend class OpenFiles;
  std::uint32_t handles = 0;
  std::uint32_t writers = 0;
  bool reserved = false;  // by a backup run
  std::unique_ptr<StickyError> sticky;
};

struct Inode {
  Inode(InodeNumber n, InodeType t) : number(n), type(t) {}

  const InodeNumber number;
  const InodeType type;

  // The kernel's references. Counted up under InodeTable::mutex(), shared or not, so that who holds it alone can rely
  // on zero.
  std::atomic<std::uint64_t> known{0};
  // The last cut that has it: what changes from then on is not in that cut.
  std::atomic<std::uint32_t> cut_number{0};

  // --- Guarded by InodeTable::mutex().
  std::uint32_t links = 0;  // names; a directory: 2 + subdirectories
  InodeNumber parent;       // of a directory
  Item* item = nullptr;     // null for the root
  struct Entry {
    InodeNumber number;
    InodeType type;
  };
  std::unique_ptr<std::map<std::string, Entry, std::less<>>> entries;  // of a directory

  OpenState open;  // its handles

  // --- Guarded by `mutex`: attributes and content. Lock order: docs/locks.md. Memory is copied under it, never a
  // segment read, and the disk is asked for nothing.
  mutable SharedMutex mutex;
  std::uint32_t mode GUARDED_BY(mutex) = 0;
  std::uint32_t uid GUARDED_BY(mutex) = 0;
  std::uint32_t gid GUARDED_BY(mutex) = 0;
  bool attributes_dirty GUARDED_BY(mutex) = false;  // size or times are newer than the journal knows
  bool on_flush_list GUARDED_BY(mutex) = false;
  bool dead GUARDED_BY(mutex) = false;  // the last name and handle are gone
  std::uint64_t rdev GUARDED_BY(mutex) = 0;
  std::uint64_t size GUARDED_BY(mutex) = 0;
  std::uint64_t journalled_size GUARDED_BY(mutex) = 0;  // what a replay would find
  UnixNanos atime GUARDED_BY(mutex);
  UnixNanos mtime GUARDED_BY(mutex);
  UnixNanos ctime GUARDED_BY(mutex);
  // The LSN that any journal entry made after the last change has at least: below the cut of a snapshot that has it.
  Lsn changed GUARDED_BY(mutex);
  std::unique_ptr<std::string> target;  // of a symbolic link; set before anybody knows it
  // Extended attributes, POSIX ACLs among them; null instead of empty.
  using Extended = std::map<std::string, Bytes, std::less<>>;
  std::unique_ptr<Extended> extended GUARDED_BY(mutex);
  std::unique_ptr<DiskImage> content GUARDED_BY(mutex) PT_GUARDED_BY(mutex);  // of a file, made when first needed

  // An empty value removes.
  void set_extended(const std::string& name, std::optional<Bytes> value) REQUIRES(mutex) {
    if (value.has_value()) {
      if (extended == nullptr) extended = std::make_unique<Extended>();
      extended->insert_or_assign(name, std::move(*value));
    } else if (extended != nullptr) {
      extended->erase(name);
      if (extended->empty()) extended = nullptr;
    }
  }

  [[nodiscard]] DiskImage& image() REQUIRES(mutex) {
    if (content == nullptr) content = std::make_unique<DiskImage>();
    return *content;
  }
};

using InodePointer = std::shared_ptr<Inode>;

}  // namespace vaultfs
