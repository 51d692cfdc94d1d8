#include "store/segment/read/patch_reader.h"

#include <algorithm>
#include <cstring>
#include <utility>
#include <vector>

#include "crypto/memory/plaintext_memory.h"
#include "store/index/segment_format.h"

namespace vaultfs {
namespace {

// With more ranges than this the base is opened once for all of them, and not frame by frame again for each.
constexpr std::size_t kFewRanges = 4;

struct Range {
  std::uint32_t begin = 0;
  std::uint32_t end = 0;
};

// The parts of [begin, end) that lie in none of the pages.
std::vector<Range> outside(const PatchPages& pages, std::uint32_t begin, std::uint32_t end) {
  std::vector<Range> ranges;
  for (std::uint32_t at = begin; at < end;) {
    const std::uint32_t page = at / kPatchPageBytes;
    const std::uint32_t stop = std::min(end, (page + 1) * kPatchPageBytes);
    if (!pages.test(page)) {
      if (!ranges.empty() && ranges.back().end == at) {
        ranges.back().end = stop;
      } else {
        ranges.push_back({at, stop});
      }
    }
    at = stop;
  }
  return ranges;
}

PlaintextScratch::Use page_scratch(std::size_t size) {
  thread_local PlaintextScratch scratch;
  return scratch.use(size);
}

// Copies what `stored`, consecutive pages of the patch's record from page `first` on, has of [offset, …) to out.
void lay_pages(const PatchHeader& patch, std::uint32_t first, ByteView stored, std::uint32_t offset,
               MutableByteView out) {
  const auto end = offset + static_cast<std::uint32_t>(out.size());
  for (std::uint32_t page = first; !stored.empty(); ++page) {
    if (!patch.pages.test(page)) continue;
    const std::uint32_t start = page * kPatchPageBytes;
    const std::uint32_t from = std::max(offset, start);
    const std::uint32_t to = std::min(end, start + kPatchPageBytes);
    std::memcpy(out.data() + (from - offset), stored.data() + (from - start), to - from);
    stored = stored.subspan(kPatchPageBytes);
  }
}

}  // namespace

Result<PatchHeader> PatchReader::patch_header(const ChunkId& id, Located& record) {
  if (auto known = headers_.find(id, keys_)) return *known;
  Bytes frame(PatchHeader::kEncodedBytes);
  VAULTFS_RETURN_IF_ERROR(records_.read_record(id, record, 0, frame));
  auto header = PatchHeader::decode(frame, record.place.plaintext_bytes);
  if (!header.ok()) {
    damage_.tell_damaged(ChunkIndex::key_of(id), record.place);
    return with_context(std::move(header).error(), closed_segment_name(record.place.segment));
  }
  headers_.insert(id, *header, record.checked ? PatchCache::kById : record.reader->epoch());
  return header;
}

Result<std::optional<ChunkIndex::Key>> PatchReader::base_of(const ChunkId& id, const ChunkPlace& place) {
  const ChunkIndex::Key patch = ChunkIndex::key_of(id);
  bases_.keep_for(keys_);
  // Where the record is known to be damaged, nobody counts on what it was.
  std::optional<ChunkIndex::Key> base = place.damaged ? std::nullopt : bases_.find(patch);
  if (!base) {
    VAULTFS_ASSIGN_OR_RETURN(Located record, records_.find_proven(id));
    if (record.place.type != RecordType::patch) return std::optional<ChunkIndex::Key>();
    VAULTFS_ASSIGN_OR_RETURN(const PatchHeader header, patch_header(id, record));
    base = ChunkIndex::key_of(header.base);
    if (record.checked) {
      bases_.insert(patch, *base);
    } else {
      bases_.insert(patch, *base, record.reader->epoch());
    }
  }
  if (*base == ChunkIndex::Key{}) base.reset();
  return base;
}

Result<std::optional<ChunkPlace>> PatchReader::base_place(const ChunkId& base) {
  if (base.is_zero()) return std::optional<ChunkPlace>();
  auto place = unread_.locate(ChunkIndex::key_of(base));
  if (!place) return unread_.missing("the chunk that a patch lies over");
  if (place->type != RecordType::chunk) {
    return Error{ErrorCode::ChunkMismatch, "a patch lies over something that is no chunk"};
  }
  return place;
}

Result<std::optional<PatchReader::Located>> PatchReader::base_record(const ChunkId& base) {
  if (base.is_zero()) return std::optional<Located>();
  VAULTFS_ASSIGN_OR_RETURN(Located record, records_.find_proven(base));
  if (record.place.type != RecordType::chunk) {
    return Error{ErrorCode::ChunkMismatch, "a patch lies over something that is no chunk"};
  }
  return std::optional<Located>(std::move(record));
}

// A put does not wait for a look at the base: it lies over what the id names, whatever stands there now. With a length
// that is too great some zeros are stored that need not be stored.
std::uint32_t PatchReader::length_at_most(const ChunkId& id, const ChunkPlace& place) {
  // By its reader, which has authenticated the epoch: a length that is too small would let old bytes show.
  const auto reader = files_.reader_of(place.segment);
  if (reader.ok() && keys_.is_current((*reader)->epoch())) return place.plaintext_bytes;
  const auto known = records_.checked(id);
  return known != nullptr ? known->place.plaintext_bytes : kMaxChunkBytes;
}

Status PatchReader::read_patched(const ChunkId& id, Located& record, std::uint32_t offset, MutableByteView out) {
  VAULTFS_ASSIGN_OR_RETURN(const PatchHeader patch, patch_header(id, record));
  if (offset > patch.length || out.size() > patch.length - offset) {
    return Error{ErrorCode::OutOfRange, "a read beyond the end of a chunk"};
  }
  if (out.empty()) return ok_status();
  VAULTFS_RETURN_IF_ERROR(read_base(patch, offset, out));
  const PatchPages wanted = patch.pages & patch_pages_of(offset, offset + static_cast<std::uint32_t>(out.size()));
  if (wanted.none()) return ok_status();
  // Ascending pages follow one another in the record: one read gets them all.
  std::uint32_t first = 0;
  while (!wanted.test(first)) ++first;
  const PlaintextScratch::Use stored = page_scratch(wanted.count() * kPatchPageBytes);
  VAULTFS_RETURN_IF_ERROR(records_.read_record(id, record, patch.offset_of(first), stored.bytes()));
  lay_pages(patch, first, stored.bytes(), offset, out);
  return ok_status();
}

Result<std::uint32_t> PatchReader::read_patched_piece(const ChunkId& id, Located& record, std::uint32_t offset,
                                                      MutableByteView out) {
  VAULTFS_ASSIGN_OR_RETURN(const PatchHeader patch, patch_header(id, record));
  const std::size_t stored = std::min<std::size_t>(out.size(), patch.length - std::min(offset, patch.length));
  if (stored > 0 && !outside(patch.pages, offset, offset + static_cast<std::uint32_t>(stored)).empty()) {
    // What is wrong with the base is told by the reading, which knows what of it is wanted.
    const auto base_frame_bytes = [&]() -> Result<std::uint32_t> {
      VAULTFS_ASSIGN_OR_RETURN(const auto base, base_record(patch.base));
      if (!base) return 0U;
      if (base->checked) return base->checked->map.header.frame_bytes();
      return base->reader->frame_bytes(patch.base, base->place);
    }();
    if (base_frame_bytes.ok() && *base_frame_bytes > kPieceFrameBytes) return *base_frame_bytes;
  }
  VAULTFS_RETURN_IF_ERROR(read_patched(id, record, std::min(offset, patch.length), out.first(stored)));
  std::fill(out.begin() + static_cast<std::ptrdiff_t>(stored), out.end(), std::byte{0});
  return 0U;
}

// Fills what of [offset, offset + out.size()) lies in no page of the patch, and may write over what does.
Status PatchReader::read_base(const PatchHeader& patch, std::uint32_t offset, MutableByteView out) {
  const std::vector<Range> ranges = outside(patch.pages, offset, offset + static_cast<std::uint32_t>(out.size()));
  if (ranges.empty()) return ok_status();
  VAULTFS_ASSIGN_OR_RETURN(auto base, base_record(patch.base));
  const std::uint32_t stored_end = base ? base->place.plaintext_bytes : 0;
  const auto read_range = [&](const Range& range) -> Status {
    const std::uint32_t split = std::clamp(stored_end, range.begin, range.end);
    std::memset(out.data() + (split - offset), 0, range.end - split);
    if (split == range.begin) return ok_status();
    return records_.read_record(patch.base, *base, range.begin, out.subspan(range.begin - offset, split - range.begin));
  };
  if (ranges.size() > kFewRanges) {
    if (read_range({ranges.front().begin, ranges.back().end}).ok()) return ok_status();
    // The damage may lie where no range needs it.
  }
  for (const Range& range : ranges) VAULTFS_RETURN_IF_ERROR(read_range(range));
  return ok_status();
}

Result<Bytes> PatchReader::read_verified_patch(const ChunkId& id, const ChunkPlace& place, ByteView plaintext) {
  auto patch = PatchHeader::decode_whole(plaintext);
  if (!patch.ok()) {
    damage_.tell_damaged(ChunkIndex::key_of(id), place);
    return with_context(std::move(patch).error(), closed_segment_name(place.segment));
  }
  Bytes content(patch->length);
  if (!outside(patch->pages, 0, patch->length).empty()) {
    VAULTFS_ASSIGN_OR_RETURN(auto below, base_place(patch->base));
    if (below) {
      VAULTFS_ASSIGN_OR_RETURN(const Bytes base, records_.read_verified_record(patch->base, *below));
      if (below->type != RecordType::chunk) {
        return Error{ErrorCode::ChunkMismatch, "a patch lies over something that is no chunk"};
      }
      std::memcpy(content.data(), base.data(), std::min(base.size(), content.size()));
    }
  }
  lay_pages(*patch, 0, plaintext.subspan(PatchHeader::kEncodedBytes), 0, content);
  return content;
}

void PatchReader::note_put(const ChunkId& id, const PatchHeader& header) {
  headers_.insert(id, header, PatchCache::kById);
  bases_.insert(ChunkIndex::key_of(id), ChunkIndex::key_of(header.base));
}

}  // namespace vaultfs
