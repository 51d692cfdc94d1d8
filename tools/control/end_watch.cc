#include "tools/control/end_watch.h"

#include <chrono>

#include "base/thread/mutex.h"
#include "tools/control/message.h"

namespace vaultfs {
namespace {

constexpr std::chrono::seconds kBeat{1};

}  // namespace

void EndWatch::serve(int socket, const Send& send) {
  MutexLock lock(mutex_);
  while (!answer_) {
    const bool closing = closing_;
    lock.unlock();
    const nlohmann::json waits_for = waits_for_ ? waits_for_() : nlohmann::json();
    if (has_hung_up(socket)) return;
    if (!send({{"progress", {{"state", closing ? "closing" : "serving"}, {"waits_for", waits_for}}}})) return;
    lock.lock();
    const auto beat = steady_now() + kBeat;
    while (!answer_ && closing_ == closing) {
      if (!changed_.wait_until(mutex_, beat)) break;
    }
  }
  const nlohmann::json answer = *answer_;
  lock.unlock();
  if (!answer.is_null()) send(answer);
}

void EndWatch::closing() {
  const MutexLock lock(mutex_);
  closing_ = true;
  changed_.notify_all();
}

void EndWatch::end(nlohmann::json answer) {
  const MutexLock lock(mutex_);
  if (!answer_) answer_ = std::move(answer);
  changed_.notify_all();
}

}  // namespace vaultfs
