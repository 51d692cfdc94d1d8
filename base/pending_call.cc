#include "base/pending_call.h"

#include <ctime>
#include <mutex>

namespace vaultfs {
namespace {

struct ThreadCall {
  ThreadCall();
  ThreadCall(const ThreadCall&) = delete;
  ThreadCall& operator=(const ThreadCall&) = delete;
  ThreadCall(ThreadCall&&) = delete;
  ThreadCall& operator=(ThreadCall&&) = delete;
  ~ThreadCall();

  std::mutex mutex;  // guards what and path, which live as long as `what` is set; a leaf
  const char* what = nullptr;
  const std::filesystem::path* path = nullptr;
  std::int64_t since_nanos = 0;
  ThreadCall* next = nullptr;  // with previous: guarded by the list's mutex
  ThreadCall* previous = nullptr;
};

// Never destroyed: threads may end after static objects do.
struct ThreadCallList {
  std::mutex mutex;  // guards the list; held while one of it is looked at
  ThreadCall* first = nullptr;
  static ThreadCallList& instance() {
    static auto& list = *new ThreadCallList;
    return list;
  }
};

ThreadCall::ThreadCall() {
  ThreadCallList& list = ThreadCallList::instance();
  const std::lock_guard lock(list.mutex);
  next = list.first;
  if (next != nullptr) next->previous = this;
  list.first = this;
}

ThreadCall::~ThreadCall() {
  ThreadCallList& list = ThreadCallList::instance();
  const std::lock_guard lock(list.mutex);
  if (next != nullptr) next->previous = previous;
  (previous != nullptr ? previous->next : list.first) = next;
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
  const std::lock_guard lock(call.mutex);
  call.what = what;
  call.path = &path;
  call.since_nanos = pending_call_clock();
}

PendingCallMark::~PendingCallMark() {
  ThreadCall& call = call_of_this_thread();
  const std::lock_guard lock(call.mutex);
  call.what = nullptr;
}

std::optional<PendingCall> oldest_pending_call() {
  std::optional<PendingCall> oldest;
  ThreadCallList& list = ThreadCallList::instance();
  const std::lock_guard list_lock(list.mutex);
  for (ThreadCall* call = list.first; call != nullptr; call = call->next) {
    const std::lock_guard lock(call->mutex);
    if (call->what == nullptr || (oldest && oldest->since_nanos <= call->since_nanos)) continue;
    oldest = PendingCall{call->what, *call->path, call->since_nanos};
  }
  return oldest;
}

}  // namespace vaultfs
