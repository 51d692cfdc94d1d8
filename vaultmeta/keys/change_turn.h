#pragma once

#include <optional>
#include <set>
#include <string>

#include "base/thread/mutex.h"
#include "vaultmeta/keys/held_keys.h"
#include "vaultmeta/keys/keyring_file.h"

namespace vaultfs {

// One change of keys at a time (refresh, another key, a rewrap, …), and which failures the vault was told of. Owns one
// lock, which ChangeTurn holds.
class ChangeTurns {
 public:
  ChangeTurns(const HeldKeys& held, KeyringFile& file) : held_(held), file_(file) {}

 private:
  friend class ChangeTurn;
  const HeldKeys& held_;
  KeyringFile& file_;
  // Held across provider and host calls, so nothing that a writer waits for may take it.
  Mutex change_mutex_;
  // The failures recorded since the last success, so that a refresh doesn't repeat them.
  std::set<std::string> told_failures_ GUARDED_BY(change_mutex_);
};

// Who has it is alone in changing keys, until the end of its block: what must be done in a turn takes it as proof.
class SCOPED_CAPABILITY ChangeTurn {
 public:
  explicit ChangeTurn(ChangeTurns& turns) ACQUIRE(turns.change_mutex_) : turns_(turns) { turns.change_mutex_.lock(); }
  ChangeTurn(const ChangeTurn&) = delete;
  ChangeTurn& operator=(const ChangeTurn&) = delete;
  ~ChangeTurn() RELEASE() { turns_.change_mutex_.unlock(); }

  // The vault's update job of a change that is durable, under the number that the keyring keeps of it, where it does.
  void record_success(const std::string& what, const std::string& version);
  // And of one that failed: one job for a version that keeps failing in the same way, not one for each refresh.
  void record_failure(const std::string& what, const std::string& version, const Error& error);
  // An explicit request is recorded each time.
  void record_refusal(const std::string& what, const std::string& version, const Error& error);

 private:
  ChangeTurns& turns_;
};

inline void ChangeTurn::record_success(const std::string& what, const std::string& version) {
  turns_.change_mutex_.assert_held();
  turns_.told_failures_.clear();
  if (!turns_.file_.is_attached()) return;
  const std::optional<KeyUpdate> stored = turns_.held_.last_update();
  const bool is_stored = stored && stored->what == what && stored->version == version;
  turns_.file_.host().record_key_change(is_stored ? stored->job : turns_.file_.host().next_job(), what, version,
                                        nullptr);
}

inline void ChangeTurn::record_failure(const std::string& what, const std::string& version, const Error& error) {
  turns_.change_mutex_.assert_held();
  const std::string failure = what + " " + version + " " + std::string(error_name(error.code));
  if (!turns_.file_.is_attached() || !turns_.told_failures_.insert(failure).second) return;
  turns_.file_.host().record_key_change(turns_.file_.host().next_job(), what, version, &error);
}

inline void ChangeTurn::record_refusal(const std::string& what, const std::string& version, const Error& error) {
  turns_.change_mutex_.assert_held();
  turns_.told_failures_.clear();
  record_failure(what, version, error);
}

}  // namespace vaultfs
