#include "vaultmeta/catalogue/catalogue.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <cstdio>
#include <optional>
#include <utility>

#include "base/byte_codec.h"
#include "base/rfc3339.h"
#include "base/thread/mutex.h"
#include "crypto/hash.h"
#include "vaultmeta/catalogue/catalogue_change.h"
#include "vaultmeta/catalogue/item_errors.h"

namespace vaultfs {
namespace {

// The number with which an id begins, or that is all of `text`.
std::optional<PointNumber> number_in(const std::string& text) {
  std::uint64_t number = 0;
  const char* const text_end = text.data() + text.size();
  const auto [end, error] = std::from_chars(text.data(), text_end, number);
  if (error != std::errc{} || (end != text_end && *end != '-')) return std::nullopt;
  return PointNumber(number);
}

// Limits were such a job once, and are no keys.
bool is_key_update(const JobInfo& job) {
  return job.kind == JobKind::key_update && job.state != JobState::in_progress &&
         !job.detail.starts_with("encryption.set-limits ");
}

}  // namespace

std::string PointInfo::id() const {
  // Without '-' and ':' (ISO 8601's basic form). The years of nanoseconds are all of four digits.
  std::string time = to_rfc3339(created.seconds()).value_or("");
  std::erase_if(time, [](char c) { return c == '-' || c == ':'; });
  std::array<char, 64> text{};
  static_cast<void>(std::snprintf(text.data(), text.size(), "%06llu-%s", static_cast<unsigned long long>(number.value),
                                  time.c_str()));
  return text.data();
}

void Catalogue::State::put(const ItemInfo& item) { items[item.name] = item; }

void Catalogue::State::put(const PointInfo& point) {
  points[point.number] = point;
  newest_time = std::max(newest_time, point.created);
  next_point = std::max(next_point, point.number.next());
}

void Catalogue::State::put(const JobInfo& job) {
  const auto known = jobs.find(job.number);
  if (known != jobs.end() && known->second.state != JobState::in_progress) --ended_jobs;
  if (job.state != JobState::in_progress) ++ended_jobs;
  jobs[job.number] = job;
  next_job = std::max(next_job, job.number.next());
  newest_time = std::max({newest_time, job.started, job.ended});
  if (is_key_update(job)) last_key_update = std::max(last_key_update, job.number);
  for (auto at = jobs.begin(); ended_jobs > kMaxEndedJobs && at != jobs.end();) {
    if (at->second.state == JobState::in_progress || at->first == last_key_update) {
      ++at;
    } else {
      at = jobs.erase(at);
      --ended_jobs;
    }
  }
}

void Catalogue::State::put(const SupersededManifest& manifest) {
  if (manifest.since.value == 0) {
    superseded.erase(manifest.file);
  } else {
    superseded[manifest.file] = manifest;
  }
  next_point = std::max(next_point, manifest.file.next());
}

void Catalogue::State::set_file(PointNumber point, PointNumber file) {
  const auto found = points.find(point);
  if (found != points.end()) found->second.file = file;
  next_point = std::max(next_point, file.next());
}

std::vector<ItemInfo> Catalogue::items() const {
  const MutexLock lock(mutex_);
  std::vector<ItemInfo> found;
  found.reserve(state_.items.size());
  for (const auto& [name, item] : state_.items) found.push_back(item);
  return found;
}

std::optional<ItemInfo> Catalogue::item(const std::string& name) const {
  const MutexLock lock(mutex_);
  const auto found = state_.items.find(name);
  if (found == state_.items.end()) return std::nullopt;
  return found->second;
}

std::vector<PointInfo> Catalogue::points() const {
  const MutexLock lock(mutex_);
  std::vector<PointInfo> found;
  found.reserve(state_.points.size());
  for (const auto& [number, point] : state_.points) found.push_back(point);
  return found;
}

void write_for_digest(ByteWriter& writer, const PointInfo& point) {
  writer.u64(point.number.value);
  writer.u64(point.manifest_file().value);
  writer.id(point.manifest);
  writer.u64(point.manifest_bytes);
}

Digest Catalogue::points_digest() const {
  ByteWriter writer;
  const MutexLock lock(mutex_);
  writer.reserve(state_.points.size() * (3 * 8 + Digest::kSize));
  for (const auto& [number, point] : state_.points) write_for_digest(writer, point);
  return sha256(writer.view());
}

std::vector<PointInfo> Catalogue::points_of(const std::string& item) const {
  const MutexLock lock(mutex_);
  std::vector<PointInfo> found;
  for (const auto& [number, point] : state_.points) {
    if (point.item == item) found.push_back(point);
  }
  return found;
}

Result<PointInfo> Catalogue::find_point(const std::string& item, const std::string& point) const {
  const MutexLock lock(mutex_);
  const auto of_item = [&item](const auto& entry) { return entry.second.item == item; };
  if (const std::optional<PointNumber> number = number_in(point); number.has_value()) {
    const auto found = state_.points.find(*number);
    const bool right = found != state_.points.end() && of_item(*found) &&
                       (point.find('-') == std::string::npos || found->second.id() == point);
    if (right) return found->second;
  }
  const auto newest = std::find_if(state_.points.rbegin(), state_.points.rend(), of_item);
  if (newest == state_.points.rend()) {
    if (!state_.items.contains(item)) return no_such_item(item);
    return Error{
        ErrorCode::RecoveryPointNotFound,
        "the item \"" + item + "\" has no recovery point yet; make one with: vaultctl backup run, or backup commit"};
  }
  if (point.empty()) return newest->second;
  return Error{ErrorCode::RecoveryPointNotFound, "the item \"" + item + "\" has no recovery point " + point +
                                                     "; see: vaultctl recovery-point list VAULT ITEM"};
}

std::optional<PointInfo> Catalogue::point(PointNumber number) const {
  const MutexLock lock(mutex_);
  const auto found = state_.points.find(number);
  if (found == state_.points.end()) return std::nullopt;
  return found->second;
}

std::vector<SupersededManifest> Catalogue::superseded() const {
  const MutexLock lock(mutex_);
  std::vector<SupersededManifest> found;
  found.reserve(state_.superseded.size());
  for (const auto& [file, manifest] : state_.superseded) found.push_back(manifest);
  return found;
}

bool Catalogue::reencrypting() const {
  const MutexLock lock(mutex_);
  return state_.reencrypting;
}

std::vector<JobInfo> Catalogue::jobs() const {
  const MutexLock lock(mutex_);
  std::vector<JobInfo> found;
  found.reserve(state_.jobs.size());
  for (const auto& [number, job] : state_.jobs) found.push_back(job);
  return found;
}

std::optional<JobInfo> Catalogue::job(JobNumber number) const {
  const MutexLock lock(mutex_);
  const auto found = state_.jobs.find(number);
  if (found == state_.jobs.end()) return std::nullopt;
  return found->second;
}

std::optional<JobInfo> Catalogue::last_key_update() const {
  const MutexLock lock(mutex_);
  const auto found = state_.jobs.find(state_.last_key_update);
  if (found == state_.jobs.end()) return std::nullopt;
  return found->second;
}

UnixNanos Catalogue::newest_time() const {
  const MutexLock lock(mutex_);
  return state_.newest_time;
}

JobNumber Catalogue::next_job() const {
  const MutexLock lock(mutex_);
  return state_.next_job;
}

JobNumber Catalogue::take_job_number() {
  const MutexLock lock(mutex_);
  return std::exchange(state_.next_job, state_.next_job.next());
}

void Catalogue::reserve_job_number(JobNumber taken) {
  const MutexLock lock(mutex_);
  state_.next_job = std::max(state_.next_job, taken.next());
}

PointNumber Catalogue::take_point_number() {
  const MutexLock lock(mutex_);
  while (avoided_.contains(state_.next_point)) state_.next_point = state_.next_point.next();
  return std::exchange(state_.next_point, state_.next_point.next());
}

void Catalogue::avoid_point_number(PointNumber taken) {
  const MutexLock lock(mutex_);
  // The last number there is can't be stepped over, and is not reached.
  if (taken.next() != taken) avoided_.insert(taken);
}

void Catalogue::reserve_point_number(PointNumber at_least) {
  const MutexLock lock(mutex_);
  state_.next_point = std::max(state_.next_point, at_least.next());
}

Bytes Catalogue::put(const ItemInfo& item) {
  const MutexLock lock(mutex_);
  state_.put(item);
  return encode_change(item);
}

Bytes Catalogue::put(const PointInfo& point) {
  const MutexLock lock(mutex_);
  state_.put(point);
  return encode_change(point);
}

Bytes Catalogue::put(const JobInfo& job) {
  const MutexLock lock(mutex_);
  state_.put(job);
  return encode_change(job);
}

Bytes Catalogue::remove_point(PointNumber number) {
  const MutexLock lock(mutex_);
  state_.points.erase(number);
  return encode_removed_point(number);
}

Bytes Catalogue::no_change() { return encode_removed_point(PointNumber(0)); }

Bytes Catalogue::put(const SupersededManifest& manifest) {
  const MutexLock lock(mutex_);
  state_.put(manifest);
  return encode_change(manifest);
}

Bytes Catalogue::set_reencrypting(bool reencrypting) {
  const MutexLock lock(mutex_);
  state_.reencrypting = reencrypting;
  return encode_reencrypting(reencrypting);
}

Status Catalogue::read_changes(ByteReader& reader, std::vector<Change>& changes) {
  do {
    const std::uint8_t kind = reader.u8();
    if ((kind & kFramedChange) == 0) {
      if (!read_change(kind, reader, changes)) reader.fail();
      continue;
    }
    ByteReader fields(reader.blob(reader.remaining()));
    if (reader.failed()) break;
    const auto known = static_cast<std::uint8_t>(kind & ~kFramedChange);
    if (!read_change(known, fields, changes)) {
      return Error{ErrorCode::UnsupportedFormat, "the catalogue has a change of kind " + std::to_string(known) +
                                                     ", which a newer vaultfs made; use that one"};
    }
    if (fields.failed() || fields.remaining() > 0) reader.fail();
  } while (reader.remaining() > 0);
  return ok_status();
}

bool Catalogue::read_change(std::uint8_t kind, ByteReader& reader, std::vector<Change>& changes) {
  switch (kind) {
    case static_cast<std::uint8_t>(CatalogueChange::item):
      changes.emplace_back([item = decode_item_change(reader)](State& state) { state.put(item); });
      return true;
    case static_cast<std::uint8_t>(CatalogueChange::point):
      changes.emplace_back([point = decode_point_change(reader)](State& state) { state.put(point); });
      return true;
    case static_cast<std::uint8_t>(CatalogueChange::job):
      changes.emplace_back([job = decode_job_change(reader)](State& state) { state.put(job); });
      return true;
    case static_cast<std::uint8_t>(CatalogueChange::removed_point):
      changes.emplace_back([number = PointNumber(reader.u64())](State& state) {
        state.points.erase(number);
        state.next_point = std::max(state.next_point, number.next());
      });
      return true;
    case static_cast<std::uint8_t>(CatalogueChange::point_file): {
      const PointNumber point(reader.u64());
      const PointNumber file(reader.u64());
      if (file <= point) reader.fail();
      changes.emplace_back([point, file](State& state) { state.set_file(point, file); });
      return true;
    }
    case static_cast<std::uint8_t>(CatalogueChange::superseded):
      changes.emplace_back([manifest = decode_superseded_change(reader)](State& state) { state.put(manifest); });
      return true;
    case static_cast<std::uint8_t>(CatalogueChange::reencrypting):
      changes.emplace_back([reencrypting = reader.boolean()](State& state) { state.reencrypting = reencrypting; });
      return true;
    case static_cast<std::uint8_t>(CatalogueChange::damaged):
      changes.emplace_back([damage = decode_damaged_change(reader)](State& state) { state.put(damage); });
      return true;
    case static_cast<std::uint8_t>(CatalogueChange::healed):
      changes.emplace_back([keys = decode_healed_change(reader)](State& state) {
        for (const ChunkIndex::Key& key : keys) state.damage.erase(key);
      });
      return true;
    default:
      return false;
  }
}

Status Catalogue::apply(ByteView entry) {
  ByteReader reader(entry);
  std::vector<Change> changes;
  VAULTFS_RETURN_IF_ERROR(read_changes(reader, changes));
  VAULTFS_RETURN_IF_ERROR(reader.finish(ErrorCode::JournalDamaged, "a catalogue entry of the journal"));
  const MutexLock lock(mutex_);
  for (const Change& change : changes) change(state_);
  return ok_status();
}

Bytes Catalogue::encode() const {
  const MutexLock lock(mutex_);
  ByteWriter writer;
  writer.u64(state_.next_job.value);
  writer.u64(state_.next_point.value);
  for (const auto& [name, item] : state_.items) writer.raw(encode_change(item));
  for (const auto& [number, point] : state_.points) writer.raw(encode_change(point));
  for (const auto& [number, job] : state_.jobs) writer.raw(encode_change(job));
  for (const auto& [file, manifest] : state_.superseded) writer.raw(encode_change(manifest));
  if (state_.reencrypting) writer.raw(encode_reencrypting(true));
  std::vector<KnownDamage> damage;
  damage.reserve(state_.damage.size());
  for (const auto& [key, one] : state_.damage) damage.push_back(one);
  writer.raw(encode_damaged(damage));
  return std::move(writer).take();
}

Status Catalogue::load(ByteView section) {
  ByteReader reader(section);
  State loaded;
  loaded.next_job = JobNumber(reader.u64());
  loaded.next_point = PointNumber(reader.u64());
  if (loaded.next_job.value == 0 || loaded.next_point.value == 0) reader.fail();
  std::vector<Change> changes;
  if (reader.remaining() > 0) VAULTFS_RETURN_IF_ERROR(read_changes(reader, changes));
  VAULTFS_RETURN_IF_ERROR(reader.finish(ErrorCode::DamagedCheckpoint, "the catalogue of a checkpoint"));
  for (const Change& change : changes) change(loaded);
  const MutexLock lock(mutex_);
  state_ = std::move(loaded);
  return ok_status();
}

}  // namespace vaultfs
