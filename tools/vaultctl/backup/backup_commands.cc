// vaultctl backup run|commit, restore, recovery-point list

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <csignal>
#include <cstring>
#include <memory>

#include "base/files/file_descriptor.h"
#include "base/thread/thread.h"
#include "tools/api/json_forms.h"
#include "tools/inheritance.h"
#include "tools/open_or_duplicate.h"
#include "tools/vaultctl/command_context.h"
#include "tools/vaultctl/text_output.h"
#include "vaultmeta/machine/vault_place.h"

namespace vaultfs {
namespace {

using nlohmann::json;

struct BackupArguments {
  std::string vault, item, disk, to, compression, fingerprint;
  std::vector<std::string> disks;
  bool force = false, unverified = false, replace_open = false;
};

Result<FileDescriptor> open_source(const std::string& path) {
  if (path == "-") {
    return Error{ErrorCode::InvalidArgument,
                 "a disk is not read from standard input, it is no file; a file of that name is ./-"};
  }
  // A pipe, which is refused later, is opened without waiting for its writer. It means nothing for files and devices.
  FileDescriptor file = open_or_duplicate(path, O_NONBLOCK);
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

// On stderr, whatever the form of the output is.
void tell_of_backup(const json& form) {
  if (form.contains("warnings")) {
    for (const json& warning : form["warnings"]) tell("vaultctl: warning: %s\n", plain(warning).c_str());
  }
  if (form.contains("carried") && !form["carried"].empty()) {
    constexpr std::size_t kShown = 10;
    std::string names;
    for (std::size_t i = 0; i < form["carried"].size() && i < kShown; ++i) {
      names += (i == 0 ? "" : ", ") + plain(form["carried"][i]);
    }
    if (form["carried"].size() > kShown) names += ", and " + std::to_string(form["carried"].size() - kShown) + " more";
    tell(
        "vaultctl: note: the item also holds what was not named, as it was before: %s; what the machine has no more "
        "can be removed through the mount\n",
        names.c_str());
  }
  if (form.contains("key_update_problem") && form["key_update_problem"].is_string()) {
    tell(
        "vaultctl: note: a newer version of the key could not be taken up, the vault goes on with the one before: %s\n",
        plain(form["key_update_problem"]).c_str());
  }
}

// A job that leaves its item damaged has done its work, and is not to pass for one that leaves it whole.
Result<int> end_of_job(const json& form) {
  if (form["job"]["state"] != "CompletedWithWarnings") return 0;
  if (form.value("source_in_doubt", false)) {
    tell("vaultctl: %s: the recovery point is there, but it is no good copy of its source; see the warnings\n",
         std::string(error_name(ErrorCode::DamageFound)).c_str());
    return error_exit_code(ErrorCode::DamageFound);
  }
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
    const std::string name = disk.substr(0, equals);
    auto source = open_source(disk.substr(equals + 1));
    if (!source.ok()) {
      // The vault is to know of this attempt, too.
      disks.push_back({{"name", name}, {"error", error_to_json_form(source.error())}});
      continue;
    }
    disks.push_back({{"name", name}, {"descriptor", wanted.descriptors.size()}});
    wanted.descriptors.push_back(*std::move(source));
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
  tell_of_backup(form);
  return end_of_job(form);
}

Result<int> backup_commit(CommandContext& context, const BackupArguments& arguments) {
  VaultRequest wanted{arguments.vault, "backup.commit"};
  wanted.arguments = {{"item", arguments.item}};
  VAULTFS_ASSIGN_OR_RETURN(const json form, request(context, std::move(wanted)));
  print(context, form, [&form] { print_commit(form); });
  tell_of_backup(form);
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
      if (point["unproven"] == true) marks = "unproven";
      rows.push_back({plain(point["id"]), plain(point["item"]), plain(point["created"]),
                      human_bytes(point["logical_bytes"]), plain(point["consistency"]), marks});
    }
    print_table({"RECOVERY POINT", "ITEM", "CREATED", "SIZE", "CONSISTENCY", "MADE"}, rows);
  });
  return 0;
}

// A link stands for the file that it leads to, which is replaced, or made; the link stays.
Result<std::filesystem::path> follow_links(std::filesystem::path to) {
  constexpr int kMaxLinks = 40;
  std::error_code error;
  for (int links = 0; std::filesystem::is_symlink(to, error); ++links) {
    if (links == kMaxLinks) return Error{ErrorCode::InvalidArgument, to.string() + " is a link that leads nowhere"};
    const std::filesystem::path next = std::filesystem::read_symlink(to, error);
    if (error) return Error{error_from_errno(error.value()), "cannot read the link " + to.string()};
    to = to.parent_path() / next;  // an absolute one stands for itself
  }
  return to;
}

// The target is opened here, where the user sees it: the owner may run in another mount namespace. What travels is the
// directory or device itself, or the directory of a file that is to be made.
Status open_target(std::filesystem::path to, VaultRequest& wanted) {
  to = to.lexically_normal();
  if (!to.has_filename() && to.has_relative_path()) to = to.parent_path();
  VAULTFS_ASSIGN_OR_RETURN(to, follow_links(to));
  std::error_code unknown;
  VAULTFS_RETURN_IF_ERROR(
      check_outside_vaults(posix_env(), std::filesystem::is_directory(to, unknown) ? to / "in it" : to));
  struct stat st {};
  const bool is_there = ::stat(to.c_str(), &st) == 0;
  const bool itself = is_there && (S_ISDIR(st.st_mode) || S_ISBLK(st.st_mode));
  const std::filesystem::path opened = itself ? to : to.parent_path();
  const int access = itself && S_ISBLK(st.st_mode) ? O_RDWR : O_RDONLY | O_DIRECTORY;
  FileDescriptor descriptor(::open(opened.c_str(), access | O_CLOEXEC | O_NONBLOCK));
  // A directory that may be searched but not listed does for a file.
  if (!descriptor.valid() && errno == EACCES && !itself) {
    descriptor = FileDescriptor(::open(opened.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC));
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

// Carries what comes out of a pipe to standard output. In a thread of its own: the vault's owner writes meanwhile.
class StdoutCopy {
 public:
  explicit StdoutCopy(FileDescriptor from) : from_(std::move(from)), thread_("stdout copy", [this] { run(); }) {}
  StdoutCopy(const StdoutCopy&) = delete;
  StdoutCopy& operator=(const StdoutCopy&) = delete;
  StdoutCopy(StdoutCopy&&) = delete;
  StdoutCopy& operator=(StdoutCopy&&) = delete;
  ~StdoutCopy() {
    if (thread_.joinable()) thread_.join();
  }
  // When all writing ends are closed: 0, or the errno of what standard output answered.
  [[nodiscard]] int finish() {
    thread_.join();
    return error_;
  }

 private:
  void run() {
    std::vector<char> buffer(std::size_t{256} * 1024);
    while (true) {
      const ssize_t n = ::read(from_.get(), buffer.data(), buffer.size());
      if (n < 0 && errno == EINTR) continue;
      if (n <= 0) return;
      for (ssize_t done = 0; done < n;) {
        const ssize_t written = ::write(STDOUT_FILENO, buffer.data() + done, static_cast<std::size_t>(n - done));
        if (written < 0 && errno == EINTR) continue;
        if (written < 0) {
          error_ = errno;
          from_.reset();  // the owner is told by its next write
          return;
        }
        done += written;
      }
    }
  }

  FileDescriptor from_;
  int error_ = 0;  // of the thread, until it is joined
  Thread thread_;
};

Result<int> restore_to_stdout(CommandContext& context, VaultRequest wanted) {
  if (context.json) return Error{ErrorCode::Usage, "standard output is either for the disk or for JSON, not for both"};
  if (::isatty(STDOUT_FILENO) != 0) {
    return Error{ErrorCode::Usage, "a disk is nothing for a terminal: send it to a program or a file"};
  }
  static_cast<void>(std::signal(SIGPIPE, SIG_IGN));  // a reader that ends early is an error like any other
  std::array<int, 2> ends{};
  if (::pipe2(ends.data(), O_CLOEXEC) != 0) {
    return Error{error_from_errno(errno), std::string("no pipe: ") + std::strerror(errno)};
  }
  FileDescriptor reader(ends[0]);
  FileDescriptor writer(ends[1]);
  ::fcntl(writer.get(), F_SETFL, O_NONBLOCK);
  wanted.arguments.update({{"to", "-"}, {"pipe", true}, {"descriptor", wanted.descriptors.size()}});
  wanted.descriptors.push_back(std::move(writer));
  StdoutCopy copy(std::move(reader));
  const auto form = request(context, std::move(wanted));
  const int failed = copy.finish();
  if (failed != 0) {
    return Error{error_from_errno(failed), std::string("cannot write to standard output: ") + std::strerror(failed)};
  }
  VAULTFS_RETURN_IF_ERROR(form);
  tell("Wrote %s of %s to standard output: %s, every chunk verified before it was written.\n",
       plain((*form)["recovery_point"]["id"]).c_str(), plain((*form)["recovery_point"]["item"]).c_str(),
       human_bytes((*form)["logical_bytes"]).c_str());
  return 0;
}

// "NAME/" is a directory, made if it is not there, and taken away again if nothing comes of it.
class NewDirectory {
 public:
  explicit NewDirectory(const std::string& to) {
    struct stat st {};
    if (!to.ends_with('/') || ::stat(to.c_str(), &st) == 0 || errno != ENOENT) return;
    const std::filesystem::path path = std::filesystem::absolute(to).lexically_normal().parent_path();
    if (!check_outside_vaults(posix_env(), path).ok()) return;  // whoever opens the target says so
    if (::mkdir(path.c_str(), 0700) != 0) return;
    made_ = path;
    ::chmod(path.c_str(), 0777U & ~inherited().umask);  // as any of the user's programs would have made it
  }
  NewDirectory(const NewDirectory&) = delete;
  NewDirectory& operator=(const NewDirectory&) = delete;
  NewDirectory(NewDirectory&&) = delete;
  NewDirectory& operator=(NewDirectory&&) = delete;
  ~NewDirectory() {
    if (!made_.empty()) ::rmdir(made_.c_str());
  }
  void keep() { made_.clear(); }

 private:
  std::filesystem::path made_;
};

Result<int> restore(CommandContext& context, const BackupArguments& arguments) {
  VaultRequest wanted{arguments.vault, "restore"};
  wanted.allow_unverified = arguments.unverified;
  wanted.fingerprint = arguments.fingerprint;
  const std::size_t at = arguments.item.find('@');
  wanted.arguments = {{"item", arguments.item.substr(0, at)},
                      {"point", at == std::string::npos ? "" : arguments.item.substr(at + 1)},
                      {"disk", arguments.disk},
                      {"force", arguments.force},
                      {"replace_open", arguments.replace_open}};
  if (arguments.to == "-") return restore_to_stdout(context, std::move(wanted));
  NewDirectory made(arguments.to);
  const Status opened = open_target(std::filesystem::absolute(arguments.to), wanted);
  // The vault is to know of this attempt, too.
  if (!opened.ok()) wanted.arguments.update({{"to", arguments.to}, {"error", error_to_json_form(opened.error())}});
  VAULTFS_ASSIGN_OR_RETURN(const json form, request(context, std::move(wanted)));
  made.keep();
  if (form["recovery_point"]["unproven"] == true) {
    tell(
        "vaultctl: warning: the recovery point %s is unproven: nobody vouches for it, and whoever ever held a key "
        "version of the vault could have made it\n",
        plain(form["recovery_point"]["id"]).c_str());
  }
  print(context, form, [&] {
    say("Restored %s of %s to %s: %s files, %s (%s written, the rest are holes), every chunk verified as written.\n",
        plain(form["recovery_point"]["id"]).c_str(), plain(form["recovery_point"]["item"]).c_str(),
        arguments.to.c_str(), plain(form["files"]).c_str(), human_bytes(form["logical_bytes"]).c_str(),
        human_bytes(form["written_bytes"]).c_str());
  });
  const auto tell_lost = [&form](const char* what, const char* text) {
    if (form[what] != 0) tell("vaultctl: note: %s %s\n", plain(form[what]).c_str(), text);
  };
  tell_lost("lost_attributes", "extended attributes are missing: the file system there, or this user, can't keep them");
  tell_lost("lost_owners", "files have this user as their owner, and no set-id bits: only root may give them away");
  tell_lost("lost_modes", "modes or times are not as they were: the file system there can't keep them");
  tell_lost("lost_files",
            "devices, pipes or sockets are missing: the file system there, or this user, can't make them");
  tell_lost("split_links", "names of files with several names are copies: the file system there has no hard links");
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
  restored
      ->add_option("--to", arguments->to,
                   "file to make, block device, directory for the whole item, or - for standard output (one disk)")
      ->required();
  restored->add_flag("--force", arguments->force, "replace an existing file");
  restored->add_flag("--replace-open", arguments->replace_open,
                     "with --force: also what another process has open for writing, or a virtual machine runs from");
  restored->add_flag("--unverified", arguments->unverified, "although this machine does not know the vault");
  restored->add_option(
      "--fingerprint", arguments->fingerprint,
      "on such a machine: what you have kept of the vault; an older one says how far it speaks for it");
  on_run(*restored, context, [&context, arguments] { return restore(context, *arguments); });
}

}  // namespace vaultfs
