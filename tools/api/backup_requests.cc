// vaultctl backup run|commit, as the vault's owner does them.
#include "tools/api/backup_requests.h"

#include <fcntl.h>
#include <sys/stat.h>

#include "tools/api/answer_json.h"
#include "tools/api/json_forms.h"
#include "tools/control/message.h"

namespace vaultfs {
namespace {

using nlohmann::json;

// A source must not be a file of the owner's own mount: reading it would ask this very process, which is busy with it.
Status refuse_own_mount(const RequestContext& context, const std::string& disk, int descriptor) {
  struct stat file {};
  if (context.mount_device == 0 || ::fstat(descriptor, &file) != 0) return ok_status();
  if (file.st_dev != context.mount_device) return ok_status();
  return Error{
      ErrorCode::OverlapsVault,
      "the disk " + disk +
          " is a file in the mount of this very vault; what is written there is backed up by `vaultctl backup commit`"};
}

Result<DiskSource> disk_of(const RequestContext& context, const json& form, const std::vector<FileDescriptor>& files) {
  if (!form.is_object()) return Error{ErrorCode::Usage, "a disk must be an object"};
  DiskSource disk;
  VAULTFS_ASSIGN_OR_RETURN(disk.name, text_argument(form, "name"));
  if (form.contains("error")) return error_from_json(form);
  const auto position = form.find("descriptor");
  if (position == form.end() || !position->is_number_unsigned() || position->get<std::uint64_t>() >= files.size()) {
    return Error{ErrorCode::Usage, "a disk must come with its open file"};
  }
  const int descriptor = files[position->get<std::size_t>()].get();
  VAULTFS_RETURN_IF_ERROR(refuse_own_mount(context, disk.name, descriptor));
  disk.path = "the disk " + disk.name;
  disk.descriptor = descriptor;
  return disk;
}

constexpr std::string_view kTakeEffect = "key.take-effect ";

KeyOfBackup key_of_backup(Vault& vault) {
  KeyOfBackup key;
  key.expiry = vault.custody().status().expiry;
  const std::optional<JobInfo> update = vault.catalogue().last_key_update();
  const bool refused = update && update->state == JobState::failed && update->detail.starts_with(kTakeEffect);
  if (refused) key.update_problem = update->detail.substr(kTakeEffect.size());
  return key;
}

}  // namespace

Error record_refused(const RequestContext& context, JobKind kind, const std::string& item, Error error) {
  JobInfo job;
  job.kind = kind;
  job.item = item;
  job.state = error.code == ErrorCode::Interrupted ? JobState::cancelled : JobState::failed;
  job.detail = std::string(error_name(error.code)) + ": " + error.message;
  context.engine.vault().record_attempt(std::move(job));
  return error;
}

Result<json> backup_run(const RequestContext& context, const json& arguments, std::vector<FileDescriptor>& files) {
  BackupRequest request;
  VAULTFS_ASSIGN_OR_RETURN(request.item, text_argument(arguments, "item"));
  const auto disks = arguments.find("disks");
  if (disks == arguments.end() || !disks->is_array() || disks->empty())
    return Error{ErrorCode::Usage, "name at least one disk"};
  for (const json& form : *disks) {
    auto disk = disk_of(context, form, files);
    if (!disk.ok()) return record_refused(context, JobKind::backup, request.item, std::move(disk).error());
    request.disks.push_back(*std::move(disk));
  }
  VAULTFS_ASSIGN_OR_RETURN(const BackupOutcome outcome, context.engine.backup(request, context.progress));
  return to_json(BackupAnswer{outcome, key_of_backup(context.engine.vault())});
}

Result<json> backup_commit(const RequestContext& context, const json& arguments,
                           std::vector<FileDescriptor>& /*files*/) {
  VAULTFS_ASSIGN_OR_RETURN(const std::string item, text_argument(arguments, "item"));
  VAULTFS_ASSIGN_OR_RETURN(const CommitOutcome outcome, context.engine.commit(item));
  return to_json(CommitAnswer{outcome, key_of_backup(context.engine.vault())});
}

}  // namespace vaultfs
