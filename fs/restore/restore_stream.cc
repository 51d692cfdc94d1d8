#include "fs/restore/restore_stream.h"

#include <poll.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <optional>
#include <vector>

#include "base/files/file_descriptor.h"
#include "base/thread/parallel_work.h"
#include "crypto/memory/secret_buffer.h"

namespace vaultfs {
namespace {

constexpr int kLookMilliseconds = 250;

class PipeRestore {
 public:
  PipeRestore(Vault& vault, FileTree& tree, InodeNumber inode, std::uint64_t size_bytes, int pipe,
              ProgressMeter& progress)
      : vault_(vault), tree_(tree), inode_(inode), size_bytes_(size_bytes), pipe_(pipe), progress_(progress) {}

  // Some chunks are read side by side, then written in their order.
  Status run() {
    const std::uint64_t chunks = (size_bytes_ + kChunkBytes - 1) / kChunkBytes;
    const std::uint64_t at_once = std::max<std::uint64_t>(2, chunk_worker_count());
    for (std::uint64_t first = 0; first < chunks; first += at_once) {
      std::vector<Bytes> read(std::min(at_once, chunks - first));
      std::atomic<std::uint64_t> next{0};
      VAULTFS_RETURN_IF_ERROR(
          run_in_parallel(static_cast<unsigned>(read.size()), [&](const std::atomic<bool>& stop) -> Status {
            for (std::uint64_t i = next++; i < read.size() && !stop.load(); i = next++) {
              VAULTFS_ASSIGN_OR_RETURN(read[i], content_of(first + i));
            }
            return ok_status();
          }));
      for (Bytes& content : read) {
        VAULTFS_RETURN_IF_ERROR(write(content));
        wipe(content);
        VAULTFS_RETURN_IF_ERROR(progress_.add(content.size()));
      }
    }
    return ok_status();
  }

 private:
  Result<Bytes> content_of(std::uint64_t index) {
    const std::uint64_t offset = index * kChunkBytes;
    const std::size_t length = std::min<std::uint64_t>(kChunkBytes, size_bytes_ - offset);
    VAULTFS_ASSIGN_OR_RETURN(const std::optional<ChunkId> id, tree_.chunk_at(inode_, ChunkIndexInFile(index)));
    if (!id) return Error{ErrorCode::Internal, "a recovery point has content that is not stored"};
    if (id->is_zero()) return Bytes(length);
    auto stored = vault_.segments().read_verified(RecordType::chunk, *id);
    if (!stored.ok()) return with_context(std::move(stored).error(), "at byte " + std::to_string(offset));
    stored->resize(length);
    return stored;
  }

  Status write(ByteView bytes) {
    while (!bytes.empty()) {
      const ssize_t n = ::write(pipe_, bytes.data(), bytes.size());
      if (n > 0) {
        bytes = bytes.subspan(static_cast<std::size_t>(n));
        continue;
      }
      if (n < 0 && errno == EPIPE)
        return Error{ErrorCode::IoError, "whoever read the disk has ended before it was whole"};
      if (n < 0 && errno != EAGAIN && errno != EINTR) return system_call_error(errno, "cannot write the disk");
      struct pollfd ready {};
      ready.fd = pipe_;
      ready.events = POLLOUT;
      static_cast<void>(::poll(&ready, 1, kLookMilliseconds));
      VAULTFS_RETURN_IF_ERROR(progress_.add(0));
    }
    return ok_status();
  }

  Vault& vault_;
  FileTree& tree_;
  const InodeNumber inode_;
  const std::uint64_t size_bytes_;
  const int pipe_;
  ProgressMeter& progress_;
};

}  // namespace

Status restore_to_pipe(Vault& vault, FileTree& tree, InodeNumber inode, std::uint64_t size_bytes, int pipe,
                       ProgressMeter& progress) {
  return PipeRestore(vault, tree, inode, size_bytes, pipe, progress).run();
}

}  // namespace vaultfs
