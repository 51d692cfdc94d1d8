#include "fs/content/flusher.h"

#include <chrono>
#include <utility>

namespace vaultfs {
namespace {

constexpr auto kFlusherPeriod = std::chrono::milliseconds(500);

}  // namespace

void Flusher::start(std::function<void()> turn) {
  thread_ = Thread("flusher", [this, turn = std::move(turn)] { run(turn); });
}

bool Flusher::stop() {
  {
    const MutexLock lock(mutex_);
    if (std::exchange(stopping_, true)) return false;
  }
  wake_.notify_all();
  if (thread_.joinable()) thread_.join();
  return true;
}

void Flusher::add(const std::shared_ptr<Inode>& inode, std::int64_t since_nanos) {
  const MutexLock lock(mutex_);
  list_.push_back({inode, since_nanos});
}

std::vector<std::shared_ptr<Inode>> Flusher::take_older_than(std::int64_t monotonic_nanos) {
  std::vector<std::shared_ptr<Inode>> due;
  const MutexLock lock(mutex_);
  std::erase_if(list_, [&](const Dirty& dirty) {
    if (dirty.since_nanos > monotonic_nanos) return false;
    if (std::shared_ptr<Inode> inode = dirty.inode.lock()) due.push_back(std::move(inode));
    return true;
  });
  return due;
}

void Flusher::run(const std::function<void()>& turn) {
  MutexLock lock(mutex_);
  while (!stopping_) {
    wake_.wait_for(mutex_, kFlusherPeriod);
    if (stopping_) return;
    lock.unlock();
    turn();
    lock.lock();
  }
}

}  // namespace vaultfs
