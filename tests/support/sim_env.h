#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <random>
#include <set>
#include <string>
#include <vector>

#include "base/files/env.h"
#include "tests/support/sim_disk.h"

namespace vaultfs {

// A clock that moves only when a test says so.
class SimClock final : public Clock {
 public:
  [[nodiscard]] UnixNanos now() const override { return {now_.load()}; }
  [[nodiscard]] std::int64_t monotonic_nanos() const override { return monotonic_.load(); }
  // Moves both clocks on.
  void advance_nanos(std::int64_t nanos) {
    now_ += nanos;
    monotonic_ += nanos;
  }
  void advance_seconds(std::int64_t seconds) { advance_nanos(seconds * 1'000'000'000); }
  // Sets the wall clock alone, also backwards.
  void set(UnixNanos now) { now_ = now.value; }

 private:
  std::atomic<std::int64_t> now_{1'700'000'000'000'000'000};
  std::atomic<std::int64_t> monotonic_{1'000'000'000};
};

// The operations that change what is, or will be, on the disk.
enum class SimStep : std::uint8_t { create, write, truncate, sync, rename, remove, sync_directory };
inline constexpr std::size_t kSimStepKinds = 7;

// A machine in memory whose disk loses what was not synced: promises of durability are tested against it.
//
//   for (std::uint64_t n = 0;; ++n) {
//     SimEnv env(seed);
//     env.fail_after(n);
//     const bool completed = scenario(env);
//     env.crash(seed, CrashMode::random);
//     check(env);
//     if (completed) break;
//   }
//
// Starts with an empty root directory "/". A crash, kill_process() or restore() kills every File and FileLock: they
// answer IoError. Handles must not outlive the SimEnv. Thread-safe; the same seed and the same order of calls give the
// same bytes.
class SimEnv final : public Env {
 public:
  class Snapshot;

  explicit SimEnv(std::uint64_t seed = 1);
  ~SimEnv() override;

  // ---- Env ----
  [[nodiscard]] Result<std::unique_ptr<File>> open(const Path& path, OpenMode mode) override;
  // A directory may be renamed within its parent only.
  [[nodiscard]] Status rename(const Path& from, const Path& to) override;
  [[nodiscard]] Status remove_file(const Path& path) override;
  [[nodiscard]] Status remove_directory(const Path& path) override;
  [[nodiscard]] Status make_directory(const Path& path) override;
  [[nodiscard]] Result<FileInfo> info(const Path& path) override;
  [[nodiscard]] Result<std::vector<std::string>> list(const Path& directory) override;
  [[nodiscard]] Status sync_directory(const Path& directory) override;
  [[nodiscard]] Result<std::uint64_t> free_bytes(const Path& path) override;
  [[nodiscard]] Result<FreeSpace> free_space(const Path& path) override;
  [[nodiscard]] Result<std::unique_ptr<FileLock>> lock(const Path& path) override;
  [[nodiscard]] Result<std::unique_ptr<FileLock>> lock_shared(const Path& path) override;
  [[nodiscard]] Result<Path> real_path(const Path& path) override;
  // Goes by the directory, wherever it is moved to; with a path that begins with `path` until then. Dead after a
  // restart, as a File is.
  [[nodiscard]] Result<std::unique_ptr<Env>> hold_directory(const Path& path) override;
  void fill_random(MutableByteView out) override;
  [[nodiscard]] const Clock& clock() const override { return clock_; }

  // ---- Faults ----
  // Power loss and restart: all faults end too, but not the limit of set_free_bytes.
  void crash(std::uint64_t seed, CrashMode mode = CrashMode::random);
  // kill -9 of every process: handles die, locks go, the kernel keeps what was written, unsynced as it was. Faults end.
  void kill_process();
  // `steps` more steps succeed; then every step fails with IoError until the next crash. The step that fails first is
  // in flight: a crash may keep it wholly or in part.
  void fail_after(std::uint64_t steps);
  // True once a step failed because of fail_after.
  [[nodiscard]] bool failure_reached() const;
  // The next `count` syncs of files fail, and their data is lost as on Linux: visible until a crash, never durable.
  void fail_next_sync(std::uint64_t count);
  // The next `count` writes fail with `code`, without effect.
  void fail_next_write(std::uint64_t count, ErrorCode code = ErrorCode::IoError);
  // Reads through this path (as given to open) fail with IoError until the next crash.
  void fail_reads(const Path& path);
  void clear_faults();
  // What is left for file contents (counted as file sizes); a write beyond stores what fits and fails with NoSpace.
  void set_free_bytes(std::uint64_t bytes);
  // How many more files and directories can be made; then making one fails with NoSpace.
  void set_free_files(std::uint64_t files);
  // As with a quota that nobody tells of: free_space() knows of no limit.
  void hide_limits(bool hidden);
  void set_unlimited_space();

  // ---- Observation ----
  [[nodiscard]] std::uint64_t steps() const;  // all that were tried since the start
  [[nodiscard]] std::uint64_t steps(SimStep kind) const;
  // Called before each step, without a lock held, from the thread that makes the step.
  using Observer = std::function<void(SimStep, const Path&)>;
  void set_observer(Observer observer);
  [[nodiscard]] SimClock& sim_clock() { return clock_; }

  // ---- The hand of the tester: at once, durably, no steps, no faults. A missing file aborts the test program. ----
  [[nodiscard]] bool exists(const Path& path) const;
  [[nodiscard]] Bytes read(const Path& path) const;
  void write(const Path& path, ByteView bytes);  // makes or replaces the file, makes missing directories
  // As read and write, without a copy where nothing has changed: as long as a file does not, it is the same pointer.
  [[nodiscard]] std::shared_ptr<const Bytes> share(const Path& path) const;
  void put_back(const Path& path, std::shared_ptr<const Bytes> content);
  void copy(const Path& from, const Path& to);
  void remove(const Path& path);  // a file, or a directory with all below
  void flip_bit(const Path& path, std::uint64_t bit);
  void cut(const Path& path, std::uint64_t size);
  void make_directories(const Path& path);
  void make_sparse(const Path& path);  // the same content, which takes no room
  // All files below `directory`, full paths, sorted.
  [[nodiscard]] std::vector<Path> files(const Path& directory = "/") const;

  // The whole disk as the running system sees it, and its return: the files of then are back, durable, all handles die.
  [[nodiscard]] Snapshot snapshot() const;
  void restore(const Snapshot& snapshot);

 private:
  friend class SimFile;
  friend class SimLock;
  friend class SimDirectory;

  enum class Verdict : std::uint8_t { proceed, in_flight, refuse };
  void observe(SimStep kind, const Path& path);
  Verdict begin_step(SimStep kind);  // REQUIRES: mutex_ held
  // A directory that is at `now`, by paths that begin with `root`. REQUIRES: mutex_ held.
  Result<std::unique_ptr<Env>> hold(const Path& now, const Path& root);
  static FileInfo info_of(const SimNode& node);
  Status remove(const Path& path, bool directory);
  Status write_file(SimNode& node, std::uint64_t offset, ByteView bytes);
  // NoSpace, if one more would be too many.
  [[nodiscard]] Status room_for_file() const;
  void end_faults();
  [[nodiscard]] SimNode::Pointer must_find(const Path& path) const;
  SimNode::Pointer prepare_directories(const Path& path);

  SimClock clock_;
  mutable std::mutex mutex_;  // guards all below, and every node; a leaf
  SimDisk disk_;
  std::mt19937_64 random_;
  std::uint64_t boot_ = 1;  // handles of an earlier boot are dead
  std::array<std::uint64_t, kSimStepKinds> steps_{};
  std::optional<std::uint64_t> steps_left_;
  bool failure_reached_ = false;
  std::uint64_t failing_syncs_ = 0;
  std::uint64_t failing_writes_ = 0;
  ErrorCode write_error_ = ErrorCode::IoError;
  std::set<Path> failing_reads_;
  std::optional<std::uint64_t> capacity_;
  std::optional<std::uint64_t> most_files_;
  bool limits_are_hidden_ = false;
  std::shared_ptr<const Observer> observer_;
};

// A frozen copy of a whole simulated disk.
class SimEnv::Snapshot {
 public:
  Snapshot(const Snapshot&) = default;
  Snapshot& operator=(const Snapshot&) = default;

 private:
  friend class SimEnv;
  explicit Snapshot(std::shared_ptr<const SimDisk> disk) : disk_(std::move(disk)) {}
  std::shared_ptr<const SimDisk> disk_;
};

}  // namespace vaultfs
