// Manifests that follow their content to other segments: docs/decisions/0007-reencryption.md.
#include <algorithm>
#include <map>
#include <utility>

#include "base/thread/mutex.h"
#include "store/record/container.h"
#include "vaultmeta/catalogue/catalogue_change.h"
#include "vaultmeta/points/point_file.h"
#include "vaultmeta/vault/opened_vault.h"

namespace vaultfs {
namespace {

// Both, by number. Where both name a segment, the length that is there now counts.
std::vector<Manifest::SegmentNeeded> united(const std::vector<Manifest::SegmentNeeded>& now,
                                            const std::vector<Manifest::SegmentNeeded>& before) {
  std::map<ContainerNumber, std::uint64_t> all;
  for (const auto* list : {&now, &before}) {
    for (const Manifest::SegmentNeeded& segment : *list) all.emplace(segment.number, segment.file_bytes);
  }
  std::vector<Manifest::SegmentNeeded> sorted;
  sorted.reserve(all.size());
  for (const auto& [number, bytes] : all) sorted.push_back({number, bytes});
  return sorted;
}

}  // namespace

Status OpenedVault::set_reencrypting(bool reencrypting) {
  VAULTFS_RETURN_IF_ERROR(require_owner());
  if (parts_.catalogue->reencrypting() == reencrypting) return ok_status();
  {
    const MutexLock lock(change_mutex_);
    VAULTFS_RETURN_IF_ERROR(append_catalogue(encode_reencrypting(reencrypting)));
  }
  return parts_.journal->commit();
}

Result<EpochNumber> OpenedVault::manifest_epoch(const PointInfo& point) {
  const std::string name = kPointFiles.file(point.manifest_file().value);
  const auto file = parts_.blobs->open(name);
  if (!file.ok()) return stored_file_error(file.error(), ErrorCode::ManifestMissing, name);
  Bytes start(ContainerHeader::kEncodedBytes);
  VAULTFS_ASSIGN_OR_RETURN(const std::size_t read, (*file)->read_at(0, start));
  if (read != start.size()) return Error{ErrorCode::DamagedManifest, name + " is cut off"};
  VAULTFS_ASSIGN_OR_RETURN(const ContainerHeader header, ContainerHeader::decode(start));
  return header.epoch;
}

Status OpenedVault::rewrite_point(PointNumber number, PointSegments& segments) {
  VAULTFS_RETURN_IF_ERROR(require_owner());
  Catalogue& catalogue = *parts_.catalogue;
  const std::optional<PointInfo> before = catalogue.point(number);
  if (!before) return Error{ErrorCode::RecoveryPointNotFound, "the recovery point is not there any more"};
  VAULTFS_ASSIGN_OR_RETURN(Manifest manifest, load_manifest(*before));
  VAULTFS_RETURN_IF_ERROR(parts_.segments->sync());
  VAULTFS_RETURN_IF_ERROR(parts_.segments->close_segment());
  const std::vector<Manifest::SegmentNeeded> listed = std::move(manifest.inventory);
  bool skipped = false;
  VAULTFS_ASSIGN_OR_RETURN(manifest.inventory, segments.of(manifest.inodes, skipped));
  if (skipped) manifest.inventory = united(manifest.inventory, listed);

  PointInfo rewritten = *before;
  rewritten.file = catalogue.take_point_number();
  VAULTFS_ASSIGN_OR_RETURN(const Bytes file, seal_manifest(manifest, rewritten));
  VAULTFS_RETURN_IF_ERROR(put_manifest(rewritten.file, file));
  Status logged = ok_status();
  {
    const MutexLock lock(change_mutex_);
    // Its marks may have changed meanwhile.
    PointInfo current = catalogue.point(number).value_or(*before);
    current.file = rewritten.file;
    current.manifest = rewritten.manifest;
    current.manifest_bytes = rewritten.manifest_bytes;
    Bytes entry = encode_change(current);
    append(entry, encode_change(SupersededManifest{before->manifest_file(), number, parts_.machine.env.clock().now()}));
    if (const auto lsn = append_catalogue(entry); !lsn.ok()) logged = lsn.error();
  }
  if (logged.ok()) logged = parts_.journal->commit();
  if (logged.ok()) return logged;
  // As with a new point: whether the entry reached the disk is unknown, and either manifest is good. Both files stay.
  const MutexLock lock(change_mutex_);
  Bytes taken_back = encode_change(*before);
  append(taken_back, encode_change(SupersededManifest{before->manifest_file(), before->manifest_file(), UnixNanos{0}}));
  take_back(taken_back);
  return logged;
}

Result<std::vector<Manifest::SegmentNeeded>> OpenedVault::inventory_of(const SupersededManifest& old) {
  VAULTFS_ASSIGN_OR_RETURN(StoredManifest stored, read_manifest_file(*parts_.blobs, keys(), old.file));
  return std::move(stored.manifest.inventory);
}

Status OpenedVault::end_grace() {
  VAULTFS_RETURN_IF_ERROR(require_owner());
  std::vector<SupersededManifest> all = parts_.catalogue->superseded();
  if (all.empty()) return ok_status();
  {
    const MutexLock lock(change_mutex_);
    Bytes entry;
    for (SupersededManifest& old : all) {
      old.since = UnixNanos{1};
      append(entry, encode_change(old));
    }
    VAULTFS_RETURN_IF_ERROR(append_catalogue(entry));
  }
  return parts_.journal->commit();
}

Status OpenedVault::forget_superseded(UnixNanos until) {
  VAULTFS_RETURN_IF_ERROR(require_owner());
  std::vector<SupersededManifest> over = parts_.catalogue->superseded();
  std::erase_if(over, [until](const SupersededManifest& old) { return old.since.value > until.value; });
  if (over.empty()) return ok_status();
  {
    const MutexLock lock(change_mutex_);
    Bytes entry;
    for (const SupersededManifest& old : over) {
      append(entry, encode_change(SupersededManifest{old.file, old.file, UnixNanos{0}}));
    }
    VAULTFS_RETURN_IF_ERROR(append_catalogue(entry));
  }
  VAULTFS_RETURN_IF_ERROR(parts_.journal->commit());
  // A file that a crash leaves here is named by nothing: the next owner removes it, before any segment goes.
  for (const SupersededManifest& old : over) {
    VAULTFS_RETURN_IF_ERROR(parts_.blobs->remove(kPointFiles.file(old.file.value)));
  }
  return ok_status();
}

}  // namespace vaultfs
