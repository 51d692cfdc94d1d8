#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "base/bytes.h"
#include "base/files/env.h"
#include "base/ids.h"
#include "base/result.h"
#include "base/thread/mutex.h"
#include "store/blobs/blob_store.h"
#include "store/index/damaged_chunk.h"
#include "store/index/index_head.h"
#include "store/index/patch.h"
#include "store/record/epoch_keys.h"
#include "store/record/record.h"
#include "store/segment/use_gate.h"

namespace vaultfs {

// How a put ended.
struct PutOutcome {
  ChunkId id;
  bool stored = false;             // false: the content was there already (a deduplication hit)
  std::uint32_t stored_bytes = 0;  // bytes appended, zero for a hit
};

// New pages over older content.
struct PatchDraft {
  ChunkId base;              // a chunk or a patch; zero: a hole
  std::uint32_t length = 0;  // of the whole content; what the base has behind it is cut off
  PatchPages pages;          // not empty, none behind the length
  ByteView content;          // at least `length` bytes, of which only these pages are looked at
  // With more pages, those of an older patch included, it is no patch.
  std::uint32_t max_pages = kPatchPages;
  // Also over what is lost: of an older patch that can't be read nothing is kept, its bytes stay as lost as they are.
  bool over_lost = false;
};

// What was found when the store was opened, for the activity log and for verify.
struct SegmentRecovery {
  std::uint64_t index_entries = 0;
  bool index_rebuilt = false;
  std::vector<ContainerNumber> recovered_open;  // *.open files closed by recovery (owner only)
  std::vector<std::pair<std::string, Error>>
      damaged;  // segment or index file, what is wrong: reads of its chunks fail, others work
};

struct SegmentInfo {
  ContainerNumber number;
  std::uint64_t file_bytes = 0;    // 0 while it is open
  std::uint64_t stored_bytes = 0;  // also while it is open
  std::uint64_t unused_bytes = 0;  // an estimate of what nothing refers to, see note_unused()
  bool closed = false;             // has its final name
};

// How much one compaction may do.
struct CompactionLimits {
  unsigned least_dead_percent = 50;                       // of a segment, to be worth it
  std::uint64_t most_moved_bytes = 512ULL * 1024 * 1024;  // live records copied
};

// What is stored under one DEK epoch.
struct EpochUse {
  EpochNumber epoch;  // 0: the headers of these segments cannot be read
  std::uint64_t segments = 0;
  std::uint64_t stored_bytes = 0;
};

// What one call stored anew, see reencrypt().
struct ReencryptedRecords {
  std::uint64_t records = 0;
  std::uint64_t old_bytes = 0;     // as they were stored
  std::uint64_t stored_bytes = 0;  // as they are now
};

struct CompactionOutcome {
  std::uint64_t removed_segments = 0;
  std::uint64_t removed_bytes = 0;
  std::uint64_t moved_bytes = 0;  // stored anew in another segment
};

// All chunks, patches and map pages of a vault: closed segments, one open segment, and the index from ChunkId to place.
// Whoever reads need not know which chunks are patches; whoever keeps track of references asks patch_of().
//
// Write-once by content: put() of known and undamaged content stores nothing. put() is safe from many threads and does
// its sealing outside any lock, so that workers scale. Data is durable after sync().
// Memory: at most 40 bytes a stored chunk for the index, a bounded number of open files and ciphers, 2.5 MB of patch
// headers, 8 MiB of frame tables and 32 MiB of what checked records under closed epochs are compared with.
//
// This class only hands on to its parts, of which each has at most one lock (docs/locks.md, 16): ChunkWriter and
// PatchWriter put, ContentReader, PatchReader and RecordReader read, OpenSegments and ClosedSegments have the files,
// SegmentTable knows which there are; Compaction, RecordReencryption, EpochEnd and StoreOpening are what their names
// say.
class SegmentStore {
 public:
  struct Options {
    bool read_only = false;
    std::uint64_t segment_bytes = 128ULL * 1024 * 1024;
    Compression compression = Compression::automatic;
    std::size_t max_open_segments = 64;       // descriptors and ciphers kept for reading
    ContainerNumber minimum_next_segment{1};  // numbers below are never used for new segments
    std::size_t checked_bytes = 32U << 20U;   // memory for what checked records under closed epochs are compared with
    // Whoever closed an epoch left no segment of it open (close_all_segments()): one that is there is damage, neither
    // read nor recovered. Not so where an older program may have closed it.
    bool closed_epochs_are_whole = false;
    // For a head that leads to the vault's newest: the highest segment number that it names; nothing for any other. An
    // index counts only if it names such a head, and only for segments up to that number. Not given: none counts.
    std::function<std::optional<ContainerNumber>(const IndexHead&)> known_head;
  };
  // `root` is the vault's directory. As owner: recovers *.open files (keeps valid records, adds a footer, renames);
  // read-only: reads them where they lie. Nothing is appended to an old file in either case.
  // Damage in segments does not fail the opening; it is in `recovery` and in each read of what is damaged. Nor does a
  // file whose header is not authentic: beyond what `minimum_next_segment` tells, the number of such a file counts for
  // nothing, and it stays where it is.
  [[nodiscard]] static Result<std::unique_ptr<SegmentStore>> open(Env& env, Env::Path root, BlobStore& blobs,
                                                                  const EpochKeys& keys, const Options& options,
                                                                  SegmentRecovery& recovery);
  SegmentStore(const SegmentStore&) = delete;
  SegmentStore& operator=(const SegmentStore&) = delete;
  ~SegmentStore();

  // Stores 1 byte to 1 MiB (a chunk) or up to 16 MiB (a map page) unless it is there.
  // NoSpace and IoError leave the store usable; what was put and not yet synced must then be taken as lost.
  [[nodiscard]] Result<PutOutcome> put(RecordType type, ByteView content);
  // The same with an id that the caller has computed.
  [[nodiscard]] Result<PutOutcome> put(RecordType type, const ChunkId& id, ByteView content);
  // Stores pages as a patch, so that a small change of a chunk costs little more than its own bytes. Over another patch
  // the result is one patch over that one's base, with the pages of both, the draft's in front; pages that change
  // nothing (zeros where the base has no bytes) are left out. The outcome's id is the base's, or zero, where no page is
  // left. Nothing if it would take more than max_pages: then the whole content is to be put.
  // ChunkMissing and ChunkMismatch for the base, the errors of read() where pages of an older patch are needed.
  [[nodiscard]] Result<std::optional<PutOutcome>> put_patch(const PatchDraft& draft);
  [[nodiscard]] bool contains(const ChunkId& id) const;
  // What lies under a closed epoch is believed only by its id (docs/decisions/0014-closed-epochs.md): the first use of
  // a record, also for its length or its type, opens it whole and recomputes the id, which is a read of up to 1 MiB;
  // later ones are compared with that. What fails is passed over for another record of the same id, if there is one.

  // Plaintext length; of a patch that of its content, for which its header may have to be read. ChunkMissing; errors of
  // read().
  [[nodiscard]] Result<std::uint32_t> length(const ChunkId& id);
  // Which pages of what a patch replaces; nothing for a chunk or map page. ChunkMissing, errors of read().
  [[nodiscard]] Result<std::optional<PatchHeader>> patch_of(const ChunkId& id);
  // Where the base of a patch is stored; nothing for a chunk, a map page or a patch over a hole. Reads the patch's
  // header unless the base is known from putting the patch, from an earlier call or from the index file. ChunkMissing,
  // of base or patch; errors of read().
  [[nodiscard]] Result<std::optional<ContainerNumber>> base_segment_of(const ChunkId& id);

  // The type that the index has for the record, which only its content proves: for who has just read that, or does not
  // rely on it. ChunkMissing.
  [[nodiscard]] Result<RecordType> listed_type(const ChunkId& id);

  // Reads plaintext bytes [offset, offset + out.size()), opening only the frames they lie in. ChunkMissing,
  // SegmentMissing, DamagedRecord, AuthenticationFailed, ChunkMismatch (another record stands there), OutOfRange.
  // A failure of integrity marks the id as damaged, so that the next put of that content stores it anew. Of a patch it
  // fails what lies in damaged pages, or outside its pages if the base is missing or damaged there; all else reads.
  [[nodiscard]] Status read(const ChunkId& id, std::uint32_t offset, MutableByteView out);
  // Reads the whole content into the beginning of `out` and gives its length: what length() and read() do, in one look.
  // Their errors; OutOfRange if there is more than `out` holds.
  [[nodiscard]] Result<std::uint32_t> read_content(const ChunkId& id, MutableByteView out);
  // Reads a piece of any chunk into `out`, zeros behind the chunk's end, and gives 0: the fast way for small random
  // reads. Of a chunk in frames larger than kPieceFrameBytes it reads nothing and gives their size: whoever reads
  // pieces of such a chunk should read the frame and keep it. A patch counts by the frames of its base. The errors of
  // read().
  [[nodiscard]] Result<std::uint32_t> read_piece(const ChunkId& id, std::uint32_t offset, MutableByteView out);
  // The whole content, its ChunkId recomputed and compared (ChunkMismatch). A patch counts as a chunk; its base is
  // verified too.
  [[nodiscard]] Result<Bytes> read_verified(RecordType type, const ChunkId& id);

  // Makes all that was put before the call durable. Concurrent calls share one fsync.
  [[nodiscard]] Status sync();
  // Closes the open segment (footer, trailer, truncate, sync, rename). The next put opens a new one.
  [[nodiscard]] Status close_segment();
  // The same before a DEK epoch is closed: on return no segment is open, neither one that a failed sync or the opening
  // left so, and that is durable. An error if one has to stay: its records can't be read, or there is no room.
  // REQUIRES: the next epoch is the current one.
  [[nodiscard]] Status close_all_segments();
  // Writes the index file (after close_segment), removing older ones. `newest` is the vault's newest head: at the next
  // opening the index counts if that is one of those which led to the newest head of then.
  [[nodiscard]] Status save_index(const IndexHead& newest);

  // Closed and open segments, by number.
  [[nodiscard]] std::vector<SegmentInfo> segments() const;
  // The number that the next new segment will at least have.
  [[nodiscard]] ContainerNumber next_segment() const;
  // Where a chunk is stored; of a patch without its base. ChunkMissing.
  [[nodiscard]] Result<ContainerNumber> segment_of(const ChunkId& id);
  // Stored bytes of all segments, and number of chunks known.
  [[nodiscard]] std::uint64_t stored_bytes() const;
  [[nodiscard]] std::uint64_t chunk_count() const;

  // --- Damage. A record that a read found damaged is marked in the index, so that the next
  // put of its content stores it anew. What lasts is the caller's list of what is known (docs/format.md, section 9.1).
  // A failure of the disk is damage only where the rest of the segment can still be read, and a segment's absence only
  // where its folder is there.
  //
  // What was marked since the last call, by the opening, too; of very much the first part.
  [[nodiscard]] std::vector<DamagedChunk> take_damage();
  // Marks what is known, each where it was found damaged: what lies elsewhere by now was stored anew.
  void lay_damage(const std::vector<DamagedChunk>& known);
  // Where the index has the record, if it does, and whether that is marked. Reads nothing.
  [[nodiscard]] std::optional<ChunkPlace> place_of(const ChunkIndex::Key& key) const;
  // Reads the record whole where the index has it, and sets or takes away its mark. False: it is damaged, or nowhere.
  // An error says nothing of the record: the disk or the keys are away. The caller has a use().
  [[nodiscard]] Result<bool> probe(const ChunkIndex::Key& key);
  // What the index has in these segments.
  [[nodiscard]] std::vector<ChunkIndex::Key> keys_in(const std::set<ContainerNumber>& segments) const;
  // What a patch lies over; nothing for a hole, a chunk or a map page. ChunkMissing, the errors of reading a header.
  [[nodiscard]] Result<std::optional<ChunkIndex::Key>> base_key_of(const ChunkId& id);
  // For a damaged patch of which somebody may have found the content, as a whole: stores it anew if pages of that give
  // its id. False: they do not, or what the patch replaced of what can't be read any more. The errors of putting. The
  // caller has a use().
  Result<bool> heal_patch(const ChunkId& id, ByteView content);
  // False if a segment could not be looked at by the opening because the disk or its permissions did not let it: what
  // no segment has may lie there.
  [[nodiscard]] bool all_segments_looked_at() const;

  // --- Compaction: removing segments whose records nobody needs any more. In this order, by one thread at a time:
  //   begin_collection(), retain() of everything that is needed, compact().
  // What was put since begin_collection() counts as needed. Whoever finds an id (in an extent map, say) and then reads
  // it, puts over it or makes another reference, has a use() from before he finds it until he is done.
  [[nodiscard]] UseGate::Use use();
  // For work with references that lasts (a commit, a backup run, a checkpoint): held shared by it, alone by who
  // compacts, who must not wait for it.
  [[nodiscard]] SharedMutex& long_uses() { return long_uses_; }
  // Waits for uses that began before; the caller must have none.
  void begin_collection();
  // One reference to the record less: what compaction pays for is estimated from that. Each compaction corrects the
  // estimate of the segments that it looks at.
  void note_unused(const ChunkId& id);
  // The record is needed, and what it lies over if it is a patch. Not to be found: nothing to retain. The errors of
  // reading a patch's header: what it needs can't be told, so nothing may be removed.
  [[nodiscard]] Status retain(const ChunkId& id);
  // Removes closed segments that are not in `kept`, moving what is needed of them: also what was stored anew for a
  // damaged record, as long as a kept segment has that. A segment with damage stays. The first error ends it; nothing
  // needed is lost.
  [[nodiscard]] Result<CompactionOutcome> compact(const std::set<ContainerNumber>& kept,
                                                  const CompactionLimits& limits);

  // --- Re-encryption (docs/decisions/0007-reencryption.md): while everything else goes on.
  // The epoch under which a segment is sealed, as its header says. SegmentMissing, the errors of reading a header.
  [[nodiscard]] Result<EpochNumber> epoch_of(ContainerNumber segment);
  // By epoch, ascending. Reads the headers of segments that were not looked at since the opening.
  [[nodiscard]] std::vector<EpochUse> epochs();
  // Stores the record anew under the current epoch, and what it lies over if it is a patch, each only where it lies
  // under an epoch before `oldest`. It is opened whole and its id recomputed first: on an error of integrity, or
  // ChunkMissing, it stays as and where it is. The old record stays, too, until compaction removes its segment. By one
  // thread at a time, who has a use().
  [[nodiscard]] Result<ReencryptedRecords> reencrypt(const ChunkId& id, EpochNumber oldest);
  // Makes durable what was re-encrypted since the last call. After an error it counts as stored where it was before.
  [[nodiscard]] Status sync_reencrypted();

  // Forgets every cipher (after a revocation). Reads and writes then need the keys anew.
  void drop_ciphers();

 private:
  struct Parts;
  explicit SegmentStore(std::unique_ptr<Parts> parts);

  const std::unique_ptr<Parts> parts_;
  SharedMutex long_uses_;  // docs/locks.md, 3
};

}  // namespace vaultfs
