// From slots to chunks. See docs/decisions/0002-write-path.md for why the order of these steps loses nothing.
#include <algorithm>

#include "base/no_memory.h"
#include "base/thread/mutex.h"
#include "fs/tree/state/file_contents.h"

namespace vaultfs {

JobPointer FileContents::freeze(const InodePointer& inode, std::uint64_t index) {
  DiskImage& image = *inode->content;
  DirtyChunk& chunk = image.dirty.at(index);
  auto job = std::make_shared<StoreJob>();
  job->inode = inode;
  job->index = index;
  // Both may need memory, and without the job the slot would be lost.
  chunk.storing.reserve(chunk.storing.size() + 1);
  buffer_.begin_storing(chunk.active.get(), chunk.active->resident_pages());
  job->slot = std::move(chunk.active);
  chunk.active = nullptr;
  const std::uint64_t start = index * kChunkBytes;
  const std::uint64_t behind = inode->size > start ? inode->size - start : 0;
  job->length = static_cast<std::uint32_t>(std::min<std::uint64_t>(behind, kChunkBytes));
  if (!chunk.storing.empty()) {
    job->previous = chunk.storing.back();
    job->previous->next = job;
    chunk.storing.push_back(job);
    return job;
  }
  if (image.extents.page_to_load(index).has_value()) {
    job->base_page = image.extents.stored_page(index / kEntriesPerMapPage);
    job->base_entry = static_cast<std::uint32_t>(index % kEntriesPerMapPage);
  } else {
    job->base = image.extents.get(index);
  }
  chunk.storing.push_back(job);
  submit(job);
  return job;
}

void FileContents::submit(const JobPointer& job) {
  queue_.submit(
      job, [this](const JobPointer& started) { run_store(started); },
      [this](const JobPointer& dropped, Error error) {
        give_back(dropped);
        finish(dropped, std::move(error));
      });
}

void FileContents::evict(const WriteBuffer::Victim& victim) {
  const InodePointer inode = victim.inode.lock();
  if (inode == nullptr) return;
  const WriterLock lock(inode->mutex);
  if (inode->content == nullptr) return;
  const auto chunk = inode->content->dirty.find(victim.index);
  if (chunk != inode->content->dirty.end() && chunk->second.active.get() == victim.slot && victim.slot != nullptr) {
    freeze(inode, victim.index);
  }
}

void FileContents::run_store(const JobPointer& job) {
  const UseGate::Use use = store_->use();
  bool skip = false;
  {
    const WriterLock lock(job->inode->mutex);
    job->started = true;
    skip = job->cancelled && !job->wanted;
    if (job->previous != nullptr) {
      job->base = job->previous->result;
      job->previous = nullptr;
    }
  }
  if (skip) return finish(job, std::nullopt);
  const Status status = or_no_memory([&] { return apply_stored(job); });
  if (status.ok()) {
    buffer_.storing_succeeded();
    return finish(job, std::nullopt);
  }
  const Error& error = status.error();
  give_back(job);
  buffer_.storing_failed(error);
  open_files_.add_error(*job->inode, error);
  if (job->inode->item != nullptr) log_.write_lost(*job->inode->item, error);
  finish(job, error);
}

Status FileContents::apply_stored(const JobPointer& job) {
  VAULTFS_ASSIGN_OR_RETURN(const ChunkId id, maker_->store(*job));
  Inode& inode = *job->inode;
  for (;;) {
    VAULTFS_RETURN_IF_ERROR(load_pages(job->inode, {job->index}));
    const ChangeHold cut = gate_.lock_for_change(inode);
    const WriterLock lock(inode.mutex);
    if (job->cancelled) {
      job->result = id;
      return ok_status();
    }
    DiskImage& image = *inode.content;
    if (image.extents.page_to_load(job->index).has_value()) continue;
    TreeEntryWriter entry;
    entry.add(SetExtent{inode.number, job->slot->changed(), job->index, id, job->slot->covers()});
    VAULTFS_RETURN_IF_ERROR(log_.append(std::move(entry)));
    job->result = id;
    if (image.extents.get(job->index) != id) note_unused(image, job->index, job->index + 1);
    image.extents.set(job->index, id);
    const auto chunk = image.dirty.find(job->index);
    chunk->second.storing.erase(chunk->second.storing.begin());
    if (chunk->second.storing.empty() && chunk->second.active == nullptr) image.dirty.erase(chunk);
    return ok_status();
  }
}

void FileContents::give_back(const JobPointer& job) {
  Inode& inode = *job->inode;
  const WriterLock lock(inode.mutex);
  if (job->next != nullptr) {
    // The next one has not started: it takes over what this one holds, and what lies below it.
    StoreJob& next = *job->next;
    buffer_.add_bytes(std::uint64_t{next.slot->put_below(*job->slot)} * kSlotPageBytes);
    next.base = job->base;
    next.base_page = job->base_page;
    next.base_entry = job->base_entry;
    next.previous = nullptr;
  }
  if (job->cancelled) return;
  DirtyChunk& chunk = inode.content->dirty.at(job->index);
  chunk.storing.erase(chunk.storing.begin());
  if (job->next != nullptr) return;
  if (chunk.active != nullptr) {
    buffer_.add_bytes(std::uint64_t{chunk.active->put_below(*job->slot)} * kSlotPageBytes);
    return;
  }
  chunk.active = job->slot;
  buffer_.reinstate(job->inode, job->index, chunk.active.get());
}

void FileContents::finish(const JobPointer& job, std::optional<Error> error) {
  JobPointer next;
  std::shared_ptr<Slot> slot;  // freed without the lock
  {
    const WriterLock lock(job->inode->mutex);
    next = std::move(job->next);
    job->next = nullptr;
    slot = std::move(job->slot);
    job->slot = nullptr;
    job->previous = nullptr;
  }
  slot = nullptr;
  queue_.finish(job, std::move(error));
  if (next != nullptr) submit(next);
}

void FileContents::freeze_range(const InodePointer& inode, std::uint64_t begin, std::uint64_t end,
                                std::vector<JobPointer>& jobs) {
  const WriterLock lock(inode->mutex);
  if (inode->content == nullptr) return;
  auto chunk = inode->content->dirty.lower_bound(begin);
  for (; chunk != inode->content->dirty.end() && chunk->first < end; ++chunk) {
    if (chunk->second.active != nullptr) freeze(inode, chunk->first);
    jobs.push_back(chunk->second.storing.back());
  }
}

void FileContents::store_range(const InodePointer& inode, std::uint64_t first, std::uint64_t count) {
  std::vector<JobPointer> jobs;
  freeze_range(inode, first, first + count, jobs);
  // A failure is sticky, and the chunk stays dirty: it is copied then, or the copy fails as any write does.
  for (const JobPointer& job : jobs) queue_.wait_for(job);
}

void FileContents::store_all(const std::vector<InodePointer>& files) {
  std::vector<JobPointer> jobs;
  for (const InodePointer& inode : files) freeze_range(inode, 0, ~std::uint64_t{0}, jobs);
  for (const JobPointer& job : jobs) queue_.wait_for(job);
}

}  // namespace vaultfs
