#pragma once

#include <cstdint>
#include <optional>
#include <unordered_map>
#include <vector>

#include "base/result.h"
#include "base/thread/mutex.h"
#include "fs/tree/state/inode.h"

namespace vaultfs {

// The open handles: they keep unlinked inodes alive, count writers, and each hears of a late error once. Also which
// files a backup run has reserved. Owns what Inode::open says. Thread-safe; its lock is a leaf, so it may be called
// under any other. Counting a handle and then destroying its inode is prevented by the caller, by InodeTable::mutex().
class OpenFiles {
 public:
  // A handle number, never 0. ItemBusy where a backup run writes the file. The caller holds what keeps the inode from
  // being destroyed meanwhile.
  [[nodiscard]] Result<std::uint64_t> open(const InodePointer& inode, bool writing);
  // The inode if that was its last handle, otherwise null; also for a number that is not known.
  [[nodiscard]] InodePointer release(std::uint64_t number);
  [[nodiscard]] bool is_open(const Inode& inode);
  [[nodiscard]] bool is_open_for_writing(const Inode& inode);
  // The inodes of an item (null: of all) that are open for writing, once for each handle.
  [[nodiscard]] std::vector<InodePointer> open_for_writing(const Item* item);

  // The error that a handle has not been told yet, which it is hereby; success otherwise, and for handle 0.
  [[nodiscard]] Status take_error(std::uint64_t number);
  // An acknowledged write to the inode was lost: each of its handles hears of it once, or else the next one opened.
  void add_error(Inode& inode, const Error& error);
  // The journal died: every handle that is open now hears of it once.
  void add_tree_error(const Error& error);
  [[nodiscard]] bool has_tree_error();

  // Reserves a file for a backup run. ItemBusy where it is, or is open for writing.
  [[nodiscard]] Status reserve(Inode& inode);
  void unreserve(Inode& inode);
  [[nodiscard]] bool is_reserved(const Inode& inode);
  // ItemBusy where the file is reserved, but for handle 0: that is who reserved it.
  [[nodiscard]] Status check_write_access(const Inode& inode, std::uint64_t number);

 private:
  struct Handle {
    InodePointer inode;
    bool writing = false;
    std::uint64_t seen_errors = 0;       // of the inode
    std::uint64_t seen_tree_errors = 0;  // of the journal
  };

  Mutex mutex_;  // a leaf; guards also Inode::open
  std::unordered_map<std::uint64_t, Handle> handles_ GUARDED_BY(mutex_);
  std::uint64_t next_handle_ GUARDED_BY(mutex_) = 1;
  std::optional<Error> tree_error_ GUARDED_BY(mutex_);
  std::uint64_t tree_errors_ GUARDED_BY(mutex_) = 0;
};

}  // namespace vaultfs
