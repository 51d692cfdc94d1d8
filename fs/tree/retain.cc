// What the working tree refers to, for compaction and re-encryption: docs/decisions/0005-compaction.md,
// 0007-reencryption.md.
#include <vector>

#include "base/thread/mutex.h"
#include "fs/tree/tree_engine.h"

namespace vaultfs {

Status TreeEngine::retain_references() {
  SegmentStore& store = vault_->segments();
  return for_each_reference([&store](const ChunkId& id) { return store.retain(id); }, nullptr);
}

Status TreeEngine::visit_references(const ReferenceVisitor& visit, const DamageListener& damaged) {
  return for_each_reference(visit, &damaged);
}

Status TreeEngine::for_each_reference(const ReferenceVisitor& visit, const DamageListener* damaged) {
  // Also those that only an open file keeps alive: they are in no checkpoint, but are being read.
  for (const InodePointer& inode : table_.files()) VAULTFS_RETURN_IF_ERROR(visit_references_of(inode, visit, damaged));
  return ok_status();
}

Status TreeEngine::visit_references_of(const InodePointer& inode, const ReferenceVisitor& visit,
                                       const DamageListener* damaged) {
  SegmentStore& store = vault_->segments();
  std::vector<ChunkId> ids;
  {
    const ReaderLock lock(inode->mutex);
    if (inode->content == nullptr) return ok_status();
    const DiskImage& image = *inode->content;
    ids = image.extents.inline_chunks();
    // What a job lies over stands in the map until it is done. The page that tells a job so is the one that the map had
    // when it was queued; the map may have another one by now.
    for (const auto& [index, chunk] : image.dirty) {
      for (const JobPointer& job : chunk.storing) ids.push_back(job->base_page);
    }
  }
  for (const ChunkId& id : ids) VAULTFS_RETURN_IF_ERROR(visit(id));
  for (std::uint64_t next = 0;;) {
    std::optional<ExtentMap::PageReferences> page;
    {
      const ReaderLock lock(inode->mutex);
      if (inode->content != nullptr) page = inode->content->extents.references_from(next);
    }
    if (!page.has_value()) return ok_status();
    next = page->page + 1;
    VAULTFS_RETURN_IF_ERROR(visit(page->stored));
    if (page->loaded == nullptr) {
      auto loaded = [&] {
        const UseGate::Use use = store.use();
        return load_map_page(store, page->stored);
      }();
      if (!loaded.ok()) {
        const bool pass_over =
            damaged != nullptr && (is_integrity_error(loaded.code()) || loaded.code() == ErrorCode::IoError);
        if (!pass_over) return std::move(loaded).error();
        (*damaged)(page->stored, loaded.error());
        continue;
      }
      page->loaded = std::move(*loaded);
    }
    for (const ChunkId& id : page->loaded->entries) VAULTFS_RETURN_IF_ERROR(visit(id));
  }
}

}  // namespace vaultfs
