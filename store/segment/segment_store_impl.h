#pragma once

#include <atomic>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "base/thread/mutex.h"
#include "store/index/checked_records.h"
#include "store/index/chunk_index.h"
#include "store/index/chunk_index_file.h"
#include "store/index/patch_bases.h"
#include "store/index/record_map_cache.h"
#include "store/segment/patch_cache.h"
#include "store/segment/segment_reader.h"
#include "store/segment/segment_recovery.h"
#include "store/segment/segment_store.h"
#include "store/segment/segment_writer.h"

namespace vaultfs {

// What says that the stored bytes are not, or can no longer be read as, what was put.
[[nodiscard]] bool is_damage(ErrorCode code);

// The segment store. Lock order: closing_mutex_, creating_mutex_, others_mutex_ or unread_mutex_, then mutex_, then a
// writer's, then the index's; claims_mutex_ before the index's. No lock but the first three is held across I/O.
class SegmentStoreImpl final : public SegmentStore {
 public:
  SegmentStoreImpl(Env& env, Env::Path root, BlobStore& blobs, const EpochKeys& keys, const Options& options);
  // Finds, recovers and indexes what is stored (segment_store_open.cc).
  [[nodiscard]] Status load(SegmentRecovery& recovery) NO_THREAD_SAFETY_ANALYSIS;

  Result<PutOutcome> put(RecordType type, ByteView content) override;
  Result<PutOutcome> put(RecordType type, const ChunkId& id, ByteView content) override;
  Result<std::optional<PutOutcome>> put_patch(const PatchDraft& draft) override;  // segment_store_patch.cc
  [[nodiscard]] bool contains(const ChunkId& id) const override;
  [[nodiscard]] Result<std::uint32_t> length(const ChunkId& id) override;  // segment_store_read.cc, as the other reads
  [[nodiscard]] Result<std::optional<PatchHeader>> patch_of(const ChunkId& id) override;
  [[nodiscard]] Result<std::optional<ContainerNumber>> base_segment_of(const ChunkId& id) override;
  [[nodiscard]] Result<RecordType> listed_type(const ChunkId& id) override;
  Status read(const ChunkId& id, std::uint32_t offset, MutableByteView out) override;
  Result<std::uint32_t> read_content(const ChunkId& id, MutableByteView out) override;
  Result<std::uint32_t> read_piece(const ChunkId& id, std::uint32_t offset, MutableByteView out) override;
  Result<Bytes> read_verified(RecordType type, const ChunkId& id) override;
  Status sync() override;
  Status close_segment() override;
  Status close_all_segments() override;  // segment_store_close.cc
  Status save_index(const IndexHead& newest) override;
  [[nodiscard]] std::vector<SegmentInfo> segments() const override;
  [[nodiscard]] ContainerNumber next_segment() const override;
  [[nodiscard]] Result<ContainerNumber> segment_of(const ChunkId& id) override;
  [[nodiscard]] std::uint64_t stored_bytes() const override;
  [[nodiscard]] std::uint64_t chunk_count() const override;
  [[nodiscard]] std::vector<DamagedChunk> take_damage() override;  // segment_store_damage.cc, as the next five
  void lay_damage(const std::vector<DamagedChunk>& known) override;
  [[nodiscard]] std::optional<ChunkPlace> place_of(const ChunkIndex::Key& key) const override {
    return index_.find(key);
  }
  Result<bool> probe(const ChunkIndex::Key& key) override;
  [[nodiscard]] std::vector<ChunkIndex::Key> keys_in(const std::set<ContainerNumber>& segments) const override;
  [[nodiscard]] Result<std::optional<ChunkIndex::Key>> base_key_of(const ChunkId& id) override;
  Result<bool> heal_patch(const ChunkId& id, ByteView content) override;
  [[nodiscard]] bool all_segments_looked_at() const override { return !any_unread_.load(); }
  UseGate::Use use() override { return uses_.enter(); }
  SharedMutex& long_uses() override { return long_uses_; }
  void begin_collection() override;  // segment_store_compact.cc, as the next two
  Status retain(const ChunkId& id) override;
  void note_unused(const ChunkId& id) override;
  Result<CompactionOutcome> compact(const std::set<ContainerNumber>& kept, const CompactionLimits& limits) override;
  [[nodiscard]] Result<EpochNumber> epoch_of(
      ContainerNumber segment) override;  // segment_store_reencrypt.cc, as the rest
  [[nodiscard]] std::vector<EpochUse> epochs() override;
  Result<ReencryptedRecords> reencrypt(const ChunkId& id, EpochNumber oldest) override;
  Status sync_reencrypted() override;
  void drop_ciphers() override;

 private:
  using Writer = std::shared_ptr<SegmentWriter>;
  struct Segment {
    std::uint64_t file_bytes = 0;
    bool closed = false;   // has its final name
    bool missing = false;  // only the index knows of it
    Writer writer;         // of this process, while the segment is not closed
    EpochNumber epoch{};   // 0: not looked at yet
  };
  class Claim;

  // ---- opening: nobody else knows the store yet, so what mutex_ guards is reached without it ----
  struct Found;  // what the directory holds
  [[nodiscard]] Result<Found> list_files(SegmentRecovery& recovery);
  [[nodiscard]] Status sort_out_strangers(Found& found, SegmentRecovery& recovery) NO_THREAD_SAFETY_ANALYSIS;
  [[nodiscard]] Status load_index(const Found& found, SegmentRecovery& recovery, std::set<ContainerNumber>& loaded)
      REQUIRES(closing_mutex_);
  struct ReadIndex {
    ChunkIndexFile file;
    EpochNumber sealed_under;
  };
  [[nodiscard]] Result<std::optional<ReadIndex>> read_index(std::uint64_t number, SegmentRecovery& recovery)
      REQUIRES(closing_mutex_);
  [[nodiscard]] Status take_index(const ReadIndex& index, ContainerNumber highest, const Found& found,
                                  SegmentRecovery& recovery,
                                  std::set<ContainerNumber>& loaded) NO_THREAD_SAFETY_ANALYSIS;
  [[nodiscard]] Status load_closed(ContainerNumber number, SegmentRecovery& recovery) NO_THREAD_SAFETY_ANALYSIS;
  [[nodiscard]] Status load_open(ContainerNumber number, SegmentRecovery& recovery) NO_THREAD_SAFETY_ANALYSIS;
  [[nodiscard]] Status check_may_be_open(ContainerNumber number) const;
  void add_entries(ContainerNumber number, const std::vector<SegmentEntry>& entries);
  [[nodiscard]] Status remove_own_indexes() REQUIRES(closing_mutex_);

  // ---- writing ----
  // And nobody need look whether it is.
  [[nodiscard]] bool is_stored(const ChunkId& id) const;
  // Whether the record is where the index says, asked of the storage once for an entry that an index file told. What
  // is not there leaves the index. KeyRevoked.
  [[nodiscard]] Result<bool> confirmed(const ChunkId& id, const ChunkPlace& place);
  [[nodiscard]] Result<ContainerNumber> take_segment_number();
  [[nodiscard]] Result<ChunkId> id_of(RecordType type, ByteView content) const;
  [[nodiscard]] Result<PutOutcome> put_content(RecordType type, const ChunkId& id, ByteView content);
  [[nodiscard]] Result<PutOutcome> store_new(RecordType type, const ChunkId& id, ByteView content);
  [[nodiscard]] Result<Writer> current_writer();
  void retire(const Writer& writer);
  [[nodiscard]] Status close_retired() EXCLUDES(closing_mutex_);
  void note_closed(const Writer& writer, const Result<std::uint64_t>& closed) REQUIRES(closing_mutex_);
  void forget_abandoned(const Writer& writer);
  // What an opening could not close, and what a failed sync left.
  [[nodiscard]] Status close_found_open(ContainerNumber number) EXCLUDES(closing_mutex_);
  [[nodiscard]] Status move_out_of_abandoned(ContainerNumber number) EXCLUDES(closing_mutex_);

  // ---- reading (segment_store_read.cc) ----
  // A record that is about to be read. Under a closed epoch place, type and lengths are only what somebody says, until
  // it is `checked`.
  struct Located {
    ChunkPlace place;
    std::shared_ptr<const SegmentReader> reader;
    bool closed = false;
    std::shared_ptr<const CheckedRecord> checked;
    [[nodiscard]] bool proven() const noexcept { return !closed || checked != nullptr; }
  };
  // Finding it, proving it, reading of it what is wanted. All mark what is damaged and pass it over. `record` is then
  // another one of the same id; with believe() and find_record() also of another type than it seemed to be.
  [[nodiscard]] Result<Located> find_record(const ChunkId& id);
  [[nodiscard]] Status believe(const ChunkId& id, Located& record);
  [[nodiscard]] Result<Located> find_proven(const ChunkId& id);
  // REQUIRES: the record is proven, the range lies in its plaintext.
  [[nodiscard]] Status read_record(const ChunkId& id, Located& record, std::uint32_t offset, MutableByteView out);
  // The plaintext of the whole record, its id recomputed, and in `place` where it was read.
  [[nodiscard]] Result<Bytes> read_verified_record(const ChunkId& id, ChunkPlace& place);

  // The same at one place: marks what is damaged, looks nowhere else.
  [[nodiscard]] Result<Located> open_record_at(const ChunkId& id, const ChunkPlace& place);
  [[nodiscard]] Status read_record_at(const ChunkId& id, Located& record, std::uint32_t offset, MutableByteView out);
  // Into `out`, which has the length that the place says; its id recomputed, nothing kept.
  [[nodiscard]] Status read_whole_record_at(const ChunkId& id, const Located& record, MutableByteView out);
  [[nodiscard]] Result<Bytes> read_verified_at(const ChunkId& id, const ChunkPlace& place);
  // Opens a record of a closed epoch whole, compares its id, keeps what proves it, and copies a part of it.
  [[nodiscard]] Status check_record_at(const ChunkId& id, Located& record, std::uint32_t offset, MutableByteView out);
  [[nodiscard]] Status compare_id(const ChunkId& id, const ChunkPlace& place, ByteView content);
  [[nodiscard]] Status read_content_of(const ChunkId& id, Located& record, std::uint32_t offset, MutableByteView out);
  [[nodiscard]] Result<std::shared_ptr<const SegmentReader>> reader_of(ContainerNumber number);
  [[nodiscard]] Result<std::shared_ptr<const SegmentReader>> open_reader(ContainerNumber number);

  // ---- damage (segment_store_damage.cc) ----
  // A read of the record at `place` failed: marks it and tells take_damage() if that says something of the record.
  void note_failure(const ChunkId& id, const ChunkPlace& place, const Error& error);
  void tell_damaged(const ChunkIndex::Key& key, const ChunkPlace& place);
  [[nodiscard]] bool says_damage(const ChunkPlace& place, ErrorCode code) const;
  [[nodiscard]] bool still_readable(ContainerNumber segment) const;
  [[nodiscard]] Result<std::shared_ptr<File>> file_of(ContainerNumber number) const;
  // The whole id of the record at `place`, as its header says it.
  [[nodiscard]] Result<ChunkId> id_at(const ChunkIndex::Key& key, const ChunkPlace& place) const;
  void note_unread(ContainerNumber number, const Error& error);  // of a segment, by the opening
  // What the opening could not read is looked at again, now and then: true if anything came of it.
  bool look_again();
  // Where the index has it, after a look at what could not be read before.
  [[nodiscard]] std::optional<ChunkPlace> locate(const ChunkIndex::Key& key);
  // ChunkMissing, or why that can't be said.
  [[nodiscard]] Error missing(const std::string& what) const;
  void tell_what_is_marked();

  // ---- other records of an id (segment_store_others.cc) ----
  // Another record that is what the id says, in the place of a damaged one, and from here on in the index.
  [[nodiscard]] std::optional<Located> pass_over(const ChunkId& id, const ChunkPlace& failed);
  [[nodiscard]] std::vector<ChunkPlace> other_places(const ChunkId& id) EXCLUDES(others_mutex_);
  // Reads those of `unsearched_`, and leaves in it what could not be read.
  [[nodiscard]] Status search_footers() REQUIRES(others_mutex_);
  void prefer_copy(const ChunkId& id, const ChunkPlace& failed, const ChunkPlace& found);

  // ---- patches (segment_store_patch.cc) ----
  // REQUIRES: the record is proven, and a patch.
  [[nodiscard]] Result<PatchHeader> patch_header(const ChunkId& id, Located& record);
  // The key of what a patch lies over; nothing if that is a hole.
  [[nodiscard]] Result<std::optional<ChunkIndex::Key>> base_of(const ChunkId& id, const ChunkPlace& place);
  // A hole, or where the index has a chunk. ChunkMissing, ChunkMismatch.
  [[nodiscard]] Result<std::optional<ChunkPlace>> base_place(const ChunkId& base);
  // A hole, or a chunk's proven record. ChunkMissing, ChunkMismatch, the errors of reading it.
  [[nodiscard]] Result<std::optional<Located>> base_record(const ChunkId& base);
  // The length of the chunk at `place`, or where that is not proven the greatest there is.
  [[nodiscard]] std::uint32_t length_at_most(const ChunkId& id, const ChunkPlace& place);
  [[nodiscard]] Status read_patched(const ChunkId& id, Located& record, std::uint32_t offset, MutableByteView out);
  [[nodiscard]] Result<std::uint32_t> read_patched_piece(const ChunkId& id, Located& record, std::uint32_t offset,
                                                         MutableByteView out);
  [[nodiscard]] Status read_base(const PatchHeader& patch, std::uint32_t offset, MutableByteView out);
  // Of the patch whose whole, verified plaintext this is.
  [[nodiscard]] Result<Bytes> read_verified_patch(const ChunkId& id, const ChunkPlace& place, ByteView plaintext);
  struct Flattened;
  [[nodiscard]] Result<Flattened> flatten(const PatchDraft& draft);
  [[nodiscard]] Result<Bytes> gather_pages(const PatchDraft& draft, Flattened& flat);
  [[nodiscard]] Result<Bytes> flatten_pages(const PatchDraft& draft, Flattened& flat);

  // ---- compaction (segment_store_compact.cc) ----
  struct Candidate;
  using FileSizes = std::map<ContainerNumber, std::uint64_t>;
  [[nodiscard]] FileSizes removable(const std::set<ContainerNumber>& kept) const;
  // What stands in for worse records in `kept` segments counts as needed.
  [[nodiscard]] Status retain_healed(const FileSizes& removable, const std::set<ContainerNumber>& kept);
  [[nodiscard]] std::vector<Candidate> candidates(const FileSizes& removable, const CompactionLimits& limits) const;
  void set_unused(ContainerNumber number, std::uint64_t bytes) const;
  // Moves what is needed of a segment. False if it has to stay. Adds the stored bytes to `moved`.
  [[nodiscard]] Result<bool> empty_out(const Candidate& candidate, std::uint64_t& moved);
  [[nodiscard]] Status remove_segments(std::vector<Candidate> emptied, CompactionOutcome& outcome);
  // Takes out what the index still names; from here on no read chooses the rest.
  void keep_needed(std::vector<Candidate>& emptied);

  // ---- re-encryption (segment_store_reencrypt.cc) ----
  [[nodiscard]] Status reencrypt_record(const ChunkId& id, ChunkPlace place, EpochNumber oldest,
                                        ReencryptedRecords& outcome);

  Env& env_;
  const Env::Path root_;
  BlobStore& blobs_;
  const EpochKeys& keys_;
  const Options options_;
  ChunkIndex index_;
  RecordMapCache maps_;  // of the readers
  SegmentReaderCache readers_;
  CheckedRecords checked_;
  PatchCache patches_;
  PatchBases bases_;
  UseGate uses_;
  mutable Mutex unused_mutex_;  // a leaf
  mutable std::map<ContainerNumber, std::uint64_t> unused_ GUARDED_BY(unused_mutex_);
  SharedMutex long_uses_ ACQUIRED_BEFORE(closing_mutex_);  // docs/locks.md, 3

  Mutex damage_mutex_;                                                 // a leaf
  std::vector<DamagedChunk> found_damaged_ GUARDED_BY(damage_mutex_);  // see take_damage()

  // Segments that the disk did not give at the opening, and why the first of them; see look_again().
  mutable Mutex unread_mutex_ ACQUIRED_BEFORE(mutex_);
  std::map<ContainerNumber, Error> unread_ GUARDED_BY(unread_mutex_);
  std::int64_t look_again_at_ GUARDED_BY(unread_mutex_) = 0;  // monotonic
  std::atomic<bool> any_unread_ = false;

  struct Reencrypted {
    ChunkId id;
    ChunkPlace before;
  };
  Mutex reencrypted_mutex_;                                              // a leaf
  std::vector<Reencrypted> reencrypted_ GUARDED_BY(reencrypted_mutex_);  // not synced yet

  // Held across the one search for them, by whoever met damage first.
  Mutex others_mutex_ ACQUIRED_BEFORE(mutex_);
  std::map<ChunkIndex::Key, std::vector<ChunkPlace>> others_
      GUARDED_BY(others_mutex_);  // where footers list what the index has elsewhere
  std::optional<std::set<ContainerNumber>> unsearched_
      GUARDED_BY(others_mutex_);                                // nothing: all closed ones, not listed yet
  std::int64_t search_again_at_ GUARDED_BY(others_mutex_) = 0;  // monotonic
  std::size_t others_count_ GUARDED_BY(others_mutex_) = 0;

  Mutex closing_mutex_ ACQUIRED_BEFORE(creating_mutex_, others_mutex_, unread_mutex_,
                                       mutex_);  // held while retired segments are closed and the index is saved
  Mutex creating_mutex_ ACQUIRED_BEFORE(others_mutex_, unread_mutex_,
                                        mutex_);  // held while a segment is created; guards nothing

  mutable Mutex mutex_;
  std::map<ContainerNumber, Segment> segments_ GUARDED_BY(mutex_);
  Writer active_ GUARDED_BY(mutex_);
  std::vector<Writer> retired_ GUARDED_BY(mutex_);  // full or detached, not closed yet
  ContainerNumber next_segment_ GUARDED_BY(mutex_){1};
  std::set<std::uint64_t> strangers_ GUARDED_BY(mutex_);     // numbers of files that are not this vault's
  std::set<ContainerNumber> leaving_ GUARDED_BY(mutex_);     // of segments_, about to be removed
  std::optional<Error> unreported_loss_ GUARDED_BY(mutex_);  // of a sync within a close: the next sync() tells

  // The highest index number in use, and those of all indexes that are this vault's.
  std::uint64_t last_index_ GUARDED_BY(closing_mutex_) = 0;
  std::set<std::uint64_t> own_indexes_ GUARDED_BY(closing_mutex_);

  Mutex claims_mutex_;
  CondVar claims_changed_;
  std::set<ChunkIndex::Key> claims_ GUARDED_BY(claims_mutex_);  // chunks being stored
};

}  // namespace vaultfs
