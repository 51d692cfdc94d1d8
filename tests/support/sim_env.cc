#include "tests/support/sim_env.h"

#include <algorithm>
#include <cstdlib>
#include <utility>

namespace vaultfs {
namespace {

Error dead_handle() { return {ErrorCode::IoError, "the simulated machine was restarted since this file was opened"}; }
Error failed_step() { return {ErrorCode::IoError, "the simulated disk has failed"}; }
Error missing(const std::filesystem::path& path) { return {ErrorCode::NotFound, path.string() + " does not exist"}; }

}  // namespace

class SimFile final : public File {
 public:
  SimFile(SimEnv& env, SimNode::Pointer node, SimEnv::Path path, bool writable)
      : env_(env), node_(std::move(node)), path_(std::move(path)), writable_(writable), boot_(env.boot_) {}

  Result<std::size_t> read_at(std::uint64_t offset, MutableByteView out) override {
    const std::lock_guard lock(env_.mutex_);
    if (boot_ != env_.boot_) return dead_handle();
    if (env_.failing_reads_.contains(path_)) return Error{ErrorCode::IoError, "a simulated read error"};
    if (offset >= node_->current.size()) return std::size_t{0};
    const std::size_t length = std::min<std::uint64_t>(out.size(), node_->current.size() - offset);
    std::copy_n(node_->current.begin() + static_cast<std::ptrdiff_t>(offset), length, out.begin());
    return length;
  }

  Status write_at(std::uint64_t offset, ByteView bytes) override {
    env_.observe(SimStep::write, path_);
    const std::lock_guard lock(env_.mutex_);
    if (boot_ != env_.boot_) return dead_handle();
    if (!writable_) return Error{ErrorCode::BadHandle, path_.string() + " is open for reading only"};
    return env_.write_file(*node_, offset, bytes);
  }

  Status allocate(std::uint64_t size) override {
    env_.observe(SimStep::write, path_);
    const std::lock_guard lock(env_.mutex_);
    if (boot_ != env_.boot_) return dead_handle();
    const std::uint64_t have = node_->current.size();
    return size <= have ? ok_status() : env_.write_file(*node_, have, Bytes(size - have));
  }

  Status sync() override {
    env_.observe(SimStep::sync, path_);
    const std::lock_guard lock(env_.mutex_);
    if (boot_ != env_.boot_) return dead_handle();
    if (env_.begin_step(SimStep::sync) != SimEnv::Verdict::proceed) return failed_step();
    if (env_.failing_syncs_ > 0) {
      --env_.failing_syncs_;
      env_.disk_.lose_unsynced(*node_);
      return Error{ErrorCode::IoError, "a simulated sync error"};
    }
    env_.disk_.sync_file(*node_);
    return ok_status();
  }

  Status truncate(std::uint64_t size) override {
    env_.observe(SimStep::truncate, path_);
    const std::lock_guard lock(env_.mutex_);
    if (boot_ != env_.boot_) return dead_handle();
    if (!writable_) return Error{ErrorCode::BadHandle, path_.string() + " is open for reading only"};
    const SimEnv::Verdict verdict = env_.begin_step(SimStep::truncate);
    if (verdict != SimEnv::Verdict::refuse) {
      env_.disk_.truncate(*node_, size, verdict == SimEnv::Verdict::proceed);
    }
    if (verdict != SimEnv::Verdict::proceed) return failed_step();
    return ok_status();
  }

  Result<std::uint64_t> size() override {
    const std::lock_guard lock(env_.mutex_);
    if (boot_ != env_.boot_) return dead_handle();
    return std::uint64_t{node_->current.size()};
  }

  Result<FileInfo> info() override {
    const std::lock_guard lock(env_.mutex_);
    if (boot_ != env_.boot_) return dead_handle();
    return SimEnv::info_of(*node_);
  }

 private:
  SimEnv& env_;
  const SimNode::Pointer node_;
  const SimEnv::Path path_;
  const bool writable_;
  const std::uint64_t boot_;
};

class SimLock final : public FileLock {
 public:
  SimLock(SimEnv& env, SimNode::Pointer node, bool shared)
      : env_(env), node_(std::move(node)), boot_(env.boot_), shared_(shared) {}
  ~SimLock() override {
    const std::lock_guard lock(env_.mutex_);
    if (boot_ != env_.boot_) return;
    if (shared_) {
      --node_->sharers;
    } else {
      node_->locked = false;
    }
  }

 private:
  SimEnv& env_;
  const SimNode::Pointer node_;
  const std::uint64_t boot_;
  const bool shared_;
};

SimEnv::SimEnv(std::uint64_t seed) : random_(seed) {}
SimEnv::~SimEnv() = default;

void SimEnv::observe(SimStep kind, const Path& path) {
  std::shared_ptr<const Observer> observer;
  {
    const std::lock_guard lock(mutex_);
    observer = observer_;
  }
  if (observer != nullptr) (*observer)(kind, path);
}

SimEnv::Verdict SimEnv::begin_step(SimStep kind) {
  ++steps_[static_cast<std::size_t>(kind)];
  if (!steps_left_.has_value()) return Verdict::proceed;
  if (*steps_left_ > 0) {
    --*steps_left_;
    return Verdict::proceed;
  }
  return std::exchange(failure_reached_, true) ? Verdict::refuse : Verdict::in_flight;
}

Status SimEnv::write_file(SimNode& node, std::uint64_t offset, ByteView bytes) {
  const Verdict verdict = begin_step(SimStep::write);
  if (verdict == Verdict::refuse) return failed_step();
  if (verdict == Verdict::in_flight) {
    disk_.write(node, offset, bytes, false);
    return failed_step();
  }
  if (failing_writes_ > 0) {
    --failing_writes_;
    return Error{write_error_, "a simulated write error"};
  }
  if (capacity_.has_value()) {
    const std::uint64_t used = disk_.used_bytes();
    const std::uint64_t end_limit = node.current.size() + (*capacity_ > used ? *capacity_ - used : 0);
    if (offset + bytes.size() > end_limit) {
      if (offset < end_limit) disk_.write(node, offset, bytes.first(end_limit - offset), true);
      return Error{ErrorCode::NoSpace, "the simulated disk is full"};
    }
  }
  disk_.write(node, offset, bytes, true);
  return ok_status();
}

Result<std::unique_ptr<File>> SimEnv::open(const Path& path, OpenMode mode) {
  if (mode == OpenMode::create_exclusive) observe(SimStep::create, path);
  const std::lock_guard lock(mutex_);
  SimNode::Pointer node = disk_.find(path);
  if (mode == OpenMode::create_exclusive) {
    if (node != nullptr) return Error{ErrorCode::AlreadyExists, path.string() + " exists"};
    VAULTFS_RETURN_IF_ERROR(room_for_file());
    VAULTFS_ASSIGN_OR_RETURN(const SimNode::Pointer parent, disk_.parent_of(path));
    const Verdict verdict = begin_step(SimStep::create);
    if (verdict == Verdict::refuse) return failed_step();
    node = disk_.new_node(false);
    disk_.link(*parent, path.filename().string(), node, verdict == Verdict::proceed);
    if (verdict == Verdict::in_flight) return failed_step();
  }
  if (node == nullptr) return missing(path);
  if (node->is_directory) return Error{ErrorCode::IsADirectory, path.string() + " is a directory"};
  return std::unique_ptr<File>(std::make_unique<SimFile>(*this, node, path, mode != OpenMode::read_only));
}

Status SimEnv::rename(const Path& from, const Path& to) {
  observe(SimStep::rename, to);
  const std::lock_guard lock(mutex_);
  VAULTFS_ASSIGN_OR_RETURN(const SimNode::Pointer from_parent, disk_.parent_of(from));
  VAULTFS_ASSIGN_OR_RETURN(const SimNode::Pointer to_parent, disk_.parent_of(to));
  const SimNode::Pointer node = disk_.find(from);
  const SimNode::Pointer replaced = disk_.find(to);
  if (node == nullptr) return missing(from);
  if (node == replaced) return ok_status();
  if (node->is_directory && from_parent != to_parent) {
    return Error{ErrorCode::NotSupported, "the simulated disk moves no directory into another"};
  }
  if (replaced != nullptr) {
    if (replaced->is_directory && !node->is_directory) return Error{ErrorCode::IsADirectory, to.string()};
    if (!replaced->is_directory && node->is_directory) return Error{ErrorCode::NotADirectory, to.string()};
    if (!replaced->current_entries.empty()) return Error{ErrorCode::DirectoryNotEmpty, to.string()};
  }
  const Verdict verdict = begin_step(SimStep::rename);
  if (verdict != Verdict::refuse) {
    disk_.rename(*from_parent, from.filename().string(), *to_parent, to.filename().string(),
                 verdict == Verdict::proceed);
  }
  if (verdict != Verdict::proceed) return failed_step();
  return ok_status();
}

Status SimEnv::remove(const Path& path, bool directory) {
  observe(SimStep::remove, path);
  const std::lock_guard lock(mutex_);
  VAULTFS_ASSIGN_OR_RETURN(const SimNode::Pointer parent, disk_.parent_of(path));
  const SimNode::Pointer node = disk_.find(path);
  if (node == nullptr) return missing(path);
  if (node->is_directory && !directory) return Error{ErrorCode::IsADirectory, path.string() + " is a directory"};
  if (!node->is_directory && directory) return Error{ErrorCode::NotADirectory, path.string() + " is no directory"};
  if (!node->current_entries.empty()) return Error{ErrorCode::DirectoryNotEmpty, path.string() + " is not empty"};
  const Verdict verdict = begin_step(SimStep::remove);
  if (verdict != Verdict::refuse) disk_.unlink(*parent, path.filename().string(), verdict == Verdict::proceed);
  if (verdict != Verdict::proceed) return failed_step();
  return ok_status();
}

Status SimEnv::remove_file(const Path& path) { return remove(path, false); }
Status SimEnv::remove_directory(const Path& path) { return remove(path, true); }

Status SimEnv::make_directory(const Path& path) {
  observe(SimStep::create, path);
  const std::lock_guard lock(mutex_);
  if (disk_.find(path) != nullptr) return Error{ErrorCode::AlreadyExists, path.string() + " exists"};
  VAULTFS_RETURN_IF_ERROR(room_for_file());
  VAULTFS_ASSIGN_OR_RETURN(const SimNode::Pointer parent, disk_.parent_of(path));
  const Verdict verdict = begin_step(SimStep::create);
  if (verdict != Verdict::refuse) {
    disk_.link(*parent, path.filename().string(), disk_.new_node(true), verdict == Verdict::proceed);
  }
  if (verdict != Verdict::proceed) return failed_step();
  return ok_status();
}

Result<FileInfo> SimEnv::info(const Path& path) {
  const std::lock_guard lock(mutex_);
  const SimNode::Pointer node = disk_.find(path);
  if (node == nullptr) return FileInfo{};
  return info_of(*node);
}

FileInfo SimEnv::info_of(const SimNode& node) {
  FileInfo info{node.is_directory ? FileKind::directory : FileKind::file, node.current.size(), 0600};
  if (node.is_directory) info.mode = 0700;
  info.inode = node.number;
  info.stored_bytes = node.sparse || node.is_directory ? 0 : node.current.size();
  return info;
}

Result<std::vector<std::string>> SimEnv::list(const Path& directory) {
  const std::lock_guard lock(mutex_);
  const SimNode::Pointer node = disk_.find(directory);
  if (node == nullptr) return missing(directory);
  if (!node->is_directory) return Error{ErrorCode::NotADirectory, directory.string() + " is no directory"};
  std::vector<std::string> names;
  names.reserve(node->current_entries.size());
  for (const auto& [name, child] : node->current_entries) names.push_back(name);
  return names;
}

Status SimEnv::sync_directory(const Path& directory) {
  observe(SimStep::sync_directory, directory);
  const std::lock_guard lock(mutex_);
  const SimNode::Pointer node = disk_.find(directory);
  if (node == nullptr) return missing(directory);
  if (!node->is_directory) return Error{ErrorCode::NotADirectory, directory.string() + " is no directory"};
  if (begin_step(SimStep::sync_directory) != Verdict::proceed) return failed_step();
  disk_.sync_directory(*node);
  return ok_status();
}

Status SimEnv::room_for_file() const {
  if (!most_files_.has_value() || disk_.used_files() < *most_files_) return ok_status();
  return Error{ErrorCode::NoSpace, "the simulated disk has no inodes left"};
}

Result<std::uint64_t> SimEnv::free_bytes(const Path& path) {
  VAULTFS_ASSIGN_OR_RETURN(const FreeSpace space, free_space(path));
  return space.bytes;
}

Result<FreeSpace> SimEnv::free_space(const Path& path) {
  const std::lock_guard lock(mutex_);
  if (disk_.find(path) == nullptr) return missing(path);
  FreeSpace space;
  space.bytes = std::uint64_t{1} << 40U;
  if (limits_are_hidden_) return space;
  if (capacity_.has_value()) space.bytes = *capacity_ - std::min(*capacity_, disk_.used_bytes());
  if (most_files_.has_value()) space.files = *most_files_ - std::min(*most_files_, disk_.used_files());
  return space;
}

Result<std::unique_ptr<FileLock>> SimEnv::lock(const Path& path) {
  const std::lock_guard lock(mutex_);
  SimNode::Pointer node = disk_.find(path);
  if (node == nullptr) {
    VAULTFS_RETURN_IF_ERROR(room_for_file());
    VAULTFS_ASSIGN_OR_RETURN(const SimNode::Pointer parent, disk_.parent_of(path));
    const Verdict verdict = begin_step(SimStep::create);
    if (verdict == Verdict::refuse) return failed_step();
    node = disk_.new_node(false);
    disk_.link(*parent, path.filename().string(), node, verdict == Verdict::proceed);
    if (verdict == Verdict::in_flight) return failed_step();
  }
  if (node->is_directory) return Error{ErrorCode::IsADirectory, path.string() + " is a directory"};
  if (node->locked || node->sharers > 0) {
    return Error{ErrorCode::VaultBusy, path.string() + " is held by another process"};
  }
  node->locked = true;
  return std::unique_ptr<FileLock>(std::make_unique<SimLock>(*this, node, false));
}

Result<std::unique_ptr<FileLock>> SimEnv::lock_shared(const Path& path) {
  const std::lock_guard lock(mutex_);
  const SimNode::Pointer node = disk_.find(path);
  if (node == nullptr) return missing(path);
  if (node->locked) return Error{ErrorCode::VaultBusy, path.string() + " is held by another process"};
  ++node->sharers;
  return std::unique_ptr<FileLock>(std::make_unique<SimLock>(*this, node, true));
}

void SimEnv::fill_random(MutableByteView out) {
  const std::lock_guard lock(mutex_);
  for (std::byte& byte : out) byte = static_cast<std::byte>(random_() >> 32U);
}

}  // namespace vaultfs
