#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <vector>

#include "base/ids.h"
#include "base/result.h"
#include "store/segment/segment_store.h"
#include "vaultmeta/points/inode_record.h"

namespace vaultfs {

// Which chunk stands at each chunk index of a file; a zero id is a hole. Up to kInlineChunks entries stand in the map
// itself, more in pages of kEntriesPerMapPage that load on demand, are shared with snapshots and copied on write.
// Never does I/O itself: where a page that is not loaded matters, the caller learns its number, loads it without a lock
// (load_map_page) and tries again. Not thread-safe; guarded by the inode's mutex. Copying is a snapshot: linear in
// pages.
class ExtentMap {
 public:
  struct Page {
    std::array<ChunkId, kEntriesPerMapPage> entries;
  };
  // A page as the map has it. Hole: no cell. Dirty: loaded, `stored` zero. Clean: `stored` set, loaded or not.
  struct Cell {
    std::shared_ptr<Page> loaded;
    ChunkId stored;
    bool shared = false;     // a snapshot has it too: copy before a change
    std::int16_t used = -1;  // entries that are no hole; -1: never counted
  };

  [[nodiscard]] static ExtentMap from_record(const InodeRecord& record);

  // The page to load before entry `index` can be read or changed, if any.
  [[nodiscard]] std::optional<std::uint64_t> page_to_load(std::uint64_t index) const;
  // The entry. REQUIRES: !page_to_load(index).
  [[nodiscard]] ChunkId get(std::uint64_t index) const;
  // REQUIRES: !page_to_load(index).
  void set(std::uint64_t index, const ChunkId& id);
  // Calls `visit` with each entry of [begin, end) that is no hole and that is in memory.
  void for_each_loaded(std::uint64_t begin, std::uint64_t end, const std::function<void(const ChunkId&)>& visit) const;
  // Makes holes of [begin, end). REQUIRES: the first and last page are loaded (page_to_load(begin),
  // page_to_load(end-1)).
  void clear(std::uint64_t begin, std::uint64_t end);
  // The lowest index >= `index` whose entry may be no hole: only skips absent pages. Nothing: only holes follow.
  [[nodiscard]] std::optional<std::uint64_t> next_candidate(std::uint64_t index) const;
  // True if nothing but holes is mapped.
  [[nodiscard]] bool empty() const { return inline_.empty() && pages_.empty(); }

  [[nodiscard]] ChunkId stored_page(std::uint64_t page) const;
  // Puts a page that was loaded from `stored` in its place, if it is still wanted. Clean pages beyond a bound go.
  void install(std::uint64_t page, const ChunkId& stored, std::shared_ptr<Page> loaded);
  // A page whose number of used entries is unknown because it was never loaded.
  [[nodiscard]] std::optional<std::uint64_t> uncounted_page() const;
  // Entries that are no hole. REQUIRES: !uncounted_page().
  [[nodiscard]] std::uint64_t used_entries() const;

  // What the map refers to, for compaction: the chunks that stand in the map itself, and its pages one after the other.
  struct PageReferences {
    std::uint64_t page;
    ChunkId stored;                // zero: dirty
    std::shared_ptr<Page> loaded;  // a copy; null: to be loaded
  };
  [[nodiscard]] const std::vector<ChunkId>& inline_chunks() const { return inline_; }
  // The first page from `page` on.
  [[nodiscard]] std::optional<PageReferences> references_from(std::uint64_t page) const;

  // A copy that shares the pages; from now on both copy them before a change.
  [[nodiscard]] ExtentMap share();
  // Puts every dirty page into the store. Calls `kept` for each with its number and id, to tell the map it was shared
  // from.
  struct KeptPage {
    std::uint64_t page;
    std::shared_ptr<Page> content;
    ChunkId id;
  };
  [[nodiscard]] Result<std::vector<KeptPage>> store_pages(SegmentStore& store);
  // The page is in the store under that id; ignored if the map has another one by now.
  void page_stored(const KeptPage& kept);
  // Fills `chunks` or `pages` for a file of that size. REQUIRES: store_pages() was called; loads page 0 of a file that
  // shrank.
  [[nodiscard]] Status fill_record(InodeRecord& record, SegmentStore& store) const;

 private:
  void to_pages();
  Cell& writable_cell(std::uint64_t page);

  std::vector<ChunkId> inline_;  // used while pages_ is empty; no trailing holes
  // Every change of a cell's count, and its end, go through these: a stat must not walk all pages of a huge image.
  void count(Cell& cell, std::int16_t used);
  void erase_page(std::map<std::uint64_t, Cell>::iterator page);

  std::map<std::uint64_t, Cell> pages_;
  std::uint64_t used_in_pages_ = 0;  // of the counted cells
  std::uint64_t uncounted_ = 0;      // cells whose count is unknown
};

// Reads and checks a stored map page.
[[nodiscard]] Result<std::shared_ptr<ExtentMap::Page>> load_map_page(SegmentStore& store, const ChunkId& id);

}  // namespace vaultfs
