// Patches: docs/format.md, section 4.4; why they are: docs/decisions/0004-patches.md.
#include <algorithm>
#include <cstring>
#include <utility>
#include <vector>

#include "crypto/memory/plaintext_memory.h"
#include "store/segment/segment_store_impl.h"

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

// Where a put of pages over older content leads.
struct SegmentStoreImpl::Flattened {
  PatchHeader header;             // over a chunk or a hole
  std::uint32_t base_length = 0;  // of that chunk, at most
  ChunkId older;                  // the patch that lay between, if there is one
  std::optional<Located> older_record;
  PatchHeader older_header;
};

Result<PatchHeader> SegmentStoreImpl::patch_header(const ChunkId& id, Located& record) {
  if (auto known = patches_.find(id, keys_)) return *known;
  Bytes frame(PatchHeader::kEncodedBytes);
  VAULTFS_RETURN_IF_ERROR(read_record(id, record, 0, frame));
  auto header = PatchHeader::decode(frame, record.place.plaintext_bytes);
  if (!header.ok()) {
    tell_damaged(ChunkIndex::key_of(id), record.place);
    return with_context(std::move(header).error(), closed_segment_name(record.place.segment));
  }
  patches_.insert(id, *header, record.checked ? PatchCache::kById : record.reader->epoch());
  return header;
}

Result<std::optional<ChunkIndex::Key>> SegmentStoreImpl::base_of(const ChunkId& id, const ChunkPlace& place) {
  const ChunkIndex::Key patch = ChunkIndex::key_of(id);
  bases_.keep_for(keys_);
  // Where the record is known to be damaged, nobody counts on what it was.
  std::optional<ChunkIndex::Key> base = place.damaged ? std::nullopt : bases_.find(patch);
  if (!base) {
    VAULTFS_ASSIGN_OR_RETURN(Located record, find_proven(id));
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

Result<std::optional<ContainerNumber>> SegmentStoreImpl::base_segment_of(const ChunkId& id) {
  const auto place = locate(ChunkIndex::key_of(id));
  if (!place) return missing("a chunk that is referred to");
  if (place->type != RecordType::patch) return std::optional<ContainerNumber>();
  VAULTFS_ASSIGN_OR_RETURN(const std::optional<ChunkIndex::Key> base, base_of(id, *place));
  if (!base) return std::optional<ContainerNumber>();
  const auto below = locate(*base);
  if (!below) return missing("the chunk that a patch lies over");
  return std::optional(below->segment);
}

Result<std::optional<PatchHeader>> SegmentStoreImpl::patch_of(const ChunkId& id) {
  VAULTFS_ASSIGN_OR_RETURN(Located record, find_proven(id));
  if (record.place.type != RecordType::patch) return std::optional<PatchHeader>();
  VAULTFS_ASSIGN_OR_RETURN(const PatchHeader header, patch_header(id, record));
  return std::optional<PatchHeader>(header);
}

Result<std::optional<ChunkPlace>> SegmentStoreImpl::base_place(const ChunkId& base) {
  if (base.is_zero()) return std::optional<ChunkPlace>();
  auto place = locate(ChunkIndex::key_of(base));
  if (!place) return missing("the chunk that a patch lies over");
  if (place->type != RecordType::chunk) {
    return Error{ErrorCode::ChunkMismatch, "a patch lies over something that is no chunk"};
  }
  return place;
}

Result<std::optional<SegmentStoreImpl::Located>> SegmentStoreImpl::base_record(const ChunkId& base) {
  if (base.is_zero()) return std::optional<Located>();
  VAULTFS_ASSIGN_OR_RETURN(Located record, find_proven(base));
  if (record.place.type != RecordType::chunk) {
    return Error{ErrorCode::ChunkMismatch, "a patch lies over something that is no chunk"};
  }
  return std::optional<Located>(std::move(record));
}

// A put does not wait for a look at the base: it lies over what the id names, whatever stands there now. With a length
// that is too great some zeros are stored that need not be stored.
std::uint32_t SegmentStoreImpl::length_at_most(const ChunkId& id, const ChunkPlace& place) {
  // By its reader, which has authenticated the epoch: a length that is too small would let old bytes show.
  const auto reader = reader_of(place.segment);
  if (reader.ok() && keys_.is_current((*reader)->epoch())) return place.plaintext_bytes;
  const auto known = checked_.find(id);
  return known != nullptr ? known->place.plaintext_bytes : kMaxChunkBytes;
}

Status SegmentStoreImpl::read_patched(const ChunkId& id, Located& record, std::uint32_t offset, MutableByteView out) {
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
  VAULTFS_RETURN_IF_ERROR(read_record(id, record, patch.offset_of(first), stored.bytes()));
  lay_pages(patch, first, stored.bytes(), offset, out);
  return ok_status();
}

Result<std::uint32_t> SegmentStoreImpl::read_patched_piece(const ChunkId& id, Located& record, std::uint32_t offset,
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
Status SegmentStoreImpl::read_base(const PatchHeader& patch, std::uint32_t offset, MutableByteView out) {
  const std::vector<Range> ranges = outside(patch.pages, offset, offset + static_cast<std::uint32_t>(out.size()));
  if (ranges.empty()) return ok_status();
  VAULTFS_ASSIGN_OR_RETURN(auto base, base_record(patch.base));
  const std::uint32_t stored_end = base ? base->place.plaintext_bytes : 0;
  const auto read_range = [&](const Range& range) -> Status {
    const std::uint32_t split = std::clamp(stored_end, range.begin, range.end);
    std::memset(out.data() + (split - offset), 0, range.end - split);
    if (split == range.begin) return ok_status();
    return read_record(patch.base, *base, range.begin, out.subspan(range.begin - offset, split - range.begin));
  };
  if (ranges.size() > kFewRanges) {
    if (read_range({ranges.front().begin, ranges.back().end}).ok()) return ok_status();
    // The damage may lie where no range needs it.
  }
  for (const Range& range : ranges) VAULTFS_RETURN_IF_ERROR(read_range(range));
  return ok_status();
}

Result<Bytes> SegmentStoreImpl::read_verified_patch(const ChunkId& id, const ChunkPlace& place, ByteView plaintext) {
  auto patch = PatchHeader::decode_whole(plaintext);
  if (!patch.ok()) {
    tell_damaged(ChunkIndex::key_of(id), place);
    return with_context(std::move(patch).error(), closed_segment_name(place.segment));
  }
  Bytes content(patch->length);
  if (!outside(patch->pages, 0, patch->length).empty()) {
    VAULTFS_ASSIGN_OR_RETURN(auto below, base_place(patch->base));
    if (below) {
      VAULTFS_ASSIGN_OR_RETURN(const Bytes base, read_verified_record(patch->base, *below));
      if (below->type != RecordType::chunk) {
        return Error{ErrorCode::ChunkMismatch, "a patch lies over something that is no chunk"};
      }
      std::memcpy(content.data(), base.data(), std::min(base.size(), content.size()));
    }
  }
  lay_pages(*patch, 0, plaintext.subspan(PatchHeader::kEncodedBytes), 0, content);
  return content;
}

Result<SegmentStoreImpl::Flattened> SegmentStoreImpl::flatten(const PatchDraft& draft) {
  Flattened flat;
  flat.header = {draft.base, draft.length, draft.pages};
  if (draft.base.is_zero()) return flat;
  const auto below = locate(ChunkIndex::key_of(draft.base));
  std::optional<Located> older;
  if (below && below->type == RecordType::patch) {
    VAULTFS_ASSIGN_OR_RETURN(older, find_proven(draft.base));
  }
  const bool over_patch = older && older->place.type == RecordType::patch;
  if (over_patch) {
    VAULTFS_ASSIGN_OR_RETURN(flat.older_header, patch_header(draft.base, *older));
    flat.older = draft.base;
    flat.older_record = std::move(older);
    flat.header.base = flat.older_header.base;
    flat.header.pages |= flat.older_header.pages & patch_pages_of(0, draft.length);
  }
  const auto base = base_place(flat.header.base);
  if (!base.ok() && !draft.over_lost) return base.error();
  flat.base_length = !base.ok() ? kMaxChunkBytes : *base ? length_at_most(flat.header.base, **base) : 0;
  if (over_patch && flat.older_header.length < draft.length) {
    // What the older patch cut off its base must not show again.
    flat.header.pages |= patch_pages_of(flat.older_header.length,
                                        std::max(flat.older_header.length, std::min(draft.length, flat.base_length)));
  }
  return flat;
}

// The pages of the flattened patch, one after the other.
Result<Bytes> SegmentStoreImpl::gather_pages(const PatchDraft& draft, Flattened& flat) {
  Bytes older;
  if (flat.older_record && (flat.header.pages & flat.older_header.pages & ~draft.pages).any()) {
    older.resize(flat.older_header.plaintext_bytes());
    VAULTFS_RETURN_IF_ERROR(read_record(flat.older, *flat.older_record, 0, older));
  }
  Bytes pages(flat.header.pages.count() * kPatchPageBytes);
  std::size_t at = 0;
  for (std::uint32_t page = 0; page < kPatchPages; ++page) {
    if (!flat.header.pages.test(page)) continue;
    const std::uint32_t start = page * kPatchPageBytes;
    const std::uint32_t end = std::min(start + kPatchPageBytes, draft.length);
    const MutableByteView target = MutableByteView(pages).subspan(at, end - start);
    at += kPatchPageBytes;
    if (draft.pages.test(page)) {
      std::memcpy(target.data(), draft.content.data() + start, target.size());
    } else if (flat.older_header.pages.test(page)) {
      std::memcpy(target.data(), older.data() + flat.older_header.offset_of(page), target.size());
    } else if (start < flat.older_header.length) {
      const std::uint32_t stored = flat.older_header.length - start;  // below a page: the rest is zero
      VAULTFS_RETURN_IF_ERROR(read_patched(flat.older, *flat.older_record, start, target.first(stored)));
    }
  }
  return pages;
}

// Nothing where there are more pages than a patch may have.
Result<Bytes> SegmentStoreImpl::flatten_pages(const PatchDraft& draft, Flattened& flat) {
  VAULTFS_ASSIGN_OR_RETURN(flat, flatten(draft));
  return flat.header.pages.count() > draft.max_pages ? Bytes() : gather_pages(draft, flat);
}

Result<std::optional<PutOutcome>> SegmentStoreImpl::put_patch(const PatchDraft& draft) {
  if (draft.length == 0 || draft.length > kMaxChunkBytes || draft.content.size() < draft.length || draft.pages.none() ||
      (draft.pages & ~patch_pages_of(0, draft.length)).any()) {
    return Error{ErrorCode::InvalidArgument, "a patch replaces pages of 1 byte to 1 MiB"};
  }
  if (options_.read_only) return Error{ErrorCode::ReadOnly, "the vault is open for reading only"};
  Flattened flat;
  auto gathered = flatten_pages(draft, flat);
  if (!gathered.ok() && draft.over_lost && is_integrity_error(gathered.code())) {
    // What lies over an older patch that is lost is lost with it, but for the new pages.
    flat = {};
    flat.header = {draft.base, draft.length, draft.pages};
    flat.base_length = kMaxChunkBytes;
    gathered = gather_pages(draft, flat);
  }
  if (!gathered.ok()) return gathered.error();
  if (flat.header.pages.count() > draft.max_pages) return std::optional<PutOutcome>();
  const Bytes& pages = *gathered;
  PatchHeader header{flat.header.base, draft.length, {}};
  Bytes plaintext(PatchHeader::kEncodedBytes);
  plaintext.reserve(PatchHeader::kEncodedBytes + pages.size());
  std::size_t at = 0;
  for (std::uint32_t page = 0; page < kPatchPages; ++page) {
    if (!flat.header.pages.test(page)) continue;
    const ByteView bytes = ByteView(pages).subspan(at, kPatchPageBytes);
    at += kPatchPageBytes;
    if (page * kPatchPageBytes >= flat.base_length && is_all_zero(bytes)) continue;
    header.pages.set(page);
    plaintext.insert(plaintext.end(), bytes.begin(), bytes.end());
  }
  // A reference to the base comes into being, whether the patch is new or known.
  if (!header.base.is_zero()) {
    const auto below = index_.touch(header.base);
    bool there = below.has_value();
    // One that is known to be damaged may still have what the patch needs of it.
    if (there && !below->damaged) {
      VAULTFS_ASSIGN_OR_RETURN(there, confirmed(header.base, *below));
    }
    if (!there && !draft.over_lost) return missing("the chunk that a patch lies over");
  }
  // The base already is the content: zeros may be missing at its end only.
  if (header.pages.none()) return std::optional<PutOutcome>(PutOutcome{header.base, false, 0});
  const Bytes encoded = header.encode();
  std::copy(encoded.begin(), encoded.end(), plaintext.begin());
  VAULTFS_ASSIGN_OR_RETURN(const ChunkId id, id_of(RecordType::patch, plaintext));
  VAULTFS_ASSIGN_OR_RETURN(const PutOutcome outcome, put_content(RecordType::patch, id, plaintext));
  patches_.insert(id, header, PatchCache::kById);
  bases_.insert(ChunkIndex::key_of(id), ChunkIndex::key_of(header.base));
  return std::optional<PutOutcome>(outcome);
}

}  // namespace vaultfs
