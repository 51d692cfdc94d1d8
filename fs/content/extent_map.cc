#include "fs/content/extent_map.h"

#include <algorithm>
#include <cstdlib>

namespace vaultfs {
namespace {

// Clean pages that one map keeps loaded: 8 MiB of memory, 256 GiB of file.
constexpr std::size_t kLoadedPagesPerMap = 1024;

std::int16_t count_used(const ExtentMap::Page& page) {
  return static_cast<std::int16_t>(
      std::count_if(page.entries.begin(), page.entries.end(), [](const ChunkId& id) { return !id.is_zero(); }));
}

}  // namespace

Result<std::shared_ptr<ExtentMap::Page>> load_map_page(SegmentStore& store, const ChunkId& id) {
  VAULTFS_ASSIGN_OR_RETURN(const Bytes content, store.read_verified(RecordType::map_page, id));
  VAULTFS_ASSIGN_OR_RETURN(const MapPage decoded, MapPage::decode(content));
  auto page = std::make_shared<ExtentMap::Page>();
  std::copy(decoded.entries.begin(), decoded.entries.end(), page->entries.begin());
  return page;
}

ExtentMap ExtentMap::from_record(const InodeRecord& record) {
  ExtentMap map;
  map.inline_ = record.chunks;
  while (!map.inline_.empty() && map.inline_.back().is_zero()) map.inline_.pop_back();
  map.inline_.shrink_to_fit();
  for (std::size_t page = 0; page < record.pages.size(); ++page) {
    if (record.pages[page].is_zero()) continue;
    map.pages_[page].stored = record.pages[page];
    ++map.uncounted_;
  }
  return map;
}

std::optional<std::uint64_t> ExtentMap::page_to_load(std::uint64_t index) const {
  const auto cell = pages_.find(index / kEntriesPerMapPage);
  if (cell == pages_.end() || cell->second.loaded != nullptr) return std::nullopt;
  return cell->first;
}

ChunkId ExtentMap::get(std::uint64_t index) const {
  if (pages_.empty()) return index < inline_.size() ? inline_[index] : ChunkId{};
  const auto cell = pages_.find(index / kEntriesPerMapPage);
  if (cell == pages_.end()) return {};
  if (cell->second.loaded == nullptr) std::abort();
  return cell->second.loaded->entries[index % kEntriesPerMapPage];
}

void ExtentMap::to_pages() {
  if (inline_.empty()) return;
  Cell& cell = pages_[0];
  cell.loaded = std::make_shared<Page>();
  std::copy(inline_.begin(), inline_.end(), cell.loaded->entries.begin());
  cell.used = 0;
  count(cell, count_used(*cell.loaded));
  inline_ = {};
}

void ExtentMap::count(Cell& cell, std::int16_t used) {
  if (cell.used < 0) {
    --uncounted_;
  } else {
    used_in_pages_ -= static_cast<std::uint64_t>(cell.used);
  }
  cell.used = used;
  used_in_pages_ += static_cast<std::uint64_t>(used);
}

void ExtentMap::erase_page(std::map<std::uint64_t, Cell>::iterator page) {
  count(page->second, 0);
  pages_.erase(page);
}

ExtentMap::Cell& ExtentMap::writable_cell(std::uint64_t page) {
  const auto [place, added] = pages_.try_emplace(page);
  Cell& cell = place->second;
  if (added) cell.used = 0;
  if (cell.loaded == nullptr) {
    if (!cell.stored.is_zero()) std::abort();
    cell.loaded = std::make_shared<Page>();
  } else if (cell.shared) {
    cell.loaded = std::make_shared<Page>(*cell.loaded);
  }
  if (cell.used < 0) count(cell, count_used(*cell.loaded));
  cell.shared = false;
  cell.stored = {};
  return cell;
}

void ExtentMap::set(std::uint64_t index, const ChunkId& id) {
  if (pages_.empty()) {
    if (index < kInlineChunks) {
      if (index >= inline_.size()) {
        if (id.is_zero()) return;
        inline_.resize(index + 1);
      }
      inline_[index] = id;
      while (!inline_.empty() && inline_.back().is_zero()) inline_.pop_back();
      return;
    }
    if (id.is_zero()) return;
    to_pages();
  }
  const std::uint64_t page = index / kEntriesPerMapPage;
  if (id.is_zero() && !pages_.contains(page)) return;
  if (!page_to_load(index).has_value() && get(index) == id) return;
  Cell& cell = writable_cell(page);
  ChunkId& entry = cell.loaded->entries[index % kEntriesPerMapPage];
  const int more = (entry.is_zero() ? 1 : 0) - (id.is_zero() ? 1 : 0);
  count(cell, static_cast<std::int16_t>(cell.used + more));
  entry = id;
  if (cell.used == 0) erase_page(pages_.find(page));
}

void ExtentMap::for_each_loaded(std::uint64_t begin, std::uint64_t end,
                                const std::function<void(const ChunkId&)>& visit) const {
  for (std::uint64_t index = begin; index < std::min<std::uint64_t>(end, inline_.size()); ++index) {
    if (!inline_[index].is_zero()) visit(inline_[index]);
  }
  for (auto cell = pages_.lower_bound(begin / kEntriesPerMapPage); cell != pages_.end(); ++cell) {
    const std::uint64_t first = cell->first * kEntriesPerMapPage;
    if (first >= end) return;
    if (cell->second.loaded == nullptr) continue;
    for (std::uint64_t i = std::max(begin, first) - first; i < std::min(end - first, std::uint64_t{kEntriesPerMapPage});
         ++i) {
      const ChunkId& id = cell->second.loaded->entries[i];
      if (!id.is_zero()) visit(id);
    }
  }
}

void ExtentMap::clear(std::uint64_t begin, std::uint64_t end) {
  if (begin >= end) return;
  if (pages_.empty()) {
    for (std::uint64_t index = begin; index < std::min<std::uint64_t>(end, inline_.size()); ++index)
      inline_[index] = {};
    while (!inline_.empty() && inline_.back().is_zero()) inline_.pop_back();
    return;
  }
  auto cell = pages_.lower_bound(begin / kEntriesPerMapPage);
  while (cell != pages_.end() && cell->first * kEntriesPerMapPage < end) {
    const std::uint64_t page = cell->first;
    const std::uint64_t first = page * kEntriesPerMapPage;
    ++cell;  // set() may erase the page
    if (begin <= first && first + kEntriesPerMapPage <= end) {
      erase_page(pages_.find(page));
      continue;
    }
    const std::uint64_t last = std::min(end, first + kEntriesPerMapPage);
    for (std::uint64_t index = std::max(begin, first); index < last && pages_.contains(page); ++index) set(index, {});
  }
}

std::optional<std::uint64_t> ExtentMap::next_candidate(std::uint64_t index) const {
  if (pages_.empty()) {
    if (index >= inline_.size()) return std::nullopt;
    return index;
  }
  const auto cell = pages_.lower_bound(index / kEntriesPerMapPage);
  if (cell == pages_.end()) return std::nullopt;
  return std::max(index, cell->first * kEntriesPerMapPage);
}

ChunkId ExtentMap::stored_page(std::uint64_t page) const {
  const auto cell = pages_.find(page);
  return cell == pages_.end() ? ChunkId{} : cell->second.stored;
}

void ExtentMap::install(std::uint64_t page, const ChunkId& stored, std::shared_ptr<Page> loaded) {
  const auto cell = pages_.find(page);
  if (cell == pages_.end() || cell->second.loaded != nullptr || cell->second.stored != stored) return;
  count(cell->second, count_used(*loaded));
  cell->second.loaded = std::move(loaded);
  cell->second.shared = false;
  if (pages_.size() <= kLoadedPagesPerMap) return;
  std::size_t clean = 0;
  for (const auto& [number, other] : pages_) clean += other.loaded != nullptr && !other.stored.is_zero() ? 1 : 0;
  if (clean <= kLoadedPagesPerMap) return;
  for (auto& [number, other] : pages_) {
    if (number != page && !other.stored.is_zero()) other.loaded = nullptr;
  }
}

std::optional<std::uint64_t> ExtentMap::uncounted_page() const {
  if (uncounted_ == 0) return std::nullopt;
  for (const auto& [page, cell] : pages_) {
    if (cell.used < 0) return page;
  }
  return std::nullopt;
}

std::uint64_t ExtentMap::used_entries() const {
  std::uint64_t sum = used_in_pages_;
  for (const ChunkId& id : inline_) sum += id.is_zero() ? 0 : 1;
  return sum;
}

std::optional<ExtentMap::PageReferences> ExtentMap::references_from(std::uint64_t page) const {
  const auto cell = pages_.lower_bound(page);
  if (cell == pages_.end()) return std::nullopt;
  const std::shared_ptr<Page>& loaded = cell->second.loaded;
  return PageReferences{cell->first, cell->second.stored,
                        loaded == nullptr ? nullptr : std::make_shared<Page>(*loaded)};
}

ExtentMap ExtentMap::share() {
  for (auto& [page, cell] : pages_) cell.shared = true;
  return *this;
}

Result<std::vector<ExtentMap::KeptPage>> ExtentMap::store_pages(SegmentStore& store) {
  std::vector<KeptPage> kept;
  for (auto& [page, cell] : pages_) {
    // A page that was put but never became durable (a failed sync) is put again.
    if (!cell.stored.is_zero() && (cell.loaded == nullptr || store.contains(cell.stored))) continue;
    MapPage encoded;
    encoded.entries.assign(cell.loaded->entries.begin(), cell.loaded->entries.end());
    VAULTFS_ASSIGN_OR_RETURN(const PutOutcome outcome, store.put(RecordType::map_page, encoded.encode()));
    cell.stored = outcome.id;
    kept.push_back({page, cell.loaded, outcome.id});
  }
  return kept;
}

void ExtentMap::page_stored(const KeptPage& kept) {
  const auto cell = pages_.find(kept.page);
  if (cell != pages_.end() && cell->second.loaded == kept.content && cell->second.shared) cell->second.stored = kept.id;
}

Status ExtentMap::fill_record(InodeRecord& record, SegmentStore& store) const {
  record.chunks.clear();
  record.pages.clear();
  const std::uint64_t chunks = (record.size + kChunkBytes - 1) / kChunkBytes;
  if (chunks > kInlineChunks) {
    record.pages.resize((chunks + kEntriesPerMapPage - 1) / kEntriesPerMapPage);
    if (!inline_.empty()) {
      ExtentMap paged = *this;
      paged.to_pages();
      VAULTFS_RETURN_IF_ERROR(paged.store_pages(store));
      record.pages[0] = paged.stored_page(0);
    }
    for (const auto& [page, cell] : pages_) {
      if (page < record.pages.size()) record.pages[page] = cell.stored;
    }
    return ok_status();
  }
  record.chunks.resize(chunks);
  std::copy_n(inline_.begin(), std::min<std::size_t>(inline_.size(), chunks), record.chunks.begin());
  const auto first = pages_.find(0);
  if (first == pages_.end()) return ok_status();
  std::shared_ptr<Page> page = first->second.loaded;
  if (page == nullptr) {
    VAULTFS_ASSIGN_OR_RETURN(page, load_map_page(store, first->second.stored));
  }
  std::copy_n(page->entries.begin(), chunks, record.chunks.begin());
  return ok_status();
}

}  // namespace vaultfs
