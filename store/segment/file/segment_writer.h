#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <set>
#include <vector>

#include "base/bytes.h"
#include "base/files/env.h"
#include "base/ids.h"
#include "base/result.h"
#include "base/thread/mutex.h"
#include "store/blobs/blob_store.h"
#include "store/index/chunk_index.h"
#include "store/index/segment_format.h"
#include "store/record/container.h"
#include "store/record/epoch_keys.h"

namespace vaultfs {

// Seals a footer and writes it with the trailer at `footer_offset`, cuts the file behind it and syncs: what closing and
// recovery share. The file's length.
[[nodiscard]] Result<std::uint64_t> write_segment_end(File& file, const ContainerCipher& cipher,
                                                      std::uint64_t nonce_base,
                                                      const std::vector<SegmentEntry>& entries,
                                                      std::uint64_t record_count, std::uint64_t footer_offset);

// Overwrites [offset, offset + size) by zeros: what a closed segment has between its records.
[[nodiscard]] Status write_zeros(File& file, std::uint64_t offset, std::uint64_t size);

// A segment being written. Thread-safe: a put is admit(), seal outside any lock, then write() or cancel().
//
// Each admission has a ticket; sync() covers all tickets given out before it. When a sync fails, nothing since the last
// good one may be trusted: the segment is abandoned, and the chunks since then leave the index.
class SegmentWriter {
 public:
  struct Admission {
    std::uint64_t ticket = 0;
    std::uint64_t nonce_base = 0;
    std::uint64_t reserved_bytes = 0;
    std::shared_ptr<const ContainerCipher> cipher;
  };

  // Makes the file with a durable container header, so that no record can outlive the keys that open it.
  [[nodiscard]] static Result<std::shared_ptr<SegmentWriter>> create(Env& env, const Env::Path& root,
                                                                     const EpochKeys& keys, ContainerNumber number,
                                                                     std::uint64_t segment_bytes, ChunkIndex& index);
  SegmentWriter(Env& env, Env::Path root, const EpochKeys& keys, ContainerHeader header, std::uint64_t segment_bytes,
                ChunkIndex& index);

  [[nodiscard]] ContainerNumber number() const noexcept { return header_.number; }
  [[nodiscard]] EpochNumber epoch() const noexcept { return header_.epoch; }
  [[nodiscard]] const std::shared_ptr<File>& file() const noexcept { return file_; }
  // Derived anew if it was dropped. KeyRevoked.
  [[nodiscard]] Result<std::shared_ptr<const ContainerCipher>> cipher();
  void drop_cipher();

  // Numbers for `frames` frames and room for one record of at most `max_stored` bytes; nothing when the segment is full
  // or no longer takes records.
  [[nodiscard]] Result<std::optional<Admission>> admit(std::uint32_t frames, std::uint64_t max_stored);
  // Writes a sealed record and adds it to the index. A failure loses this record only.
  [[nodiscard]] Status write(const Admission& admission, SegmentEntry entry, ByteView sealed);
  void cancel(const Admission& admission);

  // No further admissions.
  void detach();
  [[nodiscard]] Status sync();
  // After detach(): waits for the puts in flight, writes the end, syncs, adopts. The file's length, or 0 if nothing was
  // stored and the file is gone. After a failure it may be called again unless the segment is abandoned.
  [[nodiscard]] Result<std::uint64_t> close(BlobStore& blobs);
  [[nodiscard]] bool abandoned() const;
  // Stored bytes so far, the container header included.
  [[nodiscard]] std::uint64_t stored_bytes() const;

 private:
  struct Written {
    SegmentEntry entry;
    std::uint64_t ticket = 0;
  };
  struct Gap {
    std::uint64_t offset = 0;
    std::uint64_t size = 0;
  };
  [[nodiscard]] ChunkPlace place_of(const SegmentEntry& entry) const;
  using Lost = std::vector<SegmentEntry>;
  // What is lost thereby: to be blotted out without the lock.
  [[nodiscard]] Lost abandon(const Error& why) REQUIRES(mutex_);
  // After a failed sync the kernel may show records until the next restart that it has lost. The next owner must not
  // find them: it would count on their content.
  void blot_out(const Lost& lost);
  [[nodiscard]] Error abandoned_error() const REQUIRES(mutex_);
  [[nodiscard]] Result<std::uint64_t> write_end();
  [[nodiscard]] Status adopt(BlobStore& blobs);

  Env& env_;
  const Env::Path root_;
  const EpochKeys& keys_;
  const ContainerHeader header_;
  const std::uint64_t segment_bytes_;
  ChunkIndex& index_;
  std::shared_ptr<File> file_;

  mutable Mutex mutex_;  // the index's locks come after it
  CondVar changed_;
  std::shared_ptr<const ContainerCipher> cipher_ GUARDED_BY(mutex_);
  bool detached_ GUARDED_BY(mutex_) = false;
  bool syncing_ GUARDED_BY(mutex_) = false;
  std::uint64_t closed_bytes_ GUARDED_BY(mutex_) = 0;  // not zero: the end is written and synced
  std::optional<Error> abandoned_ GUARDED_BY(mutex_);
  std::uint64_t next_nonce_ GUARDED_BY(mutex_) = 0;
  std::uint64_t next_ticket_ GUARDED_BY(mutex_) = 1;
  std::uint64_t synced_ticket_ GUARDED_BY(mutex_) = 0;  // this one and all below are durable
  std::uint64_t end_ GUARDED_BY(mutex_) = ContainerHeader::kEncodedBytes;
  std::uint64_t reserved_bytes_ GUARDED_BY(mutex_) = 0;
  std::set<std::uint64_t> in_flight_ GUARDED_BY(mutex_);  // tickets, at most one a thread
  std::vector<Written> written_ GUARDED_BY(mutex_);
  std::vector<Gap> gaps_ GUARDED_BY(mutex_);
};

}  // namespace vaultfs
