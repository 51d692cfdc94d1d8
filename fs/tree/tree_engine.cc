#include "fs/tree/tree_engine.h"

#include <algorithm>
#include <utility>

#include "base/thread/mutex.h"
#include "fs/tree/state/inode_locks.h"

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
      space_(buffer_),
      contents_({log_, gate_, open_files_, memory_, buffer_, space_, queue_}),
      flush_({log_, gate_, contents_, buffer_, space_, queue_, table_, open_files_}, options.flush_seconds) {}

TreeEngine::~TreeEngine() {
  flush_.stop();
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

SetAttributes TreeEngine::content_record(const Inode& inode) const {
  return options_.caller_keeps_times ? attributes_record(inode) : touched_record(inode, now(), true);
}

void TreeEngine::resize(Inode& inode, std::uint64_t size) {
  logical_bytes_ += size - inode.size;  // wraps around where the file shrinks
  inode.size = size;
}

Status TreeEngine::fsync(InodeNumber number, std::uint64_t handle) {
  VAULTFS_ASSIGN_OR_RETURN(const InodePointer inode, table_.find(number));
  VAULTFS_RETURN_IF_ERROR(open_files_.take_error(handle));
  if (log_.read_only()) return ok_status();
  Status status = ok_status();
  if (inode->type == InodeType::file) status = flush_.flush_inode(inode);
  if (status.ok()) status = flush_.commit();
  // What this call tells is told.
  if (!status.ok()) static_cast<void>(open_files_.take_error(handle).ok());
  return status;
}

Status TreeEngine::sync_all() {
  if (log_.read_only()) return ok_status();
  return flush_.flush_all();
}

Status TreeEngine::stop() {
  // Once: without the workers nothing could be stored any more.
  if (!flush_.stop()) return ok_status();
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
  if (!log_.begin_sealed()) return;
  if (!log_.read_only()) {
    contents_.store_all(table_.files());
    static_cast<void>(flush_.commit().ok());
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
    while (!image.dirty.empty()) FileContents::drop_chunk(image, image.dirty.begin());
    image.poison = std::make_unique<Error>(
        Error{ErrorCode::KeyRevoked, "the newest content is in the journal only since the vault was sealed; remount"});
  }
}

void TreeEngine::vault_unsealed() {
  memory_.open();
  frames_.open();
  cache_.open();
  log_.end_sealed();
}

}  // namespace vaultfs
