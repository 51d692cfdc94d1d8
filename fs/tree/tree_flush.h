#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "base/clock.h"
#include "base/ids.h"
#include "base/result.h"
#include "fs/content/flusher.h"
#include "fs/content/space_promises.h"
#include "fs/content/store_job.h"
#include "fs/content/store_queue.h"
#include "fs/content/write_buffer.h"
#include "fs/tree/state/change_log.h"
#include "fs/tree/state/cut_gate.h"
#include "fs/tree/state/file_contents.h"
#include "fs/tree/state/inode.h"
#include "fs/tree/state/inode_table.h"
#include "fs/tree/state/open_files.h"

namespace vaultfs {

// Makes acknowledged changes durable: what fsync, a rename over a file, a cut and the flusher ask for. Content goes to
// the journal or to chunks, then sizes and times to the journal, then the journal to disk. Thread-safe; called without
// locks but where an inode's mutex is required.
class TreeFlush {
 public:
  // What it works with; all of it must outlive it.
  struct Parts {
    ChangeLog& log;
    CutGate& gate;
    FileContents& contents;
    WriteBuffer& buffer;
    SpacePromises& space;
    StoreQueue& queue;
    InodeTable& table;
    OpenFiles& open_files;
  };
  // `seconds`: data is journalled and synced within that time; 0: only when asked.
  TreeFlush(const Parts& parts, unsigned seconds);
  // Before all else but stop().
  void start(const Clock& clock) { clock_ = &clock; }
  void start_flusher();
  // Ends the flusher. False if that was done before.
  bool stop() { return flusher_.stop(); }

  // The inode has changes that the journal does not have.
  void list(const InodePointer& inode) REQUIRES(inode->mutex);
  // What is dirty of this inode is in the journal's buffer or in chunks afterwards.
  [[nodiscard]] Status flush_inode(const InodePointer& inode);
  // All that is listed, and the journal.
  [[nodiscard]] Status flush_all();
  // Commits the journal; a failure is one of every acknowledged change that was not durable.
  [[nodiscard]] Status commit();
  // With `unchanged_since` only if nothing of the inode has changed since: it may have become shorter, and longer again
  // by what is not in the journal.
  [[nodiscard]] Status journal_attributes(const InodePointer& inode, std::uint64_t size,
                                          std::optional<Lsn> unchanged_since = std::nullopt);

 private:
  struct FlushPlan {
    std::uint64_t size = 0;
    std::vector<std::uint64_t> fragments;  // chunk indexes with unjournalled ranges
    std::vector<JobPointer> jobs;
  };
  [[nodiscard]] FlushPlan plan_flush(const InodePointer& inode);
  [[nodiscard]] Status journal_fragments(const InodePointer& inode, FlushPlan& plan);
  [[nodiscard]] Status flush_older_than(std::int64_t monotonic_nanos);
  // One turn of the flusher: journals what has been dirty for long, and commits when it is time.
  void flush_in_time(std::int64_t& committed_at);
  // The journal died: every handle hears of it, and each item with a change that is not durable.
  void journal_failed(const Error& error);

  ChangeLog& log_;
  CutGate& gate_;
  FileContents& contents_;
  WriteBuffer& buffer_;
  SpacePromises& space_;
  StoreQueue& queue_;
  InodeTable& table_;
  OpenFiles& open_files_;
  const unsigned seconds_;
  const Clock* clock_ = nullptr;  // set by start()
  Flusher flusher_;
};

}  // namespace vaultfs
