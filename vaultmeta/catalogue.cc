#include "vaultmeta/catalogue.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <cstdio>
#include <ctime>
#include <utility>

namespace vaultfs {
namespace {

constexpr std::size_t kMaxItemNameBytes = 255;
constexpr std::size_t kMaxDetailBytes = 1024;

// What a change is (docs/format.md, section 9.1).
enum class ChangeKind : std::uint8_t {
  item = 1,
  point = 2,
  job = 3,
  removed_point = 4,
  point_file = 5,
  superseded = 6,
  renewing = 7,
};

constexpr std::uint8_t kAutomatic = 1;
constexpr std::uint8_t kAfterInterruption = 2;
constexpr std::uint8_t kCrashConsistent = 4;

ByteWriter begin(ChangeKind kind) {
  ByteWriter writer;
  writer.u8(static_cast<std::uint8_t>(kind));
  return writer;
}

Bytes encode_item(const ItemInfo& item) {
  ByteWriter writer = begin(ChangeKind::item);
  writer.text(item.name);
  writer.i64(item.first_seen.value);
  writer.boolean(item.interrupted);
  return std::move(writer).take();
}

Bytes encode_point(const PointInfo& point) {
  ByteWriter writer = begin(ChangeKind::point);
  writer.u64(point.number.value);
  writer.text(point.item);
  writer.i64(point.created.value);
  writer.u64(point.cut.value);
  writer.id(point.manifest);
  writer.u64(point.manifest_bytes);
  writer.u8(static_cast<std::uint8_t>((point.automatic ? kAutomatic : 0) |
                                      (point.after_interruption ? kAfterInterruption : 0) |
                                      (point.crash_consistent ? kCrashConsistent : 0)));
  writer.u64(point.logical_bytes);
  writer.u64(point.files);
  if (point.manifest_file() != point.number) {
    writer.u8(static_cast<std::uint8_t>(ChangeKind::point_file));
    writer.u64(point.number.value);
    writer.u64(point.file.value);
  }
  return std::move(writer).take();
}

Bytes encode_job(const JobInfo& job) {
  ByteWriter writer = begin(ChangeKind::job);
  writer.u64(job.number.value);
  writer.u8(static_cast<std::uint8_t>(job.kind));
  writer.u8(static_cast<std::uint8_t>(job.state));
  writer.text(job.item);
  writer.u64(job.begun.value);
  writer.i64(job.started.value);
  writer.i64(job.ended.value);
  writer.u64(job.point.value);
  writer.u64(job.logical_bytes);
  writer.u64(job.stored_bytes);
  writer.text(std::string_view{job.detail}.substr(0, kMaxDetailBytes));
  return std::move(writer).take();
}

// Time 0: it is gone.
Bytes encode_superseded(const SupersededManifest& manifest) {
  ByteWriter writer = begin(ChangeKind::superseded);
  writer.u64(manifest.file.value);
  writer.u64(manifest.point.value);
  writer.i64(manifest.since.value);
  return std::move(writer).take();
}

Bytes encode_renewing(bool renewing) {
  ByteWriter writer = begin(ChangeKind::renewing);
  writer.boolean(renewing);
  return std::move(writer).take();
}

ItemInfo decode_item(ByteReader& reader) {
  ItemInfo item;
  item.name = reader.text(kMaxItemNameBytes);
  item.first_seen.value = reader.i64();
  item.interrupted = reader.boolean();
  if (item.name.empty()) reader.fail();
  return item;
}

PointInfo decode_point(ByteReader& reader) {
  PointInfo point;
  point.number = PointNumber(reader.u64());
  point.item = reader.text(kMaxItemNameBytes);
  point.created.value = reader.i64();
  point.cut = Lsn(reader.u64());
  point.manifest = reader.id<Digest>();
  point.manifest_bytes = reader.u64();
  const std::uint8_t flags = reader.u8();
  point.automatic = (flags & kAutomatic) != 0;
  point.after_interruption = (flags & kAfterInterruption) != 0;
  point.crash_consistent = (flags & kCrashConsistent) != 0;
  point.logical_bytes = reader.u64();
  point.files = reader.u64();
  if (point.number.value == 0 || point.item.empty() || flags > (kAutomatic | kAfterInterruption | kCrashConsistent)) {
    reader.fail();
  }
  return point;
}

JobInfo decode_job(ByteReader& reader) {
  JobInfo job;
  job.number = JobNumber(reader.u64());
  const std::uint8_t kind = reader.u8();
  const std::uint8_t state = reader.u8();
  job.item = reader.text(kMaxItemNameBytes);
  job.begun = Lsn(reader.u64());
  job.started.value = reader.i64();
  job.ended.value = reader.i64();
  job.point = PointNumber(reader.u64());
  job.logical_bytes = reader.u64();
  job.stored_bytes = reader.u64();
  job.detail = reader.text(kMaxDetailBytes);
  if (job.number.value == 0 || kind < 1 || kind > 4 || state < 1 || state > 5) {
    reader.fail();
    return job;
  }
  job.kind = static_cast<JobKind>(kind);
  job.state = static_cast<JobState>(state);
  return job;
}

bool same_point(const PointInfo& point, const std::string& text) {
  if (point.id() == text) return true;
  std::uint64_t number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  return error == std::errc{} && end == text.data() + text.size() && number == point.number.value;
}

}  // namespace

std::string PointInfo::id() const {
  const std::time_t seconds = created.seconds();
  std::tm parts{};
  ::gmtime_r(&seconds, &parts);
  std::array<char, 32> time{};
  static_cast<void>(std::strftime(time.data(), time.size(), "%Y%m%dT%H%M%SZ", &parts));
  std::array<char, 64> text{};
  static_cast<void>(
      std::snprintf(text.data(), text.size(), "%06llu-%s", static_cast<unsigned long long>(number.value), time.data()));
  return text.data();
}

void Catalogue::State::put(const ItemInfo& item) { items[item.name] = item; }

void Catalogue::State::put(const PointInfo& point) {
  points[point.number] = point;
  next_point = std::max(next_point, point.number.next());
}

void Catalogue::State::put(const JobInfo& job) {
  const auto known = jobs.find(job.number);
  if (known != jobs.end() && known->second.state != JobState::in_progress) --ended_jobs;
  if (job.state != JobState::in_progress) ++ended_jobs;
  jobs[job.number] = job;
  next_job = std::max(next_job, job.number.next());
  for (auto at = jobs.begin(); ended_jobs > kMaxEndedJobs && at != jobs.end();) {
    if (at->second.state == JobState::in_progress) {
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
  const std::lock_guard lock(mutex_);
  std::vector<ItemInfo> found;
  found.reserve(state_.items.size());
  for (const auto& [name, item] : state_.items) found.push_back(item);
  return found;
}

std::optional<ItemInfo> Catalogue::item(const std::string& name) const {
  const std::lock_guard lock(mutex_);
  const auto found = state_.items.find(name);
  if (found == state_.items.end()) return std::nullopt;
  return found->second;
}

std::vector<PointInfo> Catalogue::points() const {
  const std::lock_guard lock(mutex_);
  std::vector<PointInfo> found;
  found.reserve(state_.points.size());
  for (const auto& [number, point] : state_.points) found.push_back(point);
  return found;
}

std::vector<PointInfo> Catalogue::points_of(const std::string& item) const {
  const std::lock_guard lock(mutex_);
  std::vector<PointInfo> found;
  for (const auto& [number, point] : state_.points) {
    if (point.item == item) found.push_back(point);
  }
  return found;
}

Result<PointInfo> Catalogue::find_point(const std::string& item, const std::string& point) const {
  const std::vector<PointInfo> all = points_of(item);
  if (all.empty() && !this->item(item).has_value()) {
    return Error{ErrorCode::ItemNotFound, "the vault has no such item"};
  }
  if (all.empty()) return Error{ErrorCode::RecoveryPointNotFound, "the item has no recovery point yet"};
  if (point.empty()) return all.back();
  const auto found = std::find_if(all.begin(), all.end(), [&](const PointInfo& p) { return same_point(p, point); });
  if (found == all.end()) return Error{ErrorCode::RecoveryPointNotFound, "the item has no recovery point " + point};
  return *found;
}

std::optional<PointInfo> Catalogue::point(PointNumber number) const {
  const std::lock_guard lock(mutex_);
  const auto found = state_.points.find(number);
  if (found == state_.points.end()) return std::nullopt;
  return found->second;
}

std::vector<SupersededManifest> Catalogue::superseded() const {
  const std::lock_guard lock(mutex_);
  std::vector<SupersededManifest> found;
  found.reserve(state_.superseded.size());
  for (const auto& [file, manifest] : state_.superseded) found.push_back(manifest);
  return found;
}

bool Catalogue::renewing() const {
  const std::lock_guard lock(mutex_);
  return state_.renewing;
}

std::vector<JobInfo> Catalogue::jobs() const {
  const std::lock_guard lock(mutex_);
  std::vector<JobInfo> found;
  found.reserve(state_.jobs.size());
  for (const auto& [number, job] : state_.jobs) found.push_back(job);
  return found;
}

std::optional<JobInfo> Catalogue::job(JobNumber number) const {
  const std::lock_guard lock(mutex_);
  const auto found = state_.jobs.find(number);
  if (found == state_.jobs.end()) return std::nullopt;
  return found->second;
}

JobNumber Catalogue::take_job_number() {
  const std::lock_guard lock(mutex_);
  return std::exchange(state_.next_job, state_.next_job.next());
}

PointNumber Catalogue::take_point_number() {
  const std::lock_guard lock(mutex_);
  return std::exchange(state_.next_point, state_.next_point.next());
}

void Catalogue::reserve_point_number(PointNumber at_least) {
  const std::lock_guard lock(mutex_);
  state_.next_point = std::max(state_.next_point, at_least.next());
}

Bytes Catalogue::put(const ItemInfo& item) {
  const std::lock_guard lock(mutex_);
  state_.put(item);
  return encode_item(item);
}

Bytes Catalogue::put(const PointInfo& point) {
  const std::lock_guard lock(mutex_);
  state_.put(point);
  return encode_point(point);
}

Bytes Catalogue::put(const JobInfo& job) {
  const std::lock_guard lock(mutex_);
  state_.put(job);
  return encode_job(job);
}

Bytes Catalogue::remove_point(PointNumber number) {
  const std::lock_guard lock(mutex_);
  state_.points.erase(number);
  ByteWriter writer = begin(ChangeKind::removed_point);
  writer.u64(number.value);
  return std::move(writer).take();
}

Bytes Catalogue::no_change() {
  ByteWriter writer = begin(ChangeKind::removed_point);
  writer.u64(0);
  return std::move(writer).take();
}

Bytes Catalogue::put(const SupersededManifest& manifest) {
  const std::lock_guard lock(mutex_);
  state_.put(manifest);
  return encode_superseded(manifest);
}

Bytes Catalogue::remove_superseded(PointNumber file) { return put(SupersededManifest{file, file, UnixNanos{0}}); }

Bytes Catalogue::set_renewing(bool renewing) {
  const std::lock_guard lock(mutex_);
  state_.renewing = renewing;
  return encode_renewing(renewing);
}

void Catalogue::read_change(ByteReader& reader, std::vector<Change>& changes) {
  switch (reader.u8()) {
    case static_cast<std::uint8_t>(ChangeKind::item):
      changes.emplace_back([item = decode_item(reader)](State& state) { state.put(item); });
      return;
    case static_cast<std::uint8_t>(ChangeKind::point):
      changes.emplace_back([point = decode_point(reader)](State& state) { state.put(point); });
      return;
    case static_cast<std::uint8_t>(ChangeKind::job):
      changes.emplace_back([job = decode_job(reader)](State& state) { state.put(job); });
      return;
    case static_cast<std::uint8_t>(ChangeKind::removed_point):
      changes.emplace_back([number = PointNumber(reader.u64())](State& state) {
        state.points.erase(number);
        state.next_point = std::max(state.next_point, number.next());
      });
      return;
    case static_cast<std::uint8_t>(ChangeKind::point_file): {
      const PointNumber point(reader.u64());
      const PointNumber file(reader.u64());
      if (file <= point) reader.fail();
      changes.emplace_back([point, file](State& state) { state.set_file(point, file); });
      return;
    }
    case static_cast<std::uint8_t>(ChangeKind::superseded): {
      SupersededManifest manifest;
      manifest.file = PointNumber(reader.u64());
      manifest.point = PointNumber(reader.u64());
      manifest.since.value = reader.i64();
      if (manifest.point.value == 0 || manifest.file < manifest.point) reader.fail();
      changes.emplace_back([manifest](State& state) { state.put(manifest); });
      return;
    }
    case static_cast<std::uint8_t>(ChangeKind::renewing):
      changes.emplace_back([renewing = reader.boolean()](State& state) { state.renewing = renewing; });
      return;
    default:
      reader.fail();
  }
}

Status Catalogue::apply(ByteView entry) {
  ByteReader reader(entry);
  std::vector<Change> changes;
  do read_change(reader, changes);
  while (reader.remaining() > 0);
  VAULTFS_RETURN_IF_ERROR(reader.finish(ErrorCode::JournalDamaged, "a catalogue entry of the journal"));
  const std::lock_guard lock(mutex_);
  for (const Change& change : changes) change(state_);
  return ok_status();
}

Bytes Catalogue::encode() const {
  const std::lock_guard lock(mutex_);
  ByteWriter writer;
  writer.u64(state_.next_job.value);
  writer.u64(state_.next_point.value);
  for (const auto& [name, item] : state_.items) writer.raw(encode_item(item));
  for (const auto& [number, point] : state_.points) writer.raw(encode_point(point));
  for (const auto& [number, job] : state_.jobs) writer.raw(encode_job(job));
  for (const auto& [file, manifest] : state_.superseded) writer.raw(encode_superseded(manifest));
  if (state_.renewing) writer.raw(encode_renewing(true));
  return std::move(writer).take();
}

Status Catalogue::load(ByteView section) {
  ByteReader reader(section);
  State loaded;
  loaded.next_job = JobNumber(reader.u64());
  loaded.next_point = PointNumber(reader.u64());
  if (loaded.next_job.value == 0 || loaded.next_point.value == 0) reader.fail();
  std::vector<Change> changes;
  while (reader.remaining() > 0) read_change(reader, changes);
  VAULTFS_RETURN_IF_ERROR(reader.finish(ErrorCode::DamagedCheckpoint, "the catalogue of a checkpoint"));
  for (const Change& change : changes) change(loaded);
  const std::lock_guard lock(mutex_);
  state_ = std::move(loaded);
  return ok_status();
}

}  // namespace vaultfs
