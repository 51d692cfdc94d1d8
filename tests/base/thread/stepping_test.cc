#include "base/thread/stepping.h"

#include <gtest/gtest.h>

#include <cstdio>
#include <cstdlib>
#include <set>

#include "base/thread/mutex.h"
#include "base/thread/thread.h"
#include "tests/base/thread/toy_stepper.h"

namespace vaultfs {

namespace {
thread_local std::uint64_t stepped_thread = 0;
}  // namespace

bool ToyStepper::wait(const void* condition, const void* mutex, std::optional<std::chrono::nanoseconds> at_most) {
  Waiter& mine = threads_.at(stepped_thread);
  if (mutex != nullptr) give_up(mutex, Hold::exclusive);
  mine.condition = condition;
  mine.notified = mine.timed_out = false;
  mine.limited = at_most.has_value();
  go_on_when([this, &mine, mutex] {
    return (mine.notified || mine.timed_out) && (mutex == nullptr || free_for(mutex, Hold::exclusive));
  });
  mine.condition = nullptr;
  mine.limited = false;
  if (mutex != nullptr) take(mutex, Hold::exclusive);
  return mine.notified;
}

void ToyStepper::notify(const void* condition, std::size_t how_many) {
  for (auto& [number, thread] : threads_) {
    if (thread.condition != condition || thread.notified || how_many == 0) continue;
    thread.notified = true;
    --how_many;
  }
  go_on_when(always);
}

void ToyStepper::thread_begins(std::uint64_t thread) {
  stepped_thread = thread;
  std::unique_lock lock(mutex_);
  turn_.wait(lock, [&] { return running_ == thread; });
}

void ToyStepper::thread_ends(std::uint64_t thread) {
  const std::lock_guard lock(mutex_);
  threads_.at(thread).ended = true;
  pick_next();
}

std::vector<std::string> ToyStepper::names() const {
  std::vector<std::string> names;
  for (const auto& [number, thread] : threads_) names.push_back(thread.name);
  return names;
}

void ToyStepper::go_on_when(std::function<bool()> ready) {
  std::unique_lock lock(mutex_);
  threads_.at(stepped_thread).ready = std::move(ready);
  pick_next();
  turn_.wait(lock, [&] { return running_ == stepped_thread; });
}

void ToyStepper::pick_next() {
  std::vector<std::uint64_t> ready;
  const auto look = [&] {
    for (const auto& [number, thread] : threads_) {
      if (!thread.ended && thread.ready()) ready.push_back(number);
    }
  };
  look();
  if (ready.empty()) {
    for (auto& [number, thread] : threads_) thread.timed_out = thread.limited;
    look();
  }
  if (ready.empty()) {
    std::fputs("ToyStepper: nobody can go on\n", stderr);
    std::abort();
  }
  running_ = ready[ready.size() == 1 ? 0 : choose_(ready.size())];
  turn_.notify_all();
}

bool EveryChoice::next() {
  if (begun_) {
    while (!choices_.empty() && choices_.back().taken + 1 == choices_.back().options) choices_.pop_back();
    if (choices_.empty()) return false;
    ++choices_.back().taken;
  }
  begun_ = true;
  position_ = 0;
  return true;
}

std::size_t EveryChoice::choose(std::size_t options) {
  if (position_ == choices_.size()) choices_.push_back({0, options});
  EXPECT_EQ(choices_[position_].options, options) << "the same choices lead to another run";
  return choices_[position_++].taken;
}

namespace {

// Runs `body` once for every interleaving of the threads that it starts; returns how many there were.
int for_every_interleaving(const std::function<void(ToyStepper&)>& body) {
  EveryChoice choices;
  int runs = 0;
  while (choices.next()) {
    ToyStepper stepper([&](std::size_t options) { return choices.choose(options); });
    set_stepper(&stepper);
    body(stepper);
    set_stepper(nullptr);
    ++runs;
  }
  return runs;
}

class Counter {
 public:
  void add() {
    const MutexLock lock(mutex_);
    ++value_;
  }
  // Lets go of the lock between look and change.
  void add_wrongly() {
    MutexLock lock(mutex_);
    const int seen = value_;
    lock.unlock();
    lock.lock();
    value_ = seen + 1;
  }
  [[nodiscard]] int value() {
    const MutexLock lock(mutex_);
    return value_;
  }

 private:
  Mutex mutex_;
  int value_ GUARDED_BY(mutex_) = 0;
};

std::set<int> values_after_two(void (Counter::*add)(), int& runs) {
  std::set<int> values;
  runs = for_every_interleaving([&](ToyStepper&) {
    Counter counter;
    Thread first("first", [&] { (counter.*add)(); });
    Thread second("second", [&] { (counter.*add)(); });
    first.join();
    second.join();
    values.insert(counter.value());
  });
  return values;
}

TEST(Stepping, EveryInterleavingOfARightCounterCountsBoth) {
  int runs = 0;
  EXPECT_EQ(values_after_two(&Counter::add, runs), std::set<int>{2});
  EXPECT_GT(runs, 10);
}

TEST(Stepping, FindsALostUpdate) {
  int runs = 0;
  EXPECT_EQ(values_after_two(&Counter::add_wrongly, runs), (std::set<int>{1, 2}));
  EXPECT_GT(runs, 10);
}

TEST(Stepping, SharedLocksAndTryLocksAreStepped) {
  std::set<int> most_readers;
  std::set<bool> had;
  for_every_interleaving([&](ToyStepper&) {
    SharedMutex mutex;
    int inside = 0;
    int most = 0;
    const auto read = [&] {
      const ReaderLock lock(mutex);
      most = std::max(most, ++inside);
      step_point("inside");
      --inside;
    };
    Thread reader("reader", read);
    Thread writer("writer", [&] {
      if (!mutex.try_lock()) {
        had.insert(false);
        return;
      }
      const WriterLock lock(mutex, kAdoptLock);
      had.insert(true);
      EXPECT_EQ(inside, 0);
    });
    read();
    reader.join();
    writer.join();
    most_readers.insert(most);
  });
  EXPECT_EQ(most_readers, (std::set<int>{1, 2}));
  EXPECT_EQ(had, (std::set<bool>{false, true}));
}

// A notification before the wait is lost unless the waiter looks first: found as a time-out.
TEST(Stepping, FindsALostNotification) {
  for (const bool looks : {true, false}) {
    std::set<bool> results;
    for_every_interleaving([&](ToyStepper&) {
      Mutex mutex;
      CondVar changed;
      bool ready = false;
      Thread notifier("notifier", [&] {
        const MutexLock lock(mutex);
        ready = true;
        changed.notify_one();
      });
      {
        const MutexLock lock(mutex);
        bool notified = true;
        if (!looks || !ready) notified = changed.wait_for(mutex, std::chrono::seconds(10));
        results.insert(notified);
      }
      notifier.join();
    });
    EXPECT_EQ(results.count(false), looks ? 0U : 1U);
    EXPECT_EQ(results.count(true), 1U);
  }
}

TEST(Stepping, AWaitOnAnAtomicIsSteppedToo) {
  const int runs = for_every_interleaving([&](ToyStepper&) {
    std::atomic<int> value{0};
    Thread changer("changer", [&] {
      step_point("before");
      value = 1;
      atomic_notify_all(value);
    });
    atomic_wait(value, 0);
    EXPECT_EQ(value, 1);
    changer.join();
  });
  EXPECT_GT(runs, 1);
}

// Locks when its thread's objects go.
struct LocksAtTheEnd {
  Mutex* mutex = nullptr;
  int* count = nullptr;
  ~LocksAtTheEnd() {
    if (mutex == nullptr) return;
    const MutexLock lock(*mutex);
    ++*count;
  }
};
thread_local LocksAtTheEnd locks_at_the_end;

TEST(Stepping, AThreadIsTheSteppersFromItsFirstToItsLastStep) {
  for_every_interleaving([&](ToyStepper& stepper) {
    Mutex mutex;
    int count = 0;
    Thread thread("named", [&] {
      locks_at_the_end.mutex = &mutex;
      locks_at_the_end.count = &count;
    });
    sleep_for(std::chrono::hours(1));  // does not
    thread.join();
    EXPECT_EQ(count, 1);
    EXPECT_EQ(stepper.names(), (std::vector<std::string>{"main", "named"}));
  });
}

}  // namespace
}  // namespace vaultfs
