#include "fs/restore/restore_file.h"

#include <algorithm>
#include <atomic>
#include <cstdlib>
#include <memory>
#include <optional>

#include "base/thread/parallel_work.h"
#include "crypto/chunk_id.h"
#include "crypto/memory/secret_buffer.h"
#include "fs/backup/source/sparse_chunks.h"

namespace vaultfs {
namespace {

constexpr std::size_t kBufferBytes = kChunkBytes + RestoreTarget::kAlignment;

struct FreeBuffer {
  void operator()(std::byte* memory) const noexcept {
    wipe({memory, kBufferBytes});
    std::free(memory);  // NOLINT(cppcoreguidelines-no-malloc): of std::aligned_alloc
  }
};

class ContentRestore {
 public:
  ContentRestore(Vault& vault, FileTree& tree, InodeNumber inode, std::uint64_t size_bytes, RestoreTarget& target,
                 ProgressMeter& progress)
      : vault_(vault),
        tree_(tree),
        inode_(inode),
        size_bytes_(size_bytes),
        target_(target),
        progress_(progress),
        expected_((size_bytes + kChunkBytes - 1) / kChunkBytes) {}

  Result<std::uint64_t> run() {
    VAULTFS_RETURN_IF_ERROR(for_each_chunk([this](std::uint64_t from) { return next_to_write(from); },
                                           [this](std::uint64_t index, MutableByteView) { return write(index); }));
    VAULTFS_RETURN_IF_ERROR(target_.sync());
    VAULTFS_RETURN_IF_ERROR(target_.start_reading_back());
    VAULTFS_RETURN_IF_ERROR(
        for_each_chunk([this](std::uint64_t from) { return next_to_compare(from); },
                       [this](std::uint64_t index, MutableByteView buffer) { return compare(index, buffer); }));
    return written_bytes_.load();
  }

 private:
  using ChunkStep = std::function<Status(std::uint64_t index, MutableByteView buffer)>;

  // What a hole in a file needs is nothing; a device is written and compared as a whole.
  Result<ChunkDealer::Run> next_to_write(std::uint64_t from) {
    if (target_.is_device()) return ChunkDealer::Run{from, expected_.size()};
    const auto data = tree_.seek_data(inode_, from * kChunkBytes);
    if (!data.ok() && data.code() == ErrorCode::OutOfRange) return ChunkDealer::Run{expected_.size(), expected_.size()};
    // What can't be read is met, and named, when its chunk is.
    const std::uint64_t begin = data.ok() ? *data / kChunkBytes : from;
    return ChunkDealer::Run{begin, begin + 1};
  }

  Result<ChunkDealer::Run> next_to_compare(std::uint64_t from) {
    std::uint64_t begin = expected_.next(from);
    if (begin != from) begin = std::min(begin, target_.next_data(from * kChunkBytes, size_bytes_) / kChunkBytes);
    return ChunkDealer::Run{begin, begin + 1};
  }

  Status for_each_chunk(const ChunkDealer::Find& find, const ChunkStep& step) {
    ChunkDealer dealer(expected_.size(), find, [this](std::uint64_t begin, std::uint64_t end) {
      return progress_.add(std::min(end * kChunkBytes, size_bytes_) - begin * kChunkBytes);
    });
    const auto threads = static_cast<unsigned>(std::min<std::uint64_t>(chunk_worker_count(), expected_.size()));
    return run_in_parallel(threads, [&](const std::atomic<bool>& stop) -> Status {
      const std::unique_ptr<std::byte, FreeBuffer> memory(
          static_cast<std::byte*>(std::aligned_alloc(RestoreTarget::kAlignment, kBufferBytes)));
      if (memory == nullptr) return Error{ErrorCode::Internal, "out of memory"};
      const MutableByteView buffer(memory.get(), kBufferBytes);
      while (!stop.load(std::memory_order_relaxed)) {
        VAULTFS_ASSIGN_OR_RETURN(const std::optional<std::uint64_t> index, dealer.next());
        if (!index.has_value()) break;
        VAULTFS_RETURN_IF_ERROR(step(*index, buffer));
        VAULTFS_RETURN_IF_ERROR(progress_.add(length_of(*index)));
      }
      return ok_status();
    });
  }

  [[nodiscard]] std::size_t length_of(std::uint64_t index) const {
    return std::min<std::uint64_t>(kChunkBytes, size_bytes_ - index * kChunkBytes);
  }

  Result<ChunkId> id_of(ByteView content) {
    return vault_.keys().with_id_key([&](const SecretBuffer& key) -> Result<ChunkId> {
      return chunk_id(key, static_cast<std::uint8_t>(RecordType::chunk), content);
    });
  }

  Status write(std::uint64_t index) {
    const std::uint64_t offset = index * kChunkBytes;
    const std::size_t length = length_of(index);
    VAULTFS_ASSIGN_OR_RETURN(const std::optional<ChunkId> id, tree_.chunk_at(inode_, ChunkIndexInFile(index)));
    if (!id) return Error{ErrorCode::Internal, "a recovery point has content that is not stored"};
    if (id->is_zero()) return target_.clear(offset, length);
    auto stored = vault_.segments().read_verified(RecordType::chunk, *id);
    if (!stored.ok()) return with_context(std::move(stored).error(), "at byte " + std::to_string(offset));
    Bytes content = std::move(*stored);
    // A file that shrank or grew over its tail keeps a chunk of another length.
    VAULTFS_ASSIGN_OR_RETURN(const RecordType type, vault_.segments().listed_type(*id));
    // What is read back has the id of a chunk with these bytes, also where the point has a patch.
    const bool whole = content.size() == length && type == RecordType::chunk;
    content.resize(length);
    if (whole) {
      expected_.set(index, *id);
    } else {
      VAULTFS_ASSIGN_OR_RETURN(const ChunkId written, id_of(content));
      expected_.set(index, written);
    }
    VAULTFS_ASSIGN_OR_RETURN(const std::uint64_t written, target_.write(offset, content));
    written_bytes_ += written;
    return ok_status();
  }

  Status compare(std::uint64_t index, MutableByteView buffer) {
    const std::uint64_t offset = index * kChunkBytes;
    const std::size_t length = length_of(index);
    const ChunkId expected = expected_.get(index);
    VAULTFS_RETURN_IF_ERROR(target_.read_back(offset, length, buffer));
    const ByteView found = buffer.first(length);
    if (expected.is_zero()) return is_all_zero(found) ? ok_status() : mismatch(offset);
    VAULTFS_ASSIGN_OR_RETURN(const ChunkId id, id_of(found));
    return id == expected ? ok_status() : mismatch(offset);
  }

  static Status mismatch(std::uint64_t offset) {
    return Error{ErrorCode::RestoreMismatch, "what was read back at byte " + std::to_string(offset) +
                                                 " is not what was written; the target medium is faulty"};
  }

  Vault& vault_;
  FileTree& tree_;
  const InodeNumber inode_;
  const std::uint64_t size_bytes_;
  RestoreTarget& target_;
  ProgressMeter& progress_;
  SparseChunks expected_;  // of what was written
  std::atomic<std::uint64_t> written_bytes_{0};
};

}  // namespace

Result<std::uint64_t> restore_content(Vault& vault, FileTree& tree, InodeNumber inode, std::uint64_t size_bytes,
                                      RestoreTarget& target, ProgressMeter& progress) {
  return ContentRestore(vault, tree, inode, size_bytes, target, progress).run();
}

}  // namespace vaultfs
