#pragma once

#include <string>
#include <vector>

#include "base/byte_codec.h"
#include "base/clock.h"
#include "base/ids.h"
#include "base/result.h"

namespace vaultfs {

// What a key version is for one vault (architecture: "The rotation rule").
enum class VersionRole : std::uint8_t {
  active = 1,    // wraps new keyrings; exactly one
  retiring = 2,  // superseded, must stay enabled
  retired = 3,   // this vault needs it no more; older copies of the vault do
};

// What tells one key version from every other. Its native id alone does not: where a provider numbers the versions of a
// key, each key has a version "1". Ordered by version id first.
struct VersionName {
  std::string version;
  std::string key_vault;  // empty = platform key
  std::string key;
  auto operator<=>(const VersionName&) const = default;  // NOLINT(modernize-use-nullptr): there is no pointer here
};

// Whether a version id is unique by itself, so that it is the same version wherever it is found: an import keeps it.
// Shorter ones, which number the versions of a key, are names only within that key.
[[nodiscard]] bool is_unique_version(const std::string& version) noexcept;

// The same version of the same key, or one with a unique id that was imported under another name.
[[nodiscard]] bool same_version(const VersionName& one, const VersionName& other) noexcept;

struct VersionRecord {
  // took_effect_lsn of a version whose keyring is durable, but whose effective LSN has not been read yet: no job
  // counts.
  static constexpr Lsn kNotInEffect{~std::uint64_t{0}};

  std::string key_vault;  // name at the time; empty = platform key
  std::string key;
  std::string version;
  VersionRole role = VersionRole::active;
  UnixNanos role_since;
  UnixNanos took_effect;
  // The keyring generation in which it got its role: what is older knows it in another one. 0: written before this was
  // kept. Order is this and never a date.
  Generation role_generation;
  // The clock was behind what the vault had seen when it got its role: `role_since` is the newest time known then, and
  // the true one may be later.
  bool since_uncertain = false;
  Lsn took_effect_lsn;              // jobs begun at or after it are "under" this version
  EpochNumber first_epoch;          // epochs that this version could read
  EpochNumber last_epoch;           // 0 while it is Active or Retiring
  bool backup_completed = false;    // retiring: condition (a) holds
  JobNumber completed_by;           // the job that made it hold
  bool disabled_too_early = false;  // retiring: seen disabled or gone while needed
  // Not stored, but told by KeyCustody::status(): the keyring has it as Retired and without a slot, and the epoch that
  // it can read is still being closed. Until that is done it is Retiring.
  bool epoch_being_closed = false;
  std::string waiting_for;  // retiring: why it has not retired yet, for people; at most kMaxReasonBytes
  bool operator==(const VersionRecord&) const = default;
  [[nodiscard]] VersionName name() const { return {version, key_vault, key}; }
};

// The rule as an explicit state machine over the versions of one vault, oldest first. Pure: no I/O, no clock, no
// provider. Every transition of the rule is one member function here and nothing else changes a role.
class RotationRule {
 public:
  static constexpr std::size_t kMaxNameBytes = 127;     // of a key vault, a key, an identity
  static constexpr std::size_t kMaxVersionBytes = 256;  // of a native version id
  static constexpr std::size_t kMaxReasonBytes = 200;
  static constexpr std::size_t kMaxVersions = 512;  // beyond, the oldest Retired record is forgotten
  static constexpr std::size_t kMaxRetiring = 62;   // a keyring has room for no more slots

  [[nodiscard]] const std::vector<VersionRecord>& versions() const noexcept { return versions_; }
  [[nodiscard]] const VersionRecord* active() const noexcept;
  // The newest record of that version.
  [[nodiscard]] const VersionRecord* find(const VersionName& name) const noexcept;
  [[nodiscard]] bool any_retiring() const noexcept;

  // The first version, at creation. REQUIRES: no version yet.
  void start(VersionRecord first);
  // When and in which keyring something happens.
  struct Moment {
    UnixNanos time;
    Generation generation;
    bool uncertain = false;  // the clock has gone back: `time` is the newest time known, and the true one may be later
  };
  // `next` was proven and its keyring is durable: the active version becomes Retiring, `next` Active.
  // A version that comes back (seen before) gets a new record; if it was Retiring, that record goes, for it is needed
  // as the Active one now. InvalidArgument if it is the active one already, NotPermitted if kMaxRetiring wait already.
  [[nodiscard]] Status take_effect(VersionRecord next, const Moment& now);
  // Versions with an LSN above `now` took effect at `now`: called with the next LSN once the keyring is durable, and
  // when a vault is opened (jobs of before have ended, so every job that begins now is under the Active version; a lost
  // unsynced tail may also have set LSNs back). True if something changed.
  bool record_effect(Lsn now);
  // A backup job that began at `begun` has Completed (with or without a change). True if condition (a) became true for
  // a version: its *successor* took effect at or before `begun`.
  bool job_completed(JobNumber job, Lsn begun);
  // Versions for which (a) holds: candidates for (b).
  [[nodiscard]] std::vector<VersionName> awaiting_proof() const;
  // Condition (b) was shown for the active version: every version awaiting proof retires. Their names.
  [[nodiscard]] std::vector<VersionName> retire(const Moment& now, EpochNumber last_epoch_readable);
  // After `key rewrap --drop-retiring` and the proof: all Retiring versions retire, backup or not.
  [[nodiscard]] std::vector<VersionName> drop_retiring(const Moment& now, EpochNumber last_epoch_readable);
  // What a refresh saw of a Retiring version at the provider. True if something changed.
  bool observe(const VersionName& name, bool usable);
  // Why a Retiring version waits. True if something changed.
  bool set_waiting_for(const VersionName& name, std::string reason);
  // A version that is needed has its slot under another key vault and key from now on: it was wrapped anew there. Its
  // role stays; a Retiring record that had those names already goes, as in take_effect(). `name` is the one it had.
  void rename(const VersionName& name, const VersionName& now);

  // The latest time that it knows of.
  [[nodiscard]] UnixNanos newest_time() const noexcept;

  // `with_generations`: with role_generation and since_uncertain, which older forms do not have.
  void encode(ByteWriter& writer, bool with_generations = true) const;
  // Leaves errors in the reader; also fails it unless exactly one version is Active and the order is right.
  [[nodiscard]] static RotationRule decode(ByteReader& reader, bool with_generations = true);

 private:
  std::vector<VersionRecord> versions_;
};

}  // namespace vaultfs
