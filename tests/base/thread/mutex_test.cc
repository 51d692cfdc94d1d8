#include "base/thread/mutex.h"

#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <string>
#include <vector>

#include "base/thread/thread.h"

namespace vaultfs {
namespace {

using namespace std::chrono_literals;

TEST(Mutex, OneAtATime) {
  Mutex mutex;
  int count = 0;
  std::vector<Thread> threads;
  for (int i = 0; i < 4; ++i) {
    threads.emplace_back("counter", [&] {
      for (int j = 0; j < 10'000; ++j) {
        const MutexLock lock(mutex);
        ++count;
      }
    });
  }
  for (Thread& thread : threads) thread.join();
  EXPECT_EQ(count, 40'000);
}

TEST(Mutex, TryLockSaysWhoHoldsIt) {
  Mutex mutex;
  ASSERT_TRUE(mutex.try_lock());
  mutex.assert_held();
  bool had = true;
  Thread("other", [&] { had = mutex.try_lock(); }).join();
  EXPECT_FALSE(had);
  mutex.unlock();
  Thread("other", [&] {
    had = mutex.try_lock();
    if (had) mutex.unlock();
  }).join();
  EXPECT_TRUE(had);
}

TEST(Mutex, AGuardMayLetGoAndTakeAgain) {
  Mutex mutex;
  {
    MutexLock lock(mutex);
    lock.unlock();
    ASSERT_TRUE(mutex.try_lock());
    mutex.unlock();
    lock.lock();
    mutex.assert_held();
    lock.unlock();
  }  // a guard that has let go gives nothing up
  ASSERT_TRUE(mutex.try_lock());
  { const MutexLock adopted(mutex, kAdoptLock); }
  ASSERT_TRUE(mutex.try_lock());
  mutex.unlock();
}

#ifndef NDEBUG
TEST(MutexDeathTest, AssertHeldIsCheckedInDebugBuilds) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  Mutex mutex;
  EXPECT_DEATH(mutex.assert_held(), "a lock is not held");
  SharedMutex shared;
  EXPECT_DEATH(shared.assert_held(), "a lock is not held");
  const MutexLock lock(mutex);
  EXPECT_DEATH(Thread("other", [&] { mutex.assert_held(); }).join(), "a lock is not held");
}
#endif

TEST(SharedMutex, ReadersShareAWriterDoesNot) {
  for (const Prefer prefer : {Prefer::readers, Prefer::writers}) {
    SharedMutex mutex(prefer);
    {
      const ReaderLock lock(mutex);
      bool reader = false;
      bool writer = true;
      Thread("other", [&] {
        reader = mutex.try_lock_shared();
        if (reader) mutex.unlock_shared();
        writer = mutex.try_lock();
      }).join();
      EXPECT_TRUE(reader);
      EXPECT_FALSE(writer);
    }
    {
      const WriterLock lock(mutex);
      mutex.assert_held();
      bool reader = true;
      Thread("other", [&] { reader = mutex.try_lock_shared(); }).join();
      EXPECT_FALSE(reader);
    }
    ASSERT_TRUE(mutex.try_lock());
    mutex.unlock();
  }
}

// Readers that come one after another, so that there always is one, must not keep a writer out.
TEST(SharedMutex, AWriterThatIsPreferredGetsIn) {
  SharedMutex mutex(Prefer::writers);
  std::atomic<bool> written{false};
  std::vector<Thread> readers;
  for (int i = 0; i < 3; ++i) {
    readers.emplace_back("reader", [&] {
      while (!written) {
        const ReaderLock lock(mutex);
        sleep_for(1ms);
      }
    });
  }
  {
    const WriterLock lock(mutex);
    written = true;
  }
  for (Thread& thread : readers) thread.join();
}

TEST(CondVar, WaitsUntilNotified) {
  Mutex mutex;
  CondVar changed;
  bool ready = false;
  Thread other("notifier", [&] {
    const MutexLock lock(mutex);
    ready = true;
    changed.notify_all();
  });
  {
    const MutexLock lock(mutex);
    while (!ready) changed.wait(mutex);
    mutex.assert_held();
  }
  other.join();
}

TEST(CondVar, SaysWhetherTheTimeWasOver) {
  Mutex mutex;
  CondVar changed;
  MutexLock lock(mutex);
  const auto began = std::chrono::steady_clock::now();
  while (changed.wait_for(mutex, 20ms)) {
  }
  EXPECT_GE(std::chrono::steady_clock::now() - began, 20ms);
  mutex.assert_held();
  while (changed.wait_until(mutex, std::chrono::steady_clock::now() + 20ms)) {
  }
  while (changed.wait_until(mutex, std::chrono::steady_clock::now() - 1s)) {  // was over before
  }
  Thread other("notifier", [&] {
    const MutexLock inside(mutex);
    changed.notify_one();
  });
  EXPECT_TRUE(changed.wait_for(mutex, 10min));
  lock.unlock();
  other.join();
}

TEST(Thread, MovesAndJoins) {
  std::string said;
  Thread first("first", [&] { said = "done"; });
  Thread second;
  EXPECT_FALSE(second.joinable());
  second = std::move(first);
  EXPECT_TRUE(second.joinable());
  second.join();
  EXPECT_FALSE(second.joinable());
  EXPECT_EQ(said, "done");
  EXPECT_GE(Thread::hardware_concurrency(), 1U);
}

}  // namespace
}  // namespace vaultfs
