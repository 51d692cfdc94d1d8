#pragma once

#include <condition_variable>
#include <cstdint>
#include <functional>
#include <map>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

#include "base/thread/stepping.h"

namespace vaultfs {

// Runs one thread at a time. At every place where several could go on, `choose` (given how many) says which; the waits
// with a time limit end by it only if nobody else can go on. A state in which nobody can go on at all aborts.
class ToyStepper final : public Stepper {
 public:
  using Choose = std::function<std::size_t(std::size_t)>;
  explicit ToyStepper(Choose choose) : choose_(std::move(choose)) { threads_[0].name = "main"; }

  void lock(const void* mutex, Hold hold) override {
    go_on_when([this, mutex, hold] { return free_for(mutex, hold); });
    take(mutex, hold);
  }
  bool try_lock(const void* mutex, Hold hold) override {
    go_on_when(always);
    if (!free_for(mutex, hold)) return false;
    take(mutex, hold);
    return true;
  }
  void unlock(const void* mutex, Hold hold) override {
    give_up(mutex, hold);
    go_on_when(always);
  }

  bool wait(const void* condition, const void* mutex, std::optional<std::chrono::nanoseconds> at_most) override;
  void notify_one(const void* condition) override { notify(condition, 1); }
  void notify_all(const void* condition) override { notify(condition, threads_.size()); }

  std::uint64_t thread_created(const char* name) override {
    const std::lock_guard lock(mutex_);
    const std::uint64_t thread = threads_.size();
    threads_[thread].name = name;
    return thread;
  }
  void thread_begins(std::uint64_t thread) override;
  void thread_ends(std::uint64_t thread) override;
  void join(std::uint64_t thread) override {
    go_on_when([this, thread] { return threads_.at(thread).ended; });
  }

  // A clock that nothing moves but sleep(); waits with a time limit don't look at it.
  std::chrono::steady_clock::time_point now() override { return now_; }
  void sleep(std::chrono::nanoseconds length) override {
    go_on_when(always);
    now_ += length;
  }
  void point(const char*) override { go_on_when(always); }

  // The names of all threads that there ever were.
  [[nodiscard]] std::vector<std::string> names() const;

 private:
  struct Waiter {
    std::string name;
    std::function<bool()> ready = always;  // whether it can go on; looked at under mutex_ while nobody runs
    const void* condition = nullptr;       // that it waits for
    bool notified = false;
    bool limited = false;  // its wait has a time limit
    bool timed_out = false;
    bool ended = false;
  };
  struct Held {
    bool exclusive = false;
    int readers = 0;
  };

  static bool always() { return true; }
  [[nodiscard]] bool free_for(const void* mutex, Hold hold) {
    const Held& held = held_[mutex];
    return !held.exclusive && (hold == Hold::shared || held.readers == 0);
  }
  void take(const void* mutex, Hold hold) {
    if (hold == Hold::exclusive) {
      held_[mutex].exclusive = true;
    } else {
      ++held_[mutex].readers;
    }
  }
  void give_up(const void* mutex, Hold hold) {
    if (hold == Hold::exclusive) {
      held_[mutex].exclusive = false;
    } else {
      --held_[mutex].readers;
    }
  }
  void notify(const void* condition, std::size_t how_many);
  // Lets somebody go on, and returns when it is the caller's turn and `ready`.
  void go_on_when(std::function<bool()> ready);
  // REQUIRES: mutex_ held.
  void pick_next();

  const Choose choose_;
  mutable std::mutex mutex_;  // guards all below, with who runs: only that thread touches them outside of it
  std::condition_variable turn_;
  std::uint64_t running_ = 0;
  std::map<std::uint64_t, Waiter> threads_;
  std::map<const void*, Held> held_;
  std::chrono::steady_clock::time_point now_{};
};

// Every sequence of choices, one after another: next() until it says false, choose() in between.
class EveryChoice {
 public:
  // Begins the next sequence. False: all have been.
  bool next();
  std::size_t choose(std::size_t options);

 private:
  struct Choice {
    std::size_t taken = 0;
    std::size_t options = 0;
  };
  std::vector<Choice> choices_;
  std::size_t position_ = 0;
  bool begun_ = false;
};

}  // namespace vaultfs
