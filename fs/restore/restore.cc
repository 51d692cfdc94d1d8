#include "fs/restore/restore.h"

#include <sys/stat.h>

#include <algorithm>
#include <functional>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "base/files/path_overlap.h"
#include "fs/content/progress_meter.h"
#include "fs/points/recovery_point_tree.h"
#include "fs/restore/restore_attributes.h"
#include "fs/restore/restore_file.h"
#include "fs/restore/restore_stream.h"
#include "fs/restore/restore_target.h"
#include "fs/restore/restore_tree.h"
#include "vaultmeta/points/point_file.h"

namespace vaultfs {
namespace {

enum class TargetKind : std::uint8_t { file, directory, device };

Result<TargetKind> kind_of_target(const std::filesystem::path& to) {
  struct stat st {};
  if (::stat(to.c_str(), &st) != 0) return TargetKind::file;
  if (S_ISDIR(st.st_mode)) return TargetKind::directory;
  if (S_ISBLK(st.st_mode)) return TargetKind::device;
  if (S_ISREG(st.st_mode)) return TargetKind::file;
  return Error{ErrorCode::InvalidArgument, to.string() + " is neither a file, a directory nor a block device"};
}

// Goes through the disks below a directory, depth first.
Status visit_disks(FileTree& tree, InodeNumber root,
                   const std::function<void(const std::string& path, InodeNumber inode)>& visit) {
  struct Level {
    std::vector<DirectoryEntry> entries;
    std::size_t next = 0;
    std::size_t path_bytes = 0;  // of the directory's path
  };
  std::string path;
  std::vector<Level> levels;
  const auto enter = [&](InodeNumber directory) -> Status {
    VAULTFS_ASSIGN_OR_RETURN(std::vector<DirectoryEntry> entries, tree.list(directory));
    levels.push_back({std::move(entries), 0, path.size()});
    return ok_status();
  };
  VAULTFS_RETURN_IF_ERROR(enter(root));
  while (!levels.empty()) {
    Level& here = levels.back();
    path.resize(here.path_bytes);
    if (here.next == here.entries.size()) {
      levels.pop_back();
      continue;
    }
    const DirectoryEntry entry = here.entries[here.next++];
    path += entry.name;
    if (entry.type == InodeType::file) visit(path, entry.number);
    if (entry.type != InodeType::directory) continue;
    path += '/';
    VAULTFS_RETURN_IF_ERROR(enter(entry.number));
  }
  return ok_status();
}

// A path to show; of one longer than most, its end.
std::string shown_path(const std::string& path) {
  constexpr std::size_t kMaxShownBytes = 1024;
  return path.size() <= kMaxShownBytes ? path : "…" + path.substr(path.size() - kMaxShownBytes);
}

// The disk that is meant; without a name the only one there is.
Result<Attributes> find_disk(FileTree& tree, InodeNumber root, const std::string& name) {
  if (!name.empty()) {
    auto named = resolve_path(tree, root, name);
    if (named.ok() && named->type == InodeType::file) return named;
    if (!named.ok() && named.code() != ErrorCode::NotFound && named.code() != ErrorCode::NotADirectory) return named;
  }
  constexpr std::size_t kShown = 20;
  std::string names;
  std::size_t disks = 0;
  InodeNumber only;
  VAULTFS_RETURN_IF_ERROR(visit_disks(tree, root, [&](const std::string& path, InodeNumber inode) {
    only = inode;
    if (disks++ < kShown) names += (disks == 1 ? "" : ", ") + shown_path(path);
  }));
  if (name.empty() && disks == 1) return tree.attributes(only);
  if (disks == 0)
    return Error{ErrorCode::DiskNotFound, "the recovery point holds no disk" +
                                              (name.empty() ? "" : " \"" + shown_path(name) + "\"") +
                                              ", nor any other; restore the whole item into a directory"};
  if (disks > kShown) names += ", and " + std::to_string(disks - kShown) + " more";
  return Error{ErrorCode::DiskNotFound, (name.empty() ? std::string("say which disk (--disk)")
                                                      : "there is no disk \"" + shown_path(name) + "\"") +
                                            "; the recovery point holds: " + names};
}

// The newest point of the item that is named for somebody who wanted one which can't be had: proven, and with all of
// its files there. Empty: there is none. Where content is damaged inside of files, its restore tells.
std::string whole_point(Vault& vault, const std::string& item, PointNumber but) {
  std::vector<PointInfo> points = vault.catalogue().points_of(item);
  std::reverse(points.begin(), points.end());
  for (const PointInfo& point : points) {
    if (point.unproven || point.number == but) continue;
    const auto manifest = vault.load_manifest(point);
    if (!manifest.ok()) continue;
    const auto missing = missing_segments(vault.env(), vault.path(), manifest->inventory);
    if (missing.ok() && missing->empty()) return item + "@" + point.id();
  }
  return "";
}

Error with_whole_point(Error error, Vault& vault, const std::string& item, PointNumber but) {
  const std::string whole = whole_point(vault, item, but);
  error.message += whole.empty() ? "; no other recovery point of the item is whole"
                                 : "; the newest one that is there and whole is " + whole;
  return error;
}

Result<PointInfo> point_to_restore(Vault& vault, const RestoreRequest& request) {
  auto point = vault.catalogue().find_point(request.item, request.point);
  const std::optional<Error> doubt = vault.points_in_doubt();
  if (!doubt.has_value() || (point.ok() && !request.point.empty())) return point;
  // What can't be found may well be a loss; and the last one that is known need not be the newest.
  if (request.point.empty() && point.ok()) {
    return with_whole_point({doubt->code, "which recovery point is the newest is not known: " + doubt->message}, vault,
                            request.item, {});
  }
  return with_whole_point(
      {ErrorCode::ManifestMissing, "the item \"" + request.item + "\" has no recovery point" +
                                       (request.point.empty() ? "" : " " + request.point) +
                                       " that can be found, but some may be lost: " + doubt->message},
      vault, request.item, {});
}

class Restore {
 public:
  Restore(Vault& vault, const RestoreRequest& request, const ProgressCallback& callback)
      : vault_(vault), request_(request), callback_(callback) {}

  Result<RestoreOutcome> run() {
    VAULTFS_ASSIGN_OR_RETURN(outcome_.point, point_to_restore(vault_, request_));
    VAULTFS_ASSIGN_OR_RETURN(tree_, open_point_tree(vault_, outcome_.point, root_));
    if (request_.pipe >= 0) {
      VAULTFS_RETURN_IF_ERROR(into_pipe());
      return outcome_;
    }
    VAULTFS_ASSIGN_OR_RETURN(const TargetKind kind, kind_of_target(request_.to));
    if (lies_within_directory(request_.to, vault_.path())) {
      return Error{ErrorCode::OverlapsVault, request_.to.string() + " lies inside the vault; restore to another place"};
    }
    if (kind == TargetKind::directory && request_.disk.empty()) {
      VAULTFS_RETURN_IF_ERROR(everything());
    } else {
      VAULTFS_RETURN_IF_ERROR(one_disk(kind));
    }
    return outcome_;
  }

  [[nodiscard]] const RestoreOutcome& outcome() const { return outcome_; }

 private:
  static constexpr unsigned kPasses = 2;  // what is written is read back

  Status everything() {
    VAULTFS_ASSIGN_OR_RETURN(const TreeSize size, measure_tree(*tree_, root_));
    ProgressMeter progress(callback_, size.logical_bytes, vault_.env().clock(), kPasses);
    return restore_tree(vault_, *tree_, root_, request_, size, progress, outcome_);
  }

  Status into_pipe() {
    VAULTFS_ASSIGN_OR_RETURN(const Attributes disk, find_disk(*tree_, root_, request_.disk));
    ProgressMeter progress(callback_, disk.size, vault_.env().clock());
    if (Status sent = restore_to_pipe(vault_, *tree_, disk.number, disk.size, request_.pipe, progress); !sent.ok()) {
      Error error = std::move(sent).error();
      error.message += "; what was sent by now is no whole disk";
      return error;
    }
    outcome_.files = 1;
    outcome_.logical_bytes = outcome_.written_bytes = disk.size;
    return ok_status();
  }

  Status one_disk(TargetKind kind) {
    VAULTFS_ASSIGN_OR_RETURN(const Attributes disk, find_disk(*tree_, root_, request_.disk));
    std::filesystem::path to = request_.to;
    if (kind == TargetKind::directory) to /= std::filesystem::path(request_.disk).filename();
    VAULTFS_ASSIGN_OR_RETURN(const auto target,
                             kind == TargetKind::device
                                 ? RestoreTarget::device(to, request_.force, disk.size, request_.replace_open)
                                 : RestoreTarget::new_file(to, request_.force, disk.size, request_.replace_open));
    ProgressMeter progress(callback_, disk.size, vault_.env().clock(), kPasses);
    auto written = restore_content(vault_, *tree_, disk.number, disk.size, *target, progress);
    if (!written.ok()) {
      Error error = std::move(written).error();
      error.message += kind == TargetKind::device ? "; what was written to " + to.string() +
                                                        " by now stays there and is no whole disk: restore again"
                                                  : "; " + to.string() + " is as it was";
      return error;
    }
    outcome_.written_bytes = *written;
    outcome_.files = 1;
    outcome_.logical_bytes = disk.size;
    if (kind != TargetKind::device) {
      VAULTFS_RETURN_IF_ERROR(restore_attributes(*tree_, target->descriptor(), disk, outcome_));
      VAULTFS_RETURN_IF_ERROR(target->sync());
    }
    return target->publish();
  }

  Vault& vault_;
  const RestoreRequest& request_;
  const ProgressCallback& callback_;
  std::unique_ptr<FileTree> tree_;
  InodeNumber root_;
  RestoreOutcome outcome_;
};

}  // namespace

Result<RestoreOutcome> restore(Vault& vault, const RestoreRequest& request, const ProgressCallback& progress) {
  // A vault that nobody may write to is told of it by whoever opened it.
  std::optional<JobInfo> job;
  if (!vault.read_only()) {
    VAULTFS_ASSIGN_OR_RETURN(job, vault.begin_asked_job(JobKind::restore, request.item));
  }
  Restore work(vault, request, progress);
  Result<RestoreOutcome> outcome = work.run();
  // An older point is not handed out for the newest: who wants it asks for it.
  if (!outcome.ok() && request.point.empty() && is_integrity_error(outcome.code())) {
    outcome = with_whole_point(outcome.error(), vault, request.item, work.outcome().point.number);
  }
  if (!job) return outcome;
  job->state = outcome.ok() ? JobState::completed : JobState::failed;
  if (!outcome.ok() && outcome.code() == ErrorCode::Interrupted) job->state = JobState::cancelled;
  job->ended = vault.env().clock().now();
  job->logical_bytes = work.outcome().logical_bytes;
  job->detail = "from " + work.outcome().point.id();
  if (!outcome.ok()) job->detail = std::string(error_name(outcome.code())) + ": " + outcome.error().message;
  const Status recorded = vault.finish_job(*job, std::nullopt);
  if (outcome.ok() && !recorded.ok()) return with_context(recorded.error(), "the restore is whole, but not recorded");
  return outcome;
}

}  // namespace vaultfs
