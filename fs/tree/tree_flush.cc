#include "fs/tree/tree_flush.h"

#include <algorithm>

#include "base/no_memory.h"
#include "base/thread/mutex.h"
#include "fs/tree/state/inode_locks.h"

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

TreeFlush::TreeFlush(const Parts& parts, unsigned seconds)
    : log_(parts.log),
      gate_(parts.gate),
      contents_(parts.contents),
      buffer_(parts.buffer),
      space_(parts.space),
      queue_(parts.queue),
      table_(parts.table),
      open_files_(parts.open_files),
      seconds_(seconds) {}

void TreeFlush::start_flusher() {
  flusher_.start([this, committed_at = clock_->monotonic_nanos()]() mutable { flush_in_time(committed_at); });
}

void TreeFlush::list(const InodePointer& inode) {
  if (inode->on_flush_list) return;
  inode->on_flush_list = true;
  flusher_.add(inode, clock_->monotonic_nanos());
}

Status TreeFlush::commit() {
  Status status = log_.commit();
  // A full disk, or keys that are away, pass: what waits in the journal's buffer is written by a later commit.
  if (!status.ok() && log_.journal_lost()) journal_failed(status.error());
  return status;
}

void TreeFlush::journal_failed(const Error& error) {
  if (!log_.mark_dead() && open_files_.has_tree_error()) return;
  open_files_.add_tree_error(error);
  buffer_.storing_failed(error);
  for (Item* item : table_.changed_behind(log_.last_synced())) log_.write_lost(*item, error);
}

TreeFlush::FlushPlan TreeFlush::plan_flush(const InodePointer& inode) {
  FlushPlan plan;
  const WriterLock lock(inode->mutex);
  plan.size = inode->size;
  if (inode->content == nullptr) return plan;
  for (auto& [index, chunk] : inode->content->dirty) {
    if (chunk.active != nullptr && !chunk.active->unjournalled().empty()) {
      const std::uint64_t behind = inode->size - std::min(inode->size, index * kChunkBytes);
      const auto length = static_cast<std::uint32_t>(std::min<std::uint64_t>(behind, kChunkBytes));
      if (chunk.active->dirty().covers(0, length) && chunk.active->unjournalled().total_bytes() >= kStoreInsteadBytes) {
        contents_.freeze(inode, index);
      } else {
        plan.fragments.push_back(index);
      }
    }
    if (!chunk.storing.empty()) plan.jobs.push_back(chunk.storing.back());
  }
  return plan;
}

Status TreeFlush::journal_fragments(const InodePointer& inode, FlushPlan& plan) {
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
    if (log_.buffered_bytes() > kJournalBufferBytes) VAULTFS_RETURN_IF_ERROR(commit());
  }
  return ok_status();
}

Status TreeFlush::journal_attributes(const InodePointer& inode, std::uint64_t size,
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

Status TreeFlush::flush_inode(const InodePointer& inode) {
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

Status TreeFlush::flush_older_than(std::int64_t monotonic_nanos) {
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
      list(inode);
    }
    if (status.ok()) status = std::move(flushed);
  }
  return status;
}

Status TreeFlush::flush_all() {
  Status flushed = flush_older_than(clock_->monotonic_nanos());
  VAULTFS_RETURN_IF_ERROR(commit());
  return flushed;
}

void TreeFlush::flush_in_time(std::int64_t& committed_at) {
  if (log_.sealed() || log_.dead()) return;
  const std::int64_t period = std::int64_t{seconds_} * 1'000'000'000;
  // Journalling and syncing take their time too.
  const std::int64_t age = period * 3 / 4;
  const std::int64_t at = clock_->monotonic_nanos();
  // Failures are sticky: who wrote hears of them.
  const bool flushed = seconds_ == 0 || or_no_memory([&] { return flush_older_than(at - age); }).ok();
  const bool due = seconds_ != 0 && at - committed_at >= age;
  if (!due && flushed && log_.buffered_bytes() <= kJournalBufferBytes) return;
  if (log_.last_appended() > log_.last_synced()) static_cast<void>(or_no_memory([&] { return commit(); }).ok());
  committed_at = at;
}

}  // namespace vaultfs
