#include <algorithm>
#include <set>
#include <utility>

#include "base/thread/mutex.h"
#include "crypto/hash.h"
#include "vaultmeta/keys/custody_impl.h"
#include "vaultmeta/vault/key_drill.h"

// Rule 3(b): proof, retirement, and the new DEK epoch that a retired version could never read.

namespace vaultfs {
namespace {

constexpr std::size_t kDekBytes = 32;

// Old epochs that may still grow: a new epoch has begun, but containers of the old one may be open.
bool any_unclosed(const std::map<EpochNumber, EpochRecord>& epochs) {
  for (auto at = epochs.begin(); at != epochs.end() && std::next(at) != epochs.end(); ++at) {
    if (!at->second.last_segment) return true;
  }
  return false;
}

// The first that will retire: whom the stored update names.
std::string named_first(const RotationRule& rule, bool drop_retiring) {
  for (const VersionRecord& record : rule.versions()) {
    if (record.role == VersionRole::retiring && (drop_retiring || record.backup_completed)) return record.version;
  }
  return "";
}

}  // namespace

Status KeyringCustody::retire_proven(const ReachedKey& reached, RefreshOutcome& outcome) {
  const Snapshot now = snapshot();
  const std::vector<VersionName> waiting = now.rule.awaiting_proof();
  if (waiting.empty()) return ok_status();
  if (const KeyVersionInfo* active = reached.find(now.active.version); active != nullptr) {
    const Status may_wrap = check_may_wrap(*active, context_.env.clock().now().seconds());
    if (!may_wrap.ok()) {
      return keep_waiting_for(waiting, "the Active version may not wrap: " + may_wrap.error().message, "");
    }
  }
  Status retired = retire(reached, false, outcome);
  if (!retired.ok() && outcome.retired.empty()) {
    // What came of it is told in any case: as an error, by the failed job, and here if it can be.
    static_cast<void>(
        keep_waiting_for(waiting, "the proof by the Active version failed: " + std::string(error_name(retired.code())),
                         ": " + retired.error().message));
    if (!is_integrity_error(retired.code())) record_failure("key.retire", waiting.front().version, retired.error());
  }
  return retired;
}

Status KeyringCustody::keep_waiting_for(const std::vector<VersionName>& versions, const std::string& kind,
                                        const std::string& detail) {
  const RotationRule rule = snapshot().rule;
  const auto known = [&](const VersionName& version) {
    const VersionRecord* record = rule.find(version);
    return record == nullptr || record->waiting_for.starts_with(kind.substr(0, RotationRule::kMaxReasonBytes));
  };
  if (std::ranges::all_of(versions, known)) return ok_status();
  VAULTFS_RETURN_IF_ERROR(commit(
      [&](Keyring& next, const SecretBuffer&) {
        for (const VersionName& version : versions) next.secrets.rule.set_waiting_for(version, kind + detail);
        return ok_status();
      },
      {}));
  return write_head_if_behind();
}

// The keyring as storage has it opens with the Active version alone, through the provider.
Status KeyringCustody::prove_active_alone(const Snapshot& now) {
  const std::string name = keyring_blob_name(now.generation);
  VAULTFS_ASSIGN_OR_RETURN(const Bytes file, context_.blobs.get(name, kMaxKeyringBytes));
  if (sha256(file) != keyring_digest()) {
    // Either a small change came between, and the compare-and-swap will tell, or storage has changed by itself.
    if (generation() != now.generation) return Error{ErrorCode::TryAgain, "the keyring was changed meanwhile"};
    return Error{ErrorCode::DamagedKeyring, name + " is not what was written"};
  }
  VAULTFS_ASSIGN_OR_RETURN(const ClosedKeyring closed, ClosedKeyring::decode(file));
  return opens_by(context_, header_, file, closed, closed.active_slot(), status().fingerprint);
}

Status KeyringCustody::retire(const ReachedKey& reached, bool drop_retiring, RefreshOutcome& outcome) {
  std::vector<VersionName> retired;
  for (int attempt = 1;; ++attempt) {
    const Snapshot now = snapshot();
    Status step = prove_active_alone(now);
    if (step.ok()) {
      VAULTFS_ASSIGN_OR_RETURN(const WrappedKey fresh, wrap_under_active(now, reached));
      RotationRule::Moment time = moment();
      const std::string first = named_first(now.rule, drop_retiring);
      step = commit(
          [&](Keyring& next, const SecretBuffer&) {
            const EpochNumber last = next.secrets.epochs.rbegin()->first;
            RotationRule& rule = next.secrets.rule;
            time.generation = next.generation;
            retired = drop_retiring ? rule.drop_retiring(time, last) : rule.retire(time, last);
            const std::set<VersionName> gone(retired.begin(), retired.end());
            std::erase_if(next.slots, [&](const KeyringSlot& slot) {
              return slot.role == VersionRole::retiring && gone.contains(slot.name());
            });
            for (const VersionName& version : retired) next.secrets.retiring_keys.erase(version);
            replace_active_slot(next, fresh.slot);
            return add_epoch(next);
          },
          {&fresh.key, now.generation, true, std::pair("key.retire", first)});
    }
    if (step.ok()) break;
    if (step.code() != ErrorCode::TryAgain || attempt == kCommitAttempts) return step;
  }
  // Closed before it is said: until nothing more can be made with what the version could read, status() calls it
  // Retiring.
  VAULTFS_RETURN_IF_ERROR(write_head_if_behind());
  VAULTFS_RETURN_IF_ERROR(finish_epochs(&outcome));
  return delete_superseded();
}

Status KeyringCustody::add_epoch(Keyring& next) const {
  auto& epochs = next.secrets.epochs;
  if (epochs.size() >= kMaxKeyringEpochs) {
    return Error{ErrorCode::NotPermitted, "the keyring has no room for another DEK epoch"};
  }
  VAULTFS_ASSIGN_OR_RETURN(SecretBuffer dek, SecretBuffer::random(kDekBytes));
  const UnixNanos created = std::max(context_.env.clock().now(), epochs.rbegin()->second.created);
  epochs.emplace(epochs.rbegin()->first.next(), EpochRecord{std::move(dek), created, std::nullopt});
  return ok_status();
}

// Closes old epochs: first everything that is open moves to the current one, only then the highest segment number is
// read and written down. The other way round a segment opened in between would be refused for ever.
Status KeyringCustody::finish_epochs(RefreshOutcome* outcome) {
  KeyChangeHost* host = nullptr;
  std::vector<std::string> retired;  // versions that can read nothing that is made from here on
  {
    const MutexLock lock(state_mutex_);
    const auto& epochs = current_.secrets.epochs;
    if (!any_unclosed(epochs)) return ok_status();
    host = host_;
    for (const VersionRecord& record : current_.secrets.rule.versions()) {
      const auto last = epochs.find(record.last_epoch);
      const bool closing = last != epochs.end() && !last->second.last_segment;
      if (record.role == VersionRole::retired && closing) retired.push_back(record.version);
    }
  }
  VAULTFS_RETURN_IF_ERROR(write_head_if_behind());
  VAULTFS_RETURN_IF_ERROR(host->roll_containers());
  const ContainerNumber highest = host->highest_segment();
  VAULTFS_RETURN_IF_ERROR(commit(
      [highest](Keyring& next, const SecretBuffer&) {
        const EpochNumber current = next.secrets.epochs.rbegin()->first;
        for (auto& [number, epoch] : next.secrets.epochs) {
          if (number != current && !epoch.last_segment) epoch.last_segment = highest;
        }
        return ok_status();
      },
      {}));
  // The machine's list lets go of versions that are Retired by this. If it can't be written, it protects too much.
  static_cast<void>(update_registration());
  const Status headed = write_head_if_behind();
  if (outcome != nullptr) {
    for (const std::string& version : retired) {
      outcome->retired.push_back(version);
      record_success("key.retire", version);
    }
  }
  return headed;
}

Status KeyringCustody::carry_over(Generation headed) {
  const MutexLock turn(change_mutex_);
  bool beyond_head = false;
  {
    const MutexLock lock(state_mutex_);
    if (!older_form_) return ok_status();
    beyond_head = headed < current_.generation;
  }
  // Where the head names the keyring of before, a crash leaves the head and its direct successor: that opens.
  return commit([](Keyring&, const SecretBuffer&) { return ok_status(); }, {nullptr, std::nullopt, beyond_head});
}

Status KeyringCustody::new_incarnation() {
  const MutexLock turn(change_mutex_);
  VAULTFS_RETURN_IF_ERROR(check_changeable());
  // No head first: one of the old incarnation would be refused by the pin, which is ahead of it.
  VAULTFS_RETURN_IF_ERROR(commit(
      [this](Keyring& next, const SecretBuffer&) {
        ++next.secrets.incarnation;
        return add_epoch(next);
      },
      {nullptr, std::nullopt, false, std::pair("vault.new-incarnation", snapshot().active.version)}));
  VAULTFS_RETURN_IF_ERROR(write_head_if_behind());
  VAULTFS_RETURN_IF_ERROR(finish_epochs());
  record_success("vault.new-incarnation", snapshot().active.version);
  return delete_superseded();
}

}  // namespace vaultfs
