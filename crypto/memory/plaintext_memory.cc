#include "crypto/memory/plaintext_memory.h"

#include <list>
#include <vector>

#include "base/thread/mutex.h"
#include "crypto/memory/secret_buffer.h"

namespace vaultfs {

struct WipedOnSealing::Entry {
  Mutex mutex;  // held while wipe is called
  std::function<void()> wipe GUARDED_BY(mutex);
};

namespace {

struct RegionRegistry {
  Mutex mutex;  // A leaf: whoever makes a scratch may be using another.
  std::list<std::shared_ptr<WipedOnSealing::Entry>> entries GUARDED_BY(mutex);
};

// Leaked on purpose: threads may end after every order of destruction.
RegionRegistry& registry() {
  static auto* const instance = new RegionRegistry;
  return *instance;
}

}  // namespace

WipedOnSealing::WipedOnSealing(std::function<void()> wipe) : entry_(std::make_shared<Entry>()) {
  entry_->wipe = std::move(wipe);
  const MutexLock lock(registry().mutex);
  registry().entries.push_back(entry_);
}

WipedOnSealing::~WipedOnSealing() {
  {
    const MutexLock lock(registry().mutex);
    registry().entries.remove(entry_);
  }
  const MutexLock lock(entry_->mutex);
  entry_->wipe = nullptr;
}

void wipe_plaintext_memory() {
  std::vector<std::shared_ptr<WipedOnSealing::Entry>> entries;
  {
    const MutexLock lock(registry().mutex);
    entries.assign(registry().entries.begin(), registry().entries.end());
  }
  for (const auto& entry : entries) {
    const MutexLock lock(entry->mutex);
    if (entry->wipe) entry->wipe();
  }
}

PlaintextScratch::~PlaintextScratch() { vaultfs::wipe(bytes_); }

Bytes& PlaintextScratch::grown_to(std::size_t size) {
  if (bytes_.size() < size) {
    vaultfs::wipe(bytes_);  // growing copies
    bytes_.resize(size);
  }
  return bytes_;
}

// The lock goes to the Use, where the analysis can't follow it.
PlaintextScratch::Use PlaintextScratch::use(std::size_t size) NO_THREAD_SAFETY_ANALYSIS {
  mutex_.lock();
  try {
    return {mutex_, MutableByteView(grown_to(size)).first(size)};
  } catch (...) {  // no memory
    mutex_.unlock();
    throw;
  }
}

void PlaintextScratch::wipe() {
  const MutexLock lock(mutex_);
  vaultfs::wipe(bytes_);
}

}  // namespace vaultfs
