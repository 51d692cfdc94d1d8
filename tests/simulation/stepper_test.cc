// The cooperative stepper: the seed decides, time is virtual, a deadlock is told.
#include <gtest/gtest.h>

#include <array>
#include <cstdlib>
#include <set>
#include <string>

#include "base/thread/mutex.h"
#include "base/thread/thread.h"
#include "tests/simulation/seeded_stepper.h"

namespace vaultfs::sim {
namespace {

constexpr std::uint32_t kOften = 32'768;

// Two threads add to a number that they read and write under separate locks.
int race(std::uint64_t seed) {
  SeededStepper stepper({seed, kOften, {}, {}});
  set_stepper(&stepper);
  int value = 0;
  {
    Mutex mutex;
    const auto add = [&] {
      for (int i = 0; i < 3; ++i) {
        int seen = 0;
        {
          const MutexLock lock(mutex);
          seen = value;
        }
        const MutexLock lock(mutex);
        value = seen + 1;
      }
    };
    std::array<Thread, 2> threads{Thread("one", add), Thread("other", add)};
    for (Thread& thread : threads) thread.join();
  }
  set_stepper(nullptr);
  return value;
}

TEST(SeededStepper, TheSeedDecides) {
  std::set<int> seen;
  for (std::uint64_t seed = 1; seed <= 40; ++seed) {
    const int value = race(seed);
    EXPECT_EQ(value, race(seed)) << seed;
    seen.insert(value);
  }
  EXPECT_TRUE(seen.contains(6)) << "one after the other";
  EXPECT_GT(seen.size(), 2U) << "and lost updates of several kinds";
}

TEST(SeededStepper, TimeIsVirtual) {
  std::int64_t passed = 0;
  SeededStepper stepper({1, kOften, [&](std::int64_t nanos) { passed += nanos; }, {}});
  set_stepper(&stepper);
  {
    Mutex mutex;
    CondVar changed;
    bool done = false;
    Thread waiter("waiter", [&] {
      const MutexLock lock(mutex);
      constexpr int kRounds = 1000;
      for (int i = 0; i < kRounds; ++i) static_cast<void>(changed.wait_for(mutex, std::chrono::hours(1)));
      done = true;
      changed.notify_all();
    });
    {
      const MutexLock lock(mutex);
      while (!done) changed.wait(mutex);
    }
    waiter.join();
  }
  set_stepper(nullptr);
  EXPECT_EQ(passed, std::chrono::nanoseconds(std::chrono::hours(1000)).count());
}

TEST(SeededStepper, ADeadlockIsTold) {
  const auto lock_crosswise = [] {
    for (std::uint64_t seed = 1; seed <= 100; ++seed) {
      SeededStepper stepper({seed, kOften, {}, [](const std::string& text) { std::fputs(text.c_str(), stderr); }});
      set_stepper(&stepper);
      Mutex one;
      Mutex other;
      Thread thread("crossing", [&] {
        const MutexLock first(other);
        const MutexLock second(one);
      });
      {
        const MutexLock first(one);
        const MutexLock second(other);
      }
      thread.join();
      set_stepper(nullptr);
    }
    std::_Exit(0);
  };
  EXPECT_EXIT(lock_crosswise(), testing::ExitedWithCode(1), "crossing 1 waits for a lock");
}

}  // namespace
}  // namespace vaultfs::sim
