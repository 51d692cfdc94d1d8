#pragma once

#include <atomic>
#include <functional>
#include <optional>
#include <string>
#include <utility>

#include "base/thread/mutex.h"
#include "vaultmeta/keys/held_keys.h"
#include "vaultmeta/keys/key_custody.h"
#include "vaultmeta/keys/newest_keyring.h"
#include "vaultmeta/machine/needed_list.h"

namespace vaultfs {

// How often a change is tried again whose compare-and-swap came too late: between a provider call and the swap only
// small changes can come.
inline constexpr int kCommitAttempts = 16;

// The keyring in storage: the one way to a next generation, by compare-and-swap, and what failed and superseded ones
// leave behind. A change commits when its keyring is durable; the head follows. At most one generation is ever beyond
// the newest head (a write first settles the head), so that one step of predecessors leads from any head to the
// keyring. Asks no key vault. Thread-safe.
class KeyringFile {
 public:
  KeyringFile(const KeyCustody::Context& context, const VaultHeader& header, bool read_only, HeldKeys& held)
      : context_(context),
        header_(header),
        read_only_(read_only),
        held_(held),
        listed_(context.machine, header.id, context.place) {}

  // Once, before any change. `host` outlives the last call.
  void attach(KeyChangeHost& host) noexcept { host_ = &host; }
  [[nodiscard]] bool is_attached() const noexcept { return host_ != nullptr; }
  // REQUIRES: attached.
  [[nodiscard]] KeyChangeHost& host() const;
  [[nodiscard]] NeededList& listed() noexcept { return listed_; }

  // ReadOnly, KeyRevoked while sealed.
  [[nodiscard]] Status check_changeable() const;
  // When something happens that begins now. Its generation is the next keyring's to fill in.
  [[nodiscard]] RotationRule::Moment moment() const;

  // A change of the next keyring; gets the keyring key of the one before.
  using Edit = std::function<Status(Keyring& next, const SecretBuffer& current_key)>;
  struct Commit {
    const SecretBuffer* new_key = nullptr;  // null: the keyring key stays
    std::optional<Generation> expected;     // compare-and-swap: TryAgain if the keyring has another generation
    bool needs_head = true;                 // the head must name the current keyring first
    // A change of keys: what and which version its job will name (record_success).
    std::optional<std::pair<std::string, std::string>> update = std::nullopt;
  };
  // Writes the next keyring, reads it back and takes it over. The keyring of a write that failed is removed, by the
  // next change if it can't be at once. KeyRevoked while sealed. REQUIRES: attached.
  [[nodiscard]] Status commit(const Edit& edit, const Commit& how);
  // Has the head name the newest keyring, if none does.
  [[nodiscard]] Status write_head_if_behind();
  // Deletes superseded keyrings once a head names the newest one.
  [[nodiscard]] Status delete_superseded();
  // Removes the keyring that a failed write may have left.
  [[nodiscard]] Status remove_doubtful();
  // The machine's list of vaults tells the newest settings, and no version that the vault needs no more.
  [[nodiscard]] Status update_registration();

  // Takes over a keyring that was read from storage, and its keys. PlatformKeyMissing: the infrastructure key.
  [[nodiscard]] Status adopt(OpenedKeyring opened);
  // HeldKeys::wipe_if_over() while no keyring is half way between storage and memory.
  [[nodiscard]] std::optional<std::string> wipe_if_over();
  // As KeyCustody's.
  [[nodiscard]] Status check_descends_from(Generation generation, const Digest& digest) const;

 private:
  [[nodiscard]] Result<bool> write_next(const Edit& edit, const Commit& how, const std::optional<KeyUpdate>& update);
  [[nodiscard]] Result<bool> is_strange(const std::string& name) const REQUIRES(write_mutex_);
  [[nodiscard]] Status store_keyring(Generation generation, ByteView bytes) REQUIRES(write_mutex_);
  [[nodiscard]] Status clear_doubt(Generation current) REQUIRES(write_mutex_);

  const KeyCustody::Context context_;
  const VaultHeader header_;
  const bool read_only_;
  HeldKeys& held_;
  NeededList listed_;
  std::atomic<KeyChangeHost*> host_{nullptr};

  // One writer of keyring files; held across storage I/O. Under it the lock of HeldKeys is taken; no host and no
  // provider is called.
  Mutex write_mutex_;
  bool in_doubt_ GUARDED_BY(write_mutex_) = false;  // a failed write may have left a keyring beyond the current one
};

}  // namespace vaultfs
