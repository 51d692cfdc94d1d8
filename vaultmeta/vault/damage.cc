// What an opened vault knows of its damage, and how that heals: docs/decisions/0018-damage.md.
#include <algorithm>
#include <map>
#include <set>
#include <utility>

#include "base/thread/mutex.h"
#include "vaultmeta/catalogue/catalogue_change.h"
#include "vaultmeta/points/damage_walk.h"
#include "vaultmeta/points/point_file.h"
#include "vaultmeta/vault/opened_vault.h"

namespace vaultfs {
namespace {

constexpr std::size_t kMostInEntry = 1U << 15;

bool is_held(const SegmentStore& segments, const ChunkIndex::Key& key) {
  const auto place = segments.place_of(key);
  return place && !place->damaged;
}

Result<bool> read_whole(SegmentStore& segments, const ChunkIndex::Key& key) {
  const UseGate::Use use = segments.use();
  return segments.probe(key);
}

std::string counted(std::uint64_t count, const std::string& one, const std::string& many) {
  return std::to_string(count) + " " + (count == 1 ? one : many);
}

}  // namespace

Status OpenedVault::log_damage(const std::vector<KnownDamage>& found) {
  for (std::size_t begin = 0; begin < found.size(); begin += kMostInEntry) {
    const auto from = found.begin() + static_cast<std::ptrdiff_t>(begin);
    const auto to = found.begin() + static_cast<std::ptrdiff_t>(std::min(found.size(), begin + kMostInEntry));
    const MutexLock lock(change_mutex_);
    VAULTFS_RETURN_IF_ERROR(append_catalogue(encode_damaged(std::vector<KnownDamage>(from, to))));
  }
  if (found.empty()) return ok_status();
  VAULTFS_RETURN_IF_ERROR(parts_.journal->commit());
  record_activity("damage.found", "Succeeded", "", counted(found.size(), "damaged chunk", "damaged chunks"));
  return ok_status();
}

Status OpenedVault::log_healed(const std::vector<ChunkIndex::Key>& keys) {
  for (std::size_t begin = 0; begin < keys.size(); begin += kMostInEntry) {
    const auto from = keys.begin() + static_cast<std::ptrdiff_t>(begin);
    const auto to = keys.begin() + static_cast<std::ptrdiff_t>(std::min(keys.size(), begin + kMostInEntry));
    const MutexLock lock(change_mutex_);
    VAULTFS_RETURN_IF_ERROR(append_catalogue(encode_healed(std::vector<ChunkIndex::Key>(from, to))));
  }
  return keys.empty() ? ok_status() : parts_.journal->commit();
}

Status OpenedVault::remember_damage() {
  if (parts_.read_only) return ok_status();
  // Who is about to end a job waits for what another thread is just writing down.
  const MutexLock one_at_a_time(damage_mutex_);
  SegmentStore& segments = *parts_.segments;
  const std::vector<DamagedChunk> told = segments.take_damage();
  std::vector<KnownDamage> found;
  const UnixNanos now = parts_.machine.env.clock().now();
  for (const DamagedChunk& chunk : told) {
    const auto place = segments.place_of(chunk.key);
    // Stored anew since, or moved: what is there now was read or written whole.
    if (!place || !place->damaged || parts_.catalogue->knows_damage(chunk.key)) continue;
    // Once more: what lasts must not rest on a disk that was away for a moment.
    const auto sound = read_whole(segments, chunk.key);
    if (!sound.ok() || *sound) continue;
    found.push_back({{chunk.key, place->type, place->segment}, now});
  }
  return log_damage(found);
}

Result<std::uint64_t> OpenedVault::points_that_need(const std::vector<ChunkIndex::Key>& keys) {
  const std::set<ChunkIndex::Key> wanted(keys.begin(), keys.end());
  SegmentStore& segments = *parts_.segments;
  DamageWalk walk(segments, [&](RecordType, const ChunkId& id) -> std::optional<Error> {
    const Error met{ErrorCode::DamagedRecord, "it was damaged"};
    if (wanted.contains(ChunkIndex::key_of(id))) return met;
    const UseGate::Use use = segments.use();
    const auto base = segments.base_key_of(id);
    if (base.ok() && *base && wanted.contains(**base)) return met;
    return std::nullopt;
  });
  std::uint64_t points = 0;
  for (const PointInfo& point : parts_.catalogue->points()) {
    const auto manifest = load_manifest(point);
    if (!manifest.ok()) continue;
    VAULTFS_ASSIGN_OR_RETURN(const bool needs, walk.meets_any(*manifest));
    points += needs ? 1 : 0;
  }
  return points;
}

Result<HealedDamage> OpenedVault::record_healed(const Manifest* newest) {
  if (parts_.read_only) return HealedDamage{};
  const MutexLock one_at_a_time(damage_mutex_);
  VAULTFS_ASSIGN_OR_RETURN(HealedDamage healed, forget_healed(newest));
  if (healed.chunks > 0) {
    if (const Status rewritten = rewrite_inventories(); !rewritten.ok())
      warn("inventories of points", rewritten.error());
  }
  return healed;
}

// A point that has healed does not say any longer that it needs a segment which is gone, or is not what it was. Its
// former manifest is of no use to a copy either.
Status OpenedVault::rewrite_inventories() {
  // Who re-encrypts writes them anew, too, and knows what of it is durable.
  if (parts_.catalogue->reencrypting()) return ok_status();
  VAULTFS_RETURN_IF_ERROR(parts_.segments->sync());
  VAULTFS_RETURN_IF_ERROR(parts_.segments->close_segment());
  for (const PointInfo& point : parts_.catalogue->points()) {
    const auto manifest = load_manifest(point);
    if (!manifest.ok()) continue;
    const bool as_listed = std::ranges::all_of(manifest->inventory, [&](const Manifest::SegmentNeeded& segment) {
      const auto file = parts_.machine.env.info(parts_.path / kSegmentFiles.file(segment.number.value));
      // What can't be looked at may be as it was.
      return !file.ok() || (file->kind == FileKind::file && file->size == segment.file_bytes);
    });
    if (as_listed) continue;
    bool skipped = false;
    const auto needed = point_segments_.of(manifest->inodes, skipped);
    if (!needed.ok() || skipped || *needed == manifest->inventory) continue;
    const PointNumber before = parts_.catalogue->point(point.number).value_or(point).manifest_file();
    VAULTFS_RETURN_IF_ERROR(rewrite_point(point.number, point_segments_));
    const MutexLock lock(change_mutex_);
    VAULTFS_RETURN_IF_ERROR(
        append_catalogue(parts_.catalogue->put(SupersededManifest{before, point.number, UnixNanos{1}})));
  }
  return parts_.journal->commit();
}

Status OpenedVault::heal_patches(const Manifest* newest) {
  std::set<ChunkIndex::Key> damaged;
  for (const KnownDamage& known : parts_.catalogue->damage()) {
    const auto place = parts_.segments->place_of(known.chunk.key);
    if (place && place->damaged && place->type == RecordType::patch) damaged.insert(known.chunk.key);
  }
  // The newest point of an item is its last one.
  const auto points = [this](bool all) {
    return [this, all](const std::function<Status(const Manifest&)>& show) -> Status {
      std::map<std::string, PointInfo> last;
      for (const PointInfo& point : parts_.catalogue->points()) {
        if (!all) {
          last.insert_or_assign(point.item, point);
          continue;
        }
        const auto manifest = load_manifest(point);
        if (manifest.ok()) VAULTFS_RETURN_IF_ERROR(show(*manifest));
      }
      for (const auto& [item, point] : last) {
        const auto manifest = load_manifest(point);
        if (manifest.ok()) VAULTFS_RETURN_IF_ERROR(show(*manifest));
      }
      return ok_status();
    };
  };
  const PatchHealing::Points newer =
      newest == nullptr ? PatchHealing::Points(points(false))
                        : [newest](const std::function<Status(const Manifest&)>& show) { return show(*newest); };
  return patch_healing_.heal(damaged, points(true), newer);
}

Result<HealedDamage> OpenedVault::forget_healed(const Manifest* newest) {
  if (parts_.catalogue->damage_count() == 0) return HealedDamage{};
  SegmentStore& segments = *parts_.segments;
  if (const Status healed = heal_patches(newest); !healed.ok()) warn("healing damaged patches", healed.error());
  VAULTFS_RETURN_IF_ERROR(segments.sync());
  std::vector<ChunkIndex::Key> healed;
  for (const KnownDamage& known : parts_.catalogue->damage()) {
    if (!is_held(segments, known.chunk.key)) continue;
    VAULTFS_ASSIGN_OR_RETURN(const bool sound, read_whole(segments, known.chunk.key));
    if (sound) healed.push_back(known.chunk.key);
  }
  if (healed.empty()) return HealedDamage{};
  HealedDamage outcome{healed.size(), 0};
  VAULTFS_ASSIGN_OR_RETURN(outcome.points, points_that_need(healed));
  VAULTFS_RETURN_IF_ERROR(log_healed(healed));
  point_segments_.forget();  // they lie in other segments by now
  record_activity("damage.heal", "Succeeded", "",
                  counted(outcome.chunks, "damaged chunk healed in ", "damaged chunks healed in ") +
                      counted(outcome.points, "point", "points"));
  return outcome;
}

Result<std::vector<DamagedRange>> OpenedVault::known_damage_of(const Manifest& manifest) {
  SegmentStore& segments = *parts_.segments;
  DamageWalk walk(segments, [&](RecordType, const ChunkId& id) { return look_at_marks(segments, id); });
  return walk.walk(manifest);
}

Result<std::vector<DamagedRange>> OpenedVault::known_damage_of_item(const std::string& item) {
  if (parts_.catalogue->damage_count() == 0) return std::vector<DamagedRange>();
  const std::vector<PointInfo> points = parts_.catalogue->points_of(item);
  if (points.empty()) return std::vector<DamagedRange>();
  VAULTFS_ASSIGN_OR_RETURN(const Manifest manifest, load_manifest(points.back()));
  return known_damage_of(manifest);
}

Result<ExaminedDamage> OpenedVault::examine_damage(const std::set<ContainerNumber>& segments_to_read) {
  VAULTFS_RETURN_IF_ERROR(require_owner());
  const MutexLock one_at_a_time(damage_mutex_);
  SegmentStore& segments = *parts_.segments;
  Catalogue& catalogue = *parts_.catalogue;
  const UnixNanos now = parts_.machine.env.clock().now();
  std::vector<KnownDamage> found;
  for (const ChunkIndex::Key& key : segments.keys_in(segments_to_read)) {
    VAULTFS_ASSIGN_OR_RETURN(const bool sound, read_whole(segments, key));
    const auto place = segments.place_of(key);
    if (!sound && place && !catalogue.knows_damage(key)) found.push_back({{key, place->type, place->segment}, now});
  }
  // What is known and not marked any more, because it was read whole, goes below.
  for (const KnownDamage& known : catalogue.damage()) {
    if (segments.place_of(known.chunk.key)) VAULTFS_RETURN_IF_ERROR(read_whole(segments, known.chunk.key));
  }
  std::set<ChunkIndex::Key> nowhere;
  VAULTFS_RETURN_IF_ERROR(find_what_no_segment_has(found, nowhere));
  ExaminedDamage outcome;
  outcome.found = found.size();
  VAULTFS_RETURN_IF_ERROR(log_damage(found));
  // What no segment has and no point needs is nobody's loss.
  std::vector<ChunkIndex::Key> over;
  for (const KnownDamage& known : catalogue.damage()) {
    if (!segments.place_of(known.chunk.key) && !nowhere.contains(known.chunk.key)) over.push_back(known.chunk.key);
  }
  if (segments.all_segments_looked_at()) VAULTFS_RETURN_IF_ERROR(log_healed(over));
  VAULTFS_ASSIGN_OR_RETURN(outcome.healed, forget_healed(nullptr));
  outcome.known = catalogue.damage_count();
  return outcome;
}

Status OpenedVault::find_what_no_segment_has(std::vector<KnownDamage>& found, std::set<ChunkIndex::Key>& nowhere) {
  SegmentStore& segments = *parts_.segments;
  if (!segments.all_segments_looked_at()) return ok_status();
  const UnixNanos now = parts_.machine.env.clock().now();
  const auto note = [&](RecordType type, const ChunkIndex::Key& key) {
    if (segments.place_of(key) || !nowhere.insert(key).second || parts_.catalogue->knows_damage(key)) return;
    found.push_back({{key, type, ContainerNumber{}}, now});
  };
  DamageWalk walk(segments, [&](RecordType type, const ChunkId& id) -> std::optional<Error> {
    note(type, ChunkIndex::key_of(id));
    const UseGate::Use use = segments.use();
    const auto base = segments.base_key_of(id);
    if (base.ok() && *base) note(RecordType::chunk, **base);
    return std::nullopt;
  });
  for (const PointInfo& point : parts_.catalogue->points()) {
    const auto manifest = load_manifest(point);
    if (manifest.ok()) VAULTFS_RETURN_IF_ERROR(walk.walk(*manifest));
  }
  return ok_status();
}

Status OpenedVault::look_for_missing_segments() {
  std::map<ContainerNumber, std::uint64_t> there;
  for (const SegmentInfo& segment : parts_.segments->segments()) there[segment.number] = segment.file_bytes;
  for (const PointInfo& point : parts_.catalogue->points()) {
    const auto file = parts_.blobs->open(kPointFiles.file(point.manifest_file().value));
    if (!file.ok()) continue;
    const auto inventory = read_clear_inventory(**file);
    if (!inventory.ok()) continue;
    for (const Manifest::SegmentNeeded& segment : *inventory) {
      const auto found = there.find(segment.number);
      if (found != there.end() && found->second == segment.file_bytes) continue;
      const auto examined = examine_damage({});
      return examined.ok() ? ok_status() : Status(examined.error());
    }
  }
  return ok_status();
}

}  // namespace vaultfs
