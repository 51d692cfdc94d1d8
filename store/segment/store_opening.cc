#include "store/segment/store_opening.h"

#include <algorithm>
#include <iterator>
#include <utility>

#include "store/record/file_origin.h"
#include "store/record/stream.h"
#include "store/segment/file/segment_recovery.h"

namespace vaultfs {
namespace {

constexpr std::string_view kSegments = "segments";
constexpr std::string_view kIndexes = "index";
constexpr std::string_view kIndexExtension = "index";

Status remove_unfinished(Env& env, const Env::Path& directory) {
  VAULTFS_ASSIGN_OR_RETURN(const auto names, env.list(directory));
  for (const std::string& name : names) {
    if (!name.ends_with(".tmp")) continue;
    VAULTFS_ASSIGN_OR_RETURN(const FileInfo info, env.info(directory / name));
    if (info.kind != FileKind::directory) VAULTFS_RETURN_IF_ERROR(env.remove_file(directory / name));
  }
  return ok_status();
}

// Of more than there are lines for, nothing hangs on the line.
void tell(SegmentRecovery& recovery, std::string file, Error error) {
  if (recovery.damaged.size() < kMostFilesTold) recovery.damaged.emplace_back(std::move(file), std::move(error));
}

bool is_left_by_a_crash(Env& env, const Env::Path& path) {
  const auto file = env.open(path, OpenMode::read_only);
  if (!file.ok()) return false;
  const auto without = holds_neither_header_nor_record(**file);
  return without.ok() && *without;
}

}  // namespace

struct StoreOpening::Found {
  std::set<ContainerNumber> closed;
  std::set<ContainerNumber> open;
  std::vector<std::uint64_t> indexes;  // newest last
};

Result<StoreOpening::Found> StoreOpening::list_files(SegmentRecovery& recovery) {
  Found found;
  VAULTFS_ASSIGN_OR_RETURN(const auto names, env_.list(root_ / kSegments));
  for (const std::string& name : names) {
    const auto closed = number_of(name, "seg");
    const auto open = number_of(name, "open");
    if (closed.value_or(open.value_or(0)) > ChunkIndex::kMaxSegment) {
      tell(recovery, std::string(kSegments) + "/" + name,
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

// A file above what the head tells drives the numbers only if it is this vault's. Of open ones a crash may leave some
// without a header, one after the other: those are for the recovery.
Status StoreOpening::sort_out_strangers(Found& found, SegmentRecovery& recovery) {
  const auto examine = [&](ContainerNumber number, const std::string& name, bool may_be_ours) -> Result<bool> {
    VAULTFS_ASSIGN_OR_RETURN(const FileOrigin origin,
                             origin_of(env_, root_ / name, keys_, ContainerKind::segment, number));
    if (origin.own) {
      table_.raise_next(number.next());
    } else if (origin.reason.code == ErrorCode::IoError) {
      // A disk that does not give it says nothing of whose it is: its number is not used, and it is told as unreadable.
      table_.add_stranger(number);
      return true;
    } else if (!may_be_ours) {
      table_.add_stranger(number);
      tell(recovery, name, passed_over(origin.reason));
    }
    return origin.own || may_be_ours;
  };
  for (auto at = found.closed.begin(); at != found.closed.end();) {
    if (*at < options_.minimum_next_segment && !found.open.contains(*at)) {
      ++at;
      continue;
    }
    VAULTFS_ASSIGN_OR_RETURN(const bool ours, examine(*at, closed_segment_name(*at), false));
    at = ours ? std::next(at) : found.closed.erase(at);
  }
  ContainerNumber unfinished = table_.next();
  for (auto at = found.open.begin(); at != found.open.end();) {
    unfinished = std::max(unfinished, table_.next());
    const std::string name = open_segment_name(*at);
    const bool may_be_ours = *at <= unfinished && is_left_by_a_crash(env_, root_ / name);
    VAULTFS_ASSIGN_OR_RETURN(const bool ours, examine(*at, name, may_be_ours));
    if (*at == unfinished && may_be_ours) unfinished = unfinished.next();
    at = ours ? std::next(at) : found.open.erase(at);
  }
  return ok_status();
}

Status StoreOpening::load(SegmentRecovery& recovery) {
  VAULTFS_ASSIGN_OR_RETURN(Found found, list_files(recovery));
  table_.raise_next(options_.minimum_next_segment);
  VAULTFS_RETURN_IF_ERROR(sort_out_strangers(found, recovery));
  std::set<ContainerNumber> loaded;
  VAULTFS_RETURN_IF_ERROR(load_index(found, recovery, loaded));
  for (const ContainerNumber number : found.closed) {
    if (!loaded.contains(number)) VAULTFS_RETURN_IF_ERROR(load_closed(number, recovery));
  }
  for (const ContainerNumber number : found.open) {
    if (found.closed.contains(number)) {
      tell(recovery, open_segment_name(number),
           Error{ErrorCode::DamagedSegment, "a closed segment with this number exists"});
      continue;
    }
    VAULTFS_RETURN_IF_ERROR(load_open(number, recovery));
  }
  damage_.tell_what_is_marked();
  return ok_status();
}

// Takes the newest index that is one of this history; what it does not tell is read from the segments themselves.
Status StoreOpening::load_index(const Found& found, SegmentRecovery& recovery, std::set<ContainerNumber>& loaded) {
  recovery.index_rebuilt = !found.closed.empty();
  for (auto number = found.indexes.rbegin(); number != found.indexes.rend(); ++number) {
    // The older ones are looked at for their numbers only.
    VAULTFS_ASSIGN_OR_RETURN(const auto index, read_index(*number, recovery));
    if (!index) continue;
    const auto highest = options_.known_head ? options_.known_head(*index->file.head) : std::nullopt;
    if (!highest) continue;
    return take_index(*index, *highest, found, recovery, loaded);
  }
  return ok_status();
}

// Nothing if there is no index in the file that could count.
Result<std::optional<StoreOpening::ReadIndex>> StoreOpening::read_index(std::uint64_t number,
                                                                        SegmentRecovery& recovery) {
  const std::optional<ReadIndex> none;
  const std::string name = std::string(kIndexes) + "/" + numbered_name(number, kIndexExtension);
  VAULTFS_ASSIGN_OR_RETURN(const FileOrigin origin,
                           origin_of(env_, root_ / name, keys_, ContainerKind::index, ContainerNumber(number)));
  if (!origin.own) {
    tell(recovery, name, passed_over(origin.reason));
    return none;
  }
  closed_.found_index(number, origin.current_epoch);
  // Whoever has no more than an old key could have written it, with any number.
  if (!origin.current_epoch) return none;
  EpochNumber sealed_under;
  const auto decode = [&]() -> Result<ChunkIndexFile> {
    VAULTFS_ASSIGN_OR_RETURN(const auto stored, blobs_.open(name));
    VAULTFS_ASSIGN_OR_RETURN(
        const OpenedStream stream,
        read_stream(keys_, ContainerKind::index, ContainerNumber(number), *stored, ErrorCode::DamagedSegment));
    sealed_under = stream.epoch;
    return ChunkIndexFile::decode(stream.content);
  };
  auto file = decode();
  if (!file.ok()) {
    if (ends_the_opening(file.code())) return std::move(file).error();
    return none;  // derived: it is rebuilt
  }
  if (!file->head) return none;
  return std::optional<ReadIndex>({std::move(file).value(), sealed_under});
}

Status StoreOpening::take_index(const ReadIndex& index, ContainerNumber highest, const Found& found,
                                SegmentRecovery& recovery, std::set<ContainerNumber>& loaded) {
  const ChunkIndexFile& file = index.file;
  for (const auto& [number, file_bytes] : file.segments) {
    // What is newer than the head may be another branch's segment of that number.
    if (number > highest) continue;
    table_.raise_next(number.next());
    const std::string name = closed_segment_name(number);
    if (!found.closed.contains(number)) {
      tell(recovery, name, Error{ErrorCode::SegmentMissing, "the segment's file is gone"});
      table_.set(number, {file_bytes, true, true, nullptr});
      continue;
    }
    VAULTFS_ASSIGN_OR_RETURN(const FileInfo info, env_.info(root_ / name));
    if (info.kind != FileKind::file || info.size != file_bytes) continue;  // read below, with whatever is wrong
    table_.set(number, {file_bytes, true, false, nullptr});
    loaded.insert(number);
  }
  for (const ChunkIndexFile::Entry& entry : file.entries) {
    if (entry.place.segment > highest) continue;
    const bool missing = !found.closed.contains(entry.place.segment);
    const bool changed = !missing && !loaded.contains(entry.place.segment);
    // Where a segment is another than the index knows, it says itself what it has; what it had besides is damaged.
    ChunkPlace place = entry.place;
    place.damaged = place.damaged || missing || changed;  // so that the content is stored anew when it comes again
    place.unconfirmed = true;
    index_.insert(entry.key, place);
    ++recovery.index_entries;
  }
  bases_.keep_for(keys_);
  for (const ChunkIndexFile::Base& base : file.bases) bases_.insert(base.patch, base.base, index.sealed_under);
  recovery.index_rebuilt = false;
  return ok_status();
}

Status StoreOpening::load_closed(ContainerNumber number, SegmentRecovery& recovery) {
  const std::string name = closed_segment_name(number);
  table_.set(number, {0, true, false, nullptr});
  const auto file = blobs_.open(name);
  if (!file.ok()) {
    unread_.note_unread(number, file.error());
    tell(recovery, name, file.error());
    return ok_status();
  }
  VAULTFS_ASSIGN_OR_RETURN(const SegmentContents contents, load_closed_segment(**file, keys_, number));
  table_.set_file_bytes(number, contents.file_bytes);
  if (contents.damage) {
    unread_.note_unread(number, *contents.damage);
    tell(recovery, name, *contents.damage);
  }
  add_entries(index_, number, contents.entries);
  return ok_status();
}

Status StoreOpening::check_may_be_open(ContainerNumber number) const {
  if (!options_.closed_epochs_are_whole) return ok_status();
  const auto file = env_.open(root_ / open_segment_name(number), OpenMode::read_only);
  return file.ok() ? vaultfs::check_may_be_open(**file, keys_, number) : ok_status();
}

Status StoreOpening::load_open(ContainerNumber number, SegmentRecovery& recovery) {
  const std::string name = open_segment_name(number);
  SegmentContents contents;
  auto end = OpenSegmentEnd::left_open;
  if (const Status may_be = check_may_be_open(number); !may_be.ok()) {
    tell(recovery, name, may_be.error());
    return ok_status();
  }
  if (options_.read_only) {
    const auto file = env_.open(root_ / name, OpenMode::read_only);
    if (!file.ok()) {
      table_.set(number, {0, false, false, nullptr});
      unread_.note_unread(number, file.error());
      tell(recovery, name, file.error());
      return ok_status();
    }
    VAULTFS_ASSIGN_OR_RETURN(contents, load_open_segment(**file, keys_, number));
  } else {
    VAULTFS_ASSIGN_OR_RETURN(end, recover_open_segment(env_, root_, blobs_, keys_, number, contents));
  }
  if (contents.damage) {
    unread_.note_unread(number, *contents.damage);
    tell(recovery, name, *contents.damage);
  }
  if (end == OpenSegmentEnd::removed) return ok_status();
  const bool closed = end == OpenSegmentEnd::closed;
  if (closed) recovery.recovered_open.push_back(number);
  table_.set(number, {contents.file_bytes, closed, false, nullptr});
  add_entries(index_, number, contents.entries);
  return ok_status();
}

}  // namespace vaultfs
