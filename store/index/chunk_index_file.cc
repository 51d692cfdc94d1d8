#include "store/index/chunk_index_file.h"

#include <algorithm>
#include <utility>

#include "base/byte_codec.h"
#include "crypto/aead.h"
#include "store/index/segment_format.h"
#include "store/record/container.h"

namespace vaultfs {
namespace {

constexpr std::uint8_t kDamagedFlag = 0x80;  // both in the byte that has the type
constexpr std::uint8_t kHealedFlag = 0x40;
constexpr std::uint8_t kTypeMask = 0x3f;
constexpr std::size_t kSegmentBytes = 16;
// Where the first form has its count of segments, which was never that high.
constexpr std::uint32_t kNamesAHead = 0xffffffffU;

bool can_be_true(const ChunkPlace& place, const ChunkIndexFile::Segments& segments) {
  const auto segment = segments.find(place.segment);
  return segment != segments.end() && place.offset >= ContainerHeader::kEncodedBytes && place.offset % 8 == 0 &&
         place.offset <= ChunkIndex::kMaxOffset && place.offset <= segment->second &&
         place.stored_bytes <= segment->second - place.offset && place.stored_bytes > RecordHeader::kEncodedBytes &&
         place.stored_bytes % 8 == 0 && place.plaintext_bytes > 0 &&
         place.plaintext_bytes <= max_content_bytes(place.type) &&
         place.stored_bytes <= max_stored_bytes(place.plaintext_bytes, kMinFrameLog2, 2 * kAeadTagBytes);
}

ChunkIndex::Key decode_key(ByteReader& reader) {
  ChunkIndex::Key key{};
  const ByteView bytes = reader.raw(key.size());
  if (bytes.size() == key.size()) std::ranges::copy(bytes, key.begin());
  return key;
}

std::vector<ChunkIndexFile::Base> decode_bases(ByteReader& reader) {
  std::vector<ChunkIndexFile::Base> bases;
  const std::uint64_t count = reader.u64();
  if (count == 0 || count > reader.remaining() / ChunkIndexFile::Base::kEncodedBytes) reader.fail();
  if (!reader.failed()) bases.reserve(static_cast<std::size_t>(count));
  for (std::uint64_t i = 0; i < count && !reader.failed(); ++i) {
    ChunkIndexFile::Base base;
    base.patch = decode_key(reader);
    base.base = decode_key(reader);
    bases.push_back(base);
  }
  return bases;
}

}  // namespace

Bytes ChunkIndexFile::encode(const IndexHead& head, const Segments& segments, const std::set<ContainerNumber>& missing,
                             const ChunkIndex& index, const PatchBases& bases) {
  ByteWriter entries;
  ByteWriter known_bases;
  std::uint64_t count = 0;
  std::uint64_t base_count = 0;
  index.for_each([&](const ChunkIndex::Key& key, const ChunkPlace& place) {
    // What lay behind the end of a file that turned out shorter would make the whole index unbelievable.
    if (!can_be_true(place, segments)) return;
    const bool damaged = place.damaged && !missing.contains(place.segment);
    entries.raw(key);
    entries.u64(place.segment.value);
    entries.u64(place.offset);
    entries.u32(place.stored_bytes);
    entries.u32(place.plaintext_bytes);
    entries.u8(static_cast<std::uint8_t>(static_cast<std::uint8_t>(place.type) | (damaged ? kDamagedFlag : 0U) |
                                         (place.healed ? kHealedFlag : 0U)));
    ++count;
    if (place.type != RecordType::patch) return;
    if (const auto base = bases.find(key)) {
      known_bases.raw(key);
      known_bases.raw(*base);
      ++base_count;
    }
  });
  ByteWriter writer;
  writer.u32(kNamesAHead);
  writer.u64(head.generation.value);
  writer.id(head.digest);
  writer.u32(static_cast<std::uint32_t>(segments.size()));
  for (const auto& [number, file_bytes] : segments) {
    writer.u64(number.value);
    writer.u64(file_bytes);
  }
  writer.u64(count);
  writer.raw(entries.view());
  if (base_count > 0) {
    writer.u64(base_count);
    writer.raw(known_bases.view());
  }
  return std::move(writer).take();
}

Result<ChunkIndexFile> ChunkIndexFile::decode(ByteView content) {
  ByteReader reader(content);
  ChunkIndexFile file;
  if (ByteReader(content).u32() == kNamesAHead) {
    reader.u32();
    IndexHead head;
    head.generation = Generation(reader.u64());
    head.digest = reader.id<Digest>();
    if (head.generation.value == 0) reader.fail();
    file.head = head;
  }
  const std::uint32_t segment_count = reader.count(kSegmentBytes);
  ContainerNumber last;
  for (std::uint32_t i = 0; i < segment_count; ++i) {
    const ContainerNumber number(reader.u64());
    if (number <= last || number.value > ChunkIndex::kMaxSegment) reader.fail();
    file.segments[number] = reader.u64();
    last = number;
  }
  const std::uint64_t count = reader.u64();
  if (count > reader.remaining() / Entry::kEncodedBytes) reader.fail();
  if (!reader.failed()) file.entries.reserve(static_cast<std::size_t>(count));
  for (std::uint64_t i = 0; i < count && !reader.failed(); ++i) {
    Entry entry;
    entry.key = decode_key(reader);
    entry.place.segment = ContainerNumber(reader.u64());
    entry.place.offset = reader.u64();
    entry.place.stored_bytes = reader.u32();
    entry.place.plaintext_bytes = reader.u32();
    const std::uint8_t type = reader.u8();
    entry.place.type = static_cast<RecordType>(type & kTypeMask);
    entry.place.damaged = (type & kDamagedFlag) != 0;
    entry.place.healed = (type & kHealedFlag) != 0;
    if (!reader.failed() && !can_be_true(entry.place, file.segments)) reader.fail();
    file.entries.push_back(entry);
  }
  if (!reader.failed() && reader.remaining() > 0) file.bases = decode_bases(reader);
  VAULTFS_RETURN_IF_ERROR(reader.finish(ErrorCode::DamagedSegment, "chunk index"));
  return file;
}

}  // namespace vaultfs
