// How an owner takes a vault over once its state has been read: lock, leftovers, new journal.
#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <chrono>
#include <set>
#include <utility>

#include "base/thread/stop_request.h"
#include "base/thread/thread.h"
#include "crypto/hash.h"
#include "store/record/file_origin.h"
#include "vaultmeta/layout/file_notes.h"
#include "vaultmeta/vault/opening.h"
#include "vaultmeta/vault/registration.h"

namespace vaultfs {
namespace {

constexpr std::int64_t kPollsPerSecond = 10;
constexpr std::uint64_t kMaxLockFileBytes = 64;
constexpr std::size_t kMaxNotesInLog = 100;
// Of a folder's files that nothing names, what one opening looks at and removes: each look costs a key, each removal a
// change of the directory. The next openings go on. A crash leaves one.
constexpr std::uint64_t kMostLookedAt = 10'000;
constexpr std::uint64_t kMostRemoved = 1000;

// The owner's process id as its lock file tells it: a hint for people, nothing rests on it.
std::string owner_of(Env& env, const std::filesystem::path& lock_file) {
  const auto content = read_file(env, lock_file, kMaxLockFileBytes);
  if (!content.ok()) return "another process";
  const std::string_view text = text_of(*content);
  std::uint64_t process = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), process);
  if (error != std::errc{} || process == 0) return "another process";
  return "process " + std::to_string(process);
}

void note_owner(Env& env, const std::filesystem::path& lock_file) {
  const auto file = env.open(lock_file, OpenMode::read_write);
  if (!file.ok()) return;
  if (!(*file)->truncate(0).ok()) return;
  static_cast<void>((*file)->write_at(0, bytes_of(std::to_string(::getpid()) + "\n")));
}

}  // namespace

Result<std::unique_ptr<FileLock>> take_vault_lock(Env& env, const std::filesystem::path& path,
                                                  std::int64_t wait_seconds) {
  const std::filesystem::path lock_file = path / kLockFileName;
  for (std::int64_t polls = 0;; ++polls) {
    auto lock = env.lock(lock_file);
    if (lock.ok()) {
      note_owner(env, lock_file);
      return lock;
    }
    if (lock.code() != ErrorCode::VaultBusy) return lock;
    if (polls >= wait_seconds * kPollsPerSecond) {
      return Error{ErrorCode::VaultBusy, "the vault " + path.string() + " is in use by " + owner_of(env, lock_file) +
                                             "; wait for it to end, or use --wait"};
    }
    if (stop_requested()) return Error{ErrorCode::Interrupted, "stopped while the vault was in use; nothing was done"};
    sleep_for(std::chrono::milliseconds(1000 / kPollsPerSecond));
  }
}

Result<VaultHeader> read_vault_header(VaultDirectory& directory, Digest& digest) {
  const std::filesystem::path name = directory.place() / VaultHeader::kFileName;
  VAULTFS_ASSIGN_OR_RETURN(const FileInfo info, directory.info(name));
  if (info.kind == FileKind::missing) {
    return Error{ErrorCode::NotAVault,
                 directory.place().string() +
                     " is not a vault (it has no vault.header); name a vault's directory, or make "
                     "one with: vaultctl vault create"};
  }
  if (info.size > kMaxHeaderBytes)
    return Error{ErrorCode::NotAVault, name.string() + " is far too large for a vault's"};
  VAULTFS_ASSIGN_OR_RETURN(const Bytes bytes, read_file(directory, name, kMaxHeaderBytes));
  digest = sha256(bytes);
  return VaultHeader::decode(bytes);
}

Result<VaultHeader> look_at_vault_header(Env& env, const std::filesystem::path& path) {
  VaultDirectory directory(env, path);
  VAULTFS_RETURN_IF_ERROR(directory.open());
  Digest digest;
  return read_vault_header(directory, digest);
}

Status VaultOpening::start_journal() {
  VAULTFS_ASSIGN_OR_RETURN(const auto journals, list_numbers(*parts_.blobs, kJournalFiles));
  const Head& head = parts_.head.head;
  JournalStart start;
  const ContainerNumber last = std::max(head.journal, replay_.last_journal);
  start.number = ContainerNumber(free_number(last.value, {journals.begin(), journals.end()}));
  start.replayed_to = replay_.last;
  start.checkpoint = head.checkpoint;
  start.before = replay_.accepted;
  SegmentStore* segments = parts_.segments.get();
  VAULTFS_ASSIGN_OR_RETURN(parts_.journal,
                           Journal::create(
                               parts_.machine.env, parts_.path / kJournalFiles.name, parts_.custody->keys(),
                               std::move(start), [segments] { return segments->sync(); }, Catalogue::no_change()));
  parts_.replayed_to = replay_.last;
  return ok_status();
}

Status VaultOpening::remove_unfinished(const std::filesystem::path& directory) {
  Env& env = parts_.machine.env;
  VAULTFS_ASSIGN_OR_RETURN(const auto names, env.list(directory));
  for (const std::string& name : names) {
    if (!name.ends_with(kUnfinishedSuffix) || (directory == parts_.path && SpaceReserve::is_file(name))) continue;
    VAULTFS_ASSIGN_OR_RETURN(const FileInfo info, env.info(directory / name));
    if (info.kind != FileKind::directory) VAULTFS_RETURN_IF_ERROR(env.remove_file(directory / name));
  }
  return ok_status();
}

Status VaultOpening::remove_leftovers() {
  VAULTFS_RETURN_IF_ERROR(remove_unfinished(parts_.path));
  for (const VaultFolder& folder : kVaultFolders) {
    VAULTFS_RETURN_IF_ERROR(remove_unfinished(parts_.path / folder.name));
  }
  FileNotes removed(parts_.notes, "files that nothing names were removed");
  FileNotes kept(parts_.notes, "files in points/ were kept: no recovery point is known by them");
  FileNotes foreign(parts_.notes, "files were passed over");
  std::uint64_t looked_at = 0;  // in the folder that it is about
  std::uint64_t removed_here = 0;
  const auto next_folder = [&] { looked_at = removed_here = 0; };
  const auto enough = [&] { return ++looked_at > kMostLookedAt || removed_here >= kMostRemoved; };
  // The directories are synced at the end: what a crash leaves of it is removed by the next owner.
  std::set<std::string> changed_folders;
  const auto remove = [&](const VaultFolder& folder, std::uint64_t number, const char* why) -> Status {
    removed.add(folder.file(number) + " was removed: " + why);
    recovered_ = true;
    ++removed_here;
    changed_folders.insert(folder.name);
    return parts_.machine.env.remove_file(parts_.path / folder.file(number));
  };
  const auto look_at = [this](const VaultFolder& folder, ContainerKind kind, std::uint64_t number) {
    return origin_of(parts_.machine.env, parts_.path / folder.file(number), parts_.custody->keys(), kind,
                     ContainerNumber(number));
  };
  const auto pass_over = [&](const VaultFolder& folder, std::uint64_t number, const FileOrigin& origin) {
    foreign.add(folder.file(number) + ": " + passed_over(origin.reason).message);
  };
  std::set<PointNumber> named;
  for (const PointInfo& point : parts_.catalogue->points()) named.insert(point.manifest_file());
  for (const SupersededManifest& old : parts_.catalogue->superseded()) named.insert(old.file);
  VAULTFS_ASSIGN_OR_RETURN(const auto manifests, list_numbers(*parts_.blobs, kPointFiles));
  std::uint64_t left = 0;
  for (const std::uint64_t number : manifests) {
    if (named.contains(PointNumber(number))) continue;
    if (enough()) {
      ++left;
      parts_.catalogue->avoid_point_number(PointNumber(number));
      continue;
    }
    VAULTFS_ASSIGN_OR_RETURN(const FileOrigin origin, look_at(kPointFiles, ContainerKind::manifest, number));
    if (!origin.own) {
      pass_over(kPointFiles, number, origin);
      parts_.catalogue->avoid_point_number(PointNumber(number));
      continue;
    }
    // Whoever has no more than an old key could have given it any number.
    if (origin.current_epoch) parts_.catalogue->reserve_point_number(PointNumber(number));
    // A head of format 1 does not vouch for what the catalogue says of the points.
    if (parts_.head.head.format == Head::kFormat1) {
      kept.add(kPointFiles.file(number) + " was kept: no recovery point is known by it");
      parts_.catalogue->avoid_point_number(PointNumber(number));
      continue;
    }
    VAULTFS_RETURN_IF_ERROR(remove(kPointFiles, number, "no recovery point is known by it"));
  }
  if (left > 0) {
    parts_.notes.push_back(std::to_string(left) +
                           " more files in points/ are known by no recovery point: the next openings look at them");
  }
  next_folder();
  const ContainerNumber current = parts_.head.head.checkpoint;
  parts_.highest_checkpoint = current;
  VAULTFS_ASSIGN_OR_RETURN(const auto checkpoints, list_numbers(*parts_.blobs, kCheckpointFiles));
  for (const std::uint64_t number : checkpoints) {
    if (number == current.value) continue;
    if (enough()) break;
    VAULTFS_ASSIGN_OR_RETURN(const FileOrigin origin, look_at(kCheckpointFiles, ContainerKind::checkpoint, number));
    if (!origin.own) {
      pass_over(kCheckpointFiles, number, origin);
      continue;
    }
    if (origin.current_epoch) parts_.highest_checkpoint = std::max(parts_.highest_checkpoint, ContainerNumber(number));
    VAULTFS_RETURN_IF_ERROR(remove(kCheckpointFiles, number, "no head names it"));
  }
  next_folder();
  VAULTFS_ASSIGN_OR_RETURN(const auto journals, list_numbers(*parts_.blobs, kJournalFiles));
  for (const std::uint64_t number : journals) {
    if (number >= replay_from_.value || enough()) break;
    VAULTFS_ASSIGN_OR_RETURN(const FileOrigin origin, look_at(kJournalFiles, ContainerKind::journal, number));
    if (!origin.own) {
      pass_over(kJournalFiles, number, origin);
      continue;
    }
    VAULTFS_RETURN_IF_ERROR(remove(kJournalFiles, number, "the checkpoint holds it"));
  }
  for (const std::string& folder : changed_folders) {
    VAULTFS_RETURN_IF_ERROR(parts_.machine.env.sync_directory(parts_.path / folder));
  }
  for (const ContainerNumber number : replay_.unnamed) {
    foreign.add(kJournalFiles.file(number.value) + " was passed over: no head names it");
  }
  return ok_status();
}

Result<std::unique_ptr<OpenedVault>> VaultOpening::take_over() {
  if (!replay_.clean || replay_.dropped_tail_bytes > 0) recovered_ = true;
  VAULTFS_RETURN_IF_ERROR(remove_leftovers());
  VAULTFS_RETURN_IF_ERROR(start_journal());
  if (replay_.dropped_tail_bytes > 0) {
    parts_.notes.push_back(std::to_string(replay_.dropped_tail_bytes) + " bytes of the journal were never synced");
  }
  if (recovered_) parts_.notes.emplace_back("the last owner did not close the vault");
  std::string detail;
  const std::size_t logged = std::min(parts_.notes.size(), kMaxNotesInLog);
  for (std::size_t i = 0; i < logged; ++i) detail += (detail.empty() ? "" : "; ") + parts_.notes[i];
  if (logged < parts_.notes.size()) detail += "; and " + std::to_string(parts_.notes.size() - logged) + " more";

  MachineState& machine = parts_.machine.state;
  parts_.restart_above = pin_->restart_above;
  const Generation headed_keyring = parts_.head.head.keyring_generation;
  auto vault = std::make_unique<OpenedVault>(std::move(parts_));
  vault->attach();
  if (vault->custody().incarnation() > pin_->restart_above) {
    VAULTFS_RETURN_IF_ERROR(vault->custody().carry_over(headed_keyring));
    // Nothing in the new journal is acknowledged, and nothing is built upon the old ones, before a head names it.
    VAULTFS_RETURN_IF_ERROR(vault->write_head());
  }
  // An older copy was accepted: whatever the lost future has used, numbers and keys, this one does not share. No head
  // of the old incarnation first.
  while (vault->custody().incarnation() <= pin_->restart_above) {
    VAULTFS_RETURN_IF_ERROR(vault->custody().new_incarnation());
  }
  vault->custody().record_update_of_before();
  VAULTFS_ASSIGN_OR_RETURN(const std::size_t interrupted, vault->interrupt_unfinished_jobs());
  vault->take_kept_attempts();
  // Who opens a vault here has its versions asked for here. That this can't be written down keeps nobody from working.
  const Status registered =
      ensure_registered(machine, vault->directory(), vault->place(), vault->header().id, vault->custody().status());
  if (!registered.ok()) vault->warn("this machine's list of vaults", registered.error());
  // What the opening found damaged, before anybody builds upon it.
  Status noted = vault->remember_damage();
  // Without an index only the points tell what was in a segment that is gone.
  if (noted.ok() && index_rebuilt_) noted = vault->look_for_missing_segments();
  if (!noted.ok()) vault->warn("remembering damage", noted.error());
  if (recovered_ || interrupted > 0) vault->record_activity("vault.open", "Recovered", "", detail);
  if (interrupted > 0) VAULTFS_RETURN_IF_ERROR(vault->write_head());
  return vault;
}

}  // namespace vaultfs
