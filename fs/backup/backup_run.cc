#include "fs/backup/backup_run.h"

#include <unistd.h>

#include <algorithm>
#include <limits>
#include <memory>
#include <set>
#include <utility>
#include <vector>

#include "base/thread/mutex.h"
#include "fs/backup/disk_import.h"

namespace vaultfs {
namespace {

// Who runs it: what it makes is to be his.
Creator this_user() { return {::geteuid(), ::getegid(), 0}; }

constexpr std::uint32_t kItemMode = 0700;
constexpr std::uint32_t kDiskMode = 0600;

// Keeps other writers away from a file for the length of a backup.
class Reservation {
 public:
  Reservation() = default;
  Reservation(const Reservation&) = delete;
  Reservation& operator=(const Reservation&) = delete;
  ~Reservation() { release(); }
  [[nodiscard]] Status take(WorkingTree& tree, InodeNumber inode) {
    VAULTFS_RETURN_IF_ERROR(tree.reserve(inode));
    tree_ = &tree;
    inode_ = inode;
    return ok_status();
  }
  void release() {
    if (tree_ != nullptr) tree_->unreserve(inode_);
    tree_ = nullptr;
  }

 private:
  WorkingTree* tree_ = nullptr;
  InodeNumber inode_;
};

struct Disk {
  std::string name;
  std::unique_ptr<SourceReader> source;
  SparseChunks chunks;
  std::optional<Attributes> existing;
  Reservation reservation;
};

class BackupRun {
 public:
  BackupRun(Vault& vault, WorkingTree& tree, const BackupRequest& request)
      : vault_(vault), tree_(tree), item_(request.item) {}

  Status prepare(const BackupRequest& request) {
    if (const auto problem = item_name_problem(item_))
      return Error{ErrorCode::InvalidName, "\"" + item_ + "\": " + *problem};
    if (request.disks.empty()) return Error{ErrorCode::InvalidArgument, "no disk is named; give --disk NAME=PATH"};
    std::set<std::string> names;
    for (const DiskSource& wanted : request.disks) {
      if (wanted.name.starts_with(kImportPrefix)) {
        return Error{ErrorCode::InvalidName, "the disk \"" + wanted.name + "\": names beginning with " +
                                                 std::string(kImportPrefix) + " are reserved"};
      }
      VAULTFS_RETURN_IF_ERROR(check_name(wanted.name));
      if (!names.insert(wanted.name).second) {
        return Error{ErrorCode::InvalidArgument,
                     "two disks are called \"" + wanted.name + "\"; give each a name of its own"};
      }
      auto disk = std::make_unique<Disk>();
      disk->name = wanted.name;
      VAULTFS_ASSIGN_OR_RETURN(disk->source, wanted.descriptor >= 0 ? SourceReader::of_descriptor(
                                                                          wanted.descriptor, wanted.path, vault_.path())
                                                                    : SourceReader::open(wanted.path, vault_.path()));
      total_bytes_ += disk->source->size_bytes();
      disks_.push_back(std::move(disk));
    }
    return reserve_disks();
  }

  Status read(JobInfo& job, const ProgressCallback& callback) {
    ProgressMeter progress(callback, total_bytes_, vault_.env().clock());
    const RoomCheck room = [this](std::uint64_t bytes) { return tree_.check_room(bytes); };
    for (const auto& disk : disks_) {
      VAULTFS_ASSIGN_OR_RETURN(disk->chunks,
                               import_disk(*disk->source, vault_.keys(), vault_.segments(), room, progress, counts_));
    }
    job.logical_bytes = total_bytes_;
    job.stored_bytes = counts_.stored_bytes;
    look_at_sources(job);
    return ok_status();
  }

  Status apply() {
    VAULTFS_ASSIGN_OR_RETURN(const InodeNumber directory, make_item());
    VAULTFS_RETURN_IF_ERROR(remove_leftovers(directory));
    VAULTFS_RETURN_IF_ERROR(look_at_the_rest(directory));
    std::vector<Prepared> prepared;
    Status status = ok_status();
    for (const auto& disk : disks_) {
      Result<bool> same = unchanged(directory, *disk);
      if (!same.ok()) {
        status = std::move(same).error();
        break;
      }
      if (*same) {
        status = put_map_pages(*disk);
        if (status.ok()) status = take_owner_and_mode(*disk);
        if (!status.ok()) break;
        continue;
      }
      prepared.push_back({disk.get(), kImportPrefix + std::to_string(prepared.size())});
      status = build(directory, *disk, prepared.back().temporary);
      if (!status.ok()) break;
    }
    for (std::size_t i = 0; i < prepared.size() && status.ok(); ++i) {
      status = put_in_place(directory, prepared[i]);
      if (status.ok()) prepared[i].temporary.clear();
    }
    if (status.ok()) return status;
    for (const Prepared& one : prepared) {
      // Nothing more can be done about a failure here; the next backup run removes what is left.
      if (!one.temporary.empty()) static_cast<void>(tree_.unlink(directory, one.temporary));
    }
    return status;
  }

  [[nodiscard]] const DiskImportCounts& counts() const noexcept { return counts_; }
  [[nodiscard]] const ItemJobs::Sources& sources() const noexcept { return sources_; }
  [[nodiscard]] const std::vector<std::string>& warnings() const noexcept { return warnings_; }
  [[nodiscard]] const std::vector<std::string>& carried() const noexcept { return carried_; }

 private:
  struct Prepared {
    Disk* disk;
    std::string temporary;
  };

  // After everything was read.
  void look_at_sources(JobInfo& job) {
    for (const auto& disk : disks_) {
      const SourceReader& source = *disk->source;
      const std::string name = source.name().string();
      if (source.touched()) {
        sources_.in_doubt = true;
        warnings_.push_back(name +
                            " was written to while it was read: what the point has is no state that it ever had");
      } else if (const std::string writer = source.writer(); !writer.empty()) {
        sources_.crash_consistent = true;
        warnings_.push_back(name + " is " + writer + ": the point is crash-consistent, as after a power cut");
      }
      if (!source.incomplete().empty()) {
        sources_.in_doubt = true;
        warnings_.push_back(name + " " + source.incomplete() + ": the point has no whole disk; see qemu-img convert");
      }
      if (source.origin() && source.origin()->clamped) {
        warnings_.push_back(name + " has a time before 1677 or after 2262: the nearest that a vault keeps was taken");
      }
    }
    for (const std::string& warning : warnings_) job.detail += (job.detail.empty() ? "" : "; ") + warning;
  }

  // What was not named stays as it is, which may be far from what the disks are now: that is told.
  Status look_at_the_rest(InodeNumber directory) {
    VAULTFS_ASSIGN_OR_RETURN(const std::vector<DirectoryEntry> entries, tree_.list(directory));
    for (const DirectoryEntry& entry : entries) {
      const auto is_it = [&entry](const auto& disk) { return disk->name == entry.name; };
      if (std::ranges::none_of(disks_, is_it)) carried_.push_back(entry.name);
    }
    if (carried_.empty()) return ok_status();
    const std::vector<PointInfo> points = vault_.catalogue().points_of(item_);
    if (!points.empty() && points.back().crash_consistent) sources_.crash_consistent = true;
    return ok_status();
  }

  static Status check_name(const std::string& name) {
    if (name.size() > kMaxNameBytes)
      return Error{ErrorCode::NameTooLong, "the disk \"" + name + "\": a disk's name has at most 255 bytes"};
    const bool plain = !name.empty() && name != "." && name != ".." && name.find('/') == std::string::npos &&
                       name.find('\0') == std::string::npos;
    return plain ? ok_status()
                 : Status(Error{ErrorCode::InvalidName,
                                "the disk \"" + name + "\": a disk's name is a file name, without '/'"});
  }

  Status reserve_disks() {
    Result<Attributes> directory = tree_.lookup(kRootInode, item_);
    if (!directory.ok()) return directory.code() == ErrorCode::NotFound ? ok_status() : Status(directory.error());
    for (const auto& disk : disks_) {
      Result<Attributes> found = tree_.lookup(directory->number, disk->name);
      if (!found.ok() && found.code() == ErrorCode::NotFound) continue;
      VAULTFS_RETURN_IF_ERROR(found);
      if (found->type == InodeType::directory) {
        return Error{ErrorCode::IsADirectory,
                     "the item has a directory of the disk's name \"" + disk->name + "\"; choose another name"};
      }
      if (found->type != InodeType::file) {
        return Error{ErrorCode::InvalidArgument, "the item has something of the disk's name \"" + disk->name +
                                                     "\" that is no regular file; choose another name"};
      }
      Status taken = disk->reservation.take(tree_, found->number);
      if (!taken.ok()) return with_context(std::move(taken).error(), "the disk \"" + disk->name + "\" of the item");
      disk->existing = *found;
    }
    return ok_status();
  }

  Result<InodeNumber> make_item() {
    Result<Attributes> directory = tree_.lookup(kRootInode, item_);
    if (!directory.ok() && directory.code() == ErrorCode::NotFound) {
      directory = tree_.make_directory(kRootInode, item_, kItemMode, this_user());
    }
    VAULTFS_RETURN_IF_ERROR(directory);
    return directory->number;
  }

  Status remove_leftovers(InodeNumber directory) {
    VAULTFS_ASSIGN_OR_RETURN(const std::vector<DirectoryEntry> entries, tree_.list(directory));
    for (const DirectoryEntry& entry : entries) {
      if (!entry.name.starts_with(kImportPrefix)) continue;
      VAULTFS_RETURN_IF_ERROR(tree_.unlink(directory, entry.name));
      forget(entry.number);
    }
    return ok_status();
  }

  // The kernel did not remove that name itself: it would keep an inode that nobody uses in its cache for as long as it
  // has memory to spare, and with it all that the old disk takes.
  void forget(InodeNumber removed) { tree_.forget(removed, std::numeric_limits<std::uint64_t>::max()); }

  // What lists the chunks of a disk that stays as it is: where that was damaged it is stored anew, as the chunks were.
  Status put_map_pages(const Disk& disk) {
    if (disk.chunks.size() <= kInlineChunks) return ok_status();
    for (std::size_t begin = 0; begin < disk.chunks.size(); begin += kEntriesPerMapPage) {
      begin = disk.chunks.next(begin) / kEntriesPerMapPage * kEntriesPerMapPage;
      const std::size_t end = std::min<std::size_t>(disk.chunks.size(), begin + kEntriesPerMapPage);
      MapPage page;
      for (std::size_t index = begin; index < end; ++index) page.entries.push_back(disk.chunks.get(index));
      if (page.all_holes()) continue;
      page.entries.resize(kEntriesPerMapPage);
      VAULTFS_ASSIGN_OR_RETURN(const PutOutcome put, vault_.segments().put(RecordType::map_page, page.encode()));
      counts_.stored_bytes += put.stored_bytes;
    }
    return ok_status();
  }

  // Of a disk whose content is as it was. A new time alone is no change.
  Status take_owner_and_mode(const Disk& disk) {
    const auto& origin = disk.source->origin();
    if (!origin) return ok_status();
    VAULTFS_ASSIGN_OR_RETURN(const Attributes now, tree_.attributes(disk.existing->number));
    if (now.mode == origin->mode && now.uid == origin->uid && now.gid == origin->gid) return ok_status();
    AttributeChange change;
    change.mode = origin->mode;
    change.uid = origin->uid;
    change.gid = origin->gid;
    change.mtime = origin->mtime;
    VAULTFS_RETURN_IF_ERROR(tree_.set_attributes(disk.existing->number, change));
    return ok_status();
  }

  // Whether the disk's name still leads to the file that it led to. A reservation keeps writers away, not who moves or
  // removes names.
  Result<bool> in_place(InodeNumber directory, const Disk& disk) {
    if (!disk.existing) return false;
    const Result<Attributes> now = tree_.lookup(directory, disk.name);
    if (!now.ok() && now.code() != ErrorCode::NotFound) return now.error();
    return now.ok() && now->number == disk.existing->number;
  }

  // True if the disk in the working tree has just what was read. One that can't be read is replaced as a whole.
  Result<bool> unchanged(InodeNumber directory, const Disk& disk) {
    VAULTFS_ASSIGN_OR_RETURN(const bool there, in_place(directory, disk));
    if (!there) return false;
    VAULTFS_ASSIGN_OR_RETURN(const Attributes now, tree_.attributes(disk.existing->number));
    if (now.size != disk.source->size_bytes()) return false;
    const InodeNumber number = disk.existing->number;
    for (std::uint64_t index = 0; index < disk.chunks.size(); ++index) {
      const std::uint64_t wanted = disk.chunks.next(index);
      const auto data = tree_.seek_data(number, index * kChunkBytes);
      const auto unreadable = [](ErrorCode code) { return is_integrity_error(code) || code == ErrorCode::IoError; };
      if (!data.ok() && unreadable(data.code())) return false;
      if (!data.ok() && data.code() != ErrorCode::OutOfRange) return data.error();
      index = data.ok() ? *data / kChunkBytes : disk.chunks.size();
      if (index != wanted) return false;
      if (index == disk.chunks.size()) break;
      const auto stored = tree_.chunk_at(number, ChunkIndexInFile(index));
      if (!stored.ok() && unreadable(stored.code())) return false;
      VAULTFS_RETURN_IF_ERROR(stored);
      if (!stored->has_value() || **stored != disk.chunks.get(index)) return false;
    }
    return true;
  }

  Status build(InodeNumber directory, const Disk& disk, const std::string& name) {
    std::uint32_t mode = disk.existing ? disk.existing->mode : kDiskMode;
    Creator who = disk.existing ? Creator{disk.existing->uid, disk.existing->gid} : this_user();
    if (const auto& origin = disk.source->origin()) {
      mode = origin->mode;
      who = Creator{origin->uid, origin->gid};
    }
    VAULTFS_ASSIGN_OR_RETURN(const Attributes made, tree_.make_node(directory, name, InodeType::file, mode, 0, who));
    Reservation reservation;
    VAULTFS_RETURN_IF_ERROR(reservation.take(tree_, made.number));
    VAULTFS_RETURN_IF_ERROR(tree_.truncate(made.number, disk.source->size_bytes()));
    for (std::uint64_t at = disk.chunks.next(0); at < disk.chunks.size(); at = disk.chunks.next(at + 1)) {
      VAULTFS_RETURN_IF_ERROR(tree_.set_chunk(made.number, ChunkIndexInFile(at), disk.chunks.get(at)));
    }
    const auto& origin = disk.source->origin();
    if (!origin) return ok_status();
    // As they were read: the group and the bits that a directory's or a umask's rules may have changed, and the times.
    AttributeChange change;
    change.mode = origin->mode;
    change.uid = origin->uid;
    change.gid = origin->gid;
    change.atime = origin->atime;
    change.mtime = origin->mtime;
    VAULTFS_RETURN_IF_ERROR(tree_.set_attributes(made.number, change));
    return ok_status();
  }

  Status put_in_place(InodeNumber directory, const Prepared& prepared) {
    Disk& disk = *prepared.disk;
    VAULTFS_ASSIGN_OR_RETURN(const bool replaces, in_place(directory, disk));
    // A disk that was not there, or is not there any more, must not replace what a writer of the mount has made
    // meanwhile.
    const auto mode = replaces ? WorkingTree::RenameMode::replace : WorkingTree::RenameMode::no_replace;
    Status renamed = tree_.rename(directory, prepared.temporary, directory, disk.name, mode);
    if (!renamed.ok() && renamed.code() == ErrorCode::AlreadyExists) {
      return Error{ErrorCode::ItemBusy,
                   "a file of the disk's name \"" + disk.name +
                       "\" was made while the backup ran; it was left alone: move it away and run again"};
    }
    if (!renamed.ok()) return renamed;
    disk.reservation.release();
    if (replaces) forget(disk.existing->number);
    return ok_status();
  }

  Vault& vault_;
  WorkingTree& tree_;
  const std::string item_;
  std::vector<std::unique_ptr<Disk>> disks_;
  std::uint64_t total_bytes_ = 0;
  DiskImportCounts counts_;
  ItemJobs::Sources sources_;
  std::vector<std::string> warnings_;
  std::vector<std::string> carried_;
};

// Of a backup that has not come to change anything.
Status with_what_is_kept(Status read) {
  if (read.ok()) return read;
  Error error = std::move(read).error();
  error.message += error.code == ErrorCode::Interrupted
                       ? "; the item is as it was, and what was stored by now need not be stored again: run it again"
                       : "; the item and its recovery points are as they were";
  return error;
}

}  // namespace

Result<BackupOutcome> run_backup(Vault& vault, WorkingTree& tree, ItemJobs& jobs, const BackupRequest& request,
                                 const ProgressCallback& progress) {
  // What was read and stored is referred to by nothing until it is in place.
  const ReaderLock references(vault.segments().long_uses());
  BackupRun run(vault, tree, request);
  if (Status prepared = run.prepare(request); !prepared.ok()) {
    jobs.record_refused(request.item, prepared.error());
    return std::move(prepared).error();
  }
  VAULTFS_ASSIGN_OR_RETURN(CommitOutcome commit,
                           jobs.run_backup(
                               request.item, [&](JobInfo& job) { return with_what_is_kept(run.read(job, progress)); },
                               [&](JobInfo&) { return run.apply(); }, run.sources()));
  const DiskImportCounts& counts = run.counts();
  return BackupOutcome{.commit = std::move(commit),
                       .warnings = run.warnings(),
                       .source_in_doubt = run.sources().in_doubt,
                       .carried = run.carried(),
                       .read_bytes = counts.read_bytes,
                       .hole_bytes = counts.hole_bytes,
                       .new_chunks = counts.new_chunks,
                       .known_chunks = counts.known_chunks,
                       .stored_bytes = counts.stored_bytes};
}

}  // namespace vaultfs
