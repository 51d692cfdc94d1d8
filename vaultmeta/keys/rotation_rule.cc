#include "vaultmeta/keys/rotation_rule.h"

#include <algorithm>
#include <cstdlib>
#include <set>
#include <utility>

namespace vaultfs {
namespace {

// Characters: providers that number their versions use fewer, those that make them unique use more.
constexpr std::size_t kLeastUniqueVersion = 16;

// Four empty texts, six numbers, three bytes.
constexpr std::size_t kMinRecordBytes = std::size_t{4} * 4 + std::size_t{6} * 8 + 3;

void encode_record(ByteWriter& writer, const VersionRecord& record, bool with_generations) {
  writer.text(record.key_vault);
  writer.text(record.key);
  writer.text(record.version);
  writer.u8(static_cast<std::uint8_t>(record.role));
  writer.i64(record.role_since.value);
  writer.i64(record.took_effect.value);
  writer.u64(record.took_effect_lsn.value);
  writer.u64(record.first_epoch.value);
  writer.u64(record.last_epoch.value);
  writer.boolean(record.backup_completed);
  writer.u64(record.completed_by.value);
  writer.boolean(record.disabled_too_early);
  writer.text(record.waiting_for);
  if (!with_generations) return;
  writer.u64(record.role_generation.value);
  writer.boolean(record.since_uncertain);
}

VersionRecord decode_record(ByteReader& reader, bool with_generations) {
  VersionRecord record;
  record.key_vault = reader.text(RotationRule::kMaxNameBytes);
  record.key = reader.text(RotationRule::kMaxNameBytes);
  record.version = reader.text(RotationRule::kMaxVersionBytes);
  const std::uint8_t role = reader.u8();
  if (role < static_cast<std::uint8_t>(VersionRole::active) || role > static_cast<std::uint8_t>(VersionRole::retired)) {
    reader.fail();
  } else {
    record.role = static_cast<VersionRole>(role);
  }
  record.role_since = UnixNanos{reader.i64()};
  record.took_effect = UnixNanos{reader.i64()};
  record.took_effect_lsn = Lsn(reader.u64());
  record.first_epoch = EpochNumber(reader.u64());
  record.last_epoch = EpochNumber(reader.u64());
  record.backup_completed = reader.boolean();
  record.completed_by = JobNumber(reader.u64());
  record.disabled_too_early = reader.boolean();
  record.waiting_for = reader.text(RotationRule::kMaxReasonBytes);
  if (!with_generations) return record;
  record.role_generation = Generation(reader.u64());
  record.since_uncertain = reader.boolean();
  return record;
}

// The newest record is Active and no other; effects are in order; a version is needed by one record at most.
bool consistent(const std::vector<VersionRecord>& versions) {
  if (versions.empty() || versions.back().role != VersionRole::active) return false;
  std::set<VersionName> needed;
  Lsn before;
  std::size_t retiring = 0;
  for (const VersionRecord& record : versions) {
    if (record.version.empty() || record.took_effect_lsn < before) return false;
    before = record.took_effect_lsn;
    if (record.role == VersionRole::active && &record != &versions.back()) return false;
    if (record.role == VersionRole::retiring) ++retiring;
    if (record.role != VersionRole::retired && !needed.insert(record.name()).second) return false;
  }
  return retiring <= RotationRule::kMaxRetiring;
}

void give_role(VersionRecord& record, VersionRole role, const RotationRule::Moment& now) {
  record.role = role;
  record.role_since = now.time;
  record.role_generation = now.generation;
  record.since_uncertain = now.uncertain;
}

void make_retired(VersionRecord& record, const RotationRule::Moment& now, EpochNumber last_epoch_readable) {
  give_role(record, VersionRole::retired, now);
  record.last_epoch = last_epoch_readable;
  record.disabled_too_early = false;
  record.waiting_for.clear();
}

}  // namespace

bool is_unique_version(const std::string& version) noexcept { return version.size() >= kLeastUniqueVersion; }

bool same_version(const VersionName& one, const VersionName& other) noexcept {
  return one == other || (one.version == other.version && is_unique_version(one.version));
}

const VersionRecord* RotationRule::active() const noexcept { return versions_.empty() ? nullptr : &versions_.back(); }

const VersionRecord* RotationRule::find(const VersionName& name) const noexcept {
  const auto found = std::find_if(versions_.rbegin(), versions_.rend(),
                                  [&](const VersionRecord& record) { return record.name() == name; });
  return found == versions_.rend() ? nullptr : &*found;
}

bool RotationRule::any_retiring() const noexcept {
  return std::any_of(versions_.begin(), versions_.end(),
                     [](const VersionRecord& record) { return record.role == VersionRole::retiring; });
}

void RotationRule::start(VersionRecord first) {
  if (!versions_.empty()) std::abort();
  first.role = VersionRole::active;
  versions_.push_back(std::move(first));
}

Status RotationRule::take_effect(VersionRecord next, const Moment& now) {
  if (versions_.empty()) std::abort();
  if (versions_.back().name() == next.name()) {
    return Error{ErrorCode::InvalidArgument, "version " + next.version + " is the Active one already"};
  }
  const auto returns = std::find_if(versions_.begin(), versions_.end(), [&](const VersionRecord& record) {
    return record.role == VersionRole::retiring && record.name() == next.name();
  });
  if (returns != versions_.end()) versions_.erase(returns);
  const auto retiring = std::count_if(versions_.begin(), versions_.end(),
                                      [](const VersionRecord& record) { return record.role == VersionRole::retiring; });
  if (static_cast<std::size_t>(retiring) >= kMaxRetiring) {
    return Error{ErrorCode::NotPermitted,
                 std::to_string(retiring) + " superseded versions wait for a backup; complete a backup job first"};
  }
  VersionRecord& superseded = versions_.back();
  give_role(superseded, VersionRole::retiring, now);
  superseded.backup_completed = false;
  superseded.waiting_for = "a backup job begun after its successor took effect has to complete";
  give_role(next, VersionRole::active, now);
  next.took_effect = now.time;
  next.last_epoch = EpochNumber(0);
  next.backup_completed = false;
  next.disabled_too_early = false;
  next.waiting_for.clear();
  // Effects stay in order, also where a lost tail has set the LSN back since.
  next.took_effect_lsn = std::max(next.took_effect_lsn, superseded.took_effect_lsn);
  versions_.push_back(std::move(next));
  if (versions_.size() > kMaxVersions) {
    const auto oldest = std::find_if(versions_.begin(), versions_.end(),
                                     [](const VersionRecord& record) { return record.role == VersionRole::retired; });
    if (oldest != versions_.end()) versions_.erase(oldest);
  }
  return ok_status();
}

bool RotationRule::record_effect(Lsn now) {
  bool changed = false;
  for (VersionRecord& record : versions_) {
    if (record.took_effect_lsn <= now) continue;
    record.took_effect_lsn = now;
    changed = true;
  }
  return changed;
}

bool RotationRule::job_completed(JobNumber job, Lsn begun) {
  bool changed = false;
  for (std::size_t i = 0; i + 1 < versions_.size(); ++i) {
    VersionRecord& record = versions_[i];
    if (record.role != VersionRole::retiring || record.backup_completed) continue;
    if (versions_[i + 1].took_effect_lsn > begun) continue;
    record.backup_completed = true;
    record.completed_by = job;
    record.waiting_for = "the Active version has to be proven to open the vault alone";
    changed = true;
  }
  return changed;
}

std::vector<VersionName> RotationRule::awaiting_proof() const {
  std::vector<VersionName> waiting;
  for (const VersionRecord& record : versions_) {
    if (record.role == VersionRole::retiring && record.backup_completed) waiting.push_back(record.name());
  }
  return waiting;
}

std::vector<VersionName> RotationRule::retire(const Moment& now, EpochNumber last_epoch_readable) {
  std::vector<VersionName> retired;
  for (VersionRecord& record : versions_) {
    if (record.role != VersionRole::retiring || !record.backup_completed) continue;
    make_retired(record, now, last_epoch_readable);
    retired.push_back(record.name());
  }
  return retired;
}

std::vector<VersionName> RotationRule::drop_retiring(const Moment& now, EpochNumber last_epoch_readable) {
  std::vector<VersionName> retired;
  for (VersionRecord& record : versions_) {
    if (record.role != VersionRole::retiring) continue;
    make_retired(record, now, last_epoch_readable);
    retired.push_back(record.name());
  }
  return retired;
}

bool RotationRule::observe(const VersionName& name, bool usable) {
  for (VersionRecord& record : versions_) {
    if (record.role != VersionRole::retiring || record.name() != name) continue;
    if (record.disabled_too_early == !usable) return false;
    record.disabled_too_early = !usable;
    return true;
  }
  return false;
}

bool RotationRule::set_waiting_for(const VersionName& name, std::string reason) {
  if (reason.size() > kMaxReasonBytes) reason.resize(kMaxReasonBytes);
  bool changed = false;
  for (VersionRecord& record : versions_) {
    if (record.role != VersionRole::retiring || record.name() != name || record.waiting_for == reason) continue;
    record.waiting_for = reason;
    changed = true;
  }
  return changed;
}

UnixNanos RotationRule::newest_time() const noexcept {
  UnixNanos newest;
  for (const VersionRecord& record : versions_) {
    newest.value = std::max({newest.value, record.role_since.value, record.took_effect.value});
  }
  return newest;
}

void RotationRule::rename(const VersionName& name, const VersionName& now) {
  if (name == now) return;
  std::erase_if(versions_, [&](const VersionRecord& record) {
    return record.role == VersionRole::retiring && record.name() == now;
  });
  for (VersionRecord& record : versions_) {
    if (record.role == VersionRole::retired || record.name() != name) continue;
    record.key_vault = now.key_vault;
    record.key = now.key;
    return;
  }
}

void RotationRule::encode(ByteWriter& writer, bool with_generations) const {
  writer.u32(static_cast<std::uint32_t>(versions_.size()));
  for (const VersionRecord& record : versions_) encode_record(writer, record, with_generations);
}

RotationRule RotationRule::decode(ByteReader& reader, bool with_generations) {
  RotationRule rule;
  const std::uint32_t count = reader.count(kMinRecordBytes);
  if (count > kMaxVersions + kMaxRetiring) reader.fail();
  for (std::uint32_t i = 0; i < count && !reader.failed(); ++i)
    rule.versions_.push_back(decode_record(reader, with_generations));
  if (!consistent(rule.versions_)) reader.fail();
  return rule;
}

}  // namespace vaultfs
