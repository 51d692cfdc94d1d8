// vaultctl backup run|commit, restore, recovery-point list

#include <fcntl.h>
#include <sys/stat.h>

#include <cerrno>
#include <cstring>
#include <memory>

#include "tools/cli/command_context.h"
#include "tools/cli/text_output.h"
#include "tools/control/unique_fd.h"

namespace vaultfs {
namespace {

using nlohmann::json;

struct BackupArguments {
  std::string vault, item, disk, to, compression, fingerprint;
  std::vector<std::string> disks;
  bool force = false, unverified = false;
};

Result<UniqueFd> open_source(const std::string& path) {
  // A pipe, which is refused later, is opened without waiting for its writer. It means nothing for files and devices.
  UniqueFd file = open_or_duplicate(path, O_NONBLOCK);
  if (!file.valid())
    return Error{error_from_errno(errno), "cannot open the disk " + path + ": " + std::strerror(errno)};
  struct stat st {};
  if (::fstat(file.get(), &st) != 0) return Error{error_from_errno(errno), path + ": " + std::strerror(errno)};
  if (S_ISDIR(st.st_mode))
    return Error{ErrorCode::IsADirectory, path + " is a directory; name a disk image or a block device"};
  return file;
}

void print_commit(const json& form) {
  if (form["recovery_point"].is_null()) {
    say("Nothing has changed: the job is completed, the newest recovery point stands.\n");
  } else {
    say("Recovery point %s of %s.\n", plain(form["recovery_point"]["id"]).c_str(),
        plain(form["recovery_point"]["item"]).c_str());
  }
  for (const json& retired : form["retired_versions"]) say("Key version retired: %s\n", plain(retired).c_str());
  if (form["healed_chunks"] != 0) print_healed(form);
  print_key_expiry(form["key_expiry"]);
}

// A job that leaves its item damaged has done its work, and is not to pass for one that leaves it whole.
Result<int> end_of_job(const json& form) {
  if (form["job"]["state"] != "CompletedWithWarnings") return 0;
  tell(
      "vaultctl: %s: the job is completed, but something of the item is damaged and did not come with it: %s; see: "
      "vaultctl verify\n",
      std::string(error_name(ErrorCode::DamageFound)).c_str(), plain(form["job"]["detail"]).c_str());
  return error_exit_code(ErrorCode::DamageFound);
}

Result<int> backup_run(CommandContext& context, const BackupArguments& arguments) {
  VaultRequest wanted{arguments.vault, "backup.run"};
  json disks = json::array();
  for (const std::string& disk : arguments.disks) {
    const std::size_t equals = disk.find('=');
    if (equals == std::string::npos || equals == 0 || equals + 1 == disk.size()) {
      return Error{ErrorCode::Usage,
                   "--disk " + disk + ": write NAME=PATH, as in --disk disk0.img=/var/lib/libvirt/images/web.img"};
    }
    VAULTFS_ASSIGN_OR_RETURN(UniqueFd source, open_source(disk.substr(equals + 1)));
    disks.push_back({{"name", disk.substr(0, equals)}, {"descriptor", wanted.descriptors.size()}});
    wanted.descriptors.push_back(std::move(source));
  }
  wanted.arguments = {{"item", arguments.item}, {"disks", disks}};
  // What is backed up at once is restored at once.
  wanted.compression = arguments.compression == "fast" ? Compression::ordered_fast : Compression::ordered;
  wanted.compression_is_wanted = !arguments.compression.empty();
  VAULTFS_ASSIGN_OR_RETURN(const json form, request(context, std::move(wanted)));
  print(context, form, [&form] {
    print_commit(form);
    say("Read %s (%s of holes skipped): %s chunks new, %s known; %s stored.\n", human_bytes(form["read_bytes"]).c_str(),
        human_bytes(form["hole_bytes"]).c_str(), plain(form["new_chunks"]).c_str(), plain(form["known_chunks"]).c_str(),
        human_bytes(form["stored_bytes"]).c_str());
  });
  return end_of_job(form);
}

Result<int> backup_commit(CommandContext& context, const BackupArguments& arguments) {
  VaultRequest wanted{arguments.vault, "backup.commit"};
  wanted.arguments = {{"item", arguments.item}};
  VAULTFS_ASSIGN_OR_RETURN(const json form, request(context, std::move(wanted)));
  print(context, form, [&form] { print_commit(form); });
  return end_of_job(form);
}

Result<int> list_points(CommandContext& context, const BackupArguments& arguments) {
  VaultRequest wanted{arguments.vault, "recovery-point.list"};
  wanted.arguments = {{"item", arguments.item}};
  VAULTFS_ASSIGN_OR_RETURN(const json form, request(context, std::move(wanted)));
  print(context, form, [&form] {
    std::vector<std::vector<std::string>> rows;
    for (const json& point : form["recovery_points"]) {
      std::string marks = point["auto"] == true ? "auto" : "explicit";
      if (point["after_interruption"] == true) marks += ", after-interruption";
      rows.push_back({plain(point["id"]), plain(point["item"]), plain(point["created"]),
                      human_bytes(point["logical_bytes"]), plain(point["consistency"]), marks});
    }
    print_table({"RECOVERY POINT", "ITEM", "CREATED", "SIZE", "CONSISTENCY", "MADE"}, rows);
  });
  return 0;
}

// The target is opened here, where the user sees it: the owner may run in another mount namespace. What travels is the
// directory or device itself, or the directory of a file that is to be made.
Status open_target(std::filesystem::path to, VaultRequest& wanted) {
  to = to.lexically_normal();
  if (!to.has_filename() && to.has_relative_path()) to = to.parent_path();
  struct stat st {};
  const bool is_there = ::stat(to.c_str(), &st) == 0;
  const bool itself = is_there && (S_ISDIR(st.st_mode) || S_ISBLK(st.st_mode));
  const std::filesystem::path opened = itself ? to : to.parent_path();
  const int access = itself && S_ISBLK(st.st_mode) ? O_RDWR : O_RDONLY | O_DIRECTORY;
  UniqueFd descriptor(::open(opened.c_str(), access | O_CLOEXEC | O_NONBLOCK));
  // A directory that may be searched but not listed does for a file.
  if (!descriptor.valid() && errno == EACCES && !itself) {
    descriptor = UniqueFd(::open(opened.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC));
  }
  if (!descriptor.valid()) {
    return Error{error_from_errno(errno), "cannot open " + opened.string() + ": " + std::strerror(errno)};
  }
  wanted.arguments["to"] = to.string();
  wanted.arguments["name"] = itself ? "" : to.filename().string();
  wanted.arguments["descriptor"] = wanted.descriptors.size();
  wanted.descriptors.push_back(std::move(descriptor));
  return ok_status();
}

Result<int> restore(CommandContext& context, const BackupArguments& arguments) {
  VaultRequest wanted{arguments.vault, "restore"};
  wanted.allow_unverified = arguments.unverified;
  wanted.fingerprint = arguments.fingerprint;
  const std::size_t at = arguments.item.find('@');
  wanted.arguments = {{"item", arguments.item.substr(0, at)},
                      {"point", at == std::string::npos ? "" : arguments.item.substr(at + 1)},
                      {"disk", arguments.disk},
                      {"force", arguments.force}};
  VAULTFS_RETURN_IF_ERROR(open_target(std::filesystem::absolute(arguments.to), wanted));
  VAULTFS_ASSIGN_OR_RETURN(const json form, request(context, std::move(wanted)));
  print(context, form, [&] {
    say("Restored %s of %s to %s: %s files, %s (%s written, the rest are holes), every chunk verified as written.\n",
        plain(form["recovery_point"]["id"]).c_str(), plain(form["recovery_point"]["item"]).c_str(),
        arguments.to.c_str(), plain(form["files"]).c_str(), human_bytes(form["logical_bytes"]).c_str(),
        human_bytes(form["written_bytes"]).c_str());
    if (form["lost_attributes"] != 0) {
      say("%s extended attributes are missing: the file system there, or this user, can't keep them.\n",
          plain(form["lost_attributes"]).c_str());
    }
  });
  return 0;
}

}  // namespace

void add_backup_commands(CLI::App& app, CommandContext& context) {
  const auto arguments = std::make_shared<BackupArguments>();
  CLI::App* group = app.add_subcommand("backup", "Make recovery points");
  group->require_subcommand(1);

  CLI::App* run = group->add_subcommand("run", "Back up disks straight into the vault, mounted or not");
  run->add_option("VAULT", arguments->vault)->required();
  run->add_option("ITEM", arguments->item, "the VM's name in the vault")->required();
  run->add_option("--disk", arguments->disks, "NAME=PATH of a disk image or block device; may be given several times")
      ->required();
  run->add_option("--compression", arguments->compression,
                  "fast: quicker, for about a sixth more space; of a mounted vault the mount's option counts")
      ->check(CLI::IsMember({"default", "fast"}));
  on_run(*run, context, [&context, arguments] { return backup_run(context, *arguments); });

  CLI::App* commit = group->add_subcommand("commit", "Make a recovery point of what was written through the mount");
  commit->add_option("VAULT", arguments->vault)->required();
  commit->add_option("ITEM", arguments->item)->required();
  on_run(*commit, context, [&context, arguments] { return backup_commit(context, *arguments); });

  CLI::App* points = app.add_subcommand("recovery-point", "Recovery points");
  points->require_subcommand(1);
  CLI::App* listed = points->add_subcommand("list", "All of a vault or of one item, oldest first");
  listed->add_option("VAULT", arguments->vault)->required();
  listed->add_option("ITEM", arguments->item);
  on_run(*listed, context, [&context, arguments] { return list_points(context, *arguments); });

  CLI::App* restored = app.add_subcommand("restore", "Write a recovery point to a file, block device or directory");
  restored->add_option("VAULT", arguments->vault)->required();
  restored->add_option("ITEM", arguments->item, "ITEM for its newest point, or ITEM@POINT")->required();
  restored->add_option("--disk", arguments->disk, "file inside the item; not needed if there is only one");
  restored->add_option("--to", arguments->to, "file to make, block device, or directory for the whole item")
      ->required();
  restored->add_flag("--force", arguments->force, "replace an existing file");
  restored->add_flag("--unverified", arguments->unverified, "although this machine does not know the vault");
  restored->add_option(
      "--fingerprint", arguments->fingerprint,
      "on such a machine: what you have kept of the vault; an older one says how far it speaks for it");
  on_run(*restored, context, [&context, arguments] { return restore(context, *arguments); });
}

}  // namespace vaultfs
