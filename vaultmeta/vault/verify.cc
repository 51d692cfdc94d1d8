// verify_vault and glance_at_vault.
#include <algorithm>
#include <map>
#include <optional>
#include <set>
#include <utility>

#include "crypto/hash.h"
#include "store/blobs/stored_file.h"
#include "store/record/file_origin.h"
#include "store/segment/file/segment_recovery.h"
#include "vaultmeta/heads/head_files.h"
#include "vaultmeta/heads/head_pack.h"
#include "vaultmeta/keys/keyring.h"
#include "vaultmeta/keys/newest_keyring.h"
#include "vaultmeta/layout/vault_layout.h"
#include "vaultmeta/points/damage_walk.h"
#include "vaultmeta/points/lost_content.h"
#include "vaultmeta/points/point_file.h"
#include "vaultmeta/vault/opening.h"
#include "vaultmeta/vault/vault.h"
#include "vaultmeta/vault/verify_copies.h"
#include "vaultmeta/vault/verify_index.h"

namespace vaultfs {
namespace {

// Stretches of files, one line each.
constexpr std::uint64_t kMostLossesTold = 10'000;
// Lines about the files of one folder, of which anybody can put a hundred thousand there.
constexpr std::size_t kMostFolderDamage = 2000;

Error stopped() {
  return {ErrorCode::Interrupted, "verification was stopped; it changes nothing, and begins anew when it is run again"};
}

bool is_unfinished(const std::string& name) { return name.ends_with(kUnfinishedSuffix); }

class Verification {
 public:
  Verification(Env& env, const std::filesystem::path& path, Vault* vault, const VerifyProgress& progress,
               const VerifyTree& tree)
      : env_(env),
        path_(path),
        vault_(vault),
        progress_(progress),
        tree_(tree),
        blobs_(make_directory_blob_store(env, path)) {}

  Result<VerifyReport> run() {
    report_.authenticated = vault_ != nullptr;
    VAULTFS_RETURN_IF_ERROR(check_root());
    if (vault_ != nullptr && vault_->history_damage().has_value()) {
      const ErrorCode code = vault_->history_damage()->code;
      const bool checkpoint = code == ErrorCode::CheckpointMissing || code == ErrorCode::DamagedCheckpoint;
      damage(checkpoint ? kCheckpointFiles.name : kJournalFiles.name, *vault_->history_damage());
    }
    for (const VaultFolder& folder : kVaultFolders) VAULTFS_RETURN_IF_ERROR(check_folder(folder));
    check_packs();
    check_passed_over();
    VAULTFS_RETURN_IF_ERROR(vault_ == nullptr ? check_inventories() : check_content());
    if (vault_ == nullptr) {
      VAULTFS_RETURN_IF_ERROR(note_what_has_copies(env_, path_, report_.damage, report_.notes));
    }
    if (vault_ != nullptr) check_activity();
    return std::move(report_);
  }

 private:
  void damage(const std::string& file, Error error) { report_.damage.push_back({file, std::move(error)}); }
  Status go_on() { return progress_ && !progress_(report_.counts) ? Status(stopped()) : ok_status(); }

  Result<Bytes> read_whole(const std::string& name, std::uint64_t limit) {
    VAULTFS_ASSIGN_OR_RETURN(Bytes bytes, read_stored_file(env_, path_ / name, limit));
    ++report_.counts.files;
    report_.counts.bytes += bytes.size();
    return bytes;
  }

  // A path that never was a vault is a mistake of the caller's, not damage.
  Status check_is_vault() {
    VAULTFS_ASSIGN_OR_RETURN(const FileInfo header, env_.info(path_ / VaultHeader::kFileName));
    VAULTFS_ASSIGN_OR_RETURN(const FileInfo segments, env_.info(path_ / kSegmentFiles.name));
    if (header.kind == FileKind::file || segments.kind == FileKind::directory) return ok_status();
    return Error{ErrorCode::NotAVault, path_.string() + " is not a vault"};
  }

  Status check_root() {
    VAULTFS_RETURN_IF_ERROR(check_is_vault());
    VAULTFS_ASSIGN_OR_RETURN(const auto names, env_.list(path_));
    for (const std::string& name : names) {
      const bool folder = std::any_of(kVaultFolders.begin(), kVaultFolders.end(),
                                      [&](const VaultFolder& known) { return name == known.name; });
      const bool known = name == VaultHeader::kFileName || name == kLockFileName || name == kHoldFileName;
      if (folder || known || is_unfinished(name)) continue;
      unexpected(name);
    }
    const auto bytes = read_whole(VaultHeader::kFileName, kMaxHeaderBytes);
    if (!bytes.ok() && bytes.code() == ErrorCode::NotFound) {
      damage(VaultHeader::kFileName, {ErrorCode::DamagedHeader, "it is missing; put it back from a copy of the vault"});
      return ok_status();
    }
    if (!bytes.ok()) return bytes.error();
    const auto header = VaultHeader::decode(*bytes);
    // Nothing can be said of files whose form this program does not know.
    if (!header.ok() && header.code() == ErrorCode::UnsupportedFormat) return header.error();
    if (header.ok()) id_ = header->id;
    if (!header.ok()) {
      damage(VaultHeader::kFileName, header.error());
    } else if (vault_ != nullptr && header->encode() != vault_->header().encode()) {
      damage(VaultHeader::kFileName, {ErrorCode::DamagedHeader, "it is not the header of the opened vault"});
    }
    return ok_status();
  }

  void unexpected(const std::string& name) {
    damage(name, {ErrorCode::DamagedHeader, "unexpected file: nothing of a vault has such a name"});
  }

  Status check_folder(const VaultFolder& folder) {
    auto names = env_.list(path_ / folder.name);
    if (!names.ok()) {
      const bool missing = names.code() == ErrorCode::NotFound;
      if (!missing && !is_integrity_error(names.code())) return std::move(names).error();
      damage(folder.name, missing ? Error{ErrorCode::DamagedHeader, "the folder is missing"} : names.error());
      return ok_status();
    }
    if (vault_ != nullptr && std::string_view(folder.name) == kHeadFiles.name) head_macs_.emplace(vault_->custody());
    const std::size_t most = report_.damage.size() + kMostFolderDamage;
    std::uint64_t not_told = 0;
    Status status = ok_status();
    for (const std::string& name : *names) {
      status = go_on();
      if (!status.ok()) break;
      const std::size_t before = report_.damage.size();
      status = check_name(folder, name);
      if (!status.ok()) break;
      if (report_.damage.size() <= most) continue;
      ++not_told;
      report_.damage.erase(report_.damage.begin() + static_cast<std::ptrdiff_t>(before), report_.damage.end());
      const std::string file = std::string(folder.name) + '/' + name;
      if (std::string_view(folder.name) != kSegmentFiles.name || passed_over_.contains(file)) continue;
      if (const auto number = segment_number(name)) segments_not_told_.insert(*number);
    }
    head_macs_.reset();
    if (not_told > 0) {
      damage(folder.name, {ErrorCode::DamagedHeader,
                           std::to_string(not_told) + " more files are damaged, or are none of the vault's"});
    }
    return status;
  }

  Status check_name(const VaultFolder& folder, const std::string& name) {
    if (is_unfinished(name)) return ok_status();
    const std::string file = std::string(folder.name) + '/' + name;
    auto number = number_of(name, folder.extension);
    if (std::string_view(folder.name) == kHeadFiles.name && number_of(name, kHeadPackExtension)) return ok_status();
    const bool open_segment = std::string_view(folder.name) == kSegmentFiles.name && !number.has_value() &&
                              number_of(name, kOpenSegmentExtension).has_value();
    if (!number.has_value() && !open_segment) {
      unexpected(file);
      return ok_status();
    }
    const std::size_t before = report_.damage.size();
    Status checked = check_file(folder, file, open_segment ? std::uint64_t{0} : *number, open_segment);
    if (checked.ok()) {
      if (report_.damage.size() == before) note_sound(folder, name);
      return ok_status();
    }
    // Of a mounted vault a file may be closed or superseded between listing and reading.
    if (checked.code() == ErrorCode::NotFound) return ok_status();
    if (checked.code() == ErrorCode::Interrupted) return checked;
    damage(file, checked.error());
    return ok_status();
  }

  Status check_file(const VaultFolder& folder, const std::string& file, std::uint64_t number, bool open_segment) {
    const std::string_view kind = folder.name;
    if (kind == kKeyringFiles.name) return check_keyring(file, Generation(number));
    if (kind == kHeadFiles.name) return check_head(file, Generation(number));
    const bool may_have_gaps = open_segment || kind == kJournalFiles.name || kind == kActivityFiles.name;
    VAULTFS_ASSIGN_OR_RETURN(const auto opened, env_.open(path_ / file, OpenMode::read_only));
    const EpochKeys* keys = vault_ == nullptr ? nullptr : &vault_->keys();
    const bool closed_segment = keys != nullptr && kind == kSegmentFiles.name && !open_segment;
    const ContainerNumber container(number);
    if (keys != nullptr && open_segment && newest_.format != Head::kFormat1) {
      const auto named = number_of(file.substr(file.find('/') + 1), kOpenSegmentExtension);
      const Status may_be = check_may_be_open(*opened, *keys, ContainerNumber(named.value_or(0)));
      if (!may_be.ok()) {
        passed_over_.insert(file);
        damage(file, may_be.error());
      }
    }
    if (keys == nullptr) VAULTFS_RETURN_IF_ERROR(check_origin(*opened, container));
    RecordSeen seen;
    if (closed_segment) seen = [&](const SegmentEntry& entry) { index_check_.saw(container, entry); };
    const std::size_t damage_before = report_.damage.size();
    VAULTFS_RETURN_IF_ERROR(verify_container(*opened, file, keys, may_have_gaps, report_.counts, report_.damage, seen));
    const bool has_damage = report_.damage.size() > damage_before;
    if (closed_segment) index_check_.walked(container, has_damage);
    if (keys == nullptr || kind != kIndexFiles.name || has_damage) return ok_status();
    return index_check_.check(env_, path_, file, container, *keys, report_.damage);
  }

  // Without keys a sound file of another vault, or of another number, passes by its checksums alone. What the header
  // says in the clear is no proof, and tells a mistake: two vaults' files in one directory. Damage is
  // verify_container()'s.
  Status check_origin(File& file, ContainerNumber number) const {
    Bytes bytes(ContainerHeader::kEncodedBytes);
    const auto got = file.read_at(0, bytes);
    if (!got.ok() || *got < bytes.size()) return ok_status();
    const auto header = ContainerHeader::decode(bytes);
    if (!header.ok()) return ok_status();
    VAULTFS_RETURN_IF_ERROR(check_vault(header->vault));
    if (number.value == 0 || header->number == number) return ok_status();
    return Error{ErrorCode::ForeignFile,
                 "it was made as number " + std::to_string(header->number.value) + ", and has another file's name"};
  }

  Status check_vault(const VaultId& vault) const {
    if (!id_ || *id_ == vault) return ok_status();
    return Error{ErrorCode::ForeignFile, "it is a file of another vault, " + to_hex(vault.view())};
  }

  Status check_keyring(const std::string& file, Generation generation) {
    VAULTFS_ASSIGN_OR_RETURN(const Bytes bytes, read_whole(file, kMaxKeyringBytes));
    VAULTFS_ASSIGN_OR_RETURN(const ClosedKeyring keyring, ClosedKeyring::decode(bytes));
    if (keyring.generation != generation) return Error{ErrorCode::DamagedKeyring, "it is of another generation"};
    if (vault_ == nullptr) return check_vault(keyring.vault);
    // The custody has authenticated the newest one; of older ones only what the chain says is known.
    if (generation == vault_->custody().generation() && sha256(bytes) != vault_->custody().keyring_digest()) {
      return Error{ErrorCode::DamagedKeyring, "it is not the keyring that was opened"};
    }
    if (generation.next() == vault_->custody().generation() &&
        sha256(bytes) != vault_->custody().keyring_predecessor()) {
      return Error{ErrorCode::DamagedKeyring, "it is not the predecessor of the keyring that was opened"};
    }
    return ok_status();
  }

  Status check_head(const std::string& file, Generation generation) {
    VAULTFS_ASSIGN_OR_RETURN(const Bytes bytes, read_whole(file, kMaxHeadBytes));
    VAULTFS_ASSIGN_OR_RETURN(const Head::Signed stored, Head::decode(bytes));
    if (stored.head.generation != generation) return Error{ErrorCode::DamagedHead, "it is of another generation"};
    VAULTFS_RETURN_IF_ERROR(vault_ != nullptr ? check_mac(stored) : check_vault(stored.head.vault));
    if (newest_.generation < generation) newest_ = stored.head;
    return ok_status();
  }

  Status check_mac(const Head::Signed& stored) {
    VAULTFS_ASSIGN_OR_RETURN(const bool authentic, head_macs_->are_right(stored));
    return authentic ? ok_status() : Status(Error{ErrorCode::DamagedHead, "it is not authentic"});
  }

  // Those that the newest head names, and they each other.
  void check_packs() {
    PackedHeads at = newest_.packs;
    while (at.last.value != 0 && !at.digest.is_zero()) {
      const auto pack = read_head_pack(*blobs_, newest_.vault, at);
      if (!pack.ok()) {
        const std::string name = head_pack_name(at.last);
        const bool missing = pack.code() == ErrorCode::NotFound;
        return damage(name, missing ? Error{ErrorCode::DamagedHead, "it is missing"} : pack.error());
      }
      ++report_.counts.files;
      report_.counts.bytes += HeadPack::kFileBytes;
      at = PackedHeads{Generation(at.last.value - kHeadsInPack), pack->predecessor};
    }
  }

  // What the opening found to be there by its name alone, unless its bytes have told already.
  void check_passed_over() {
    if (vault_ == nullptr) return;
    for (Damage& found : vault_->passed_over()) {
      const bool told = std::any_of(report_.damage.begin(), report_.damage.end(),
                                    [&](const Damage& damage) { return damage.file == found.file; });
      if (!told) (is_only_begun(found.file) ? report_.notes : report_.damage).push_back(std::move(found));
    }
  }

  // A crash while it was made leaves such a file, too.
  [[nodiscard]] bool is_only_begun(const std::string& file) const {
    const auto info = env_.info(path_ / file);
    return info.ok() && info->kind == FileKind::file && info->size < ContainerHeader::kEncodedBytes;
  }

  // Keyless: what each point says it needs, against what is there.
  Status check_inventories() {
    const auto numbers = list_numbers(*blobs_, kPointFiles);
    if (!numbers.ok()) {
      // A folder that is missing is in the report already.
      const bool told = numbers.code() == ErrorCode::NotFound || is_integrity_error(numbers.code());
      return told ? ok_status() : Status(numbers.error());
    }
    const std::size_t most = report_.damage.size() + kMostFolderDamage;
    for (const std::uint64_t number : *numbers) {
      if (report_.damage.size() > most) {
        damage(kPointFiles.name,
               {ErrorCode::DamagedManifest, "what the recovery points from " + kPointFiles.file(number) +
                                                " on need was not looked at: too much is missing"});
        return ok_status();
      }
      const std::string name = kPointFiles.file(number);
      const auto file = blobs_->open(name);
      if (!file.ok()) continue;
      const auto inventory = read_clear_inventory(**file);
      if (!inventory.ok()) {
        damage(name, inventory.error());
        continue;
      }
      VAULTFS_ASSIGN_OR_RETURN(auto problems, missing_segments(env_, path_, *inventory));
      // What a live owner has superseded meanwhile is no damage.
      VAULTFS_ASSIGN_OR_RETURN(const FileInfo still_there, env_.info(path_ / name));
      if (!problems.empty() && still_there.kind == FileKind::missing) continue;
      for (Error& problem : problems) damage(name, std::move(problem));
      ++report_.points_checked;
    }
    return ok_status();
  }

  // The number of a segment by its file's name, also of an open one.
  static std::optional<ContainerNumber> segment_number(std::string_view name) {
    auto number = number_of(name, kSegmentFiles.extension);
    if (!number) number = number_of(name, kOpenSegmentExtension);
    if (!number) return std::nullopt;
    return ContainerNumber(*number);
  }
  void note_sound(const VaultFolder& folder, const std::string& name) {
    if (std::string_view(folder.name) != kSegmentFiles.name) return;
    if (const auto number = segment_number(name)) sound_.insert(*number);
  }

  void damage_of(const PointInfo& point, Error error) {
    Damage found{kPointFiles.file(point.manifest_file().value), std::move(error)};
    found.item = point.item;
    found.point = point.id();
    report_.damage.push_back(std::move(found));
  }

  Status check_inventory(const PointInfo& point, const std::vector<Manifest::SegmentNeeded>& inventory) {
    for (const Manifest::SegmentNeeded& segment : inventory) {
      listed_.insert(segment.number);
      VAULTFS_ASSIGN_OR_RETURN(auto problems, missing_segments(env_, path_, {segment}));
      for (Error& problem : problems) {
        damage_of(point, std::move(problem));
        of_segment_[report_.damage.size() - 1] = segment.number;
      }
    }
    return ok_status();
  }

  // What recovery points and the working tree need. Damage by which nothing is lost becomes a note.
  Status check_content() {
    for (std::size_t i = 0; i < report_.damage.size(); ++i) {
      const std::string& file = report_.damage[i].file;
      if (!file.starts_with(std::string(kSegmentFiles.name) + '/') || passed_over_.contains(file)) continue;
      if (const auto number = segment_number(file.substr(file.find('/') + 1))) of_segment_[i] = *number;
    }
    LostContent content(vault_->segments(), sound_);
    VAULTFS_RETURN_IF_ERROR(check_points(content));
    if (tree_) {
      VAULTFS_RETURN_IF_ERROR(tree_(
          [&content](const ChunkId& id) { return content.look(id); },
          [this](const std::string& item, const DamagedRange& range) { tell_loss("working tree", item, "", range); }));
    }
    report_.damaged_segments.insert(segments_not_told_.begin(), segments_not_told_.end());
    std::vector<Damage> kept;
    for (std::size_t i = 0; i < report_.damage.size(); ++i) {
      const auto segment = of_segment_.find(i);
      if (segment != of_segment_.end()) report_.damaged_segments.insert(segment->second);
      const bool is_note = segment != of_segment_.end() && !content.lost_in(segment->second) &&
                           may_be_note(segment->second, report_.damage[i].error.code);
      (is_note ? report_.notes : kept).push_back(std::move(report_.damage[i]));
    }
    report_.damage = std::move(kept);
    return ok_status();
  }

  // A file that nobody knows and that no key of the vault opens is somebody's doing, whatever it holds.
  [[nodiscard]] bool may_be_note(ContainerNumber segment, ErrorCode code) const {
    return listed_.contains(segment) || (code != ErrorCode::DamagedHeader && code != ErrorCode::EpochClosed &&
                                         code != ErrorCode::KeyCommitmentMismatch);
  }

  void tell_loss(const std::string& file, const std::string& item, const std::string& point,
                 const DamagedRange& range) {
    if (++losses_ > kMostLossesTold) return;
    Damage loss{file, range.error};
    loss.item = item;
    loss.point = point;
    loss.disk = range.path;
    loss.offset = range.offset;
    loss.bytes = range.bytes;
    report_.damage.push_back(std::move(loss));
  }

  Status check_points(LostContent& content) {
    DamageWalk walk(vault_->segments(), [&content](RecordType type, const ChunkId& id) {
      return type == RecordType::map_page ? content.look(id) : content.look_at_chunk(id);
    });
    for (const PointInfo& point : vault_->catalogue().points()) {
      VAULTFS_RETURN_IF_ERROR(go_on());
      const std::string name = kPointFiles.file(point.manifest_file().value);
      const auto manifest = vault_->load_manifest(point);
      if (!manifest.ok()) {
        // A point that was pruned meanwhile is no damage.
        if (vault_->catalogue().find_point(point.item, point.id()).ok()) damage_of(point, manifest.error());
        continue;
      }
      if (point.unproven) damage_of(point, nobody_vouches_for(point));
      VAULTFS_RETURN_IF_ERROR(check_inventory(point, manifest->inventory));
      VAULTFS_ASSIGN_OR_RETURN(const std::vector<DamagedRange> ranges, walk.walk(*manifest));
      for (const DamagedRange& range : ranges) tell_loss(name, point.item, point.id(), range);
      ++report_.points_checked;
    }
    return check_unknown_points();
  }

  // A crash, or an owner at work, leaves manifests of the current epoch that no catalogue knows. An old key is enough
  // for others.
  Status check_unknown_points() {
    const auto numbers = list_numbers(*blobs_, kPointFiles);
    if (!numbers.ok()) return ok_status();  // told already
    std::set<PointNumber> known;
    for (const PointInfo& point : vault_->catalogue().points()) known.insert(point.manifest_file());
    for (const SupersededManifest& old : vault_->catalogue().superseded()) known.insert(old.file);
    for (const std::uint64_t number : *numbers) {
      if (known.contains(PointNumber(number))) continue;
      const std::string name = kPointFiles.file(number);
      VAULTFS_ASSIGN_OR_RETURN(const FileOrigin origin, origin_of(env_, path_ / name, vault_->keys(),
                                                                  ContainerKind::manifest, ContainerNumber(number)));
      // What is not the vault's own has been told by its header.
      const bool told = std::any_of(report_.damage.begin(), report_.damage.end(),
                                    [&](const Damage& damage) { return damage.file == name; });
      if (!origin.own || origin.current_epoch || told) continue;
      damage(name, {ErrorCode::AuthenticationFailed,
                    "no recovery point is known by it, and it was made with the data "
                    "key of an epoch that is closed"});
    }
    return ok_status();
  }

  void check_activity() {
    const auto entries = vault_->activity().entries();
    if (!entries.ok()) damage(kActivityFiles.name, entries.error());
  }

  Env& env_;
  const std::filesystem::path& path_;
  Vault* vault_;
  const VerifyProgress& progress_;
  const VerifyTree& tree_;
  std::unique_ptr<BlobStore> blobs_;
  std::optional<VaultId> id_;  // by the header, where that can be read
  VerifyReport report_;
  Head newest_;                                        // of those that are sound
  IndexCheck index_check_;                             // the index folder is the last one
  std::set<std::string> passed_over_;                  // somebody's open segments: whatever they hold
  std::optional<HeadMacs> head_macs_;                  // while the heads are checked
  std::set<ContainerNumber> segments_not_told_;        // damaged ones, of which there are too many to name
  std::set<ContainerNumber> sound_;                    // segments that were read whole without a finding
  std::set<ContainerNumber> listed_;                   // by inventories of points
  std::map<std::size_t, ContainerNumber> of_segment_;  // which of the report's damage is about a segment
  std::uint64_t losses_ = 0;
};

}  // namespace

Result<VaultGlance> glance_at_vault(Env& env, const std::filesystem::path& path) {
  VaultGlance glance;
  Digest header_digest;
  VaultDirectory directory(env, path);
  VAULTFS_RETURN_IF_ERROR(directory.open());
  VAULTFS_ASSIGN_OR_RETURN(glance.header, read_vault_header(directory, header_digest));
  const auto blobs = make_directory_blob_store(directory, directory.place());
  // The one that opening would try first.
  VAULTFS_ASSIGN_OR_RETURN(const KeyringCandidates found,
                           find_keyrings(*blobs, glance.header.id, header_digest, nullptr));
  VAULTFS_ASSIGN_OR_RETURN(StoredKeyring stored,
                           read_keyring(*blobs, glance.header.id, header_digest, found.newest_first.front()));
  ClosedKeyring& keyring = stored.closed;
  glance.slots = std::move(keyring.slots);
  glance.escrow = std::move(keyring.escrow);
  glance.keyring_generation = keyring.generation;
  return glance;
}

Result<VerifyReport> verify_vault(Env& env, const std::filesystem::path& path, Vault* vault,
                                  const VerifyProgress& progress, const VerifyTree& tree) {
  if (vault != nullptr) return Verification(vault->env(), vault->path(), vault, progress, tree).run();
  VaultDirectory directory(env, path);
  VAULTFS_RETURN_IF_ERROR(directory.open());
  return Verification(directory, directory.place(), nullptr, progress, tree).run();
}

}  // namespace vaultfs
