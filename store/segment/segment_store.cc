#include "store/segment/segment_store.h"

#include <map>
#include <memory>
#include <utility>

#include "store/index/chunk_index.h"
#include "store/index/patch_bases.h"
#include "store/segment/chunk_writer.h"
#include "store/segment/closed_segments.h"
#include "store/segment/compaction.h"
#include "store/segment/epoch_end.h"
#include "store/segment/file/segment_files.h"
#include "store/segment/file/segment_folder.h"
#include "store/segment/file/segment_table.h"
#include "store/segment/open_segments.h"
#include "store/segment/patch_writer.h"
#include "store/segment/read/content_reader.h"
#include "store/segment/read/found_damage.h"
#include "store/segment/read/other_records.h"
#include "store/segment/read/patch_reader.h"
#include "store/segment/read/record_reader.h"
#include "store/segment/read/unread_segments.h"
#include "store/segment/record_reencryption.h"
#include "store/segment/store_opening.h"
#include "store/segment/unused_bytes.h"

namespace vaultfs {
namespace {

Error no_writing() { return {ErrorCode::ReadOnly, "the vault is open for reading only"}; }

}  // namespace

// In the order in which they need one another.
struct SegmentStore::Parts {
  Parts(SegmentFolder given_folder, const Options& given_options)
      : folder(std::move(given_folder)), options(given_options) {}

  const SegmentFolder folder;
  const Options options;
  ChunkIndex index;
  PatchBases bases;
  UnusedBytes unused;
  SegmentTable table;
  SegmentFiles files{folder, table, options.max_open_segments};

  FoundDamage damage{folder, files, index};
  UnreadSegments unread{folder, table, files, index};
  OtherRecords others{folder, table, index};
  RecordReader records{folder, table, files, index, damage, unread, others, options.checked_bytes};
  PatchReader patches{folder, files, damage, unread, records, bases};
  ContentReader content{damage, unread, records, patches};

  OpenSegments open{folder, table, index, options.segment_bytes};
  ClosedSegments closed{folder, table, files, index, bases};
  ChunkWriter writer{folder, options, files, index, open, closed};
  PatchWriter patch_writer{folder, options, files, index, unread, records, patches, writer};

  RecordReencryption reencryption{table, files, index, unread, records, patches, open, writer, unused};
  EpochEnd epoch_end{folder, table, files, index, records, open, closed, writer};
  UseGate uses;
  Compaction compaction{folder, table, files, index, records, patches, open, closed, writer, uses, unused};
};

SegmentStore::SegmentStore(std::unique_ptr<Parts> parts) : parts_(std::move(parts)) {}

SegmentStore::~SegmentStore() = default;

Result<std::unique_ptr<SegmentStore>> SegmentStore::open(Env& env, Env::Path root, BlobStore& blobs,
                                                         const EpochKeys& keys, const Options& options,
                                                         SegmentRecovery& recovery) {
  auto made = std::make_unique<Parts>(SegmentFolder{env, std::move(root), blobs, keys}, options);
  Parts& p = *made;
  VAULTFS_RETURN_IF_ERROR(
      StoreOpening(p.folder, p.options, p.table, p.index, p.bases, p.damage, p.unread, p.closed).load(recovery));
  return std::unique_ptr<SegmentStore>(new SegmentStore(std::move(made)));
}

// ---- putting ----

Result<PutOutcome> SegmentStore::put(RecordType type, ByteView content) { return parts_->writer.put(type, content); }

Result<PutOutcome> SegmentStore::put(RecordType type, const ChunkId& id, ByteView content) {
  return parts_->writer.put(type, id, content);
}

Result<std::optional<PutOutcome>> SegmentStore::put_patch(const PatchDraft& draft) {
  return parts_->patch_writer.put_patch(draft);
}

bool SegmentStore::contains(const ChunkId& id) const {
  const auto place = parts_->index.find(id);
  return place && !place->damaged;
}

Status SegmentStore::sync() { return parts_->options.read_only ? ok_status() : parts_->open.sync(); }

Status SegmentStore::close_segment() {
  if (parts_->options.read_only) return ok_status();
  parts_->open.retire_active();
  return parts_->closed.close_retired();
}

Status SegmentStore::close_all_segments() {
  return parts_->options.read_only ? ok_status() : parts_->epoch_end.close_all_segments();
}

Status SegmentStore::save_index(const IndexHead& newest) {
  return parts_->options.read_only ? no_writing() : parts_->closed.save_index(newest);
}

// ---- reading ----

Result<std::uint32_t> SegmentStore::length(const ChunkId& id) { return parts_->content.length(id); }

Result<std::optional<PatchHeader>> SegmentStore::patch_of(const ChunkId& id) { return parts_->content.patch_of(id); }

Result<std::optional<ContainerNumber>> SegmentStore::base_segment_of(const ChunkId& id) {
  return parts_->content.base_segment_of(id);
}

Result<RecordType> SegmentStore::listed_type(const ChunkId& id) { return parts_->content.listed_type(id); }

Status SegmentStore::read(const ChunkId& id, std::uint32_t offset, MutableByteView out) {
  return parts_->content.read(id, offset, out);
}

Result<std::uint32_t> SegmentStore::read_content(const ChunkId& id, MutableByteView out) {
  return parts_->content.read_content(id, out);
}

Result<std::uint32_t> SegmentStore::read_piece(const ChunkId& id, std::uint32_t offset, MutableByteView out) {
  return parts_->content.read_piece(id, offset, out);
}

Result<Bytes> SegmentStore::read_verified(RecordType type, const ChunkId& id) {
  return parts_->content.read_verified(type, id);
}

// ---- what there is ----

std::vector<SegmentInfo> SegmentStore::segments() const {
  std::vector<SegmentInfo> out;
  const std::vector<SegmentTable::Listed> listed = parts_->table.list();
  const std::map<ContainerNumber, std::uint64_t> unused_bytes = parts_->unused.all();
  for (const SegmentTable::Listed& segment : listed) {
    const auto unused = unused_bytes.find(segment.number);
    out.push_back({segment.number, segment.file_bytes, segment.stored_bytes,
                   unused == unused_bytes.end() ? 0 : unused->second, segment.closed});
  }
  return out;
}

ContainerNumber SegmentStore::next_segment() const { return parts_->table.next(); }

Result<ContainerNumber> SegmentStore::segment_of(const ChunkId& id) { return parts_->content.segment_of(id); }

std::uint64_t SegmentStore::stored_bytes() const { return parts_->table.stored_bytes(); }

std::uint64_t SegmentStore::chunk_count() const { return parts_->index.size(); }

// ---- damage ----

std::vector<DamagedChunk> SegmentStore::take_damage() { return parts_->damage.take(); }

void SegmentStore::lay_damage(const std::vector<DamagedChunk>& known) { parts_->damage.lay(known); }

std::optional<ChunkPlace> SegmentStore::place_of(const ChunkIndex::Key& key) const { return parts_->index.find(key); }

Result<bool> SegmentStore::probe(const ChunkIndex::Key& key) { return parts_->records.probe(key); }

std::vector<ChunkIndex::Key> SegmentStore::keys_in(const std::set<ContainerNumber>& segments) const {
  return parts_->index.keys_in(segments);
}

Result<std::optional<ChunkIndex::Key>> SegmentStore::base_key_of(const ChunkId& id) {
  return parts_->content.base_key_of(id);
}

Result<bool> SegmentStore::heal_patch(const ChunkId& id, ByteView content) {
  return parts_->patch_writer.heal_patch(id, content);
}

bool SegmentStore::all_segments_looked_at() const { return !parts_->unread.any(); }

// ---- compaction, re-encryption ----

UseGate::Use SegmentStore::use() { return parts_->uses.enter(); }

void SegmentStore::begin_collection() { parts_->compaction.begin_collection(); }

void SegmentStore::note_unused(const ChunkId& id) {
  if (id.is_zero()) return;
  if (const auto place = parts_->index.find(id)) parts_->unused.add(place->segment, place->stored_bytes);
}

Status SegmentStore::retain(const ChunkId& id) { return parts_->compaction.retain(id); }

Result<CompactionOutcome> SegmentStore::compact(const std::set<ContainerNumber>& kept, const CompactionLimits& limits) {
  if (parts_->options.read_only) return no_writing();
  return parts_->compaction.compact(kept, limits);
}

Result<EpochNumber> SegmentStore::epoch_of(ContainerNumber segment) { return parts_->files.epoch_of(segment); }

std::vector<EpochUse> SegmentStore::epochs() { return parts_->reencryption.epochs(); }

Result<ReencryptedRecords> SegmentStore::reencrypt(const ChunkId& id, EpochNumber oldest) {
  if (parts_->options.read_only) return no_writing();
  return parts_->reencryption.reencrypt(id, oldest);
}

Status SegmentStore::sync_reencrypted() { return parts_->reencryption.sync_reencrypted(); }

void SegmentStore::drop_ciphers() {
  parts_->files.drop_ciphers();
  parts_->patches.forget_headers();
  parts_->records.forget_checked();
  parts_->table.drop_ciphers();
}

}  // namespace vaultfs
