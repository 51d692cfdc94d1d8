#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <utility>
#include <vector>

#include "base/ids.h"
#include "base/result.h"
#include "base/thread/mutex.h"
#include "store/segment/file/segment_writer.h"

namespace vaultfs {

// Which segments a store has, which of them this process writes, and which number the next one gets. Thread-safe; no
// I/O under its lock, which comes before a writer's and the index's.
class SegmentTable {
 public:
  using Writer = std::shared_ptr<SegmentWriter>;
  struct Segment {
    std::uint64_t file_bytes = 0;
    bool closed = false;   // has its final name
    bool missing = false;  // only the index knows of it
    Writer writer;         // of this process, while the segment is not closed
    EpochNumber epoch{};   // 0: not looked at yet
  };
  struct Listed {
    ContainerNumber number;
    std::uint64_t file_bytes = 0;
    std::uint64_t stored_bytes = 0;  // also while it is open
    bool closed = false;
  };
  using FileSizes = std::map<ContainerNumber, std::uint64_t>;

  // ---- which there are ----
  [[nodiscard]] std::optional<Segment> find(ContainerNumber number) const;
  void set(ContainerNumber number, Segment segment);
  // Nothing if the segment is gone by now.
  void set_file_bytes(ContainerNumber number, std::uint64_t bytes);
  void set_epoch(ContainerNumber number, EpochNumber epoch);
  void erase(ContainerNumber number);
  [[nodiscard]] std::vector<Listed> list() const;
  [[nodiscard]] std::uint64_t stored_bytes() const;
  // Those with their final names, and those of which only the index knows.
  void list_closed(FileSizes& closed, std::set<ContainerNumber>& missing) const;
  // Closed ones whose files are there, with their sizes as far as they are known.
  [[nodiscard]] FileSizes closed_files() const;
  // Neither closed nor written on: what the opening or a failed sync left, with its writer if it has one.
  [[nodiscard]] std::vector<std::pair<ContainerNumber, Writer>> left_open() const;

  // ---- numbers ----
  void raise_next(ContainerNumber least);
  [[nodiscard]] ContainerNumber next() const;
  // This number is of a file that is not this vault's.
  void add_stranger(ContainerNumber number);
  // The next number that no stranger has. OutOfRange.
  [[nodiscard]] Result<ContainerNumber> take_number();

  // ---- those that are written ----
  // The one that takes records; null if there is none.
  [[nodiscard]] Writer active() const;
  [[nodiscard]] Writer active_of(EpochNumber epoch) const;
  void activate(const Writer& writer);
  // From here on it takes no records, and is to be closed.
  void retire(const Writer& writer);
  [[nodiscard]] std::vector<Writer> retired() const;
  // A retired one has got its final name; of zero bytes its file is gone.
  void end_retired(const Writer& writer, std::uint64_t file_bytes);
  // The file stays, as it is, for reading what was synced before and for the next opening's recovery.
  void forget_abandoned(const Writer& writer);
  // What a sync has to see to, and the loss that no sync has told yet: this one does.
  struct Unsynced {
    std::vector<Writer> writers;
    std::optional<Error> loss;
  };
  [[nodiscard]] Unsynced take_unsynced();
  void set_unreported_loss(std::optional<Error> loss);
  void drop_ciphers();

  // ---- those that are about to be removed ----
  void set_leaving(std::set<ContainerNumber> leaving);
  // Calls `f`, under the lock, unless compaction has removed the segment or is about to.
  template <class F>
  void unless_leaving(ContainerNumber number, const F& f) const {
    const MutexLock lock(mutex_);
    if (segments_.contains(number) && !leaving_.contains(number)) f();
  }

 private:
  mutable Mutex mutex_;
  std::map<ContainerNumber, Segment> segments_ GUARDED_BY(mutex_);
  Writer active_ GUARDED_BY(mutex_);
  std::vector<Writer> retired_ GUARDED_BY(mutex_);  // full or detached, not closed yet
  ContainerNumber next_segment_ GUARDED_BY(mutex_){1};
  std::set<std::uint64_t> strangers_ GUARDED_BY(mutex_);     // numbers of files that are not this vault's
  std::set<ContainerNumber> leaving_ GUARDED_BY(mutex_);     // of segments_, about to be removed
  std::optional<Error> unreported_loss_ GUARDED_BY(mutex_);  // of a sync within a close: the next sync() tells
};

}  // namespace vaultfs
