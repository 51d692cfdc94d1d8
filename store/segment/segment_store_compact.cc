// Compaction: docs/decisions/0005-compaction.md has why no interleaving removes what somebody needs.
#include <algorithm>
#include <map>
#include <utility>

#include "base/thread/mutex.h"
#include "store/segment/segment_recovery.h"
#include "store/segment/segment_store_impl.h"

namespace vaultfs {

struct SegmentStoreImpl::Candidate {
  ContainerNumber number;
  std::uint64_t file_bytes = 0;
  std::uint64_t live_bytes = 0;
};

void SegmentStoreImpl::begin_collection() {
  index_.begin_generation();
  // Who put something before and has not made it reachable yet does so first.
  uses_.wait_for_earlier();
}

Status SegmentStoreImpl::retain(const ChunkId& id) {
  if (id.is_zero()) return ok_status();
  const auto place = index_.touch(id);
  if (!place || place->type != RecordType::patch) return ok_status();
  VAULTFS_ASSIGN_OR_RETURN(const std::optional<ChunkIndex::Key> base, base_of(id, *place));
  if (base) index_.touch(*base);
  return ok_status();
}

void SegmentStoreImpl::note_unused(const ChunkId& id) {
  if (id.is_zero()) return;
  const auto place = index_.find(id);
  if (!place) return;
  const MutexLock lock(unused_mutex_);
  unused_[place->segment] += place->stored_bytes;
}

void SegmentStoreImpl::set_unused(ContainerNumber number, std::uint64_t bytes) const {
  const MutexLock lock(unused_mutex_);
  if (bytes == 0) {
    unused_.erase(number);
  } else {
    unused_[number] = bytes;
  }
}

SegmentStoreImpl::FileSizes SegmentStoreImpl::removable(const std::set<ContainerNumber>& kept) const {
  FileSizes sizes;
  const MutexLock lock(mutex_);
  for (const auto& [number, segment] : segments_) {
    if (!segment.closed || segment.missing || segment.file_bytes == 0 || kept.contains(number)) continue;
    sizes[number] = segment.file_bytes;
  }
  return sizes;
}

Status SegmentStoreImpl::retain_healed(const FileSizes& removable, const std::set<ContainerNumber>& kept) {
  // Nobody adds to these meanwhile: within a generation nothing dies, and what heals something is live.
  std::vector<ChunkIndex::Key> dead;
  index_.for_each_with_life([&](const ChunkIndex::Key& key, const ChunkPlace& place, bool needed) {
    if (place.healed && !needed && removable.contains(place.segment)) dead.push_back(key);
  });
  std::ranges::sort(dead);
  std::vector<bool> found(dead.size());
  std::size_t left = dead.size();
  // A patch found takes no base along: where the points' own record of that is worse, it is healed itself.
  const auto take = [&](std::size_t i) {
    if (found[i]) return;
    found[i] = true;
    --left;
    index_.touch(dead[i]);
  };
  for (auto number = kept.begin(); left > 0 && number != kept.end(); ++number) {
    const auto footer = [&]() -> Result<std::vector<SegmentEntry>> {
      VAULTFS_ASSIGN_OR_RETURN(const auto file, blobs_.open(closed_segment_name(*number)));
      return load_segment_footer(*file, keys_, *number);
    }();
    if (!footer.ok()) {
      if (ends_the_opening(footer.code())) return footer.error();
      for (std::size_t i = 0; i < dead.size(); ++i) take(i);  // it may list any of them
      return ok_status();
    }
    for (const SegmentEntry& entry : *footer) {
      const auto at = std::ranges::lower_bound(dead, ChunkIndex::key_of(entry.id));
      if (at != dead.end() && *at == ChunkIndex::key_of(entry.id)) take(static_cast<std::size_t>(at - dead.begin()));
    }
  }
  return ok_status();
}

std::vector<SegmentStoreImpl::Candidate> SegmentStoreImpl::candidates(const FileSizes& removable,
                                                                      const CompactionLimits& limits) const {
  std::map<ContainerNumber, std::uint64_t> live;
  index_.for_each_with_life([&](const ChunkIndex::Key&, const ChunkPlace& place, bool needed) {
    if (needed) live[place.segment] += place.stored_bytes;
  });
  std::vector<Candidate> found;
  for (const auto& [number, file_bytes] : removable) {
    const Candidate candidate{number, file_bytes, live[number]};
    if (candidate.live_bytes * 100 <= candidate.file_bytes * (100 - std::min(limits.least_dead_percent, 100U))) {
      found.push_back(candidate);
    }
    set_unused(number, candidate.file_bytes - std::min(candidate.live_bytes, candidate.file_bytes));
  }
  // What costs nothing comes first: it makes the room for the rest.
  std::ranges::sort(found, {}, [](const Candidate& c) { return c.live_bytes; });
  return found;
}

Result<bool> SegmentStoreImpl::empty_out(const Candidate& candidate, std::uint64_t& moved) {
  const std::string name = closed_segment_name(candidate.number);
  VAULTFS_ASSIGN_OR_RETURN(const auto file, blobs_.open(name));
  VAULTFS_ASSIGN_OR_RETURN(const SegmentContents contents, load_closed_segment(*file, keys_, candidate.number));
  if (contents.damage && !is_integrity_error(contents.damage->code)) return false;  // what it has is not known
  // False if the record is needed here and can't be had, there or anywhere.
  const auto move = [&](const ChunkId& id, ChunkPlace place) -> Result<bool> {
    if (index_.erase_if_dead_at(id, place)) return true;
    // Another record of this id elsewhere would be at another place: this is the one that counts. Where it is damaged,
    // one that was passed over for it may do.
    auto content = read_verified_record(id, place);
    if (!content.ok() && content.code() == ErrorCode::KeyRevoked) return std::move(content).error();
    if (!content.ok()) return false;
    if (place.segment != candidate.number) return true;
    VAULTFS_ASSIGN_OR_RETURN(const PutOutcome put, store_new(place.type, id, *content));
    moved += put.stored_bytes;
    return true;
  };
  for (const SegmentEntry& entry : contents.entries) {
    const ChunkPlace place{candidate.number,      entry.offset, entry.stored_bytes,
                           entry.plaintext_bytes, entry.type,   false};
    VAULTFS_ASSIGN_OR_RETURN(const bool gone, move(entry.id, place));
    if (!gone) return false;
  }
  if (!contents.damage) return true;
  // What is lost with the footer, or with a record's header, the index may know yet.
  for (const ChunkIndex::Key& key : keys_in({candidate.number})) {
    const auto place = index_.find(key);
    if (!place || place->segment != candidate.number) continue;
    ChunkId by_key;
    std::ranges::copy(key, by_key.mutable_view().begin());
    if (index_.erase_if_dead_at(by_key, *place)) continue;
    const auto id = id_at(key, *place);
    if (!id.ok()) return false;
    VAULTFS_ASSIGN_OR_RETURN(const bool gone, move(*id, *place));
    if (!gone) return false;
  }
  return true;
}

void SegmentStoreImpl::keep_needed(std::vector<Candidate>& emptied) {
  std::set<ContainerNumber> leaving;
  for (const Candidate& candidate : emptied) leaving.insert(candidate.number);
  {
    const MutexLock lock(mutex_);
    leaving_ = leaving;
  }
  // A footer may hide a record that the index knows, and a read may have chosen one in here meanwhile.
  std::set<ContainerNumber> needed;
  index_.for_each([&](const ChunkIndex::Key&, const ChunkPlace& place) {
    if (leaving.contains(place.segment)) needed.insert(place.segment);
  });
  std::erase_if(emptied, [&](const Candidate& candidate) { return needed.contains(candidate.number); });
}

Status SegmentStoreImpl::remove_segments(std::vector<Candidate> emptied, CompactionOutcome& outcome) {
  if (emptied.empty()) return ok_status();
  // The new places are durable before the old ones go, and nobody is on his way to an old one.
  VAULTFS_RETURN_IF_ERROR(sync());
  uses_.wait_for_earlier();
  keep_needed(emptied);
  const MutexLock closing(closing_mutex_);
  // An index that names segments which are gone would look like damage. It is derived, and written anew afterwards.
  VAULTFS_RETURN_IF_ERROR(remove_own_indexes());
  for (const Candidate& candidate : emptied) {
    VAULTFS_RETURN_IF_ERROR(blobs_.remove(closed_segment_name(candidate.number)));
    readers_.erase(candidate.number);
    const MutexLock lock(mutex_);
    segments_.erase(candidate.number);
    set_unused(candidate.number, 0);
    ++outcome.removed_segments;
    outcome.removed_bytes += candidate.file_bytes;
  }
  return ok_status();
}

Result<CompactionOutcome> SegmentStoreImpl::compact(const std::set<ContainerNumber>& kept,
                                                    const CompactionLimits& limits) {
  if (options_.read_only) return Error{ErrorCode::ReadOnly, "the vault is open for reading only"};
  // Uses that began before everything needed was retained may hold what was not.
  uses_.wait_for_earlier();
  const FileSizes sizes = removable(kept);
  VAULTFS_RETURN_IF_ERROR(retain_healed(sizes, kept));
  CompactionOutcome outcome;
  const std::vector<Candidate> found = candidates(sizes, limits);
  std::vector<Candidate> emptied;
  const auto sync_moved = [&]() -> Status {
    const std::vector<Candidate> batch = std::exchange(emptied, {});
    Status removed = remove_segments(batch, outcome);
    const MutexLock lock(mutex_);
    leaving_.clear();
    return removed;
  };
  bool moving = false;
  for (const Candidate& candidate : found) {
    if (candidate.live_bytes > 0 && !std::exchange(moving, true)) VAULTFS_RETURN_IF_ERROR(sync_moved());
    if (outcome.moved_bytes + candidate.live_bytes > limits.most_moved_bytes) continue;
    VAULTFS_ASSIGN_OR_RETURN(const bool empty, empty_out(candidate, outcome.moved_bytes));
    if (empty) {
      emptied.push_back(candidate);
    } else {
      set_unused(candidate.number, 0);  // or the next look would try again
    }
  }
  VAULTFS_RETURN_IF_ERROR(sync_moved());
  return outcome;
}

}  // namespace vaultfs
