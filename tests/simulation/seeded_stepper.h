#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <random>
#include <semaphore>
#include <set>
#include <string>
#include <vector>

#include "base/thread/stepping.h"

namespace vaultfs::sim {

// Runs one thread at a time and takes the next from a seed, wherever threads meet. Its time is virtual: it stands still
// while anybody can run, and goes on to the next deadline when all wait. When all wait and nobody has a deadline, that
// is a deadlock, which ends the program after it was told (on_deadlock).
//
// Whoever sets it is thread 0, the driver. Set it while there is no other thread; it must outlive all that begin.
class SeededStepper final : public Stepper {
 public:
  struct Options {
    std::uint64_t seed = 1;
    // Of 65,536 places where another thread could go on, at so many one does.
    std::uint32_t switches = 4096;
    // The virtual time goes on by so much. Without a lock held, from whichever thread it is.
    std::function<void(std::int64_t nanos)> on_advance;
    std::function<void(const std::string& who_waits_for_what)> on_deadlock;
  };
  explicit SeededStepper(Options options);

  // For the driver. Lets all others run until every one of them waits.
  void settle();
  // The time goes on by so much at once, and who waited for less goes on, once each.
  void advance(std::chrono::nanoseconds length);
  [[nodiscard]] std::uint64_t decisions() const { return decisions_; }

  void lock(const void* mutex, Hold hold) override;
  bool try_lock(const void* mutex, Hold hold) override;
  void unlock(const void* mutex, Hold hold) override;
  bool wait(const void* condition, const void* mutex, std::optional<std::chrono::nanoseconds> at_most) override;
  void notify_one(const void* condition) override;
  void notify_all(const void* condition) override;
  std::uint64_t thread_created(const char* name) override;
  void thread_begins(std::uint64_t thread) override;
  void thread_ends(std::uint64_t thread) override;
  void join(std::uint64_t thread) override;
  std::chrono::steady_clock::time_point now() override;
  void sleep(std::chrono::nanoseconds length) override;
  void point(const char* what) override;

 private:
  enum class State : std::uint8_t { runnable, locking, waiting, sleeping, joining, idle, ended };
  struct ThreadOf {
    std::string name;
    State state = State::runnable;
    const void* mutex = nullptr;  // locking, waiting
    Hold hold = Hold::exclusive;
    const void* condition = nullptr;       // waiting
    std::optional<std::int64_t> deadline;  // waiting, sleeping
    bool notified = false;
    std::uint64_t joins = 0;
    std::binary_semaphore turn{0};
  };
  struct Lock {
    bool written = false;
    std::uint32_t readers = 0;
  };
  using Guard = std::unique_lock<std::mutex>;

  // REQUIRES: the guard held (all below). This thread's.
  [[nodiscard]] ThreadOf& self();
  [[nodiscard]] bool free_for(const void* mutex, Hold hold) const;
  void take(const void* mutex, Hold hold);
  void give_up(const void* mutex, Hold hold);
  // Another thread may go on here.
  void maybe_switch(Guard& guard);
  // Another thread goes on; returns when this one may again.
  void block(Guard& guard);
  void hand_over(Guard& guard, std::uint64_t to);
  [[nodiscard]] std::uint64_t choose(Guard& guard);
  [[nodiscard]] std::vector<std::uint64_t> runnable();
  void pass_time_to(std::int64_t nanos, Guard& guard);
  void lock_guarded(const void* mutex, Hold hold, Guard& guard);
  void notify(const void* condition, bool all);
  [[nodiscard]] std::string who_waits() const;

  const Options options_;
  std::mutex mutex_;  // guards all below
  std::mt19937_64 random_;
  std::map<std::uint64_t, std::unique_ptr<ThreadOf>> threads_;  // by number, so that the seed means the same each time
  std::map<const void*, Lock> locks_;                           // that are held; never walked through
  std::uint64_t last_thread_ = 0;
  std::uint64_t running_ = 0;
  std::int64_t now_nanos_ = 1'000'000'000;
  std::uint64_t decisions_ = 0;
};

}  // namespace vaultfs::sim
