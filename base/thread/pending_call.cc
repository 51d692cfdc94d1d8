#include "base/thread/pending_call.h"

#include <ctime>

#include "base/thread/mutex.h"

namespace vaultfs {
namespace {

struct ThreadCall;

// The list of all threads' calls; held while one of it is looked at. Not destroyed: threads may end after static
// objects do.
constinit Mutex thread_calls_mutex;
constinit ThreadCall* first_thread_call GUARDED_BY(thread_calls_mutex) = nullptr;

struct ThreadCall {
  ThreadCall();
  ThreadCall(const ThreadCall&) = delete;
  ThreadCall& operator=(const ThreadCall&) = delete;
  ThreadCall(ThreadCall&&) = delete;
  ThreadCall& operator=(ThreadCall&&) = delete;
  ~ThreadCall();

  Mutex mutex ACQUIRED_AFTER(thread_calls_mutex);  // a leaf
  const char* what GUARDED_BY(mutex) = nullptr;
  const std::filesystem::path* path GUARDED_BY(mutex) = nullptr;  // lives as long as `what` is set
  std::int64_t since_nanos GUARDED_BY(mutex) = 0;
  ThreadCall* next GUARDED_BY(thread_calls_mutex) = nullptr;
  ThreadCall* previous GUARDED_BY(thread_calls_mutex) = nullptr;
};

ThreadCall::ThreadCall() {
  const MutexLock lock(thread_calls_mutex);
  next = first_thread_call;
  if (next != nullptr) next->previous = this;
  first_thread_call = this;
}

ThreadCall::~ThreadCall() {
  const MutexLock lock(thread_calls_mutex);
  if (next != nullptr) next->previous = previous;
  (previous != nullptr ? previous->next : first_thread_call) = next;
}

ThreadCall& call_of_this_thread() noexcept {
  thread_local ThreadCall call;
  return call;
}

}  // namespace

std::int64_t pending_call_clock() noexcept {
  struct timespec now {};
  ::clock_gettime(CLOCK_MONOTONIC, &now);
  return std::int64_t{now.tv_sec} * 1'000'000'000 + now.tv_nsec;
}

PendingCallMark::PendingCallMark(const char* what, const std::filesystem::path& path) noexcept {
  ThreadCall& call = call_of_this_thread();
  const MutexLock lock(call.mutex);
  call.what = what;
  call.path = &path;
  call.since_nanos = pending_call_clock();
}

PendingCallMark::~PendingCallMark() {
  ThreadCall& call = call_of_this_thread();
  const MutexLock lock(call.mutex);
  call.what = nullptr;
}

std::optional<PendingCall> oldest_pending_call() {
  std::optional<PendingCall> oldest;
  const MutexLock list_lock(thread_calls_mutex);
  for (ThreadCall* call = first_thread_call; call != nullptr; call = call->next) {
    const MutexLock lock(call->mutex);
    if (call->what == nullptr || (oldest && oldest->since_nanos <= call->since_nanos)) continue;
    oldest = PendingCall{call->what, *call->path, call->since_nanos};
  }
  return oldest;
}

}  // namespace vaultfs
