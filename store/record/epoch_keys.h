#pragma once

#include <atomic>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>

#include "base/ids.h"
#include "base/result.h"
#include "base/thread/mutex.h"
#include "crypto/memory/secret_buffer.h"

namespace vaultfs {

enum class Suite : std::uint8_t {
  aes_gcm = 1,             // AES-256-GCM
  aes_gcm_in_xchacha = 2,  // AES-256-GCM inside XChaCha20-Poly1305 (infrastructure encryption)
};

// The keys that the store seals with: the DEK of each epoch, the chunk-id key and, with infrastructure encryption, the
// infrastructure key. Filled by the keyring's owner, shared by everything that seals or opens. Thread-safe.
class EpochKeys {
 public:
  EpochKeys(VaultId vault, Suite suite) : vault_(vault), suite_(suite) {}

  [[nodiscard]] VaultId vault() const noexcept { return vault_; }
  [[nodiscard]] Suite suite() const noexcept { return suite_; }

  // Replaces everything: called when the vault is opened, when an epoch is added, when keys come back after a
  // revocation.
  struct Epoch {
    SecretBuffer dek;
    std::optional<ContainerNumber> last_segment;  // a closed epoch's highest segment number
  };
  void set(std::map<EpochNumber, Epoch> epochs, SecretBuffer id_key, SecretBuffer infrastructure_key);
  // Forgets every key; until the next set() all uses answer KeyRevoked.
  void wipe();

  [[nodiscard]] Result<EpochNumber> current() const;
  // Whether the epoch is the one that new data is sealed under. Not so while the keys are wiped. Never waits.
  [[nodiscard]] bool is_current(EpochNumber epoch) const noexcept {
    return epoch.value != 0 && epoch.value == current_.load(std::memory_order_acquire);
  }
  // Calls `use` with the DEK under a shared lock. KeyRevoked when wiped, DamagedHeader for an unknown epoch.
  template <typename Use>
  [[nodiscard]] auto with_dek(EpochNumber epoch, Use&& use) const -> decltype(use(std::declval<const Epoch&>())) {
    const ReaderLock lock(mutex_);
    if (epochs_.empty()) return Error{ErrorCode::KeyRevoked, "the vault is sealed: its key is revoked or out of reach"};
    const auto found = epochs_.find(epoch);
    if (found == epochs_.end())
      return Error{ErrorCode::DamagedHeader, "a stored file names a DEK epoch that the keyring does not have"};
    return use(found->second);
  }
  template <typename Use>
  [[nodiscard]] auto with_id_key(Use&& use) const -> decltype(use(std::declval<const SecretBuffer&>())) {
    const ReaderLock lock(mutex_);
    if (id_key_.empty()) return Error{ErrorCode::KeyRevoked, "the vault is sealed: its key is revoked or out of reach"};
    return use(id_key_);
  }
  template <typename Use>
  [[nodiscard]] auto with_infrastructure_key(Use&& use) const -> decltype(use(std::declval<const SecretBuffer&>())) {
    const ReaderLock lock(mutex_);
    if (infrastructure_key_.empty())
      return Error{ErrorCode::KeyRevoked, "the vault's infrastructure key is not at hand"};
    return use(infrastructure_key_);
  }

 private:
  const VaultId vault_;
  const Suite suite_;
  mutable SharedMutex mutex_;  // a leaf: nothing else is locked while it is held
  std::map<EpochNumber, Epoch> epochs_ GUARDED_BY(mutex_);
  SecretBuffer id_key_ GUARDED_BY(mutex_);
  SecretBuffer infrastructure_key_ GUARDED_BY(mutex_);
  std::atomic<std::uint64_t> current_{0};  // the newest epoch's number; written under mutex_
};

}  // namespace vaultfs
