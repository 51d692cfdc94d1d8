#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "base/result.h"
#include "fs/session/session_observer.h"
#include "fs/tree/working_tree.h"
#include "vaultmeta/vault/vault.h"

namespace vaultfs {

// How far a long operation is. Called from worker threads, now and then. Return false to stop it (Interrupted).
struct Progress {
  std::uint64_t done_bytes = 0;
  std::uint64_t total_bytes = 0;
};
using ProgressCallback = std::function<bool(const Progress&)>;

struct CommitOutcome {
  JobInfo job;                       // as ended
  std::optional<PointInfo> point;    // none if nothing changed
  std::vector<std::string> retired;  // key versions that retired thereby
  HealedDamage healed;               // chunks that were known to be damaged and are stored anew
};

struct DiskSource {
  std::string name;            // file name of the disk inside the item
  std::filesystem::path path;  // image file or block device; with a descriptor a name for messages only
  // The source as an open file, read in place of opening `path`; the caller's, and open for the length of the call. It
  // is never opened anew: the process may not be allowed to open by itself what it was given.
  int descriptor = -1;
};

struct BackupRequest {
  std::string item;
  std::vector<DiskSource> disks;
};

struct BackupOutcome {
  CommitOutcome commit;
  // What speaks against the sources, for people: who else was writing, what is not in them. Never a reason to fail.
  std::vector<std::string> warnings;
  // One of them was written to while it was read, or is no whole image: the job ended with warnings.
  bool source_in_doubt = false;
  std::vector<std::string> carried;  // what the item holds besides the named disks, as it was
  std::uint64_t read_bytes = 0;      // of the sources, holes excluded
  std::uint64_t hole_bytes = 0;
  std::uint64_t new_chunks = 0;
  std::uint64_t known_chunks = 0;
  std::uint64_t stored_bytes = 0;
};

struct ReencryptRequest {
  std::uint64_t bytes_per_second = 0;  // of stored data read; 0: as fast as it goes
  bool without_grace = false;          // what is superseded goes at once, and not after a day
};

struct ReencryptOutcome {
  JobInfo job;        // as ended
  EpochNumber epoch;  // the newest: nothing needed is left under those before, but for what is damaged
  std::uint64_t moved_chunks = 0;
  std::uint64_t moved_bytes = 0;  // as stored before
  std::uint64_t renewed_points = 0;
  // Of the epochs before: segments that are gone; that nothing needs any more, but which stay while the grace lasts or
  // somebody has a use for them; and that hold something needed still.
  std::uint64_t removed_segments = 0, removed_bytes = 0;
  std::uint64_t waiting_segments = 0, waiting_bytes = 0;
  std::uint64_t left_segments = 0, left_bytes = 0;
  std::uint64_t damaged_records = 0;
  std::vector<std::string> damage;  // of the first of them, for people
};

// An opened vault at work: working tree, jobs and cuts by the rules, background flush, refresh of keys, checkpoint.
// Owner or read-only. Thread-safe.
class Session {
 public:
  struct Options {
    VaultOpenOptions vault;
    WorkingTree::Options tree;
    bool background = true;  // timers: settle, max-job, refresh, flush. Off for short commands.
    unsigned settle_seconds = 10;
    unsigned max_job_seconds = 24 * 3600;
    bool manual_commit = false;                             // -o commit=manual
    std::uint64_t checkpoint_journal_bytes = 256ULL << 20;  // a checkpoint is written when the journal has grown so far
    bool space_reserve = true;  // makes it, and makes it again; otherwise only what is there is spent
  };
  [[nodiscard]] static Result<std::unique_ptr<Session>> open(const Vault::Machine& machine, const Options& options);
  virtual ~Session() = default;

  [[nodiscard]] virtual Vault& vault() = 0;
  [[nodiscard]] virtual WorkingTree& tree() = 0;

  // backup commit: cuts now, also with files open. Returns when the work is done, retirement of key versions included.
  // An item without change ends Completed (no change). ItemNotFound.
  [[nodiscard]] virtual Result<CommitOutcome> commit(const std::string& item) = 0;
  // backup run: reads the disks straight into the vault (holes skipped by SEEK_DATA, unchanged chunks only hashed,
  // parallel), then commits. Disks not named stay as they are. A failure leaves the job Failed and the item as it was
  // for those disks.
  [[nodiscard]] virtual Result<BackupOutcome> backup(const BackupRequest& request,
                                                     const ProgressCallback& progress) = 0;
  // Brings everything stored under older DEK epochs to the newest one, while everything else goes on
  // (docs/decisions/0007-reencryption.md). What is damaged stays as it is and is told; then the job has Failed, and the
  // outcome says so. Stopped (Interrupted), failed or crashed, the next call goes on with what is left. VaultBusy: one
  // is under way.
  [[nodiscard]] virtual Result<ReencryptOutcome> reencrypt(const ReencryptRequest& request,
                                                           const ProgressCallback& progress) = 0;
  // Asks long work that nobody waits for (a re-encryption) to end soon: the mount is coming down.
  virtual void stop_long_work() = 0;
  // encryption refresh, returns when it is done.
  [[nodiscard]] virtual Result<RefreshOutcome> refresh() = 0;
  [[nodiscard]] virtual Result<std::shared_ptr<FileTree>> open_point(const PointInfo& point, InodeNumber& root) = 0;

  // Who is told of changes; null ends that, and returns when no call is under way. One at a time.
  virtual void observe(SessionObserver* observer) = 0;

  // Clean end: commits what the rules say (not interrupted, not manual), flushes, checkpoints, closes the vault. Errors
  // are those of work that could not be kept. After it only destruction is allowed.
  [[nodiscard]] virtual Status close() = 0;
};

}  // namespace vaultfs
