#pragma once

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "base/clock.h"
#include "base/files/env.h"
#include "base/ids.h"
#include "base/result.h"
#include "store/record/epoch_keys.h"

namespace vaultfs {

struct ActivityEntry {
  std::uint64_t number = 0;  // from 1
  UnixNanos time;
  std::string operation;  // "vault.create", "key.take-effect", "backup.complete", "key.disable.override", …
  std::string outcome;    // "Succeeded", "Refused", or an error's name
  std::string subject;    // item, key version, point id …
  std::string detail;
  std::uint32_t uid = 0;  // who asked; of the process for what happens by itself
  Digest chain;           // SHA-256(chain of the entry before ‖ encoded entry without chain)
};

// A place in the log that is not what was written, and the first entry that is concerned.
struct ActivityDamage {
  std::uint64_t entry = 0;
  std::string file;  // "activity/0000000000000002.activity"; the one that is gone if it is
  Error error;
};

// What a check of the whole log found (activity_verify.h).
struct ActivityReport {
  bool authenticated = false;  // with keys
  std::uint64_t files = 0;
  std::uint64_t entries = 0;  // that are there and in order
  std::vector<ActivityDamage> damage;
};

// The vault's activity log (docs/format.md, section 11): sealed, hash-chained, append-only. Each opening and each epoch
// starts a new file, made at its first entry; so does a failed append, because nothing is appended after bytes of
// unknown fate. Nothing is cached in the clear: entries() reads the files. Thread-safe.
class ActivityLog {
 public:
  // `known_entries` and `known_chain` from the head: fewer, or another chain value at that entry, is
  // DamagedActivityLog, reported by entries() and verify, not by opening. With `closed_epochs_end` an entry above
  // `known_entries` in a file of a closed DEK epoch is DamagedActivityLog too: whoever has no more than an old key
  // can't add to the log. To be set if the head names the keyring that `keys` come from. `known_file`, if not 0, is the
  // file that the head says holds that last entry: one that is missing or too short, and an entry that the head knows
  // in a file above it, are DamagedActivityLog as well.
  [[nodiscard]] static Result<std::unique_ptr<ActivityLog>> open(Env& env, Env::Path directory, const EpochKeys& keys,
                                                                 bool read_only, std::uint64_t known_entries,
                                                                 const Digest& known_chain,
                                                                 bool closed_epochs_end = false,
                                                                 ContainerNumber known_file = {});
  virtual ~ActivityLog() = default;
  // Number, time and chain are filled in, over-long texts are cut. Durable on return. ReadOnly, KeyRevoked, NoSpace,
  // IoError.
  [[nodiscard]] virtual Status append(ActivityEntry entry) = 0;
  // All entries, oldest first, the chain checked from the first to the last. DamagedActivityLog names the first bad
  // entry.
  [[nodiscard]] virtual Result<std::vector<ActivityEntry>> entries() = 0;
  // Reads on behind damage and names every place of it. Errors are of reading, not of what was read; KeyRevoked.
  [[nodiscard]] virtual Result<ActivityReport> verify() = 0;
  // Files of the folder that are not the log's, as the opening found them, and why: they count for nothing.
  using PassedOver = std::vector<std::pair<std::string, Error>>;
  [[nodiscard]] virtual PassedOver passed_over() const { return {}; }
  [[nodiscard]] virtual std::uint64_t count() const = 0;
  [[nodiscard]] virtual Digest chain() const = 0;
  // The file that holds the last entry; 0 if there is none.
  [[nodiscard]] virtual ContainerNumber newest_file() const = 0;
  // The three above at one moment, for a head.
  struct End {
    std::uint64_t entries = 0;
    Digest chain;
    ContainerNumber file;
  };
  [[nodiscard]] virtual End end() const = 0;
  // The current epoch has changed, or the keys were wiped: forgets the file's cipher; the next entry starts a new file.
  virtual void roll() = 0;
};

}  // namespace vaultfs
