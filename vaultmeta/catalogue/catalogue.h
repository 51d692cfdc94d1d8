#pragma once

#include <functional>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "base/byte_codec.h"
#include "base/clock.h"
#include "base/ids.h"
#include "base/result.h"
#include "base/thread/mutex.h"
#include "vaultmeta/catalogue/known_damage.h"

namespace vaultfs {

enum class JobKind : std::uint8_t { backup = 1, key_update = 2, restore = 3, reencryption = 4 };

enum class JobState : std::uint8_t {
  in_progress = 1,
  completed = 2,
  completed_no_change = 3,
  failed = 4,
  interrupted = 5,
  // Its point is there, but something of it is known to be damaged, or what was read is no whole state of its source.
  completed_with_warnings = 6,
  cancelled = 7,  // somebody stopped it (Ctrl-C, a signal, a client that went away); nothing of it was kept
};

struct JobInfo {
  JobNumber number;
  JobKind kind = JobKind::backup;
  JobState state = JobState::in_progress;
  std::string item;  // empty for what concerns the whole vault
  Lsn begun;         // the LSN from which its writes count
  UnixNanos started;
  UnixNanos ended;                  // 0 while in progress
  PointNumber point;                // the point it left; 0 = none
  std::uint64_t logical_bytes = 0;  // read or written by the job
  std::uint64_t stored_bytes = 0;   // new bytes in the vault
  std::string detail;               // error name and reason, or a key version; stored up to 1024 bytes
};

struct PointInfo {
  PointNumber number;
  PointNumber file;  // number of the manifest's file where that was written anew; 0: the point's own
  std::string item;
  UnixNanos created;
  Lsn cut;          // the point holds what was written before it
  Digest manifest;  // SHA-256 of the manifest file
  std::uint64_t manifest_bytes = 0;
  bool automatic = false;  // made by itself; false: asked for
  bool after_interruption = false;
  bool crash_consistent = false;    // files were open for writing
  std::uint64_t logical_bytes = 0;  // sum of file sizes
  std::uint64_t files = 0;
  // Not stored: the point is known from its manifest only, and no head that could be read vouches for it: whoever ever
  // held a key version could have made it.
  bool unproven = false;

  // "000042-20261122T001500Z": sorts by age.
  [[nodiscard]] std::string id() const;
  [[nodiscard]] PointNumber manifest_file() const { return file.value == 0 ? number : file; }
};

// What Catalogue::points_digest is over, of one point: u64 number ‖ u64 number of the manifest's file ‖ its SHA-256 ‖
// u64 its length.
void write_for_digest(ByteWriter& writer, const PointInfo& point);

// A manifest that another one of the same point has replaced. It is kept for a while, and keeps the segments that it
// lists: a copy of the vault that is being taken may have got this one.
struct SupersededManifest {
  PointNumber file;
  PointNumber point;
  UnixNanos since;
};

struct ItemInfo {
  std::string name;
  UnixNanos first_seen;
  // A crash or I/O error ended a job: later automatic points are marked, until an explicit commit.
  bool interrupted = false;
};

// Items, recovery points and jobs of a vault. Replaying an entry twice is harmless. An owner does not change it by
// put(…): it gives the entry to the journal first and applies it when the journal has it. An entry is one or more
// changes (docs/format.md, section 9.1): entries of several changes may be joined into one, so that all or none of them
// become durable. Of ended jobs the newest 2,000 are kept, and among these, however old, the newest update of keys.
// Thread-safe: every call takes the lock, nothing is called with it held.
class Catalogue {
 public:
  static constexpr std::size_t kMaxEndedJobs = 2000;
  static constexpr std::size_t kMaxDamage = std::size_t{1} << 18;  // what comes above that is not remembered

  [[nodiscard]] std::vector<ItemInfo> items() const;
  [[nodiscard]] std::optional<ItemInfo> item(const std::string& name) const;
  [[nodiscard]] std::vector<PointInfo> points() const;  // oldest first
  [[nodiscard]] std::vector<PointInfo> points_of(const std::string& item) const;
  // SHA-256 over all points, ascending, each as write_for_digest() gives it.
  [[nodiscard]] Digest points_digest() const;
  // By id, by number, or the newest for an empty text. RecoveryPointNotFound, ItemNotFound.
  [[nodiscard]] Result<PointInfo> find_point(const std::string& item, const std::string& point) const;
  [[nodiscard]] std::optional<PointInfo> point(PointNumber number) const;
  [[nodiscard]] std::vector<SupersededManifest> superseded() const;  // by file number
  // Records that a point needs may lie outside the segments of its inventory: a re-encryption is not finished.
  [[nodiscard]] bool reencrypting() const;
  [[nodiscard]] std::vector<KnownDamage> damage() const;  // by key
  [[nodiscard]] std::size_t damage_count() const;
  [[nodiscard]] bool knows_damage(const ChunkIndex::Key& key) const;
  [[nodiscard]] std::vector<JobInfo> jobs() const;  // oldest first
  [[nodiscard]] std::optional<JobInfo> job(JobNumber number) const;
  // The newest update of keys that has ended, by its number.
  [[nodiscard]] std::optional<JobInfo> last_key_update() const;
  // The latest time that jobs and points know of.
  [[nodiscard]] UnixNanos newest_time() const;

  [[nodiscard]] JobNumber next_job() const;  // that take_job_number() would give
  // Numbers not used before.
  [[nodiscard]] JobNumber take_job_number();
  void reserve_job_number(JobNumber taken);
  [[nodiscard]] PointNumber take_point_number();
  void reserve_point_number(PointNumber at_least);  // a manifest file of that number exists
  void avoid_point_number(PointNumber taken);       // a file that is no manifest of the vault has that number

  // Applies the change in memory and returns its journal entry.
  [[nodiscard]] Bytes put(const ItemInfo& item);
  [[nodiscard]] Bytes put(const PointInfo& point);
  [[nodiscard]] Bytes put(const JobInfo& job);
  [[nodiscard]] Bytes remove_point(PointNumber number);
  [[nodiscard]] Bytes put(const SupersededManifest& manifest);
  [[nodiscard]] Bytes set_reencrypting(bool reencrypting);
  // A whole entry where that has at most kMaxJournalEntryBytes: REQUIRES at most 65,536 of them; not empty.
  [[nodiscard]] Bytes put(const std::vector<KnownDamage>& damage);
  [[nodiscard]] Bytes remove_damage(const std::vector<ChunkIndex::Key>& keys);
  // An entry that changes nothing, by any reader: the removal of point 0, which there never is.
  [[nodiscard]] static Bytes no_change();

  // JournalDamaged; UnsupportedFormat for a change of a kind that is not known. Then nothing of the entry is applied.
  [[nodiscard]] Status apply(ByteView entry);
  [[nodiscard]] Bytes encode() const;  // for the checkpoint
  // DamagedCheckpoint, UnsupportedFormat; then the catalogue stays as it was.
  [[nodiscard]] Status load(ByteView section);

 private:
  struct State {
    std::map<std::string, ItemInfo> items;
    std::map<PointNumber, PointInfo> points;
    std::map<JobNumber, JobInfo> jobs;
    std::map<PointNumber, SupersededManifest> superseded;  // by file
    bool reencrypting = false;
    std::map<ChunkIndex::Key, KnownDamage> damage;
    std::size_t ended_jobs = 0;  // of `jobs`, those that are not in progress
    JobNumber last_key_update;   // of `jobs`; 0: none
    UnixNanos newest_time;       // of jobs and points that are or were there
    JobNumber next_job{1};
    PointNumber next_point{1};

    void put(const ItemInfo& item);
    void put(const PointInfo& point);
    void put(const JobInfo& job);
    void put(const SupersededManifest& manifest);
    void set_file(PointNumber point, PointNumber file);
    void put(const std::vector<KnownDamage>& found);
  };
  using Change = std::function<void(State&)>;
  // One change or more, up to the end. UnsupportedFormat; what is malformed fails the reader.
  [[nodiscard]] static Status read_changes(ByteReader& reader, std::vector<Change>& changes);
  // False for a kind that is not known.
  [[nodiscard]] static bool read_change(std::uint8_t kind, ByteReader& reader, std::vector<Change>& changes);

  mutable Mutex mutex_;  // a leaf
  State state_ GUARDED_BY(mutex_);
  std::set<PointNumber> avoided_ GUARDED_BY(mutex_);
};

}  // namespace vaultfs
