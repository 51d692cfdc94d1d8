#include "fs/tree/tree_engine.h"

#include <algorithm>
#include <utility>

#include "base/thread/mutex.h"
#include "fs/tree/inode_locks.h"

namespace vaultfs {
namespace {

// Free chunk buffers that stay warm: enough for the workers, the readers ahead and a burst of writes.
constexpr std::size_t kWarmBuffers = 32;

}  // namespace

std::unique_ptr<WorkingTree> WorkingTree::create(const Options& options) {
  return std::make_unique<TreeEngine>(options);
}

TreeEngine::TreeEngine(const Options& options)
    : options_(options),
      memory_(kWarmBuffers),
      buffer_(options.write_buffer_bytes),
      cache_(options.frame_cache_bytes),
      space_(buffer_) {}

TreeEngine::~TreeEngine() {
  flusher_.stop();
  queue_.stop();
  // Unfinished jobs and their inodes hold each other.
  for (const auto& [number, inode] : table_.all()) {
    if (inode->content == nullptr) continue;
    for (auto& [index, chunk] : inode->content->dirty) {
      for (const JobPointer& job : chunk.storing) {
        job->previous = nullptr;
        job->next = nullptr;
        job->inode = nullptr;
      }
    }
    inode->content->dirty.clear();
  }
  cache_.close();
}

Status TreeEngine::commit_journal() {
  Status status = log_.commit();
  // A full disk, or keys that are away, pass: what waits in the journal's buffer is written by a later commit.
  if (!status.ok() && log_.journal_lost()) journal_failed(status.error());
  return status;
}

void TreeEngine::journal_failed(const Error& error) {
  if (!log_.mark_dead() && open_files_.has_tree_error()) return;
  open_files_.add_tree_error(error);
  buffer_.storing_failed(error);
  for (Item* item : table_.changed_behind(log_.last_synced())) log_.write_lost(*item, error);
}

void TreeEngine::report_write_failure(Inode& inode, Item* item, const Error& error) {
  open_files_.add_error(inode, error);
  if (item != nullptr) log_.write_lost(*item, error);
}

SetAttributes TreeEngine::content_record(const Inode& inode) const {
  return options_.caller_keeps_times ? attributes_record(inode) : touched_record(inode, now(), true);
}

void TreeEngine::resize(Inode& inode, std::uint64_t size) {
  logical_bytes_ += size - inode.size;  // wraps around where the file shrinks
  inode.size = size;
}

Status TreeEngine::stop() {
  // Once: without the workers nothing could be stored any more.
  if (!flusher_.stop()) return ok_status();
  Status status = ok_status();
  if (!log_.read_only() && !log_.sealed()) status = sync_all();
  queue_.stop();
  return status;
}

std::vector<InodeNumber> TreeEngine::inode_numbers() {
  std::vector<InodeNumber> numbers;
  for (const InodePointer& inode : table_.inodes()) numbers.push_back(inode->number);
  return numbers;
}

WorkingTree::Statistics TreeEngine::statistics() {
  return {.files = files_.load(),
          .inodes = table_.size(),
          .logical_bytes = logical_bytes_.load(),
          .dirty_bytes = buffer_.used_bytes(),
          .set_aside_bytes = space_.set_aside_bytes(),
          .written_bytes = written_bytes_.load()};
}

void TreeEngine::vault_sealed() {
  if (!log_.seal()) return;
  if (!log_.read_only()) {
    store_everything();
    static_cast<void>(commit_journal().ok());
    forget_slots();
  }
  cache_.close();
  memory_.close();
  frames_.close();
}

void TreeEngine::forget_slots() {
  for (const InodePointer& inode : table_.inodes()) {
    const WriterLock lock(inode->mutex);
    if (inode->content == nullptr || inode->content->dirty.empty()) continue;
    // What could not be stored is in the journal (sync_all came before), but must not stay in memory in the clear.
    DiskImage& image = *inode->content;
    while (!image.dirty.empty()) drop_chunk(image, image.dirty.begin());
    image.poison = std::make_unique<Error>(
        Error{ErrorCode::KeyRevoked, "the newest content is in the journal only since the vault was sealed; remount"});
  }
}

void TreeEngine::vault_unsealed() {
  memory_.open();
  frames_.open();
  cache_.open();
  log_.unseal();
}

}  // namespace vaultfs
