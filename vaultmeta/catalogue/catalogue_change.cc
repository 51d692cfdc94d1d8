#include "vaultmeta/catalogue/catalogue_change.h"

#include <algorithm>
#include <utility>

#include "store/index/segment_format.h"

namespace vaultfs {
namespace {

constexpr std::size_t kMaxItemNameBytes = 255;
constexpr std::size_t kMaxDetailBytes = 1024;

constexpr std::uint8_t kMaxJobState = 7;
// In one change, so that a journal entry holds some.
constexpr std::size_t kMaxDamagedInChange = 4096;
constexpr std::size_t kDamagedBytes = ChunkIndex::kKeyBytes + 1 + 8 + 8;

constexpr std::uint8_t kAutomatic = 1;
constexpr std::uint8_t kAfterInterruption = 2;
constexpr std::uint8_t kCrashConsistent = 4;

constexpr std::size_t kLengthOffset = 1;
constexpr std::size_t kFrameBytes = 5;

ByteWriter begin_change(CatalogueChange kind) {
  ByteWriter writer;
  writer.u8(static_cast<std::uint8_t>(kind) | kFramedChange);
  writer.u32(0);
  return writer;
}

Bytes end_change(ByteWriter writer) {
  writer.patch_u32(kLengthOffset, static_cast<std::uint32_t>(writer.size() - kFrameBytes));
  return std::move(writer).take();
}

ChunkIndex::Key read_chunk_key(ByteReader& reader) {
  ChunkIndex::Key key{};
  const ByteView bytes = reader.raw(key.size());
  if (bytes.size() == key.size()) std::ranges::copy(bytes, key.begin());
  return key;
}

std::size_t read_damaged_count(ByteReader& reader, std::size_t entry_bytes) {
  const std::uint32_t count = reader.count(entry_bytes);
  if (count == 0 || count > kMaxDamagedInChange) reader.fail();
  return reader.failed() ? 0 : count;
}

}  // namespace

Bytes encode_change(const ItemInfo& item) {
  ByteWriter writer = begin_change(CatalogueChange::item);
  writer.text(item.name);
  writer.i64(item.first_seen.value);
  writer.boolean(item.interrupted);
  return end_change(std::move(writer));
}

Bytes encode_change(const PointInfo& point) {
  ByteWriter writer = begin_change(CatalogueChange::point);
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
  Bytes change = end_change(std::move(writer));
  if (point.manifest_file() != point.number) {
    ByteWriter file = begin_change(CatalogueChange::point_file);
    file.u64(point.number.value);
    file.u64(point.file.value);
    append(change, end_change(std::move(file)));
  }
  return change;
}

Bytes encode_change(const JobInfo& job) {
  ByteWriter writer = begin_change(CatalogueChange::job);
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
  return end_change(std::move(writer));
}

Bytes encode_change(const SupersededManifest& manifest) {
  ByteWriter writer = begin_change(CatalogueChange::superseded);
  writer.u64(manifest.file.value);
  writer.u64(manifest.point.value);
  writer.i64(manifest.since.value);
  return end_change(std::move(writer));
}

Bytes encode_reencrypting(bool reencrypting) {
  ByteWriter writer = begin_change(CatalogueChange::reencrypting);
  writer.boolean(reencrypting);
  return end_change(std::move(writer));
}

Bytes encode_removed_point(PointNumber number) {
  ByteWriter writer = begin_change(CatalogueChange::removed_point);
  writer.u64(number.value);
  return end_change(std::move(writer));
}

ItemInfo decode_item_change(ByteReader& reader) {
  ItemInfo item;
  item.name = reader.text(kMaxItemNameBytes);
  item.first_seen.value = reader.i64();
  item.interrupted = reader.boolean();
  if (item.name.empty()) reader.fail();
  return item;
}

PointInfo decode_point_change(ByteReader& reader) {
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

JobInfo decode_job_change(ByteReader& reader) {
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
  if (job.number.value == 0 || kind < 1 || kind > 4 || state < 1 || state > kMaxJobState) {
    reader.fail();
    return job;
  }
  job.kind = static_cast<JobKind>(kind);
  job.state = static_cast<JobState>(state);
  return job;
}

SupersededManifest decode_superseded_change(ByteReader& reader) {
  SupersededManifest manifest;
  manifest.file = PointNumber(reader.u64());
  manifest.point = PointNumber(reader.u64());
  manifest.since.value = reader.i64();
  if (manifest.point.value == 0 || manifest.file < manifest.point) reader.fail();
  return manifest;
}

Bytes encode_damaged(const std::vector<KnownDamage>& damage) {
  Bytes changes;
  for (std::size_t begin = 0; begin < damage.size(); begin += kMaxDamagedInChange) {
    const std::size_t end = std::min(damage.size(), begin + kMaxDamagedInChange);
    ByteWriter writer = begin_change(CatalogueChange::damaged);
    writer.u32(static_cast<std::uint32_t>(end - begin));
    for (std::size_t i = begin; i < end; ++i) {
      writer.raw(damage[i].chunk.key);
      writer.u8(static_cast<std::uint8_t>(damage[i].chunk.type));
      writer.u64(damage[i].chunk.segment.value);
      writer.i64(damage[i].since.value);
    }
    append(changes, end_change(std::move(writer)));
  }
  return changes;
}

Bytes encode_healed(const std::vector<ChunkIndex::Key>& keys) {
  Bytes changes;
  for (std::size_t begin = 0; begin < keys.size(); begin += kMaxDamagedInChange) {
    const std::size_t end = std::min(keys.size(), begin + kMaxDamagedInChange);
    ByteWriter writer = begin_change(CatalogueChange::healed);
    writer.u32(static_cast<std::uint32_t>(end - begin));
    for (std::size_t i = begin; i < end; ++i) writer.raw(keys[i]);
    append(changes, end_change(std::move(writer)));
  }
  return changes;
}

std::vector<KnownDamage> decode_damaged_change(ByteReader& reader) {
  std::vector<KnownDamage> damage;
  const std::size_t count = read_damaged_count(reader, kDamagedBytes);
  damage.reserve(count);
  for (std::size_t i = 0; i < count && !reader.failed(); ++i) {
    KnownDamage one;
    one.chunk.key = read_chunk_key(reader);
    one.chunk.type = static_cast<RecordType>(reader.u8());
    one.chunk.segment = ContainerNumber(reader.u64());
    one.since.value = reader.i64();
    if (max_content_bytes(one.chunk.type) == 0 || one.chunk.segment.value > ChunkIndex::kMaxSegment) reader.fail();
    damage.push_back(one);
  }
  return damage;
}

std::vector<ChunkIndex::Key> decode_healed_change(ByteReader& reader) {
  std::vector<ChunkIndex::Key> keys;
  const std::size_t count = read_damaged_count(reader, ChunkIndex::kKeyBytes);
  keys.reserve(count);
  for (std::size_t i = 0; i < count && !reader.failed(); ++i) keys.push_back(read_chunk_key(reader));
  return keys;
}

}  // namespace vaultfs
