// Making acknowledged changes durable.
#include <algorithm>

#include "base/no_memory.h"
#include "base/thread/mutex.h"
#include "fs/tree/inode_locks.h"
#include "fs/tree/tree_engine.h"

namespace vaultfs {
namespace {

// A slot that needs nothing read back and owes the journal at least this much is stored instead of journalled.
constexpr std::uint32_t kStoreInsteadBytes = kChunkBytes / 2;
// Fragments in one journal entry, and bytes that the journal may buffer before it is written.
constexpr std::size_t kEntryBytes = kChunkBytes;
constexpr std::uint64_t kJournalBufferBytes = 8ULL << 20;

// Of a chunk's slot, if it has one.
std::size_t unjournalled_bytes(const InodePointer& inode, std::uint64_t index) REQUIRES_SHARED(inode->mutex) {
  if (inode->content == nullptr) return 0;
  const auto chunk = inode->content->dirty.find(index);
  if (chunk == inode->content->dirty.end() || chunk->second.active == nullptr) return 0;
  return chunk->second.active->unjournalled().total_bytes();
}

}  // namespace

TreeEngine::FlushPlan TreeEngine::plan_flush(const InodePointer& inode) {
  FlushPlan plan;
  const WriterLock lock(inode->mutex);
  plan.size = inode->size;
  if (inode->content == nullptr) return plan;
  for (auto& [index, chunk] : inode->content->dirty) {
    if (chunk.active != nullptr && !chunk.active->unjournalled().empty()) {
      const std::uint64_t behind = inode->size - std::min(inode->size, index * kChunkBytes);
      const auto length = static_cast<std::uint32_t>(std::min<std::uint64_t>(behind, kChunkBytes));
      if (chunk.active->dirty().covers(0, length) && chunk.active->unjournalled().total_bytes() >= kStoreInsteadBytes) {
        freeze(inode, index);
      } else {
        plan.fragments.push_back(index);
      }
    }
    if (!chunk.storing.empty()) plan.jobs.push_back(chunk.storing.back());
  }
  return plan;
}

Status TreeEngine::journal_fragments(const InodePointer& inode, FlushPlan& plan) {
  for (std::size_t next = 0; next < plan.fragments.size();) {
    // What the journal has taken it must write before anything else: content that finds no room waits in memory, and
    // keeps no commit, removal or key change from being written.
    VAULTFS_RETURN_IF_ERROR(space_.check_accepted(log_.buffered_bytes() + kEntryBytes));
    {
      const ReaderLock cut(gate_.journalling());
      const WriterLock lock(inode->mutex);
      std::size_t bytes = 0;
      for (std::size_t i = next; i < plan.fragments.size() && bytes < kEntryBytes; ++i) {
        bytes += unjournalled_bytes(inode, plan.fragments[i]);
      }
      TreeEntryWriter entry(bytes);
      std::vector<Slot*> slots;
      for (; next < plan.fragments.size() && entry.size() < kEntryBytes; ++next) {
        const std::uint64_t index = plan.fragments[next];
        if (inode->content == nullptr) break;
        const auto chunk = inode->content->dirty.find(index);
        if (chunk == inode->content->dirty.end()) continue;
        // Taken by the store workers meanwhile: the chunk will hold it.
        if (!chunk->second.storing.empty()) plan.jobs.push_back(chunk->second.storing.back());
        Slot* slot = chunk->second.active.get();
        if (slot == nullptr || slot->unjournalled().empty()) continue;
        for (const ByteRanges::Range& range : slot->unjournalled().ranges()) {
          entry.add(WriteFragment{inode->number, slot->changed(), index * kChunkBytes + range.begin,
                                  slot->memory().subspan(range.begin, range.end - range.begin)});
        }
        slots.push_back(slot);
      }
      if (inode->content == nullptr) return ok_status();
      if (!entry.empty()) {
        VAULTFS_ASSIGN_OR_RETURN(const Lsn lsn, log_.append(std::move(entry)));
        for (Slot* slot : slots) slot->journalled(lsn);
      }
    }
    if (log_.buffered_bytes() > kJournalBufferBytes) VAULTFS_RETURN_IF_ERROR(commit_journal());
  }
  return ok_status();
}

Status TreeEngine::journal_attributes(const InodePointer& inode, std::uint64_t size,
                                      std::optional<Lsn> unchanged_since) {
  const ReaderLock cut(gate_.journalling());
  const WriterLock lock(inode->mutex);
  if (!inode->attributes_dirty || inode->dead) return ok_status();
  if (unchanged_since.has_value() && inode->changed >= *unchanged_since) return ok_status();
  // What was written after the flush began may not be in the journal yet: the file must not grow over it.
  size = std::min(size, inode->size);
  TreeEntryWriter entry;
  if (size > inode->journalled_size) entry.add(GrowFile{inode->number, inode->changed, size});
  entry.add(attributes_record(*inode));
  VAULTFS_RETURN_IF_ERROR(log_.append(std::move(entry)));
  inode->journalled_size = std::max(inode->journalled_size, size);
  if (inode->journalled_size == inode->size) inode->attributes_dirty = false;
  return ok_status();
}

Status TreeEngine::flush_inode(const InodePointer& inode) {
  FlushPlan plan = plan_flush(inode);
  VAULTFS_RETURN_IF_ERROR(journal_fragments(inode, plan));
  std::optional<Error> failure;
  for (const JobPointer& job : plan.jobs) {
    queue_.wait_for(job);
    if (job->error.has_value()) failure = job->error;
  }
  if (failure.has_value()) return *failure;
  return journal_attributes(inode, plan.size);
}

Status TreeEngine::fsync(InodeNumber number, std::uint64_t handle) {
  VAULTFS_ASSIGN_OR_RETURN(const InodePointer inode, table_.find(number));
  VAULTFS_RETURN_IF_ERROR(open_files_.take_error(handle));
  if (log_.read_only()) return ok_status();
  Status status = ok_status();
  if (inode->type == InodeType::file) status = flush_inode(inode);
  if (status.ok()) status = commit_journal();
  // What this call tells is told.
  if (!status.ok()) static_cast<void>(open_files_.take_error(handle).ok());
  return status;
}

Status TreeEngine::flush_older_than(std::int64_t monotonic_nanos) {
  Status status = ok_status();
  for (const InodePointer& inode : flusher_.take_older_than(monotonic_nanos)) {
    {
      const WriterLock lock(inode->mutex);
      inode->on_flush_list = false;
      if (inode->dead) continue;
    }
    Status flushed = flush_inode(inode);
    if (flushed.ok()) continue;
    {
      const WriterLock lock(inode->mutex);
      list_for_flush(inode);
    }
    if (status.ok()) status = std::move(flushed);
  }
  return status;
}

Status TreeEngine::sync_all() {
  if (log_.read_only()) return ok_status();
  Status flushed = flush_older_than(vault_->env().clock().monotonic_nanos());
  VAULTFS_RETURN_IF_ERROR(commit_journal());
  return flushed;
}

void TreeEngine::flush_in_time(std::int64_t& committed_at) {
  if (log_.sealed() || log_.dead()) return;
  const std::int64_t period = std::int64_t{options_.flush_seconds} * 1'000'000'000;
  // Journalling and syncing take their time too.
  const std::int64_t age = period * 3 / 4;
  const std::int64_t at = vault_->env().clock().monotonic_nanos();
  // Failures are sticky: who wrote hears of them.
  const bool flushed = options_.flush_seconds == 0 || or_no_memory([&] { return flush_older_than(at - age); }).ok();
  const bool due = options_.flush_seconds != 0 && at - committed_at >= age;
  if (!due && flushed && log_.buffered_bytes() <= kJournalBufferBytes) return;
  if (log_.last_appended() > log_.last_synced()) static_cast<void>(or_no_memory([&] { return commit_journal(); }).ok());
  committed_at = at;
}

}  // namespace vaultfs
