// What an opening does where the state that the newest head names can't be read.
#include <algorithm>
#include <utility>

#include "vaultmeta/layout/file_notes.h"
#include "vaultmeta/points/damage_walk.h"
#include "vaultmeta/points/point_file.h"
#include "vaultmeta/vault/opening.h"

namespace vaultfs {
namespace {

Error with_way_out(Error error) {
  error.message +=
      "; its recovery points can still be listed and restored (vaultctl recovery-point list, restore), and read in a "
      "mount with -o ro,accept-older; to write to the vault again, put the file back from a copy of it";
  return error;
}

}  // namespace

Status VaultOpening::load_newest_state() {
  const Head& newest = parts_.head.head;
  Status status = load_state(newest);
  // Heads of format 1 do not have it; the next one will.
  if (status.ok()) parts_.head.head.checkpoint_bytes = checkpoint_bytes_;
  if (status.ok() && closed_epochs_only_) {
    parts_.points_in_doubt = Error{ErrorCode::RollbackDetected, "every head of the vault is of a closed epoch"};
    for (PointInfo point : parts_.catalogue->points()) {
      point.unproven = true;
      static_cast<void>(parts_.catalogue->put(point));
    }
  }
  if (status.ok() || !is_integrity_error(status.code())) return status;
  const Error reason = status.error();
  if (!options_.read_only) return with_way_out(reason);
  // A live owner may have moved on from this head: then there is a newer one at the next attempt.
  if (std::exchange(failed_at_, newest.generation) != newest.generation) return reason;
  parts_.history_damage = reason;
  // The whole of an older state where that has the same points; else the newest points alone; else what there is.
  VAULTFS_ASSIGN_OR_RETURN(bool taken, take_older_head(reason, true));
  if (!taken && shows_points()) {
    VAULTFS_ASSIGN_OR_RETURN(taken, take_points(reason, false));
  }
  if (!taken) {
    VAULTFS_ASSIGN_OR_RETURN(taken, take_older_head(reason, false));
  }
  if (!taken && shows_points()) {
    VAULTFS_ASSIGN_OR_RETURN(taken, take_points(reason, true));
  }
  if (taken) return ok_status();
  return shows_points() ? reason : with_way_out(reason);
}

Result<bool> VaultOpening::take_older_head(const Error& reason, bool same_points) {
  // A copy that was taken while the owner worked may lack what its newest head names. An older head will do, but none
  // that the pin has left behind: that would be a rollback which nobody accepted.
  const Head& newest = parts_.head.head;
  for (const Head::Signed& older : chain_) {
    if (older.head.generation >= newest.generation) continue;
    if (!lenient() && older.head.generation < pin_->head_generation) break;
    if (same_points && (older.head.format == Head::kFormat1 || older.head.points != newest.points)) continue;
    if (!load_state(older.head).ok()) continue;
    parts_.notes.push_back("an older head was taken, because the newest is not complete: " + reason.message);
    if (same_points) return true;
    std::set<PointNumber> known;
    for (const PointInfo& point : parts_.catalogue->points()) known.insert(point.number);
    VAULTFS_RETURN_IF_ERROR(find_and_prove_points(known, reason));
    return true;
  }
  return false;
}

Result<bool> VaultOpening::take_points(const Error& reason, bool unproven) {
  const Head& head = parts_.head.head;
  // What precedes the damage is of this vault, but a branch may have it, too.
  static_cast<void>(load_state(head).ok());
  VAULTFS_RETURN_IF_ERROR(find_and_prove_points(points_of_checkpoint(head), reason));
  if (parts_.catalogue->points().empty() || (parts_.points_in_doubt.has_value() && !unproven)) return false;
  VAULTFS_RETURN_IF_ERROR(tree_.load({}));
  parts_.notes.push_back("the working tree and the list of jobs could not be read: " + reason.message);
  VAULTFS_RETURN_IF_ERROR(open_activity(head));
  return true;
}

std::set<PointNumber> VaultOpening::points_of_checkpoint(const Head& head) {
  std::set<PointNumber> known;
  const auto checkpoint = read_checkpoint(head);
  Catalogue then;
  if (!checkpoint.ok() || !checkpoint->has_value() || !then.load((*checkpoint)->catalogue).ok()) return known;
  for (const PointInfo& point : then.points()) {
    const std::optional<PointInfo> now = parts_.catalogue->point(point.number);
    if (now.has_value() && now->manifest == point.manifest) known.insert(point.number);
  }
  return known;
}

Status VaultOpening::find_and_prove_points(const std::set<PointNumber>& known, const Error& reason) {
  // What an attempt before has found of them is found again.
  std::erase_if(parts_.passed_over, [](const Damage& damage) { return damage.file.starts_with(kPointFiles.name); });
  current_epoch_.clear();
  if (shows_points()) VAULTFS_RETURN_IF_ERROR(add_points_of_manifests());
  std::vector<FoundPoint> found;
  for (const PointInfo& point : parts_.catalogue->points()) {
    found.push_back({point, current_epoch_.contains(point.number), known.contains(point.number)});
  }
  std::set<Digest> vouched;
  for (const Head::Signed& head : chain_) {
    if (head.head.format != Head::kFormat1) vouched.insert(head.head.points);
  }
  const Head& newest = parts_.head.head;
  ProvenPoints proof;
  if (closed_epochs_only_) {
    // Such heads prove nothing.
  } else if (newest.format != Head::kFormat1) {
    proof = prove_points(found, newest.points, vouched);
  } else {
    proof.points = known;
  }
  if (!proof.complete) parts_.points_in_doubt = reason;
  for (const FoundPoint& one : found) {
    PointInfo point = one.info;
    point.unproven = !proof.points.contains(point.number);
    if (point.unproven && proof.complete) {
      // The newest head vouches for the others alone.
      const std::string file = kPointFiles.file(point.manifest_file().value);
      parts_.passed_over.push_back({file, {ErrorCode::AuthenticationFailed, "passed over, because no head knows it"}});
      parts_.notes.push_back(file + " was passed over: no head knows it");
      static_cast<void>(parts_.catalogue->remove_point(point.number));
      continue;
    }
    if (point.unproven) {
      parts_.notes.push_back("recovery point " + point.id() + " of item " + point.item +
                             " is unproven: it is known by its file alone, and no head vouches for it");
    }
    static_cast<void>(parts_.catalogue->put(point));
  }
  return ok_status();
}

Status VaultOpening::add_points_of_manifests() {
  const auto numbers = list_numbers(*parts_.blobs, kPointFiles);
  if (!numbers.ok())
    return is_integrity_error(numbers.code()) || numbers.code() == ErrorCode::NotFound ? ok_status()
                                                                                       : Status(numbers.error());
  std::set<PointNumber> superseded;
  for (const SupersededManifest& old : parts_.catalogue->superseded()) superseded.insert(old.file);
  std::set<PointNumber> added;
  FileNotes unreadable(parts_.notes, "files in points/ could not be read");
  for (const std::uint64_t number : *numbers) {
    if (superseded.contains(PointNumber(number))) continue;
    auto found = describe_point(*parts_.blobs, parts_.custody->keys(), PointNumber(number));
    if (!found.ok()) {
      if (found.code() == ErrorCode::KeyRevoked || found.code() == ErrorCode::MemoryLockFailed) return found.error();
      unreadable.add(with_context(found.error(), kPointFiles.file(number)).message);
      continue;
    }
    const PointInfo& point = found->info;
    const std::optional<PointInfo> known = parts_.catalogue->point(point.number);
    const bool is_known_file = known.has_value() && known->manifest == point.manifest;
    if (found->current_epoch && (!known.has_value() || is_known_file)) current_epoch_.insert(point.number);
    if (known.has_value() && !added.contains(point.number)) continue;
    // Of two manifests of a point the newer one counts, if all is there that it needs.
    if (known.has_value()) {
      VAULTFS_ASSIGN_OR_RETURN(const std::string problem, what_is_missing(point));
      if (!problem.empty()) continue;
    }
    if (!parts_.catalogue->item(point.item).has_value()) {
      static_cast<void>(parts_.catalogue->put(ItemInfo{point.item, point.created, true}));
    }
    added.insert(point.number);
    static_cast<void>(parts_.catalogue->put(point));
  }
  return ok_status();
}

Result<std::string> VaultOpening::what_is_missing(const PointInfo& point) {
  const auto file = parts_.blobs->open(kPointFiles.file(point.manifest_file().value));
  if (!file.ok()) return file.error().message;
  const auto inventory = read_clear_inventory(**file);
  if (!inventory.ok()) return inventory.error().message;
  VAULTFS_ASSIGN_OR_RETURN(const auto missing, missing_segments(parts_.machine.env, parts_.path, *inventory));
  return missing.empty() ? std::string() : missing.front().message;
}

bool VaultOpening::is_whole_elsewhere(const PointInfo& point) {
  const auto manifest = read_manifest_of(*parts_.blobs, parts_.custody->keys(), point);
  if (!manifest.ok()) return false;
  SegmentStore& segments = *parts_.segments;
  DamageWalk walk(segments, [&segments](RecordType, const ChunkId& id) { return look_at_marks(segments, id); });
  const auto met = walk.meets_any(*manifest);
  return met.ok() && !*met;
}

Status VaultOpening::tell_incomplete_points() {
  for (const PointInfo& point : parts_.catalogue->points()) {
    VAULTFS_ASSIGN_OR_RETURN(const std::string problem, what_is_missing(point));
    if (problem.empty() || is_whole_elsewhere(point)) continue;
    parts_.notes.push_back("recovery point " + point.id() + " is incomplete: " + problem);
  }
  return ok_status();
}

}  // namespace vaultfs
