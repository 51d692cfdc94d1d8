#include "store/record/epoch_keys.h"

#include <utility>

#include "base/thread/mutex.h"

namespace vaultfs {

void EpochKeys::set(std::map<EpochNumber, Epoch> epochs, SecretBuffer id_key, SecretBuffer infrastructure_key) {
  const WriterLock lock(mutex_);
  epochs_ = std::move(epochs);
  current_.store(epochs_.empty() ? 0 : epochs_.rbegin()->first.value, std::memory_order_release);
  id_key_ = std::move(id_key);
  infrastructure_key_ = std::move(infrastructure_key);
}

void EpochKeys::wipe() {
  const WriterLock lock(mutex_);
  epochs_.clear();
  current_.store(0, std::memory_order_release);
  id_key_.reset();
  infrastructure_key_.reset();
}

Result<EpochNumber> EpochKeys::current() const {
  const ReaderLock lock(mutex_);
  if (epochs_.empty()) return Error{ErrorCode::KeyRevoked, "the vault is sealed: its key is revoked or out of reach"};
  return epochs_.rbegin()->first;
}

}  // namespace vaultfs
