#include "crypto/plaintext_memory.h"

#include <list>
#include <vector>

#include "crypto/secret_buffer.h"

namespace vaultfs {

struct WipedOnSealing::Entry {
  std::mutex mutex;  // Guards wipe, and is held while it is called.
  std::function<void()> wipe;
};

namespace {

struct RegionRegistry {
  std::mutex mutex;  // Guards entries. A leaf: whoever makes a scratch may be using another.
  std::list<std::shared_ptr<WipedOnSealing::Entry>> entries;
};

// Leaked on purpose: threads may end after every order of destruction.
RegionRegistry& registry() {
  static auto* const instance = new RegionRegistry;
  return *instance;
}

}  // namespace

WipedOnSealing::WipedOnSealing(std::function<void()> wipe) : entry_(std::make_shared<Entry>()) {
  entry_->wipe = std::move(wipe);
  const std::lock_guard lock(registry().mutex);
  registry().entries.push_back(entry_);
}

WipedOnSealing::~WipedOnSealing() {
  {
    const std::lock_guard lock(registry().mutex);
    registry().entries.remove(entry_);
  }
  const std::lock_guard lock(entry_->mutex);
  entry_->wipe = nullptr;
}

void wipe_plaintext_memory() {
  std::vector<std::shared_ptr<WipedOnSealing::Entry>> entries;
  {
    const std::lock_guard lock(registry().mutex);
    entries.assign(registry().entries.begin(), registry().entries.end());
  }
  for (const auto& entry : entries) {
    const std::lock_guard lock(entry->mutex);
    if (entry->wipe) entry->wipe();
  }
}

PlaintextScratch::~PlaintextScratch() { vaultfs::wipe(bytes_); }

PlaintextScratch::Use PlaintextScratch::use(std::size_t size) {
  std::unique_lock lock(mutex_);
  if (bytes_.size() < size) {
    vaultfs::wipe(bytes_);  // growing copies
    bytes_.resize(size);
  }
  return {std::move(lock), MutableByteView(bytes_).first(size)};
}

void PlaintextScratch::wipe() {
  const std::lock_guard lock(mutex_);
  vaultfs::wipe(bytes_);
}

}  // namespace vaultfs
