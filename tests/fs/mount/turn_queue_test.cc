#include "fs/mount/turn_queue.h"

#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <latch>
#include <memory>
#include <numeric>
#include <thread>
#include <vector>

namespace vaultfs {
namespace {

constexpr std::size_t kRoomBytes = std::size_t{64} << 20;
constexpr std::size_t kRoomTasks = 4096;

// A thread that asks for room when there is none: it waits for a turn of its own and gives it back when told to.
class Waiter {
 public:
  Waiter(TurnQueue& room, std::size_t bytes)
      : thread_([this, &room, bytes] {
          asked_ = true;
          kept_ = room.keep([this] { done_by_another_ = true; }, bytes);
          returned_ = true;
          go_on_.wait();
          if (!kept_) room.leave();
        }) {}
  Waiter(const Waiter&) = delete;
  Waiter& operator=(const Waiter&) = delete;
  ~Waiter() { finish(); }

  // True if keep() is still waiting after a while.
  [[nodiscard]] bool waits() const {
    while (!asked_) std::this_thread::yield();
    std::this_thread::sleep_for(std::chrono::milliseconds(200));
    return !returned_;
  }
  // Whether the task was kept, once keep() has returned.
  [[nodiscard]] bool was_kept() const {
    while (!returned_) std::this_thread::yield();
    return kept_;
  }
  [[nodiscard]] bool done_by_another() const { return done_by_another_; }
  void finish() {
    if (!thread_.joinable()) return;
    go_on_.count_down();
    thread_.join();
  }

 private:
  std::latch go_on_{1};
  std::atomic<bool> asked_{false};
  std::atomic<bool> kept_{false};
  std::atomic<bool> returned_{false};
  std::atomic<bool> done_by_another_{false};
  std::thread thread_;  // last: it uses all of the above
};

TEST(TurnQueueTest, GivesAsManyTurnsAsItHas) {
  TurnQueue room(2);
  EXPECT_TRUE(room.enter());
  EXPECT_TRUE(room.enter());
  EXPECT_FALSE(room.enter());
  room.leave();
  EXPECT_TRUE(room.enter());
  EXPECT_FALSE(room.enter());

  TurnQueue least(0);  // a machine with one processor has a turn too
  EXPECT_TRUE(least.enter());
  EXPECT_FALSE(least.enter());
}

TEST(TurnQueueTest, WhatIsKeptIsDoneInOrderByWhoLeaves) {
  TurnQueue room(1);
  ASSERT_TRUE(room.enter());
  std::vector<int> done;
  std::vector<std::thread::id> by;
  for (int i = 0; i < 100; ++i) {
    ASSERT_TRUE(room.keep(
        [&, i] {
          done.push_back(i);
          by.push_back(std::this_thread::get_id());
        },
        1000));
  }
  EXPECT_TRUE(done.empty());
  // What a task leads to comes last, and is done before the turn is given back.
  ASSERT_TRUE(room.keep([&] { ASSERT_TRUE(room.keep([&] { done.push_back(101); }, 0)); }, 0));
  room.leave();
  std::vector<int> wanted(100);
  std::iota(wanted.begin(), wanted.end(), 0);
  wanted.push_back(101);
  EXPECT_EQ(done, wanted);
  EXPECT_EQ(by, std::vector<std::thread::id>(100, std::this_thread::get_id()));
  EXPECT_TRUE(room.enter());  // the turn is free, and the room empty
  room.leave();
  EXPECT_EQ(done.size(), 101U);
}

TEST(TurnQueueTest, WithATurnFreeTheCallerDoesTheTaskItself) {
  TurnQueue room(2);
  ASSERT_TRUE(room.enter());
  bool done = false;
  EXPECT_FALSE(room.keep([&] { done = true; }, 1));
  EXPECT_FALSE(room.enter()) << "the turn was taken for the caller";
  room.leave();
  EXPECT_FALSE(done) << "nobody else does it";
}

TEST(TurnQueueTest, KeepsAtMost64MiB) {
  constexpr std::size_t kRequest = std::size_t{1} << 20;
  TurnQueue room(1);
  ASSERT_TRUE(room.enter());
  int done = 0;
  for (std::size_t i = 0; i < kRoomBytes / kRequest; ++i) ASSERT_TRUE(room.keep([&] { ++done; }, kRequest));
  ASSERT_TRUE(room.keep([&] { ++done; }, 0)) << "it is full to the byte, not more";
  Waiter over(room, 1);
  EXPECT_TRUE(over.waits());
  EXPECT_EQ(done, 0);

  // A thread that waits goes first: it gets the turn before anything that was kept is done.
  room.leave();
  EXPECT_FALSE(over.was_kept());
  EXPECT_EQ(done, 0);
  EXPECT_FALSE(room.enter());
  over.finish();  // and does what was kept when it leaves
  EXPECT_EQ(done, 65);
  EXPECT_FALSE(over.done_by_another());

  // The room is as large as before.
  ASSERT_TRUE(room.enter());
  ASSERT_TRUE(room.keep([&] { ++done; }, kRoomBytes));
  room.leave();
  EXPECT_EQ(done, 66);
}

TEST(TurnQueueTest, WhatIsDoneMakesRoomAgain) {
  TurnQueue room(1);
  ASSERT_TRUE(room.enter());
  std::vector<int> done;
  // The first fills the room; it is not kept any more when it is done, so that as much fits again.
  ASSERT_TRUE(room.keep(
      [&] {
        done.push_back(1);
        ASSERT_TRUE(room.keep([&] { done.push_back(2); }, kRoomBytes));
      },
      kRoomBytes));
  room.leave();
  EXPECT_EQ(done, (std::vector<int>{1, 2}));
}

TEST(TurnQueueTest, KeepsAtMost4096Requests) {
  TurnQueue room(1);
  ASSERT_TRUE(room.enter());
  std::size_t done = 0;
  for (std::size_t i = 0; i < kRoomTasks; ++i) ASSERT_TRUE(room.keep([&] { ++done; }, 0));
  Waiter over(room, 0);
  EXPECT_TRUE(over.waits());
  room.leave();
  EXPECT_FALSE(over.was_kept());
  over.finish();
  EXPECT_EQ(done, kRoomTasks);
}

TEST(TurnQueueTest, ARequestLargerThanTheRoomIsDoneByItsCaller) {
  TurnQueue room(1);
  ASSERT_TRUE(room.enter());
  Waiter large(room, kRoomBytes + 1);
  EXPECT_TRUE(large.waits());
  room.leave();
  EXPECT_FALSE(large.was_kept());
  large.finish();
  EXPECT_TRUE(room.enter());
}

TEST(TurnQueueTest, WhatATaskHoldsGoesWithIt) {
  TurnQueue room(1);
  ASSERT_TRUE(room.enter());
  auto held = std::make_shared<int>(7);
  const std::weak_ptr<int> seen = held;
  ASSERT_TRUE(room.keep([held = std::move(held)] {}, 1));
  bool gone = false;
  ASSERT_TRUE(room.keep([&] { gone = seen.expired(); }, 1));
  room.leave();
  EXPECT_TRUE(gone) << "a request's buffer outlives its turn";
}

TEST(TurnQueueTest, ManyThreadsLoseNoTask) {
  constexpr unsigned kTurns = 2;
  constexpr int kThreads = 6;
  constexpr int kEach = 2000;
  TurnQueue room(kTurns);
  std::atomic<int> done{0};
  std::atomic<unsigned> at_once{0};
  std::atomic<unsigned> most{0};
  const auto task = [&] {
    const unsigned now = ++at_once;
    unsigned seen = most;
    while (now > seen && !most.compare_exchange_weak(seen, now)) continue;
    ++done;
    --at_once;
  };
  {
    std::vector<std::jthread> threads;
    for (int i = 0; i < kThreads; ++i) {
      threads.emplace_back([&] {
        for (int k = 0; k < kEach; ++k) {
          // Large, so that the room is often full.
          if (!room.enter() && room.keep(task, kRoomBytes / 2)) continue;
          task();
          room.leave();
        }
      });
    }
  }
  EXPECT_EQ(done, kThreads * kEach);
  EXPECT_LE(most, kTurns);
  for (unsigned i = 0; i < kTurns; ++i) EXPECT_TRUE(room.enter());
  EXPECT_FALSE(room.enter());
}

}  // namespace
}  // namespace vaultfs
