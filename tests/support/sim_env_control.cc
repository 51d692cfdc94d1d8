// SimEnv's faults, counters and the tester's own hand.
#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <utility>

#include "tests/support/sim_env.h"

namespace vaultfs {
namespace {

// What the tester does to a name is final: no pending change may undo it in a crash.
void forget_pending(SimNode& directory, const std::string& name) {
  for (SimNode::DirectoryOp& op : directory.directory_ops) {
    std::erase_if(op.changes, [&](const auto& change) { return change.first == name; });
  }
}

}  // namespace

void SimEnv::end_faults() {
  steps_left_.reset();
  failure_reached_ = false;
  failing_syncs_ = 0;
  failing_writes_ = 0;
  failing_reads_.clear();
}

void SimEnv::crash(std::uint64_t seed, CrashMode mode) {
  const std::lock_guard lock(mutex_);
  std::mt19937_64 random(seed);
  disk_.crash(random, mode);
  ++boot_;
  end_faults();
}

void SimEnv::kill_process() {
  const std::lock_guard lock(mutex_);
  disk_.unlock_all();
  disk_.drop_in_flight();
  ++boot_;
  end_faults();
}

void SimEnv::fail_after(std::uint64_t steps) {
  const std::lock_guard lock(mutex_);
  steps_left_ = steps;
  failure_reached_ = false;
}

bool SimEnv::failure_reached() const {
  const std::lock_guard lock(mutex_);
  return failure_reached_;
}

void SimEnv::fail_next_sync(std::uint64_t count) {
  const std::lock_guard lock(mutex_);
  failing_syncs_ = count;
}

void SimEnv::fail_next_write(std::uint64_t count, ErrorCode code) {
  const std::lock_guard lock(mutex_);
  failing_writes_ = count;
  write_error_ = code;
}

void SimEnv::fail_reads(const Path& path) {
  const std::lock_guard lock(mutex_);
  failing_reads_.insert(path);
}

void SimEnv::clear_faults() {
  const std::lock_guard lock(mutex_);
  disk_.drop_in_flight();
  end_faults();
}

void SimEnv::set_free_bytes(std::uint64_t bytes) {
  const std::lock_guard lock(mutex_);
  capacity_ = disk_.used_bytes() + bytes;
}

void SimEnv::set_free_files(std::uint64_t files) {
  const std::lock_guard lock(mutex_);
  most_files_ = disk_.used_files() + files;
}

void SimEnv::hide_limits(bool hidden) {
  const std::lock_guard lock(mutex_);
  limits_are_hidden_ = hidden;
}

void SimEnv::set_unlimited_space() {
  const std::lock_guard lock(mutex_);
  capacity_.reset();
  most_files_.reset();
}

std::uint64_t SimEnv::steps() const {
  const std::lock_guard lock(mutex_);
  std::uint64_t sum = 0;
  for (const std::uint64_t count : steps_) sum += count;
  return sum;
}

std::uint64_t SimEnv::steps(SimStep kind) const {
  const std::lock_guard lock(mutex_);
  return steps_[static_cast<std::size_t>(kind)];
}

void SimEnv::set_observer(Observer observer) {
  const std::lock_guard lock(mutex_);
  observer_ = observer ? std::make_shared<const Observer>(std::move(observer)) : nullptr;
}

SimNode::Pointer SimEnv::must_find(const Path& path) const {
  SimNode::Pointer node = disk_.find(path);
  if (node == nullptr) {
    std::fprintf(stderr, "SimEnv: the test asks for a missing file: %s\n", path.c_str());
    std::abort();
  }
  return node;
}

bool SimEnv::exists(const Path& path) const {
  const std::lock_guard lock(mutex_);
  return disk_.find(path) != nullptr;
}

Bytes SimEnv::read(const Path& path) const {
  const std::lock_guard lock(mutex_);
  return must_find(path)->current;
}

SimNode::Pointer SimEnv::prepare_directories(const Path& path) {
  SimNode::Pointer node = disk_.root();
  for (const Path& part : path.lexically_normal().relative_path()) {
    if (part.empty() || part == ".") continue;
    SimNode::Pointer& child = node->current_entries[part.string()];
    if (child == nullptr) {
      child = disk_.new_node(true);
      node->durable_entries[part.string()] = child;
    }
    node = child;
  }
  return node;
}

std::shared_ptr<const Bytes> SimEnv::share(const Path& path) const {
  const std::lock_guard lock(mutex_);
  return SimDisk::share(*must_find(path));
}

void SimEnv::write(const Path& path, ByteView bytes) { put_back(path, std::make_shared<const Bytes>(to_bytes(bytes))); }

void SimEnv::put_back(const Path& path, std::shared_ptr<const Bytes> content) {
  const std::lock_guard lock(mutex_);
  const SimNode::Pointer parent = prepare_directories(path.parent_path());
  forget_pending(*parent, path.filename().string());
  SimNode::Pointer& node = parent->current_entries[path.filename().string()];
  if (node == nullptr) node = disk_.new_node(false);
  parent->durable_entries[path.filename().string()] = node;
  SimDisk::settle(*node, std::move(content));
}

void SimEnv::copy(const Path& from, const Path& to) { write(to, read(from)); }

void SimEnv::remove(const Path& path) {
  const std::lock_guard lock(mutex_);
  static_cast<void>(must_find(path));
  const SimNode::Pointer parent = must_find(path.parent_path());
  forget_pending(*parent, path.filename().string());
  parent->current_entries.erase(path.filename().string());
  parent->durable_entries.erase(path.filename().string());
}

void SimEnv::flip_bit(const Path& path, std::uint64_t bit) {
  Bytes bytes = read(path);
  if (bit / 8 >= bytes.size()) std::abort();
  bytes[bit / 8] ^= static_cast<std::byte>(1U << (bit % 8));
  write(path, bytes);
}

void SimEnv::cut(const Path& path, std::uint64_t size) {
  Bytes bytes = read(path);
  bytes.resize(size);
  write(path, bytes);
}

void SimEnv::make_sparse(const Path& path) {
  const std::lock_guard lock(mutex_);
  must_find(path)->sparse = true;
}

void SimEnv::make_directories(const Path& path) {
  const std::lock_guard lock(mutex_);
  prepare_directories(path);
}

std::vector<SimEnv::Path> SimEnv::files(const Path& directory) const {
  const std::lock_guard lock(mutex_);
  std::vector<Path> found;
  const std::function<void(const SimNode&, const Path&)> walk = [&](const SimNode& node, const Path& path) {
    for (const auto& [name, child] : node.current_entries) {
      if (child->is_directory) {
        walk(*child, path / name);
      } else {
        found.push_back(path / name);
      }
    }
  };
  walk(*must_find(directory), directory);
  std::sort(found.begin(), found.end());
  return found;
}

SimEnv::Snapshot SimEnv::snapshot() const {
  const std::lock_guard lock(mutex_);
  return Snapshot(std::make_shared<const SimDisk>(disk_.settled_copy()));
}

void SimEnv::restore(const Snapshot& snapshot) {
  const std::lock_guard lock(mutex_);
  disk_ = snapshot.disk_->settled_copy();
  ++boot_;
  end_faults();
}

}  // namespace vaultfs
