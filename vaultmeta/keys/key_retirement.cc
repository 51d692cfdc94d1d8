#include "vaultmeta/keys/key_retirement.h"

#include <algorithm>
#include <set>
#include <utility>

namespace vaultfs {
namespace {

constexpr std::size_t kDekBytes = 32;

// The first that will retire: whom the stored update names.
std::string named_first(const RotationRule& rule, bool drop_retiring) {
  for (const VersionRecord& record : rule.versions()) {
    if (record.role == VersionRole::retiring && (drop_retiring || record.backup_completed)) return record.version;
  }
  return "";
}

}  // namespace

Status KeyRetirement::retire_proven(ChangeTurn& turn, const ReachedKey& reached, RefreshOutcome& outcome) {
  const HeldKeys::Snapshot now = held_.snapshot();
  const std::vector<VersionName> waiting = now.rule.awaiting_proof();
  if (waiting.empty()) return ok_status();
  if (const Status may_wrap = kek_.check_may_wrap_now(reached); !may_wrap.ok()) {
    return keep_waiting_for(waiting, "the Active version may not wrap: " + may_wrap.error().message, "");
  }
  Status retired = retire(turn, reached, false, outcome);
  if (!retired.ok() && outcome.retired.empty()) {
    // What came of it is told in any case: as an error, by the failed job, and here if it can be.
    static_cast<void>(
        keep_waiting_for(waiting, "the proof by the Active version failed: " + std::string(error_name(retired.code())),
                         ": " + retired.error().message));
    if (!is_integrity_error(retired.code()))
      turn.record_failure("key.retire", waiting.front().version, retired.error());
  }
  return retired;
}

Status KeyRetirement::keep_waiting_for(const std::vector<VersionName>& versions, const std::string& kind,
                                       const std::string& detail) {
  const RotationRule rule = held_.snapshot().rule;
  const auto known = [&](const VersionName& version) {
    const VersionRecord* record = rule.find(version);
    return record == nullptr || record->waiting_for.starts_with(kind.substr(0, RotationRule::kMaxReasonBytes));
  };
  if (std::ranges::all_of(versions, known)) return ok_status();
  VAULTFS_RETURN_IF_ERROR(file_.commit(
      [&](Keyring& next, const SecretBuffer&) {
        for (const VersionName& version : versions) next.secrets.rule.set_waiting_for(version, kind + detail);
        return ok_status();
      },
      {}));
  return file_.write_head_if_behind();
}

Status KeyRetirement::retire(ChangeTurn& turn, const ReachedKey& reached, bool drop_retiring, RefreshOutcome& outcome) {
  std::vector<VersionName> retired;
  for (int attempt = 1;; ++attempt) {
    const HeldKeys::Snapshot now = held_.snapshot();
    Status step = kek_.check_opens_alone(now);
    if (step.ok()) {
      VAULTFS_ASSIGN_OR_RETURN(const WrappedKey fresh, kek_.wrap_under_active(now, reached));
      RotationRule::Moment time = file_.moment();
      const std::string first = named_first(now.rule, drop_retiring);
      step = file_.commit(
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
  VAULTFS_RETURN_IF_ERROR(file_.write_head_if_behind());
  VAULTFS_RETURN_IF_ERROR(finish_epochs(turn, &outcome));
  return file_.delete_superseded();
}

Status KeyRetirement::add_epoch(Keyring& next) const {
  auto& epochs = next.secrets.epochs;
  if (epochs.size() >= kMaxKeyringEpochs) {
    return Error{ErrorCode::NotPermitted, "the keyring has no room for another DEK epoch"};
  }
  VAULTFS_ASSIGN_OR_RETURN(SecretBuffer dek, SecretBuffer::random(kDekBytes));
  const UnixNanos created = std::max(clock_.now(), epochs.rbegin()->second.created);
  epochs.emplace(epochs.rbegin()->first.next(), EpochRecord{std::move(dek), created, std::nullopt});
  return ok_status();
}

// Closes old epochs: first everything that is open moves to the current one, only then the highest segment number is
// read and written down. The other way round a segment opened in between would be refused for ever.
Status KeyRetirement::finish_epochs(ChangeTurn& turn, RefreshOutcome* outcome) {
  const HeldKeys::Unclosed unclosed = held_.unclosed();
  if (!unclosed.any) return ok_status();
  VAULTFS_RETURN_IF_ERROR(file_.write_head_if_behind());
  VAULTFS_RETURN_IF_ERROR(file_.host().roll_containers());
  const ContainerNumber highest = file_.host().highest_segment();
  VAULTFS_RETURN_IF_ERROR(file_.commit(
      [highest](Keyring& next, const SecretBuffer&) {
        const EpochNumber current = next.secrets.epochs.rbegin()->first;
        for (auto& [number, epoch] : next.secrets.epochs) {
          if (number != current && !epoch.last_segment) epoch.last_segment = highest;
        }
        return ok_status();
      },
      {}));
  // The machine's list lets go of versions that are Retired by this. If it can't be written, it protects too much.
  static_cast<void>(file_.update_registration());
  const Status headed = file_.write_head_if_behind();
  if (outcome != nullptr) {
    for (const std::string& version : unclosed.retired) {
      outcome->retired.push_back(version);
      turn.record_success("key.retire", version);
    }
  }
  return headed;
}

}  // namespace vaultfs
