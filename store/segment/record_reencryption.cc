#include "store/segment/record_reencryption.h"

#include <map>
#include <optional>
#include <utility>

namespace vaultfs {

std::vector<EpochUse> RecordReencryption::epochs() {
  std::map<EpochNumber, EpochUse> by_epoch;
  for (const SegmentTable::Listed& segment : table_.list()) {
    const auto epoch = files_.epoch_of(segment.number);
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

Result<ReencryptedRecords> RecordReencryption::reencrypt(const ChunkId& id, EpochNumber oldest) {
  ReencryptedRecords outcome;
  if (id.is_zero()) return outcome;
  const auto place = unread_.locate(ChunkIndex::key_of(id));
  if (!place) return unread_.missing("a chunk that is referred to");
  std::optional<ChunkPlace> base;
  ChunkId base_id;
  if (place->type == RecordType::patch) {
    VAULTFS_ASSIGN_OR_RETURN(RecordReader::Located record, records_.find_proven(id));
    if (record.place.type == RecordType::patch) {
      VAULTFS_ASSIGN_OR_RETURN(const PatchHeader patch, patches_.patch_header(id, record));
      base_id = patch.base;
      VAULTFS_ASSIGN_OR_RETURN(base, patches_.base_place(base_id));
    }
  }
  VAULTFS_RETURN_IF_ERROR(reencrypt_record(id, *place, oldest, outcome));
  if (base) VAULTFS_RETURN_IF_ERROR(reencrypt_record(base_id, *base, oldest, outcome));
  return outcome;
}

Status RecordReencryption::reencrypt_record(const ChunkId& id, ChunkPlace place, EpochNumber oldest,
                                            ReencryptedRecords& outcome) {
  VAULTFS_ASSIGN_OR_RETURN(const EpochNumber epoch, files_.epoch_of(place.segment));
  if (epoch >= oldest) return ok_status();
  // What is moved is what was verified, in the same memory. Where that is another record than the index had, the index
  // has it now.
  const auto content = records_.read_verified_record(id, place);
  if (!content.ok()) {
    // A disk that does not give a record back is damage of that record, other than one that takes no new one.
    const Error& error = content.error();
    return error.code == ErrorCode::IoError ? Error{ErrorCode::DamagedRecord, error.message} : error;
  }
  VAULTFS_ASSIGN_OR_RETURN(const PutOutcome put, writer_.store_new(place.type, id, *content));
  ++outcome.records;
  outcome.old_bytes += place.stored_bytes;
  outcome.stored_bytes += put.stored_bytes;
  unused_.add(place.segment, place.stored_bytes);
  const MutexLock lock(reencrypted_mutex_);
  reencrypted_.push_back({id, place});
  return ok_status();
}

Status RecordReencryption::sync_reencrypted() {
  std::vector<Reencrypted> reencrypted;
  {
    const MutexLock lock(reencrypted_mutex_);
    reencrypted = std::exchange(reencrypted_, {});
  }
  Status synced = open_.sync();
  // What a failed sync took out of the index, whoever's sync that was, still stands where it stood. This is after the
  // sync: what that found written is either durable or out of the index by now.
  for (const Reencrypted& record : reencrypted) {
    const auto now = index_.find(record.id);
    if (!now || (now->damaged && now->healed)) index_.insert_if_better(record.id, record.before);
  }
  return synced;
}

}  // namespace vaultfs
