#include "vaultmeta/vault/verify_index.h"

#include <algorithm>
#include <utility>

#include "base/byte_codec.h"
#include "crypto/hash.h"
#include "store/index/chunk_index_file.h"
#include "store/record/stream.h"
#include "store/segment/file/segment_recovery.h"

namespace vaultfs {
namespace {

// A record by what an index says of it.
std::uint64_t number_for(const ChunkIndex::Key& key, const ChunkPlace& place) {
  ByteWriter writer;
  writer.raw(key);
  writer.u64(place.offset);
  writer.u32(place.stored_bytes);
  writer.u32(place.plaintext_bytes);
  writer.u8(static_cast<std::uint8_t>(place.type));
  const Digest digest = sha256(writer.view());
  return ByteReader(digest.view()).u64();
}

Error planted(const ChunkIndexFile::Entry& first, std::uint64_t count) {
  return {ErrorCode::DamagedSegment,
          "the index tells of " + std::to_string(count) + (count == 1 ? " record" : " records") +
              " that its segment does not have, the first at offset " + std::to_string(first.place.offset) + " of " +
              closed_segment_name(first.place.segment) +
              ": somebody has planted it; delete the file, it is written anew from the segments"};
}

}  // namespace

void IndexCheck::saw(ContainerNumber segment, const SegmentEntry& entry) {
  const ChunkPlace place{segment, entry.offset, entry.stored_bytes, entry.plaintext_bytes, entry.type};
  segments_[segment].records.push_back(number_for(ChunkIndex::key_of(entry.id), place));
}

void IndexCheck::walked(ContainerNumber segment, bool has_damage) {
  Segment& walked = segments_[segment];
  std::ranges::sort(walked.records);
  walked.has_damage = has_damage;
  walked.complete = true;
}

Status IndexCheck::check(Env& env, const std::filesystem::path& vault, const std::string& file, ContainerNumber number,
                         const EpochKeys& keys, std::vector<Damage>& damage) const {
  const auto decode = [&]() -> Result<ChunkIndexFile> {
    VAULTFS_ASSIGN_OR_RETURN(const auto stored, env.open(vault / file, OpenMode::read_only));
    VAULTFS_ASSIGN_OR_RETURN(const OpenedStream stream,
                             read_stream(keys, ContainerKind::index, number, *stored, ErrorCode::DamagedSegment));
    return ChunkIndexFile::decode(stream.content);
  };
  const auto index = decode();
  if (!index.ok()) return ends_the_opening(index.code()) ? Status(index.error()) : ok_status();
  std::uint64_t count = 0;
  const ChunkIndexFile::Entry* first = nullptr;
  for (const ChunkIndexFile::Entry& entry : index->entries) {
    const auto segment = segments_.find(entry.place.segment);
    // Of one that came, or went, meanwhile nothing is known here; that one is missing is told of each point that needs
    // it.
    if (segment == segments_.end() || !segment->second.complete || segment->second.has_damage) continue;
    if (entry.place.damaged) continue;  // it says so itself
    if (std::ranges::binary_search(segment->second.records, number_for(entry.key, entry.place))) continue;
    ++count;
    if (first == nullptr) first = &entry;
  }
  if (first != nullptr) damage.push_back({file, planted(*first, count)});
  return ok_status();
}

}  // namespace vaultfs
