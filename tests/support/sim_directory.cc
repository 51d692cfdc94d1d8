// SimEnv::hold_directory.
#include <utility>

#include "tests/support/sim_env.h"

namespace vaultfs {

// Asks the disk where the directory is by now, and goes there by its path.
class SimDirectory final : public Env {
 public:
  SimDirectory(SimEnv& env, SimNode::Pointer node, Path root)
      : env_(env), node_(std::move(node)), root_(std::move(root)), boot_(env.boot_) {}

  Result<std::unique_ptr<File>> open(const Path& path, OpenMode mode) override {
    VAULTFS_ASSIGN_OR_RETURN(const Path now, follow(path));
    return own_file(path, env_.open(now, mode));
  }
  Status rename(const Path& from, const Path& to) override {
    VAULTFS_ASSIGN_OR_RETURN(const Path from_now, follow(from));
    VAULTFS_ASSIGN_OR_RETURN(const Path to_now, follow(to));
    return env_.rename(from_now, to_now);
  }
  Status remove_file(const Path& path) override {
    VAULTFS_ASSIGN_OR_RETURN(const Path now, follow(path));
    return env_.remove_file(now);
  }
  Status remove_directory(const Path& path) override {
    VAULTFS_ASSIGN_OR_RETURN(const Path now, follow(path));
    return env_.remove_directory(now);
  }
  Status make_directory(const Path& path) override {
    VAULTFS_ASSIGN_OR_RETURN(const Path now, follow(path));
    return env_.make_directory(now);
  }
  Result<FileInfo> info(const Path& path) override {
    VAULTFS_ASSIGN_OR_RETURN(const Path now, follow(path));
    return env_.info(now);
  }
  Result<std::vector<std::string>> list(const Path& directory) override {
    VAULTFS_ASSIGN_OR_RETURN(const Path now, follow(directory));
    return env_.list(now);
  }
  Status sync_directory(const Path& directory) override {
    VAULTFS_ASSIGN_OR_RETURN(const Path now, follow(directory));
    return env_.sync_directory(now);
  }
  Result<std::uint64_t> free_bytes(const Path& path) override {
    VAULTFS_ASSIGN_OR_RETURN(const Path now, follow(path));
    return env_.free_bytes(now);
  }
  Result<FreeSpace> free_space(const Path& path) override {
    VAULTFS_ASSIGN_OR_RETURN(const Path now, follow(path));
    return env_.free_space(now);
  }
  Result<std::unique_ptr<FileLock>> lock(const Path& path) override {
    VAULTFS_ASSIGN_OR_RETURN(const Path now, follow(path));
    return own_file(path, env_.lock(now));
  }
  Result<std::unique_ptr<FileLock>> lock_shared(const Path& path) override {
    VAULTFS_ASSIGN_OR_RETURN(const Path now, follow(path));
    return own_file(path, env_.lock_shared(now));
  }
  Result<Path> real_path(const Path& path) override { return env_.real_path(path); }
  Result<std::unique_ptr<Env>> hold_directory(const Path& path) override {
    VAULTFS_ASSIGN_OR_RETURN(const Path now, follow(path));
    const std::lock_guard lock(env_.mutex_);
    return env_.hold(now, path);
  }
  void fill_random(MutableByteView out) override { env_.fill_random(out); }
  [[nodiscard]] const Clock& clock() const override { return env_.clock(); }

 private:
  // A directory in the place of a file is named as the contract of hold_directory() says.
  template <typename T>
  static Result<T> own_file(const Path& path, Result<T> result) {
    if (result.ok() || result.code() != ErrorCode::IsADirectory) return result;
    return Error{ErrorCode::ForeignFile, path.string() + " is not a file of its own"};
  }

  [[nodiscard]] Result<Path> follow(const Path& path) const {
    const std::lock_guard lock(env_.mutex_);
    if (boot_ != env_.boot_) {
      return Error{ErrorCode::IoError, "the simulated machine was restarted since this directory was opened"};
    }
    const bool is_root = path == root_;
    const std::string prefix = root_ == "/" ? "/" : root_.string() + "/";
    if (!is_root && !path.string().starts_with(prefix)) {
      return Error{ErrorCode::InvalidName, path.string() + " is not in " + root_.string()};
    }
    if (env_.disk_.find(root_) == node_) return path;
    const auto now = env_.disk_.path_of(*node_);
    if (!now) return Error{ErrorCode::NotFound, root_.string() + " was removed"};
    return is_root ? *now : *now / path.string().substr(prefix.size());
  }

  SimEnv& env_;
  const SimNode::Pointer node_;
  const Path root_;
  const std::uint64_t boot_;
};

Result<SimEnv::Path> SimEnv::real_path(const Path& path) { return ("/" / path).lexically_normal(); }

Result<std::unique_ptr<Env>> SimEnv::hold_directory(const Path& path) {
  const std::lock_guard lock(mutex_);
  return hold(path, path);
}

Result<std::unique_ptr<Env>> SimEnv::hold(const Path& now, const Path& root) {
  const SimNode::Pointer node = disk_.find(now);
  if (node == nullptr) return Error{ErrorCode::NotFound, now.string() + " does not exist"};
  if (!node->is_directory) return Error{ErrorCode::NotADirectory, now.string() + " is no directory"};
  return std::unique_ptr<Env>(std::make_unique<SimDirectory>(*this, node, root));
}

}  // namespace vaultfs
