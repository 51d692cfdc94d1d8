#include "store/segment/patch_writer.h"

#include <algorithm>
#include <cstring>
#include <utility>

namespace vaultfs {

// Where a put of pages over older content leads.
struct PatchWriter::Flattened {
  PatchHeader header;             // over a chunk or a hole
  std::uint32_t base_length = 0;  // of that chunk, at most
  ChunkId older;                  // the patch that lay between, if there is one
  std::optional<Located> older_record;
  PatchHeader older_header;
};

Result<PatchWriter::Flattened> PatchWriter::flatten(const PatchDraft& draft) {
  Flattened flat;
  flat.header = {draft.base, draft.length, draft.pages};
  if (draft.base.is_zero()) return flat;
  const auto below = unread_.locate(ChunkIndex::key_of(draft.base));
  std::optional<Located> older;
  if (below && below->type == RecordType::patch) {
    VAULTFS_ASSIGN_OR_RETURN(older, records_.find_proven(draft.base));
  }
  const bool over_patch = older && older->place.type == RecordType::patch;
  if (over_patch) {
    VAULTFS_ASSIGN_OR_RETURN(flat.older_header, patches_.patch_header(draft.base, *older));
    flat.older = draft.base;
    flat.older_record = std::move(older);
    flat.header.base = flat.older_header.base;
    flat.header.pages |= flat.older_header.pages & patch_pages_of(0, draft.length);
  }
  const auto base = patches_.base_place(flat.header.base);
  if (!base.ok() && !draft.over_lost) return base.error();
  flat.base_length = !base.ok() ? kMaxChunkBytes : *base ? patches_.length_at_most(flat.header.base, **base) : 0;
  if (over_patch && flat.older_header.length < draft.length) {
    // What the older patch cut off its base must not show again.
    flat.header.pages |= patch_pages_of(flat.older_header.length,
                                        std::max(flat.older_header.length, std::min(draft.length, flat.base_length)));
  }
  return flat;
}

// The pages of the flattened patch, one after the other.
Result<Bytes> PatchWriter::gather_pages(const PatchDraft& draft, Flattened& flat) {
  Bytes older;
  if (flat.older_record && (flat.header.pages & flat.older_header.pages & ~draft.pages).any()) {
    older.resize(flat.older_header.plaintext_bytes());
    VAULTFS_RETURN_IF_ERROR(records_.read_record(flat.older, *flat.older_record, 0, older));
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
      VAULTFS_RETURN_IF_ERROR(patches_.read_patched(flat.older, *flat.older_record, start, target.first(stored)));
    }
  }
  return pages;
}

// Nothing where there are more pages than a patch may have.
Result<Bytes> PatchWriter::flatten_pages(const PatchDraft& draft, Flattened& flat) {
  VAULTFS_ASSIGN_OR_RETURN(flat, flatten(draft));
  return flat.header.pages.count() > draft.max_pages ? Bytes() : gather_pages(draft, flat);
}

Result<std::optional<PutOutcome>> PatchWriter::put_patch(const PatchDraft& draft) {
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
      VAULTFS_ASSIGN_OR_RETURN(there, writer_.confirmed(header.base, *below));
    }
    if (!there && !draft.over_lost) return unread_.missing("the chunk that a patch lies over");
  }
  // The base already is the content: zeros may be missing at its end only.
  if (header.pages.none()) return std::optional<PutOutcome>(PutOutcome{header.base, false, 0});
  const Bytes encoded = header.encode();
  std::copy(encoded.begin(), encoded.end(), plaintext.begin());
  VAULTFS_ASSIGN_OR_RETURN(const ChunkId id, id_of(keys_, RecordType::patch, plaintext));
  VAULTFS_ASSIGN_OR_RETURN(const PutOutcome outcome, writer_.put_content(RecordType::patch, id, plaintext));
  patches_.note_put(id, header);
  return std::optional<PutOutcome>(outcome);
}

// The header says what was replaced of what; whether it is the patch's own, and the content that of its pages, the id
// says.
Result<bool> PatchWriter::heal_patch(const ChunkId& id, ByteView content) {
  const auto place = index_.find(id);
  if (!place || !place->damaged || place->type != RecordType::patch) return false;
  const auto find_header = [&]() -> Result<PatchHeader> {
    if (auto known = patches_.known_header(id)) return *known;
    VAULTFS_ASSIGN_OR_RETURN(const auto reader, files_.reader_of(place->segment));
    Bytes frame(PatchHeader::kEncodedBytes);
    VAULTFS_RETURN_IF_ERROR(reader->read(id, *place, 0, frame));
    return PatchHeader::decode(frame, place->plaintext_bytes);
  };
  const auto header = find_header();
  if (!header.ok()) return false;
  Bytes plaintext = header->encode();
  plaintext.reserve(header->plaintext_bytes());
  const ByteView known = content.first(std::min<std::size_t>(content.size(), header->length));
  for (std::uint32_t page = 0; page < kPatchPages; ++page) {
    if (!header->pages.test(page)) continue;
    const std::size_t begin = std::min<std::size_t>(std::size_t{page} * kPatchPageBytes, known.size());
    const ByteView bytes = known.subspan(begin, std::min<std::size_t>(kPatchPageBytes, known.size() - begin));
    plaintext.insert(plaintext.end(), bytes.begin(), bytes.end());
    plaintext.resize(plaintext.size() + kPatchPageBytes - bytes.size());
  }
  VAULTFS_ASSIGN_OR_RETURN(const ChunkId computed, id_of(keys_, RecordType::patch, plaintext));
  if (computed != id) return false;
  VAULTFS_RETURN_IF_ERROR(writer_.put_content(RecordType::patch, id, plaintext));
  return true;
}

}  // namespace vaultfs
