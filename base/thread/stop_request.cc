#include "base/thread/stop_request.h"

#include <atomic>

namespace vaultfs {
namespace {

std::atomic<bool> stop_wanted{false};
static_assert(std::atomic<bool>::is_always_lock_free, "a signal handler sets it");

}  // namespace

void request_stop() noexcept { stop_wanted.store(true); }
bool stop_requested() noexcept { return stop_wanted.load(std::memory_order_relaxed); }

}  // namespace vaultfs
