// Vault::create.
#include <unistd.h>

#include <algorithm>
#include <functional>
#include <optional>
#include <utility>
#include <vector>

#include "crypto/hash.h"
#include "store/record/stream.h"
#include "vaultmeta/catalogue/checkpoint.h"
#include "vaultmeta/heads/head_files.h"
#include "vaultmeta/layout/made_files.h"
#include "vaultmeta/layout/vault_layout.h"
#include "vaultmeta/machine/recovery_file.h"
#include "vaultmeta/machine/vault_place.h"
#include "vaultmeta/vault/opening.h"
#include "vaultmeta/vault/vault.h"

namespace vaultfs {
namespace {

constexpr ContainerNumber kFirstCheckpoint{1};

// What a creation has made so far. Unless the creation is kept, destruction takes it all back, the newest first.
class Undo {
 public:
  Undo() = default;
  Undo(const Undo&) = delete;
  Undo& operator=(const Undo&) = delete;
  ~Undo() {
    std::for_each(steps_.rbegin(), steps_.rend(), [](const std::function<void()>& step) { step(); });
  }
  void on_failure(std::function<void()> step) { steps_.push_back(std::move(step)); }
  void keep() { steps_.clear(); }

 private:
  std::vector<std::function<void()>> steps_;
};

class VaultCreation {
 public:
  VaultCreation(const Vault::Machine& machine, const VaultCreateOptions& options)
      : machine_(machine),
        options_(options),
        platform_bound_(!options.key.has_value() || options.infrastructure_encryption),
        lost_with_machine_(platform_bound_ && !options.escrow_key.has_value()) {}

  Result<VaultCreated> run() {
    VAULTFS_RETURN_IF_ERROR(check_options());
    VAULTFS_RETURN_IF_ERROR(make_directories());
    VAULTFS_RETURN_IF_ERROR(announce());
    VAULTFS_RETURN_IF_ERROR(make_keys());
    VAULTFS_RETURN_IF_ERROR(record_creation());
    VAULTFS_RETURN_IF_ERROR(record_key_update());
    VAULTFS_RETURN_IF_ERROR(write_first_head());
    VAULTFS_RETURN_IF_ERROR(save_recovery_file());
    VAULTFS_RETURN_IF_ERROR(pin_and_register());
    undo_.keep();
    return VaultCreated{header_.id, header_.root_fingerprint, custody_->status().fingerprint, std::move(warnings_)};
  }

 private:
  Status check_options() {
    const auto is_control = [](char c) { return static_cast<unsigned char>(c) < ' ' || c == '\x7f'; };
    if (options_.region.size() > VaultHeader::kMaxRegionBytes || std::ranges::any_of(options_.region, is_control)) {
      return Error{ErrorCode::InvalidArgument, "--region: a region is at most " +
                                                   std::to_string(VaultHeader::kMaxRegionBytes) + " printable bytes"};
    }
    if (options_.no_recovery && options_.recovery_file.has_value()) {
      return Error{ErrorCode::InvalidArgument,
                   "--recovery-file asks for a recovery file and --no-recovery refuses it; give one of them"};
    }
    if (!platform_bound_) {
      if (options_.recovery_file.has_value()) {
        warnings_.emplace_back("no recovery file was written: no key of this vault is bound to this machine");
      }
      return ok_status();
    }
    if (lost_with_machine_ && !options_.recovery_file.has_value() && !options_.no_recovery) {
      return Error{ErrorCode::RecoveryChoiceRequired,
                   "this vault needs keys that exist on this machine only: name a recovery file or an escrow key, or "
                   "say --no-recovery"};
    }
    if (options_.recovery_file.has_value()) {
      VAULTFS_RETURN_IF_ERROR(check_outside_vaults(machine_.env, *options_.recovery_file, options_.path));
    }
    if (options_.recovery_file.has_value() && options_.recovery_passphrase == nullptr) {
      return Error{ErrorCode::PassphraseRequired, "the recovery file " + options_.recovery_file->string() +
                                                      " needs a passphrase; give it with "
                                                      "--recovery-passphrase-file FILE or --recovery-passphrase-fd N"};
    }
    return ok_status();
  }

  // The directory itself, made here if there is none. Everything after goes by what is opened.
  Status enter_directory() {
    Env& env = machine_.env;
    std::filesystem::path asked = std::filesystem::absolute(options_.path).lexically_normal();
    if (!asked.has_filename()) asked = asked.parent_path();
    VAULTFS_ASSIGN_OR_RETURN(path_, env.real_path(asked));
    VAULTFS_RETURN_IF_ERROR(check_outside_vaults(env, path_));
    VAULTFS_ASSIGN_OR_RETURN(const FileInfo info, env.info(path_));
    if (info.kind == FileKind::missing) {
      VAULTFS_ASSIGN_OR_RETURN(parent_, env.hold_directory(path_.parent_path()));
      VAULTFS_RETURN_IF_ERROR(parent_->make_directory(path_));
      VAULTFS_ASSIGN_OR_RETURN(held_, parent_->hold_directory(path_));
      undo_.on_failure([this] { remove_own_directory(); });
      VAULTFS_RETURN_IF_ERROR(parent_->sync_directory(path_.parent_path()));
    } else if (info.kind != FileKind::directory) {
      return Error{ErrorCode::VaultExists,
                   path_.string() + " is a file; name a directory that is empty or not there yet"};
    } else {
      VAULTFS_ASSIGN_OR_RETURN(held_, env.hold_directory(path_));
      VAULTFS_ASSIGN_OR_RETURN(const auto names, held_->list(path_));
      if (!names.empty()) {
        return Error{ErrorCode::VaultExists,
                     path_.string() + " is not empty; name a directory that is empty or not there yet"};
      }
    }
    files_ = std::make_unique<MadeFiles>(*held_);
    return ok_status();
  }

  // Only what was made: another directory may have its name by now.
  void remove_own_directory() {
    const auto mine = held_->info(path_);
    const auto there = parent_->info(path_);
    if (mine.ok() && there.ok() && there->is_same_as(*mine)) static_cast<void>(parent_->remove_directory(path_));
  }

  // Others could take the vault away, or put another one in its place, as they like.
  Status check_owner() {
    constexpr std::uint32_t kOthersWrite = 002;
    constexpr std::uint32_t kSticky = 01000;
    VAULTFS_ASSIGN_OR_RETURN(const FileInfo directory, files_->info(path_));
    // A server may have a name of its own for this user: the one that his files get.
    VAULTFS_ASSIGN_OR_RETURN(const FileInfo own, files_->info(path_ / kLockFileName));
    if (directory.owner != ::geteuid() && directory.owner != 0 && directory.owner != own.owner) {
      return Error{
          ErrorCode::PermissionDenied,
          path_.string() + " belongs to user " + std::to_string(directory.owner) +
              ", who could exchange what is in it; make the vault as that user, or in a directory of your own"};
    }
    if ((directory.mode & kOthersWrite) != 0 && (directory.mode & kSticky) == 0) {
      return Error{ErrorCode::PermissionDenied,
                   path_.string() + " can be written by everybody, who could exchange what is in it; chmod o-w it"};
    }
    return ok_status();
  }

  Status make_directories() {
    VAULTFS_RETURN_IF_ERROR(enter_directory());
    VAULTFS_ASSIGN_OR_RETURN(lock_, take_vault_lock(*files_, path_, 0));
    // Another creation may have been at work between that look and the lock: what it made is not ours to take back.
    VAULTFS_ASSIGN_OR_RETURN(const auto names, files_->list(path_));
    if (names != std::vector<std::string>{kLockFileName}) {
      return Error{ErrorCode::VaultExists,
                   "another process has just made something in " + path_.string() + "; look at it and try again"};
    }
    undo_.on_failure([this] {
      files_->take_back();
      lock_.reset();
    });
    VAULTFS_RETURN_IF_ERROR(check_owner());
    for (const VaultFolder& folder : kVaultFolders) {
      VAULTFS_RETURN_IF_ERROR(files_->make_directory(path_ / folder.name));
    }
    VAULTFS_RETURN_IF_ERROR(files_->lock(path_ / kHoldFileName));  // makes the file
    return files_->sync_directory(path_);
  }

  // Before any key is proven, so that none is taken away from the vault while it is made. Which versions it will need
  // is not known yet: any may be among them.
  Status announce() {
    header_.id = random_id<VaultId>(machine_.env);
    undo_.on_failure([this] { static_cast<void>(machine_.state.forget_vault(header_.id, path_)); });
    VAULTFS_ASSIGN_OR_RETURN(const FileInfo directory, files_->info(path_));
    directory_ = DirectoryId{directory.device, directory.inode};
    return machine_.state.register_vault(registration());
  }

  [[nodiscard]] Registration registration() const {
    Registration made;
    made.vault = header_.id;
    made.path = path_;
    made.directory = directory_;
    made.identity = options_.identity;
    if (options_.key.has_value()) {
      made.key_vault = options_.key->key_vault;
      made.key = options_.key->key;
    } else {
      made.needed.emplace();  // platform-managed: none
    }
    return made;
  }

  Status make_keys() {
    Env& env = *files_;
    blobs_ = make_directory_blob_store(env, path_);
    header_.created = env.clock().now();
    header_.region = options_.region;
    if (options_.infrastructure_encryption) {
      header_.suite = Suite::aes_gcm_in_xchacha;
      VAULTFS_ASSIGN_OR_RETURN(const PlatformKeyId id, machine_.platform_keys.create());
      remember_platform_key(id);
      std::copy(id.view().begin(), id.view().end(), header_.infrastructure_key_id.begin());
    }
    VAULTFS_ASSIGN_OR_RETURN(KeyVaultResolver::TakeBack dismiss,
                             machine_.resolver.introduce({header_.id, options_.identity},
                                                         options_.key.has_value() ? options_.key->key_vault : ""));
    undo_.on_failure(std::move(dismiss));
    KeyCustody::CreateRequest request;
    request.key = options_.key;
    request.identity = options_.identity;
    request.escrow_key = options_.escrow_key;
    const KeyCustody::Context context{env, *blobs_, machine_.state, machine_.platform_keys, machine_.resolver, path_};
    VAULTFS_ASSIGN_OR_RETURN(
        custody_, KeyCustody::create(context, header_, request, [this](const VaultHeader& header) -> Result<Digest> {
          const Bytes bytes = header.encode();
          VAULTFS_RETURN_IF_ERROR(write_file_durably(*files_, path_ / VaultHeader::kFileName, bytes));
          return sha256(bytes);
        }));
    if (options_.key.has_value()) return ok_status();
    for (const VersionRecord& version : custody_->status().versions) {
      Bytes id;
      if (!version.key_vault.empty() || !from_hex(version.version, id) || id.size() != PlatformKeyId::kSize) {
        return Error{ErrorCode::Internal, "a platform-managed vault has no platform key"};
      }
      PlatformKeyId key;
      std::copy(id.begin(), id.end(), key.mutable_view().begin());
      remember_platform_key(key);
    }
    return ok_status();
  }

  void remember_platform_key(const PlatformKeyId& id) {
    platform_keys_.push_back(id);
    undo_.on_failure([this, id] { static_cast<void>(machine_.platform_keys.remove(id)); });
  }

  Status record_creation() {
    VAULTFS_ASSIGN_OR_RETURN(
        activity_, ActivityLog::open(*files_, path_ / kActivityFiles.name, custody_->keys(), false, 0, Digest{}));
    ActivityEntry entry;
    entry.operation = "vault.create";
    entry.outcome = "Succeeded";
    entry.subject = options_.key.has_value() ? options_.key->to_string() : "platform-managed key";
    entry.detail = options_.infrastructure_encryption ? "with infrastructure encryption" : "";
    entry.uid = ::getuid();
    return activity_->append(std::move(entry));
  }

  // A customer-managed key is the vault's first change of keys: a job like every later one. There is no journal yet, so
  // a checkpoint holds it.
  Status record_key_update() {
    const std::optional<KeyUpdate> update = custody_->status().last_update;
    if (!update.has_value()) return ok_status();
    JobInfo job;
    job.number = update->job;
    job.kind = JobKind::key_update;
    job.state = JobState::completed;
    job.begun = Lsn(1);
    job.started = job.ended = update->time;
    job.detail = update->what + " " + update->version;
    Catalogue catalogue;
    static_cast<void>(catalogue.put(job));
    Checkpoint checkpoint;
    checkpoint.replay_from = ContainerNumber(1);
    checkpoint.catalogue = catalogue.encode();
    const Bytes content = checkpoint.encode();
    VAULTFS_ASSIGN_OR_RETURN(const Bytes file, seal_stream(machine_.env, custody_->keys(), ContainerKind::checkpoint,
                                                           kFirstCheckpoint, content));
    VAULTFS_RETURN_IF_ERROR(blobs_->put(kCheckpointFiles.file(kFirstCheckpoint.value), file));
    first_checkpoint_ = sha256(file);
    first_checkpoint_bytes_ = file.size();
    return ok_status();
  }

  Status write_first_head() {
    Head head;
    if (first_checkpoint_.has_value()) {
      head.checkpoint = kFirstCheckpoint;
      head.checkpoint_bytes = first_checkpoint_bytes_;
      head.checkpoint_digest = *first_checkpoint_;
    }
    head.vault = header_.id;
    head.generation = Generation(1);
    head.incarnation = custody_->incarnation();
    head.written = machine_.env.clock().now();
    head.keyring_generation = custody_->generation();
    head.keyring = custody_->keyring_digest();
    head.epoch = custody_->status().current_epoch;
    const ActivityLog::End log = activity_->end();
    head.activity_entries = log.entries;
    head.activity_chain = log.chain;
    head.activity_file = log.file;
    head.points = Catalogue().points_digest();
    VAULTFS_ASSIGN_OR_RETURN(head_, put_head(*blobs_, *custody_, head));
    return ok_status();
  }

  Status save_recovery_file() {
    if (!platform_bound_ || !options_.recovery_file.has_value()) return ok_status();
    RecoveryKeys keys;
    keys.vault = header_.id;
    keys.root_fingerprint = header_.root_fingerprint;
    for (const PlatformKeyId& id : platform_keys_) {
      RecoveryKeys::Key key;
      std::copy(id.view().begin(), id.view().end(), key.id.begin());
      VAULTFS_ASSIGN_OR_RETURN(key.key, machine_.platform_keys.load(id));
      keys.platform_keys.push_back(std::move(key));
    }
    const std::filesystem::path& file = *options_.recovery_file;
    VAULTFS_ASSIGN_OR_RETURN(const FileInfo info, machine_.env.info(file));
    if (info.kind != FileKind::missing) {
      return Error{ErrorCode::AlreadyExists,
                   file.string() + " exists already, and a recovery file is never replaced; name another one"};
    }
    // It takes back its own failures. A file that another process has made there meanwhile is none of ours.
    VAULTFS_RETURN_IF_ERROR(write_recovery_file(machine_.env, file, keys, *options_.recovery_passphrase));
    undo_.on_failure([this, file] { static_cast<void>(machine_.env.remove_file(file)); });
    return ok_status();
  }

  Status pin_and_register() {
    Pin pin;
    pin.vault = header_.id;
    pin.root_fingerprint = header_.root_fingerprint;
    pin.head_generation = head_.head.generation;
    pin.head_digest = head_.file_digest;
    pin.incarnation = head_.head.incarnation;
    pin.fingerprint = custody_->status().fingerprint;
    undo_.on_failure([this] { static_cast<void>(machine_.state.remove_pin(header_.id, path_)); });
    VAULTFS_RETURN_IF_ERROR(machine_.state.set_pin(pin, path_));
    Registration known = registration();
    known.needed = needed_keys(custody_->status().versions);
    return machine_.state.register_vault(known);
  }

  const Vault::Machine& machine_;
  const VaultCreateOptions& options_;
  const bool platform_bound_;     // it has keys of this machine
  const bool lost_with_machine_;  // and nothing else opens it
  std::vector<std::string> warnings_;
  std::filesystem::path path_;   // the directory's, without links
  std::unique_ptr<Env> parent_;  // if the directory was made
  std::unique_ptr<Env> held_;    // the directory
  std::unique_ptr<MadeFiles> files_;
  DirectoryId directory_;
  std::unique_ptr<FileLock> lock_;
  std::unique_ptr<BlobStore> blobs_;
  VaultHeader header_;
  std::vector<PlatformKeyId> platform_keys_;
  std::unique_ptr<KeyCustody> custody_;
  std::unique_ptr<ActivityLog> activity_;
  std::optional<Digest> first_checkpoint_;  // SHA-256 of its file
  std::uint64_t first_checkpoint_bytes_ = 0;
  Head::Signed head_;
  Undo undo_;  // last: taken back while the members above still stand
};

}  // namespace

Result<VaultCreated> Vault::create(const Machine& machine, const VaultCreateOptions& options) {
  return VaultCreation(machine, options).run();
}

}  // namespace vaultfs
