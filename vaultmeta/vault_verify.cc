// verify_vault and glance_at_vault.
#include <algorithm>
#include <unordered_set>
#include <utility>

#include "crypto/hash.h"
#include "store/stored_file.h"
#include "vaultmeta/head_files.h"
#include "vaultmeta/keyring.h"
#include "vaultmeta/point_file.h"
#include "vaultmeta/vault.h"
#include "vaultmeta/vault_layout.h"
#include "vaultmeta/vault_opening.h"

namespace vaultfs {
namespace {

Error stopped() { return {ErrorCode::Interrupted, "verification was stopped"}; }

bool is_unfinished(const std::string& name) { return name.ends_with(kUnfinishedSuffix); }

class Verification {
 public:
  Verification(Env& env, const std::filesystem::path& path, Vault* vault, const VerifyProgress& progress)
      : env_(env), path_(path), vault_(vault), progress_(progress), blobs_(make_directory_blob_store(env, path)) {}

  Result<VerifyReport> run() {
    report_.authenticated = vault_ != nullptr;
    VAULTFS_RETURN_IF_ERROR(check_root());
    if (vault_ != nullptr && vault_->history_damage().has_value()) damage("journal", *vault_->history_damage());
    for (const VaultFolder& folder : kVaultFolders) VAULTFS_RETURN_IF_ERROR(check_folder(folder));
    VAULTFS_RETURN_IF_ERROR(vault_ == nullptr ? check_inventories() : check_points());
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
    VAULTFS_ASSIGN_OR_RETURN(const Bytes bytes, read_whole(VaultHeader::kFileName, kMaxHeaderBytes));
    const auto header = VaultHeader::decode(bytes);
    // Nothing can be said of files whose form this program does not know.
    if (!header.ok() && header.code() == ErrorCode::UnsupportedFormat) return header.error();
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
    for (const std::string& name : *names) {
      VAULTFS_RETURN_IF_ERROR(go_on());
      if (is_unfinished(name)) continue;
      const std::string file = std::string(folder.name) + '/' + name;
      auto number = number_of(name, folder.extension);
      const bool open_segment = std::string_view(folder.name) == kSegmentFiles.name && !number.has_value() &&
                                number_of(name, kOpenSegmentExtension).has_value();
      if (!number.has_value() && !open_segment) {
        unexpected(file);
        continue;
      }
      Status checked = check_file(folder, file, open_segment ? std::uint64_t{0} : *number, open_segment);
      if (checked.ok()) continue;
      // Of a mounted vault a file may be closed or superseded between listing and reading.
      if (checked.code() == ErrorCode::NotFound) continue;
      if (checked.code() == ErrorCode::Interrupted) return checked;
      damage(file, checked.error());
    }
    return ok_status();
  }

  Status check_file(const VaultFolder& folder, const std::string& file, std::uint64_t number, bool open_segment) {
    const std::string_view kind = folder.name;
    if (kind == kKeyringFiles.name) return check_keyring(file, Generation(number));
    if (kind == kHeadFiles.name) return check_head(file, Generation(number));
    const bool may_have_gaps = open_segment || kind == kJournalFiles.name || kind == kActivityFiles.name;
    VAULTFS_ASSIGN_OR_RETURN(const auto opened, env_.open(path_ / file, OpenMode::read_only));
    return verify_container(*opened, file, vault_ == nullptr ? nullptr : &vault_->keys(), may_have_gaps, report_.counts,
                            report_.damage);
  }

  Status check_keyring(const std::string& file, Generation generation) {
    VAULTFS_ASSIGN_OR_RETURN(const Bytes bytes, read_whole(file, kMaxKeyringBytes));
    VAULTFS_ASSIGN_OR_RETURN(const ClosedKeyring keyring, ClosedKeyring::decode(bytes));
    if (keyring.generation != generation) return Error{ErrorCode::DamagedKeyring, "it is of another generation"};
    if (vault_ == nullptr) return ok_status();
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
    if (vault_ == nullptr) return ok_status();
    VAULTFS_ASSIGN_OR_RETURN(const Digest mac, head_mac(vault_->custody(), stored.head, stored.body));
    if (!constant_time_equal(mac.view(), stored.mac.view()))
      return Error{ErrorCode::DamagedHead, "it is not authentic"};
    return ok_status();
  }

  // Keyless: what each point says it needs, against what is there.
  Status check_inventories() {
    const auto numbers = list_numbers(*blobs_, kPointFiles);
    if (!numbers.ok()) {
      // A folder that is missing is in the report already.
      const bool told = numbers.code() == ErrorCode::NotFound || is_integrity_error(numbers.code());
      return told ? ok_status() : Status(numbers.error());
    }
    for (const std::uint64_t number : *numbers) {
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

  Status check_inventory(const std::string& name, const std::vector<Manifest::SegmentNeeded>& inventory) {
    VAULTFS_ASSIGN_OR_RETURN(auto problems, missing_segments(env_, path_, inventory));
    for (Error& problem : problems) damage(name, std::move(problem));
    return ok_status();
  }

  Status check_points() {
    for (const PointInfo& point : vault_->catalogue().points()) {
      VAULTFS_RETURN_IF_ERROR(go_on());
      const std::string name = kPointFiles.file(point.manifest_file().value);
      const auto manifest = vault_->load_manifest(point);
      if (!manifest.ok()) {
        // A point that was pruned meanwhile is no damage.
        if (vault_->catalogue().find_point(point.item, point.id()).ok()) damage(name, manifest.error());
        continue;
      }
      VAULTFS_RETURN_IF_ERROR(check_inventory(name, manifest->inventory));
      for (const InodeRecord& inode : manifest->inodes) follow(name, inode);
      ++report_.points_checked;
    }
    return ok_status();
  }

  void follow(const std::string& name, const InodeRecord& inode) {
    if (inode.type != InodeType::file) return;
    for (std::size_t i = 0; i < inode.chunks.size(); ++i) {
      follow_chunk(name, inode.chunks[i], inode.size - std::uint64_t{i} * kChunkBytes);
    }
    for (std::size_t i = 0; i < inode.pages.size(); ++i) {
      follow_page(name, inode.pages[i], inode.size - std::uint64_t{i} * kMapPageSpanBytes);
    }
  }

  // `rest` is what the file has from here on: a chunk may be shorter (what follows in its MiB reads as zero), never
  // longer than a MiB.
  void follow_chunk(const std::string& name, const ChunkId& chunk, std::uint64_t rest) {
    if (chunk.is_zero() || rest == 0 || !chunks_seen_.insert(chunk).second) return;
    const auto length = vault_->segments().length(chunk);
    if (!length.ok()) {
      damage(name, length.error());
    } else if (*length > kChunkBytes) {
      damage(name, {ErrorCode::ChunkMismatch, "a chunk is longer than a chunk can be"});
    } else {
      follow_base(name, chunk);
    }
  }

  // The records themselves have been checked with their files: here, that the base is there and of the right kind.
  void follow_base(const std::string& name, const ChunkId& chunk) {
    SegmentStore& segments = vault_->segments();
    const auto patch = segments.patch_of(chunk);
    if (!patch.ok()) return damage(name, patch.error());
    if (!*patch || (*patch)->base.is_zero()) return;
    const ChunkId& base = (*patch)->base;
    const auto length = segments.length(base);
    if (!length.ok()) return damage(name, length.error());
    const auto below = segments.patch_of(base);
    if (!below.ok()) return damage(name, below.error());
    if (*below || *length > kChunkBytes) {
      damage(name, {ErrorCode::ChunkMismatch, "a patch lies over something that is no chunk"});
    }
  }

  void follow_page(const std::string& name, const ChunkId& page, std::uint64_t rest) {
    if (page.is_zero() || !pages_seen_.insert(page).second) return;
    const auto content = vault_->segments().read_verified(RecordType::map_page, page);
    if (!content.ok()) return damage(name, content.error());
    const auto decoded = MapPage::decode(*content);
    if (!decoded.ok()) return damage(name, decoded.error());
    for (std::size_t i = 0; i < decoded->entries.size(); ++i) {
      const std::uint64_t start = std::uint64_t{i} * kChunkBytes;
      // What a page names beyond the end of the file is not part of this point.
      if (start < rest) follow_chunk(name, decoded->entries[i], rest - start);
    }
  }

  void check_activity() {
    const auto entries = vault_->activity().entries();
    if (!entries.ok()) damage(kActivityFiles.name, entries.error());
  }

  Env& env_;
  const std::filesystem::path& path_;
  Vault* vault_;
  const VerifyProgress& progress_;
  std::unique_ptr<BlobStore> blobs_;
  VerifyReport report_;
  std::unordered_set<ChunkId> pages_seen_;
  std::unordered_set<ChunkId> chunks_seen_;
};

}  // namespace

Result<VaultGlance> glance_at_vault(Env& env, const std::filesystem::path& path) {
  VaultGlance glance;
  Digest header_digest;
  VaultDirectory directory(env, path);
  VAULTFS_RETURN_IF_ERROR(directory.open());
  VAULTFS_ASSIGN_OR_RETURN(glance.header, read_vault_header(directory, header_digest));
  const auto blobs = make_directory_blob_store(directory, directory.place());
  VAULTFS_ASSIGN_OR_RETURN(const auto generations, list_numbers(*blobs, kKeyringFiles));
  if (generations.empty()) return Error{ErrorCode::KeyringMissing, "the vault has no keyring"};
  const std::string name = kKeyringFiles.file(generations.back());
  auto file = blobs->get(name, kMaxKeyringBytes);
  if (!file.ok()) return stored_file_error(std::move(file).error(), ErrorCode::KeyringMissing, name);
  VAULTFS_ASSIGN_OR_RETURN(ClosedKeyring keyring, ClosedKeyring::decode(*file));
  glance.slots = std::move(keyring.slots);
  glance.escrow = std::move(keyring.escrow);
  glance.keyring_generation = keyring.generation;
  return glance;
}

Result<VerifyReport> verify_vault(Env& env, const std::filesystem::path& path, Vault* vault,
                                  const VerifyProgress& progress) {
  if (vault != nullptr) return Verification(vault->env(), vault->path(), vault, progress).run();
  VaultDirectory directory(env, path);
  VAULTFS_RETURN_IF_ERROR(directory.open());
  return Verification(directory, directory.place(), nullptr, progress).run();
}

}  // namespace vaultfs
