#include "base/thread/pending_call.h"

#include <gtest/gtest.h>

#include <chrono>
#include <future>
#include <thread>

namespace vaultfs {
namespace {

TEST(PendingCall, TheOldestOfAllThreadsIsTold) {
  EXPECT_FALSE(oldest_pending_call().has_value());
  const std::filesystem::path first = "/a/first";
  std::promise<void> marked;
  std::promise<void> release;
  std::thread other([&] {
    const PendingCallMark mark("syncing", first);
    marked.set_value();
    release.get_future().wait();
  });
  marked.get_future().wait();
  std::this_thread::sleep_for(std::chrono::milliseconds(2));
  {
    const std::filesystem::path second = "/a/second";
    const PendingCallMark mark("writing", second);
    const auto oldest = oldest_pending_call();
    ASSERT_TRUE(oldest.has_value());
    EXPECT_EQ(oldest->what, "syncing");
    EXPECT_EQ(oldest->path, first);
    EXPECT_GE(pending_call_clock() - oldest->since_nanos, 2'000'000);
  }
  release.set_value();
  other.join();
  EXPECT_FALSE(oldest_pending_call().has_value()) << "of a thread that has ended";
}

}  // namespace
}  // namespace vaultfs
