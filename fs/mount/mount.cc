#include "fs/mount/mount.h"

#include <fuse_lowlevel.h>
#include <poll.h>
#include <spdlog/spdlog.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <optional>

#include "fs/mount/fuse_request.h"
#include "fs/mount/kernel_channel.h"
#include "fs/mount/own_mount.h"

namespace vaultfs {
namespace {

constexpr std::uint32_t kMaxWriteBytes = 1U << 20;

void initialise(void* userdata, fuse_conn_info* connection) {
  auto& context = *static_cast<MountContext*>(userdata);
  const auto want = [connection](unsigned capability) {
    if ((connection->capable & capability) != 0) connection->want |= capability;
  };
  const auto refuse = [connection](unsigned capability) { connection->want &= ~capability; };
  connection->max_write = kMaxWriteBytes;
  connection->max_readahead = kMaxWriteBytes;
  connection->max_background = 64;
  want(FUSE_CAP_PARALLEL_DIROPS);
  want(FUSE_CAP_ASYNC_DIO);
  want(FUSE_CAP_READDIRPLUS);
  // Always with attributes: who lists a directory nearly always asks for them, and du took five times as long without.
  refuse(FUSE_CAP_READDIRPLUS_AUTO);
  // Every byte is hashed and encrypted, so splicing pages past the daemon brings nothing.
  refuse(FUSE_CAP_SPLICE_READ);
  refuse(FUSE_CAP_SPLICE_WRITE);
  refuse(FUSE_CAP_SPLICE_MOVE);
  // open(O_TRUNC) arrives as one request.
  want(FUSE_CAP_ATOMIC_O_TRUNC);
  // The kernel enforces access lists; the tree keeps them, and applies the umask where no default list takes its place.
  want(FUSE_CAP_POSIX_ACL);
  want(FUSE_CAP_DONT_MASK);
  want(FUSE_CAP_CACHE_SYMLINKS);
  // Handles (NFS, open_by_handle_at) stay good when the kernel has forgotten what they lead to.
  want(FUSE_CAP_EXPORT_SUPPORT);
  if (context.writeback_cache) want(FUSE_CAP_WRITEBACK_CACHE);
  if (context.on_ready) context.on_ready();
}

fuse_lowlevel_ops make_operations() {
  fuse_lowlevel_ops operations{};
  operations.init = initialise;
  register_namespace_operations(operations);
  register_directory_operations(operations);
  register_content_operations(operations);
  register_xattr_operations(operations);
  return operations;
}

// fuse_session_unmount unmounts by the path, unless the file system has ended: OwnMount has seen to that before.
struct SessionDeleter {
  void operator()(fuse_session* session) const {
    pollfd channel{fuse_session_fd(session), 0, 0};
    const bool ended = channel.fd >= 0 && ::poll(&channel, 1, 0) == 1 && (channel.revents & POLLERR) != 0;
    if (ended) fuse_session_unmount(session);
    fuse_session_destroy(session);
  }
};

struct LoopConfigDeleter {
  void operator()(fuse_loop_config* config) const { fuse_loop_cfg_destroy(config); }
};

constexpr const char* kUnmountHelper = "/sbin/umount.fuse.vaultfs";

class FuseMount final : public Mount, private EngineObserver {
 public:
  FuseMount(VaultEngine& engine, MountOptions options)
      : options_(std::move(options)),
        routing_(engine),
        context_{engine,
                 routing_,
                 options_.read_only,
                 options_.writeback_cache,
                 options_.synchronous,
                 FileDescriptor(::open(engine.vault().path().c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC)),
                 {},
                 std::make_unique<TurnQueue>(options_.max_threads / 2)} {}
  FuseMount(const FuseMount&) = delete;
  FuseMount& operator=(const FuseMount&) = delete;
  ~FuseMount() override {
    context_.engine.observe(nullptr);
    // Where it is not unmounted yet, nobody serves it any more.
    if (own_) own_->detach();
  }

  Status start() {
    VAULTFS_RETURN_IF_ERROR(check_vault_directory());
    std::string list = "default_permissions,subtype=vaultfs,fsname=" + escaped(options_.source);
    list += options_.read_only ? ",ro" : ",rw";
    if (options_.synchronous) list += ",sync";
    if (options_.allow_other) list += ",allow_other";
    for (const std::string& option : options_.kernel_options) list += "," + option;
    std::vector<std::string> words{"vaultfs", "-o", list};
    std::vector<char*> arguments;
    arguments.reserve(words.size());
    for (std::string& word : words) arguments.push_back(word.data());
    fuse_args args = FUSE_ARGS_INIT(static_cast<int>(arguments.size()), arguments.data());
    static const fuse_lowlevel_ops operations = make_operations();
    fuse_.reset(fuse_session_new(&args, &operations, sizeof operations, &context_));
    fuse_opt_free_args(&args);
    context_.fuse = fuse_.get();
    if (!fuse_) return Error{ErrorCode::InvalidArgument, "libfuse refused the mount options " + list};
    // While there is nothing on it yet: afterwards its name is a question to this process, which does not answer before
    // run().
    std::error_code problem;
    const std::filesystem::path point = std::filesystem::canonical(options_.mount_point, problem);
    if (problem) return Error{ErrorCode::MountPointInvalid, options_.mount_point.string() + ": " + problem.message()};
    if (fuse_session_mount(fuse_.get(), point.c_str()) != 0) {
      return Error{ErrorCode::IoError, "cannot mount on " + options_.mount_point.string() +
                                           ": is /dev/fuse there, and may this user mount (fusermount3)?"};
    }
    VAULTFS_ASSIGN_OR_RETURN(own_, OwnMount::at(point, options_.source));
    if (!attach_kernel_channel(fuse_.get())) {
      return Error{ErrorCode::IoError, "libfuse does not let its messages be extended"};
    }
    name_unmount_helper(point.string());
    context_.engine.observe(this);
    return ok_status();
  }

  Status run(const std::function<void()>& ready) override {
    context_.on_ready = ready;
    const std::unique_ptr<fuse_loop_config, LoopConfigDeleter> config(fuse_loop_cfg_create());
    fuse_loop_cfg_set_clone_fd(config.get(), 1);
    fuse_loop_cfg_set_max_threads(config.get(), options_.max_threads);
    fuse_loop_cfg_set_idle_threads(config.get(), options_.max_threads);
    const int result = fuse_session_loop_mt(fuse_.get(), config.get());
    if (result < 0) return Error{ErrorCode::IoError, std::string("the FUSE loop ended: ") + std::strerror(-result)};
    return ok_status();
  }

  [[nodiscard]] std::string device() const override { return own_->device(); }

  Status request_unmount() override { return own_->unmount(); }

  // EngineObserver. The kernel may not know what it is told of, or be gone already: no answer of it matters.
  void names_changed(InodeNumber directory, const std::vector<std::string>& names) override {
    for (const std::string& name : names) {
      static_cast<void>(fuse_lowlevel_notify_inval_entry(fuse_.get(), directory.value, name.c_str(), name.size()));
    }
    constexpr off_t kAttributesOnly = -1;
    static_cast<void>(fuse_lowlevel_notify_inval_inode(fuse_.get(), directory.value, kAttributesOnly, 0));
  }

  // Names and attributes are in this process's memory as well, and stay: what goes are the pages of files.
  void sealed() override {
    for (const std::uint64_t number : routing_.all_inode_numbers()) {
      static_cast<void>(fuse_lowlevel_notify_inval_inode(fuse_.get(), number, 0, 0));
    }
  }

 private:
  // It was opened by its path: the vault's disk may have been exchanged since the vault was opened.
  [[nodiscard]] Status check_vault_directory() const {
    struct stat st {};
    VAULTFS_ASSIGN_OR_RETURN(const FileInfo opened, context_.engine.vault().directory().identity());
    if (::fstat(context_.vault_directory.get(), &st) != 0 || st.st_dev != opened.device || st.st_ino != opened.inode) {
      return Error{ErrorCode::AnotherVault,
                   context_.engine.vault().path().string() +
                       " was exchanged while the vault was opened; put it back and mount again"};
    }
    return ok_status();
  }

  // umount(8) asks the kernel for the type of what it unmounts, gets "fuse" without "vaultfs", and would never call the
  // helper that waits for the daemon. An entry in its own table of user-space options makes it look closer.
  void name_unmount_helper(const std::string& point) const {
    if (::geteuid() != 0 || ::access(kUnmountHelper, X_OK) != 0) return;
    const int code = run_system_program(
        {"mount", "-i", "-f", "-c", "-t", "fuse.vaultfs", "-o", "uhelper=fuse.vaultfs", "--", options_.source, point});
    if (code != 0)
      spdlog::info("umount will not wait for the daemon by itself (mount -f: {}); umount.fuse.vaultfs does", code);
  }

  // libfuse splits its option list at commas.
  static std::string escaped(const std::string& text) {
    std::string result;
    for (const char c : text) {
      if (c == ',' || c == '\\') result.push_back('\\');
      result.push_back(c);
    }
    return result;
  }

  MountOptions options_;
  InodeRouting routing_;
  MountContext context_;
  std::unique_ptr<fuse_session, SessionDeleter> fuse_;
  std::optional<OwnMount> own_;  // set by start()
};

}  // namespace

Result<std::unique_ptr<Mount>> Mount::create(VaultEngine& engine, const MountOptions& options) {
  auto mount = std::make_unique<FuseMount>(engine, options);
  VAULTFS_RETURN_IF_ERROR(mount->start());
  return std::unique_ptr<Mount>(std::move(mount));
}

}  // namespace vaultfs
