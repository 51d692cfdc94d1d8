// vaultctl restore, as the vault's owner or a reader does it.
#include <fcntl.h>
#include <sys/stat.h>

#include "fs/restore/restore.h"
#include "tools/api/backup_requests.h"
#include "tools/api/json_forms.h"
#include "tools/control/message.h"

namespace vaultfs {
namespace {

using nlohmann::json;

// Where a restore goes: what the client has opened, in its own namespace, and a name in there. Paths through /proc lead
// to just that; people are shown what they asked for.
struct ReceivedTarget {
  std::filesystem::path path;   // through the descriptor
  std::string opened;           // the descriptor's part of it
  std::filesystem::path shown;  // the same for people

  [[nodiscard]] Error for_people(Error error) const {
    for (std::size_t at = 0; (at = error.message.find(opened, at)) != std::string::npos; at += shown.native().size()) {
      error.message.replace(at, opened.size(), shown.native());
    }
    return error;
  }
};

Result<ReceivedTarget> target_of_restore(const json& arguments, const std::vector<FileDescriptor>& files) {
  VAULTFS_ASSIGN_OR_RETURN(const std::string to, text_argument(arguments, "to"));
  VAULTFS_ASSIGN_OR_RETURN(const std::string name, optional_text_argument(arguments, "name"));
  if (arguments.contains("error")) return error_from_json(arguments);
  const std::filesystem::path shown = to;
  const auto position = arguments.find("descriptor");
  if (position == arguments.end() || !position->is_number_unsigned() ||
      position->get<std::uint64_t>() >= files.size()) {
    return Error{ErrorCode::Usage, "a restore must come with what its target is in, opened"};
  }
  if (name == "." || name == ".." || name.find('/') != std::string::npos) {
    return Error{ErrorCode::Usage, "\"name\" must be one file name"};
  }
  ReceivedTarget target;
  target.opened = "/proc/self/fd/" + std::to_string(files[position->get<std::size_t>()].get());
  target.path = name.empty() ? std::filesystem::path(target.opened) : target.opened / std::filesystem::path(name);
  target.shown = name.empty() ? shown : shown.parent_path();
  return target;
}

// The end of a pipe that the client reads: it must be one, and must not block this process.
Result<int> pipe_of_restore(const json& arguments, const std::vector<FileDescriptor>& files) {
  const auto position = arguments.find("descriptor");
  if (position == arguments.end() || !position->is_number_unsigned() ||
      position->get<std::uint64_t>() >= files.size()) {
    return Error{ErrorCode::Usage, "a restore to a pipe must come with it"};
  }
  const int pipe = files[position->get<std::size_t>()].get();
  struct stat st {};
  const int flags = ::fcntl(pipe, F_GETFL);
  if (::fstat(pipe, &st) != 0 || !S_ISFIFO(st.st_mode) || flags < 0 || (flags & O_NONBLOCK) == 0) {
    return Error{ErrorCode::Usage, "that is no pipe that does not block"};
  }
  return pipe;
}

// Whether a restore would write into the vault itself, whatever its directory is called where the client looks at it.
Status refuse_target_in_vault(const RequestContext& context, const ReceivedTarget& target) {
  VAULTFS_ASSIGN_OR_RETURN(const FileInfo vault, context.engine.vault().directory().identity());
  FileDescriptor at(::open(target.opened.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC));
  if (!at.valid()) return ok_status();  // a device
  struct stat here {};
  struct stat before {};
  for (bool first = true; ::fstat(at.get(), &here) == 0; first = false) {
    if (here.st_dev == vault.device && here.st_ino == vault.inode) {
      return Error{ErrorCode::OverlapsVault, target.opened + " lies inside the vault; restore to another place"};
    }
    if (!first && here.st_dev == before.st_dev && here.st_ino == before.st_ino) break;  // the root is its own parent
    before = here;
    FileDescriptor parent(::openat(at.get(), "..", O_PATH | O_DIRECTORY | O_CLOEXEC));
    if (!parent.valid()) break;
    at = std::move(parent);
  }
  return ok_status();
}

Status refuse_target_on_own_mount(const RequestContext& context, const std::filesystem::path& to) {
  if (context.mount_device == 0) return ok_status();
  struct stat target {};
  const std::filesystem::path parent = to.parent_path().empty() ? std::filesystem::path("/") : to.parent_path();
  const bool known = ::stat(to.c_str(), &target) == 0 || ::stat(parent.c_str(), &target) == 0;
  if (!known || target.st_dev != context.mount_device) return ok_status();
  return Error{ErrorCode::OverlapsVault,
               to.string() + " is in the mount of this very vault; restore to somewhere else"};
}

}  // namespace

Result<json> restore_point(const RequestContext& context, const json& arguments, std::vector<FileDescriptor>& files) {
  RestoreRequest request;
  VAULTFS_ASSIGN_OR_RETURN(request.item, text_argument(arguments, "item"));
  VAULTFS_ASSIGN_OR_RETURN(request.point, optional_text_argument(arguments, "point"));
  VAULTFS_ASSIGN_OR_RETURN(request.disk, optional_text_argument(arguments, "disk"));
  VAULTFS_ASSIGN_OR_RETURN(request.force, flag_argument(arguments, "force"));
  VAULTFS_ASSIGN_OR_RETURN(request.replace_open, flag_argument(arguments, "replace_open"));
  VAULTFS_ASSIGN_OR_RETURN(const bool to_pipe, flag_argument(arguments, "pipe"));
  if (to_pipe && !arguments.contains("error")) {
    VAULTFS_ASSIGN_OR_RETURN(request.pipe, pipe_of_restore(arguments, files));
    VAULTFS_ASSIGN_OR_RETURN(const RestoreOutcome outcome, restore(context.engine.vault(), request, context.progress));
    return to_json(outcome);
  }
  const auto received = target_of_restore(arguments, files);
  if (!received.ok()) return record_refused(context, JobKind::restore, request.item, received.error());
  const ReceivedTarget& target = *received;
  request.to = target.path;
  Status allowed = refuse_target_on_own_mount(context, request.to);
  if (allowed.ok()) allowed = refuse_target_in_vault(context, target);
  if (!allowed.ok()) {
    return record_refused(context, JobKind::restore, request.item, target.for_people(allowed.error()));
  }
  auto outcome = restore(context.engine.vault(), request, context.progress);
  if (!outcome.ok()) return target.for_people(std::move(outcome).error());
  return to_json(*outcome);
}

}  // namespace vaultfs
