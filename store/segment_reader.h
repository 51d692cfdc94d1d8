#pragma once

#include <cstdint>
#include <list>
#include <map>
#include <memory>
#include <mutex>
#include <string>

#include "base/bytes.h"
#include "base/env.h"
#include "base/ids.h"
#include "base/result.h"
#include "store/chunk_index.h"
#include "store/container.h"
#include "store/epoch_keys.h"

namespace vaultfs {

// One segment file opened for reading, with its cipher. Immutable and thread-safe.
class SegmentReader {
 public:
  // `name` is how errors call the file.
  SegmentReader(std::shared_ptr<File> file, std::shared_ptr<const ContainerCipher> cipher, std::string name);
  // Reads and checks the container's header. DamagedHeader, KeyCommitmentMismatch, EpochClosed, KeyRevoked.
  [[nodiscard]] static Result<std::shared_ptr<const SegmentReader>> open(std::shared_ptr<File> file,
                                                                         const EpochKeys& keys, ContainerNumber number,
                                                                         std::string name);
  // Plaintext [offset, offset + out.size()) of the chunk at `place`; only the frames that this touches are read and
  // opened. DamagedRecord, AuthenticationFailed, ChunkMismatch (another record stands there), IoError. REQUIRES: the
  // range lies in the chunk.
  [[nodiscard]] Status read(const ChunkId& id, const ChunkPlace& place, std::uint32_t offset,
                            MutableByteView out) const;

 private:
  [[nodiscard]] Status read_frames(const ChunkId& id, const ChunkPlace& place, std::uint32_t offset,
                                   MutableByteView out) const;
  [[nodiscard]] Status read_exactly(std::uint64_t offset, MutableByteView out) const;

  std::shared_ptr<File> file_;
  std::shared_ptr<const ContainerCipher> cipher_;
  std::string name_;
};

// The readers used last, so that descriptors and key schedules stay bounded. Thread-safe.
class SegmentReaderCache {
 public:
  explicit SegmentReaderCache(std::size_t capacity) : capacity_(capacity == 0 ? 1 : capacity) {}
  [[nodiscard]] std::shared_ptr<const SegmentReader> find(ContainerNumber number);
  void insert(ContainerNumber number, std::shared_ptr<const SegmentReader> reader);
  void erase(ContainerNumber number);
  void clear();

 private:
  using Order = std::list<std::pair<ContainerNumber, std::shared_ptr<const SegmentReader>>>;
  const std::size_t capacity_;
  std::mutex mutex_;  // guards both below; a leaf
  Order order_;       // most recently used first
  std::map<ContainerNumber, Order::iterator> by_number_;
};

}  // namespace vaultfs
