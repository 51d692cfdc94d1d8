#include "fs/content/chunk_maker.h"

#include <algorithm>
#include <cstring>

#include "fs/content/extent_map.h"

namespace vaultfs {
namespace {

// With more gaps than this the chunk below is opened as a whole, and not frame by frame again for each gap.
constexpr std::size_t kFewGaps = 4;

// A patch holds at most this share of the content's pages (docs/decisions/0004-patches.md has the measurement).
constexpr std::uint32_t kPatchShare = 4;
static_assert(kSlotPageBytes == kPatchPageBytes && kChunkBytes == kMaxChunkBytes);

}  // namespace

Status ChunkMaker::find_base(StoreJob& job) {
  if (job.base_page.is_zero()) return ok_status();
  VAULTFS_ASSIGN_OR_RETURN(const std::shared_ptr<ExtentMap::Page> page, load_map_page(store_, job.base_page));
  job.base = page->entries[job.base_entry];
  job.base_page = {};
  return ok_status();
}

Status ChunkMaker::fill_gaps(StoreJob& job, const std::vector<ByteRanges::Range>& gaps) {
  // Only ranges that nobody reads are filled: readers take from a slot what is dirty in it.
  if (gaps.empty()) return ok_status();
  std::uint32_t base_length = 0;
  if (!job.base.is_zero()) {
    VAULTFS_ASSIGN_OR_RETURN(base_length, store_.length(job.base));
  }
  const MutableByteView memory = job.slot->memory();
  SlotMemory whole;
  if (gaps.size() > kFewGaps && base_length > 0) {
    whole = memory_.take();
    VAULTFS_RETURN_IF_ERROR(store_.read(job.base, 0, whole.view().first(base_length)));
  }
  for (const ByteRanges::Range& gap : gaps) {
    const std::uint32_t stored_end = std::max(gap.begin, std::min(gap.end, base_length));
    const MutableByteView stored = memory.subspan(gap.begin, stored_end - gap.begin);
    if (!stored.empty()) {
      if (whole.data() != nullptr) {
        std::memcpy(stored.data(), whole.data() + gap.begin, stored.size());
      } else {
        VAULTFS_RETURN_IF_ERROR(store_.read(job.base, gap.begin, stored));
      }
    }
    std::memset(memory.data() + stored_end, 0, gap.end - stored_end);
  }
  return ok_status();
}

Result<std::optional<ChunkId>> ChunkMaker::store_patch(StoreJob& job, std::uint32_t max_pages, bool over_lost) {
  const ByteRanges& dirty = job.slot->dirty();
  PatchDraft patch;
  patch.base = job.base;
  patch.length = job.length;
  patch.content = job.slot->memory().first(job.length);
  patch.max_pages = max_pages;
  patch.over_lost = over_lost;
  for (const ByteRanges::Range& range : dirty.inside(0, job.length)) {
    patch.pages |= patch_pages_of(range.begin, range.end);
  }
  if (patch.pages.none() || patch.pages.count() > patch.max_pages) return std::optional<ChunkId>();
  // Pages that are new as a whole need nothing of what lies below.
  std::vector<ByteRanges::Range> gaps;
  for (std::uint32_t page = 0; page < kPatchPages; ++page) {
    if (!patch.pages.test(page)) continue;
    const std::uint32_t begin = page * kPatchPageBytes;
    const std::vector<ByteRanges::Range> of_page = dirty.outside(begin, std::min(begin + kPatchPageBytes, job.length));
    gaps.insert(gaps.end(), of_page.begin(), of_page.end());
  }
  VAULTFS_RETURN_IF_ERROR(fill_gaps(job, gaps));
  VAULTFS_ASSIGN_OR_RETURN(const auto outcome, store_.put_patch(patch));
  if (!outcome.has_value()) return std::optional<ChunkId>();
  return std::optional<ChunkId>(outcome->id);
}

Result<ChunkId> ChunkMaker::store(StoreJob& job) {
  const std::vector<ByteRanges::Range> gaps = job.slot->dirty().outside(0, job.length);
  if (!gaps.empty()) {
    VAULTFS_RETURN_IF_ERROR(find_base(job));
    const auto patch = store_patch(job, (job.length + kPatchPageBytes - 1) / kPatchPageBytes / kPatchShare, false);
    if (patch.ok() && patch->has_value()) return **patch;
    if (!patch.ok() && !is_integrity_error(patch.code())) return patch.error();
    if (const Status filled = fill_gaps(job, gaps); !filled.ok()) {
      if (!is_integrity_error(filled.code())) return filled.error();
      // What lies below is lost. Whole pages that are new are kept over it without reading it, so that one lost chunk
      // does not keep its item from being backed up.
      const auto over_damage = store_patch(job, kPatchPages, true);
      if (over_damage.ok() && over_damage->has_value()) return **over_damage;
      return filled.error();
    }
  }
  const ByteView content = job.slot->memory().first(job.length);
  if (is_all_zero(content)) return ChunkId{};
  VAULTFS_ASSIGN_OR_RETURN(const PutOutcome outcome, store_.put(RecordType::chunk, content));
  return outcome.id;
}

}  // namespace vaultfs
