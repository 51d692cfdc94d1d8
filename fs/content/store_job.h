#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <optional>

#include "base/ids.h"
#include "base/result.h"
#include "fs/content/slot.h"

namespace vaultfs {

struct Inode;

// One slot on its way to a chunk (docs/decisions/0002-write-path.md). Jobs of one chunk of one file form a chain and
// run one after the other, because each is laid over the result of the one before.
struct StoreJob {
  std::shared_ptr<Inode> inode;
  std::uint64_t index = 0;  // chunk of the file
  std::shared_ptr<Slot> slot;
  std::uint32_t length = 0;  // of the chunk: up to the end of the file when the slot was taken

  // --- Guarded by the inode's mutex.
  bool started = false;
  bool cancelled = false;              // truncated or punched meanwhile: the result must not reach the file
  bool wanted = false;                 // but a snapshot waits for it
  std::shared_ptr<StoreJob> previous;  // not finished yet when this one was made
  std::shared_ptr<StoreJob> next;
  // What lies below the slot, if there is no previous job: a chunk, or an entry of a map page that was not loaded.
  ChunkId base;
  ChunkId base_page;
  std::uint32_t base_entry = 0;

  // --- Written once before `done` becomes true (StoreQueue::finish), read after.
  ChunkId result;
  std::optional<Error> error;
  std::atomic<bool> done{false};
};

using JobPointer = std::shared_ptr<StoreJob>;

}  // namespace vaultfs
