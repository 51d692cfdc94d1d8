#include "store/segment/compaction.h"

#include <algorithm>
#include <map>
#include <span>
#include <string>
#include <utility>

#include "store/index/segment_format.h"
#include "store/segment/file/segment_recovery.h"

namespace vaultfs {

void Compaction::begin_collection() {
  index_.begin_generation();
  // Who put something before and has not made it reachable yet does so first.
  uses_.wait_for_earlier();
}

Status Compaction::retain(const ChunkId& id) {
  if (id.is_zero()) return ok_status();
  const auto place = index_.touch(id);
  if (!place || place->type != RecordType::patch) return ok_status();
  VAULTFS_ASSIGN_OR_RETURN(const std::optional<ChunkIndex::Key> base, patches_.base_of(id, *place));
  if (base) index_.touch(*base);
  return ok_status();
}

Compaction::FileSizes Compaction::removable(const std::set<ContainerNumber>& kept) const {
  FileSizes sizes = table_.closed_files();
  std::erase_if(sizes, [&](const auto& file) { return file.second == 0 || kept.contains(file.first); });
  return sizes;
}

Status Compaction::retain_healed(const FileSizes& removable, const std::set<ContainerNumber>& kept) {
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

std::vector<Compaction::Candidate> Compaction::candidates(const FileSizes& removable, const CompactionLimits& limits) {
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
    unused_.set(number, candidate.file_bytes - std::min(candidate.live_bytes, candidate.file_bytes));
  }
  // What costs nothing comes first: it makes the room for the rest.
  std::ranges::sort(found, {}, [](const Candidate& c) { return c.live_bytes; });
  return found;
}

Result<bool> Compaction::empty_out(const Candidate& candidate, std::uint64_t& moved) {
  const std::string name = closed_segment_name(candidate.number);
  VAULTFS_ASSIGN_OR_RETURN(const auto file, blobs_.open(name));
  VAULTFS_ASSIGN_OR_RETURN(const SegmentContents contents, load_closed_segment(*file, keys_, candidate.number));
  if (contents.damage && !is_integrity_error(contents.damage->code)) return false;  // what it has is not known
  // False if the record is needed here and can't be had, there or anywhere.
  const auto move = [&](const ChunkId& id, ChunkPlace place) -> Result<bool> {
    if (index_.erase_if_dead_at(id, place)) return true;
    // Another record of this id elsewhere would be at another place: this is the one that counts. Where it is damaged,
    // one that was passed over for it may do.
    auto content = records_.read_verified_record(id, place);
    if (!content.ok() && content.code() == ErrorCode::KeyRevoked) return std::move(content).error();
    if (!content.ok()) return false;
    if (place.segment != candidate.number) return true;
    VAULTFS_ASSIGN_OR_RETURN(const PutOutcome put, writer_.store_new(place.type, id, *content));
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
  for (const ChunkIndex::Key& key : index_.keys_in({candidate.number})) {
    const auto place = index_.find(key);
    if (!place || place->segment != candidate.number) continue;
    ChunkId by_key;
    std::ranges::copy(key, by_key.mutable_view().begin());
    if (index_.erase_if_dead_at(by_key, *place)) continue;
    const auto id = files_.id_at(key, *place);
    if (!id.ok()) return false;
    VAULTFS_ASSIGN_OR_RETURN(const bool gone, move(*id, *place));
    if (!gone) return false;
  }
  return true;
}

void Compaction::keep_needed(std::vector<Candidate>& emptied) {
  std::set<ContainerNumber> leaving;
  for (const Candidate& candidate : emptied) leaving.insert(candidate.number);
  table_.set_leaving(leaving);
  // A footer may hide a record that the index knows, and a read may have settled on one in here meanwhile.
  std::set<ContainerNumber> needed;
  index_.for_each([&](const ChunkIndex::Key&, const ChunkPlace& place) {
    if (leaving.contains(place.segment)) needed.insert(place.segment);
  });
  std::erase_if(emptied, [&](const Candidate& candidate) { return needed.contains(candidate.number); });
}

Status Compaction::remove_segments(std::vector<Candidate> emptied, CompactionOutcome& outcome) {
  if (emptied.empty()) return ok_status();
  // The new places are durable before the old ones go, and nobody is on his way to an old one.
  VAULTFS_RETURN_IF_ERROR(open_.sync());
  uses_.wait_for_earlier();
  keep_needed(emptied);
  std::vector<ContainerNumber> numbers;
  for (const Candidate& candidate : emptied) numbers.push_back(candidate.number);
  std::size_t removed = 0;
  Status status = closed_.remove(numbers, removed);
  for (const Candidate& candidate : std::span(emptied).first(removed)) {
    unused_.set(candidate.number, 0);
    ++outcome.removed_segments;
    outcome.removed_bytes += candidate.file_bytes;
  }
  return status;
}

Result<CompactionOutcome> Compaction::compact(const std::set<ContainerNumber>& kept, const CompactionLimits& limits) {
  // Uses that began before everything needed was retained may hold what was not.
  uses_.wait_for_earlier();
  const FileSizes sizes = removable(kept);
  VAULTFS_RETURN_IF_ERROR(retain_healed(sizes, kept));
  CompactionOutcome outcome;
  const std::vector<Candidate> found = candidates(sizes, limits);
  std::vector<Candidate> emptied;
  const auto settle = [&]() -> Status {
    const std::vector<Candidate> batch = std::exchange(emptied, {});
    Status removed = remove_segments(batch, outcome);
    table_.set_leaving({});
    return removed;
  };
  bool moving = false;
  for (const Candidate& candidate : found) {
    if (candidate.live_bytes > 0 && !std::exchange(moving, true)) VAULTFS_RETURN_IF_ERROR(settle());
    if (outcome.moved_bytes + candidate.live_bytes > limits.most_moved_bytes) continue;
    VAULTFS_ASSIGN_OR_RETURN(const bool empty, empty_out(candidate, outcome.moved_bytes));
    if (empty) {
      emptied.push_back(candidate);
    } else {
      unused_.set(candidate.number, 0);  // or the next look would try again
    }
  }
  VAULTFS_RETURN_IF_ERROR(settle());
  return outcome;
}

}  // namespace vaultfs
