#include "tests/simulation/seeded_stepper.h"

#include <algorithm>
#include <array>
#include <cstdio>
#include <cstdlib>
#include <utility>

namespace vaultfs::sim {
namespace {

// Of the thread that asks; 0 for the driver.
thread_local std::uint64_t own_number = 0;

}  // namespace

SeededStepper::SeededStepper(Options options) : options_(std::move(options)), random_(options_.seed) {
  threads_[0] = std::make_unique<ThreadOf>();
  threads_[0]->name = "driver";
  own_number = 0;
}

SeededStepper::ThreadOf& SeededStepper::self() { return *threads_.at(own_number); }

bool SeededStepper::free_for(const void* mutex, Hold hold) const {
  const auto found = locks_.find(mutex);
  if (found == locks_.end()) return true;
  return hold == Hold::shared && !found->second.written;
}

void SeededStepper::take(const void* mutex, Hold hold) {
  Lock& lock = locks_[mutex];
  if (hold == Hold::exclusive) {
    lock.written = true;
  } else {
    ++lock.readers;
  }
}

void SeededStepper::give_up(const void* mutex, Hold hold) {
  const auto found = locks_.find(mutex);
  if (found == locks_.end()) return;  // taken before there was a Stepper
  if (hold == Hold::shared && --found->second.readers > 0) return;
  locks_.erase(found);
}

std::vector<std::uint64_t> SeededStepper::runnable() {
  std::vector<std::uint64_t> numbers;
  for (const auto& [number, thread] : threads_) {
    switch (thread->state) {
      case State::runnable:
        numbers.push_back(number);
        break;
      case State::locking:
        if (free_for(thread->mutex, thread->hold)) numbers.push_back(number);
        break;
      case State::waiting:
        // It goes on when it can have its mutex again.
        if ((thread->notified || (thread->deadline && *thread->deadline <= now_nanos_)) &&
            (thread->mutex == nullptr || free_for(thread->mutex, Hold::exclusive))) {
          numbers.push_back(number);
        }
        break;
      case State::sleeping:
        if (*thread->deadline <= now_nanos_) numbers.push_back(number);
        break;
      case State::joining:
        if (threads_.at(thread->joins)->state == State::ended) numbers.push_back(number);
        break;
      case State::idle:
      case State::ended:
        break;
    }
  }
  return numbers;
}

void SeededStepper::pass_time_to(std::int64_t nanos, Guard& guard) {
  const std::int64_t passed = nanos - now_nanos_;
  if (passed <= 0) return;
  now_nanos_ = nanos;
  if (!options_.on_advance) return;
  guard.unlock();
  options_.on_advance(passed);
  guard.lock();
}

std::uint64_t SeededStepper::choose(Guard& guard) {
  ++decisions_;
  for (;;) {
    const std::vector<std::uint64_t> numbers = runnable();
    if (!numbers.empty()) return numbers[random_() % numbers.size()];
    if (threads_.at(0)->state == State::idle) return 0;
    std::optional<std::int64_t> next;
    for (const auto& [number, thread] : threads_) {
      const bool timed = (thread->state == State::waiting || thread->state == State::sleeping) && thread->deadline;
      // One whose mutex is held can't go on, whatever the time is.
      if (!timed || *thread->deadline <= now_nanos_) continue;
      next = std::min(next.value_or(*thread->deadline), *thread->deadline);
    }
    if (!next) {
      if (options_.on_deadlock) options_.on_deadlock(who_waits());
      std::_Exit(1);
    }
    pass_time_to(*next, guard);
  }
}

void SeededStepper::hand_over(Guard& guard, std::uint64_t to) {
  ThreadOf& mine = self();
  const std::uint64_t me = own_number;
  running_ = to;
  if (to == me) return;
  threads_.at(to)->turn.release();
  guard.unlock();
  mine.turn.acquire();
  guard.lock();
}

void SeededStepper::block(Guard& guard) { hand_over(guard, choose(guard)); }

void SeededStepper::maybe_switch(Guard& guard) {
  constexpr std::uint32_t kPlaces = 65'536;
  if (threads_.size() == 1 || random_() % kPlaces >= options_.switches) return;
  block(guard);
}

void SeededStepper::lock_guarded(const void* mutex, Hold hold, Guard& guard) {
  ThreadOf& mine = self();
  while (!free_for(mutex, hold)) {
    mine.state = State::locking;
    mine.mutex = mutex;
    mine.hold = hold;
    block(guard);
  }
  mine.state = State::runnable;
  take(mutex, hold);
}

void SeededStepper::lock(const void* mutex, Hold hold) {
  Guard guard(mutex_);
  maybe_switch(guard);
  lock_guarded(mutex, hold, guard);
}

bool SeededStepper::try_lock(const void* mutex, Hold hold) {
  Guard guard(mutex_);
  maybe_switch(guard);
  if (!free_for(mutex, hold)) return false;
  take(mutex, hold);
  return true;
}

void SeededStepper::unlock(const void* mutex, Hold hold) {
  Guard guard(mutex_);
  give_up(mutex, hold);
  maybe_switch(guard);
}

bool SeededStepper::wait(const void* condition, const void* mutex, std::optional<std::chrono::nanoseconds> at_most) {
  Guard guard(mutex_);
  ThreadOf& mine = self();
  if (mutex != nullptr) give_up(mutex, Hold::exclusive);
  mine.state = State::waiting;
  mine.condition = condition;
  mine.mutex = mutex;
  mine.notified = false;
  mine.deadline.reset();
  if (at_most) mine.deadline = now_nanos_ + std::max<std::int64_t>(at_most->count(), 0);
  block(guard);
  const bool notified = mine.notified;
  mine.deadline.reset();
  mine.condition = nullptr;
  if (mutex != nullptr) {
    lock_guarded(mutex, Hold::exclusive, guard);
  } else {
    mine.state = State::runnable;
  }
  return notified;
}

void SeededStepper::notify(const void* condition, bool all) {
  Guard guard(mutex_);
  std::vector<ThreadOf*> waiting;
  for (const auto& [number, thread] : threads_) {
    if (thread->state == State::waiting && thread->condition == condition && !thread->notified) {
      waiting.push_back(thread.get());
    }
  }
  if (waiting.empty()) return;
  if (all) {
    for (ThreadOf* thread : waiting) thread->notified = true;
  } else {
    waiting[random_() % waiting.size()]->notified = true;
  }
  maybe_switch(guard);
}

void SeededStepper::notify_one(const void* condition) { notify(condition, false); }
void SeededStepper::notify_all(const void* condition) { notify(condition, true); }

std::uint64_t SeededStepper::thread_created(const char* name) {
  const Guard guard(mutex_);
  threads_[++last_thread_] = std::make_unique<ThreadOf>();
  threads_[last_thread_]->name = name;
  return last_thread_;
}

void SeededStepper::thread_begins(std::uint64_t thread) {
  own_number = thread;
  ThreadOf* mine = nullptr;
  {
    const Guard guard(mutex_);
    mine = threads_.at(thread).get();
  }
  mine->turn.acquire();
}

void SeededStepper::thread_ends(std::uint64_t thread) {
  Guard guard(mutex_);
  threads_.at(thread)->state = State::ended;
  if (thread != own_number) return;  // it never began
  const std::uint64_t next = choose(guard);
  running_ = next;
  threads_.at(next)->turn.release();
}

void SeededStepper::join(std::uint64_t thread) {
  Guard guard(mutex_);
  ThreadOf& mine = self();
  while (threads_.at(thread)->state != State::ended) {
    mine.state = State::joining;
    mine.joins = thread;
    block(guard);
  }
  mine.state = State::runnable;
  threads_.erase(thread);
}

std::chrono::steady_clock::time_point SeededStepper::now() {
  const Guard guard(mutex_);
  return std::chrono::steady_clock::time_point(std::chrono::nanoseconds(now_nanos_));
}

void SeededStepper::sleep(std::chrono::nanoseconds length) {
  Guard guard(mutex_);
  ThreadOf& mine = self();
  mine.state = State::sleeping;
  mine.deadline = now_nanos_ + std::max<std::int64_t>(length.count(), 0);
  block(guard);
  mine.state = State::runnable;
  mine.deadline.reset();
}

void SeededStepper::point(const char* /*what*/) {
  Guard guard(mutex_);
  maybe_switch(guard);
}

void SeededStepper::settle() {
  Guard guard(mutex_);
  ThreadOf& mine = self();
  mine.state = State::idle;
  block(guard);
  mine.state = State::runnable;
}

void SeededStepper::advance(std::chrono::nanoseconds length) {
  {
    Guard guard(mutex_);
    pass_time_to(now_nanos_ + length.count(), guard);
  }
  settle();
}

std::string SeededStepper::who_waits() const {
  std::string text;
  for (const auto& [number, thread] : threads_) {
    if (thread->state == State::ended) continue;
    constexpr std::array kStates{
        "may run", "waits for a lock", "waits for a condition", "sleeps", "waits for the end of a thread",
        "is idle", "has ended"};
    text += (text.empty() ? "" : ", ") + thread->name + " " + std::to_string(number) + " " +
            kStates.at(static_cast<std::size_t>(thread->state));
  }
  return text;
}

}  // namespace vaultfs::sim
