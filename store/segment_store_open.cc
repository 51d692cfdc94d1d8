#include <algorithm>
#include <utility>

#include "store/segment_recovery.h"
#include "store/segment_store_impl.h"
#include "store/stream.h"

namespace vaultfs {
namespace {

constexpr std::string_view kSegments = "segments";
constexpr std::string_view kIndexes = "index";
constexpr std::string_view kIndexExtension = "index";
constexpr std::uint64_t kMaxIndexFileBytes = 4ULL * 1024 * 1024 * 1024;

Status remove_unfinished(Env& env, const Env::Path& directory) {
  VAULTFS_ASSIGN_OR_RETURN(const auto names, env.list(directory));
  for (const std::string& name : names) {
    if (name.ends_with(".tmp")) VAULTFS_RETURN_IF_ERROR(env.remove_file(directory / name));
  }
  return ok_status();
}

}  // namespace

struct SegmentStoreImpl::Found {
  std::set<ContainerNumber> closed;
  std::set<ContainerNumber> open;
  std::vector<std::uint64_t> indexes;  // newest last
};

Result<std::unique_ptr<SegmentStore>> SegmentStore::open(Env& env, Env::Path root, BlobStore& blobs,
                                                         const EpochKeys& keys, const Options& options,
                                                         SegmentRecovery& recovery) {
  auto store = std::make_unique<SegmentStoreImpl>(env, std::move(root), blobs, keys, options);
  VAULTFS_RETURN_IF_ERROR(store->load(recovery));
  return std::unique_ptr<SegmentStore>(std::move(store));
}

Result<SegmentStoreImpl::Found> SegmentStoreImpl::list_files(SegmentRecovery& recovery) {
  Found found;
  VAULTFS_ASSIGN_OR_RETURN(const auto names, env_.list(root_ / kSegments));
  for (const std::string& name : names) {
    const auto closed = number_of(name, "seg");
    const auto open = number_of(name, "open");
    if (closed.value_or(open.value_or(0)) > ChunkIndex::kMaxSegment) {
      recovery.damaged.emplace_back(std::string(kSegments) + "/" + name,
                                    Error{ErrorCode::DamagedSegment, "no segment has got so high a number yet"});
      continue;
    }
    if (closed) found.closed.insert(ContainerNumber(*closed));
    if (open) found.open.insert(ContainerNumber(*open));
  }
  // The index may be deleted at any time, with its folder.
  VAULTFS_ASSIGN_OR_RETURN(const FileInfo index_folder, env_.info(root_ / kIndexes));
  if (index_folder.kind == FileKind::directory) {
    VAULTFS_ASSIGN_OR_RETURN(const auto indexes, blobs_.list(std::string(kIndexes)));
    for (const std::string& name : indexes) {
      if (const auto number = number_of(name, kIndexExtension)) found.indexes.push_back(*number);
    }
    if (!options_.read_only) VAULTFS_RETURN_IF_ERROR(remove_unfinished(env_, root_ / kIndexes));
  }
  if (!options_.read_only) VAULTFS_RETURN_IF_ERROR(remove_unfinished(env_, root_ / kSegments));
  return found;
}

Status SegmentStoreImpl::load(SegmentRecovery& recovery) {
  VAULTFS_ASSIGN_OR_RETURN(const Found found, list_files(recovery));
  const std::lock_guard closing(closing_mutex_);
  next_segment_ = std::max(options_.minimum_next_segment, ContainerNumber(1));
  for (const auto* numbers : {&found.closed, &found.open}) {
    if (!numbers->empty()) next_segment_ = std::max(next_segment_, numbers->rbegin()->next());
  }
  std::set<ContainerNumber> loaded;
  VAULTFS_RETURN_IF_ERROR(load_index(found, recovery, loaded));
  for (const ContainerNumber number : found.closed) {
    if (!loaded.contains(number)) VAULTFS_RETURN_IF_ERROR(load_closed(number, recovery));
  }
  for (const ContainerNumber number : found.open) {
    if (found.closed.contains(number)) {
      recovery.damaged.emplace_back(open_segment_name(number),
                                    Error{ErrorCode::DamagedSegment, "a closed segment with this number exists"});
      continue;
    }
    VAULTFS_RETURN_IF_ERROR(load_open(number, recovery));
  }
  return ok_status();
}

// Takes from the newest index what still fits the files; what does not is read from the segments themselves.
Status SegmentStoreImpl::load_index(const Found& found, SegmentRecovery& recovery, std::set<ContainerNumber>& loaded) {
  recovery.index_rebuilt = !found.closed.empty();
  if (found.indexes.empty()) return ok_status();
  last_index_ = found.indexes.back();
  EpochNumber sealed_under;
  const auto decode = [&]() -> Result<ChunkIndexFile> {
    const std::string name = std::string(kIndexes) + "/" + numbered_name(last_index_, kIndexExtension);
    VAULTFS_ASSIGN_OR_RETURN(const Bytes bytes, blobs_.get(name, kMaxIndexFileBytes));
    VAULTFS_ASSIGN_OR_RETURN(
        const OpenedStream stream,
        open_stream(keys_, ContainerKind::index, ContainerNumber(last_index_), bytes, ErrorCode::DamagedSegment));
    sealed_under = stream.epoch;
    return ChunkIndexFile::decode(stream.content);
  };
  const auto file = decode();
  if (!file.ok()) {
    if (ends_the_opening(file.code())) return file.error();
    return ok_status();  // derived: it is rebuilt
  }
  for (const auto& [number, file_bytes] : file->segments) {
    const std::string name = closed_segment_name(number);
    next_segment_ = std::max(next_segment_, number.next());
    if (!found.closed.contains(number)) {
      recovery.damaged.emplace_back(name, Error{ErrorCode::SegmentMissing, "the segment's file is gone"});
      segments_[number] = {file_bytes, true, true, nullptr};
      continue;
    }
    VAULTFS_ASSIGN_OR_RETURN(const FileInfo info, env_.info(root_ / name));
    if (info.kind != FileKind::file || info.size != file_bytes) continue;  // read below, with whatever is wrong
    segments_[number] = {file_bytes, true, false, nullptr};
    loaded.insert(number);
  }
  for (const ChunkIndexFile::Entry& entry : file->entries) {
    const bool missing = !found.closed.contains(entry.place.segment);
    const bool changed = !missing && !loaded.contains(entry.place.segment);
    // The segment itself says what it has; only of what it replaced it knows nothing.
    if (changed && !entry.place.healed) continue;
    ChunkPlace place = entry.place;
    place.damaged = place.damaged || missing || changed;  // so that the content is stored anew when it comes again
    index_.insert(entry.key, place);
    ++recovery.index_entries;
  }
  bases_.keep_for(keys_);
  for (const ChunkIndexFile::Base& base : file->bases) bases_.insert(base.patch, base.base, sealed_under);
  recovery.index_rebuilt = false;
  return ok_status();
}

Status SegmentStoreImpl::load_closed(ContainerNumber number, SegmentRecovery& recovery) {
  const std::string name = closed_segment_name(number);
  segments_[number] = {0, true, false, nullptr};
  const auto file = blobs_.open(name);
  if (!file.ok()) {
    recovery.damaged.emplace_back(name, file.error());
    return ok_status();
  }
  VAULTFS_ASSIGN_OR_RETURN(const SegmentContents contents, load_closed_segment(**file, keys_, number));
  segments_[number].file_bytes = contents.file_bytes;
  if (contents.damage) recovery.damaged.emplace_back(name, *contents.damage);
  add_entries(number, contents.entries);
  return ok_status();
}

Status SegmentStoreImpl::load_open(ContainerNumber number, SegmentRecovery& recovery) {
  const std::string name = open_segment_name(number);
  SegmentContents contents;
  auto end = OpenSegmentEnd::left_open;
  if (options_.read_only) {
    const auto file = env_.open(root_ / name, OpenMode::read_only);
    if (!file.ok()) {
      recovery.damaged.emplace_back(name, file.error());
      return ok_status();
    }
    VAULTFS_ASSIGN_OR_RETURN(contents, load_open_segment(**file, keys_, number));
  } else {
    VAULTFS_ASSIGN_OR_RETURN(end, recover_open_segment(env_, root_, blobs_, keys_, number, contents));
  }
  if (contents.damage) recovery.damaged.emplace_back(name, *contents.damage);
  if (end == OpenSegmentEnd::removed) return ok_status();
  const bool closed = end == OpenSegmentEnd::closed;
  if (closed) recovery.recovered_open.push_back(number);
  segments_[number] = {contents.file_bytes, closed, false, nullptr};
  add_entries(number, contents.entries);
  return ok_status();
}

void SegmentStoreImpl::add_entries(ContainerNumber number, const std::vector<SegmentEntry>& entries) {
  for (const SegmentEntry& entry : entries) {
    index_.insert_if_better(entry.id,
                            {number, entry.offset, entry.stored_bytes, entry.plaintext_bytes, entry.type, false});
  }
}

}  // namespace vaultfs
