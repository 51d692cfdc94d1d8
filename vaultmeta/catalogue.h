#pragma once

#include <functional>
#include <map>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "base/byte_codec.h"
#include "base/clock.h"
#include "base/ids.h"
#include "base/result.h"

namespace vaultfs {

enum class JobKind : std::uint8_t { backup = 1, key_update = 2, restore = 3 };

enum class JobState : std::uint8_t {
  in_progress = 1,
  completed = 2,
  completed_no_change = 3,
  failed = 4,
  interrupted = 5,
};

struct JobInfo {
  JobNumber number;
  JobKind kind = JobKind::backup;
  JobState state = JobState::in_progress;
  std::string item;         // empty for a key update
  Lsn begun;                // the LSN from which its writes count
  UnixNanos started;
  UnixNanos ended;          // 0 while in progress
  PointNumber point;        // the point it left; 0 = none
  std::uint64_t logical_bytes = 0;  // read or written by the job
  std::uint64_t stored_bytes = 0;   // new bytes in the vault
  std::string detail;       // error name and reason, or a key version
};

struct PointInfo {
  PointNumber number;       // also the manifest's file number
  std::string item;
  UnixNanos created;
  Lsn cut;                  // the point holds what was written before it
  Digest manifest;          // SHA-256 of the manifest file
  std::uint64_t manifest_bytes = 0;
  bool automatic = false;           // made by itself; false: asked for
  bool after_interruption = false;
  bool crash_consistent = false;    // files were open for writing
  std::uint64_t logical_bytes = 0;  // sum of file sizes
  std::uint64_t files = 0;

  // "000042-20261122T001500Z": sorts by age.
  [[nodiscard]] std::string id() const;
};

struct ItemInfo {
  std::string name;
  UnixNanos first_seen;
  // A crash or I/O error ended a job: later automatic points are marked, until an explicit commit.
  bool interrupted = false;
};

// Items, recovery points and jobs of a vault. Each change gives the journal entry that makes it durable; replaying an entry twice
// is harmless. Of ended jobs the newest 2,000 are kept. Thread-safe: every call takes the lock, nothing is called with it held.
class Catalogue {
 public:
  [[nodiscard]] std::vector<ItemInfo> items() const;
  [[nodiscard]] std::optional<ItemInfo> item(const std::string& name) const;
  [[nodiscard]] std::vector<PointInfo> points() const;                        // oldest first
  [[nodiscard]] std::vector<PointInfo> points_of(const std::string& item) const;
  // By id, by number, or the newest for an empty text. RecoveryPointNotFound, ItemNotFound.
  [[nodiscard]] Result<PointInfo> find_point(const std::string& item, const std::string& point) const;
  [[nodiscard]] std::vector<JobInfo> jobs() const;                            // oldest first
  [[nodiscard]] std::optional<JobInfo> job(JobNumber number) const;

  // Numbers not used before.
  [[nodiscard]] JobNumber take_job_number();
  [[nodiscard]] PointNumber take_point_number();
  void reserve_point_number(PointNumber at_least);  // a manifest file of that number exists

  // Applies the change in memory and returns its journal entry.
  [[nodiscard]] Bytes put(const ItemInfo& item);
  [[nodiscard]] Bytes put(const PointInfo& point);
  [[nodiscard]] Bytes put(const JobInfo& job);
  [[nodiscard]] Bytes remove_point(PointNumber number);

  [[nodiscard]] Status apply(ByteView entry);  // JournalDamaged
  [[nodiscard]] Bytes encode() const;          // for the checkpoint
  [[nodiscard]] Status load(ByteView section); // DamagedCheckpoint

 private:
  mutable std::mutex mutex_;  // guards all below; a leaf
  std::map<std::string, ItemInfo> items_;
  std::map<PointNumber, PointInfo> points_;
  std::map<JobNumber, JobInfo> jobs_;
  JobNumber next_job_{1};
  PointNumber next_point_{1};
};

}  // namespace vaultfs
