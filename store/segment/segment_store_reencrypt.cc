// Re-encryption of what is stored: docs/decisions/0007-reencryption.md.
#include <map>
#include <utility>

#include "base/thread/mutex.h"
#include "store/record/container.h"
#include "store/segment/segment_store_impl.h"

namespace vaultfs {

Result<EpochNumber> SegmentStoreImpl::epoch_of(ContainerNumber segment) {
  Segment known;
  {
    const MutexLock lock(mutex_);
    const auto found = segments_.find(segment);
    if (found == segments_.end()) return Error{ErrorCode::SegmentMissing, "a segment is gone"};
    known = found->second;
  }
  if (known.epoch.value != 0) return known.epoch;
  if (known.writer) return known.writer->epoch();
  const std::string name = known.closed ? closed_segment_name(segment) : open_segment_name(segment);
  auto file = known.closed ? blobs_.open(name) : env_.open(root_ / name, OpenMode::read_only);
  if (!file.ok()) {
    if (file.code() != ErrorCode::NotFound) return std::move(file).error();
    return Error{ErrorCode::SegmentMissing, name + " is gone"};
  }
  Bytes start(ContainerHeader::kEncodedBytes);
  VAULTFS_ASSIGN_OR_RETURN(const std::size_t read, (*file)->read_at(0, start));
  if (read != start.size()) return Error{ErrorCode::DamagedHeader, name + " is cut off"};
  VAULTFS_ASSIGN_OR_RETURN(const ContainerHeader header, ContainerHeader::decode(start));
  if (header.kind != ContainerKind::segment || header.number != segment) {
    return Error{ErrorCode::DamagedHeader, name + " is another file than its name says"};
  }
  const MutexLock lock(mutex_);
  const auto found = segments_.find(segment);
  if (found != segments_.end()) found->second.epoch = header.epoch;
  return header.epoch;
}

std::vector<EpochUse> SegmentStoreImpl::epochs() {
  std::map<EpochNumber, EpochUse> by_epoch;
  for (const SegmentInfo& segment : segments()) {
    const auto epoch = epoch_of(segment.number);
    // It was closed empty, or compacted, just now.
    if (!epoch.ok() && epoch.code() == ErrorCode::SegmentMissing) continue;
    EpochUse& use = by_epoch[epoch.ok() ? *epoch : EpochNumber{}];
    ++use.segments;
    use.stored_bytes += segment.stored_bytes;
  }
  std::vector<EpochUse> uses;
  for (auto& [epoch, use] : by_epoch) {
    use.epoch = epoch;
    uses.push_back(use);
  }
  return uses;
}

Result<ReencryptedRecords> SegmentStoreImpl::reencrypt(const ChunkId& id, EpochNumber oldest) {
  ReencryptedRecords outcome;
  if (options_.read_only) return Error{ErrorCode::ReadOnly, "the vault is open for reading only"};
  if (id.is_zero()) return outcome;
  const auto place = locate(ChunkIndex::key_of(id));
  if (!place) return missing("a chunk that is referred to");
  std::optional<ChunkPlace> base;
  ChunkId base_id;
  if (place->type == RecordType::patch) {
    VAULTFS_ASSIGN_OR_RETURN(Located record, find_proven(id));
    if (record.place.type == RecordType::patch) {
      VAULTFS_ASSIGN_OR_RETURN(const PatchHeader patch, patch_header(id, record));
      base_id = patch.base;
      VAULTFS_ASSIGN_OR_RETURN(base, base_place(base_id));
    }
  }
  VAULTFS_RETURN_IF_ERROR(reencrypt_record(id, *place, oldest, outcome));
  if (base) VAULTFS_RETURN_IF_ERROR(reencrypt_record(base_id, *base, oldest, outcome));
  return outcome;
}

Status SegmentStoreImpl::reencrypt_record(const ChunkId& id, ChunkPlace place, EpochNumber oldest,
                                          ReencryptedRecords& outcome) {
  VAULTFS_ASSIGN_OR_RETURN(const EpochNumber epoch, epoch_of(place.segment));
  if (epoch >= oldest) return ok_status();
  // What is moved is what was verified, in the same memory. Where that is another record than the index had, the index
  // has it now.
  const auto content = read_verified_record(id, place);
  if (!content.ok()) {
    // A disk that does not give a record back is damage of that record, other than one that takes no new one.
    const Error& error = content.error();
    return error.code == ErrorCode::IoError ? Error{ErrorCode::DamagedRecord, error.message} : error;
  }
  VAULTFS_ASSIGN_OR_RETURN(const PutOutcome put, store_new(place.type, id, *content));
  ++outcome.records;
  outcome.old_bytes += place.stored_bytes;
  outcome.stored_bytes += put.stored_bytes;
  {
    const MutexLock lock(unused_mutex_);
    unused_[place.segment] += place.stored_bytes;
  }
  const MutexLock lock(reencrypted_mutex_);
  reencrypted_.push_back({id, place});
  return ok_status();
}

Status SegmentStoreImpl::sync_reencrypted() {
  std::vector<Reencrypted> reencrypted;
  {
    const MutexLock lock(reencrypted_mutex_);
    reencrypted = std::exchange(reencrypted_, {});
  }
  Status synced = sync();
  // What a failed sync took out of the index, whoever's sync that was, still stands where it stood. This is after the
  // sync: what that found written is either durable or out of the index by now.
  for (const Reencrypted& record : reencrypted) {
    const auto now = index_.find(record.id);
    if (!now || (now->damaged && now->healed)) index_.insert_if_better(record.id, record.before);
  }
  return synced;
}

}  // namespace vaultfs
