#include "tests/support/sim_disk.h"

#include <algorithm>
#include <utility>

namespace vaultfs {
namespace {

constexpr std::size_t kSectorBytes = 512;

void put_bytes(Bytes& content, std::uint64_t offset, ByteView bytes) {
  if (bytes.empty()) return;
  if (content.size() < offset + bytes.size()) content.resize(offset + bytes.size());
  std::copy(bytes.begin(), bytes.end(), content.begin() + static_cast<std::ptrdiff_t>(offset));
}

void apply_whole(Bytes& content, const SimNode::FileOp& op) {
  if (op.is_truncate) {
    content.resize(op.offset);
  } else {
    put_bytes(content, op.offset, op.bytes);
  }
}

// Kept, dropped, cut short, or only some of its sectors.
void apply_torn(Bytes& content, const SimNode::FileOp& op, std::mt19937_64& random) {
  const std::uint64_t choice = random() % 4;
  if (choice == 0) return;
  if (choice == 1 || op.is_truncate) {
    if (choice == 1 || random() % 2 == 0) apply_whole(content, op);
    return;
  }
  const ByteView bytes = op.bytes;
  if (choice == 2) {
    put_bytes(content, op.offset, bytes.first(random() % (bytes.size() + 1)));
    return;
  }
  std::size_t done = 0;
  while (done < bytes.size()) {
    const std::size_t to_boundary = kSectorBytes - (op.offset + done) % kSectorBytes;
    const std::size_t length = std::min(to_boundary, bytes.size() - done);
    if (random() % 2 == 0) put_bytes(content, op.offset + done, bytes.subspan(done, length));
    done += length;
  }
}

void apply_changes(SimNode::Entries& entries, const SimNode::DirectoryOp& op) {
  for (const auto& [name, node] : op.changes) {
    if (node == nullptr) {
      entries.erase(name);
    } else {
      entries[name] = node;
    }
  }
}

// Before `current` is.
void changed(SimNode& file) {
  file.copy.reset();
  file.settled = false;
}

void crash_file(SimNode& file, std::mt19937_64& random, CrashMode mode) {
  if (file.settled) return;
  for (const SimNode::FileOp& op : file.file_ops) {
    if (mode == CrashMode::keep_all) apply_whole(file.durable, op);
    if (mode == CrashMode::random) apply_torn(file.durable, op, random);
  }
  file.file_ops.clear();
  changed(file);
  file.current = file.durable;
  file.settled = true;
}

SimNode::Pointer copy_settled(const SimNode& node, SimDisk& into) {
  SimNode::Pointer copy = into.new_node(node.is_directory);
  copy->current = node.current;
  copy->durable = node.current;
  for (const auto& [name, child] : node.current_entries) copy->current_entries[name] = copy_settled(*child, into);
  copy->durable_entries = copy->current_entries;
  return copy;
}

std::uint64_t used_below(const SimNode& node) {
  std::uint64_t bytes = node.sparse ? 0 : node.current.size();
  for (const auto& [name, child] : node.current_entries) bytes += used_below(*child);
  return bytes;
}

std::uint64_t files_below(const SimNode& node) {
  std::uint64_t files = 0;
  for (const auto& [name, child] : node.current_entries) files += 1 + files_below(*child);
  return files;
}

}  // namespace

SimDisk::SimDisk() : root_(new_node(true)) {}

SimNode::Pointer SimDisk::new_node(bool is_directory) {
  auto node = std::make_shared<SimNode>();
  node->number = ++last_number_;
  node->is_directory = is_directory;
  nodes_.push_back(node);
  return node;
}

SimNode::Pointer SimDisk::find(const Path& path) const {
  SimNode::Pointer node = root_;
  for (const Path& part : path.lexically_normal().relative_path()) {
    if (part.empty() || part == ".") continue;
    if (!node->is_directory) return nullptr;
    const auto found = node->current_entries.find(part.string());
    if (found == node->current_entries.end()) return nullptr;
    node = found->second;
  }
  return node;
}

std::optional<SimDisk::Path> SimDisk::path_of(const SimNode& directory) const {
  std::vector<std::pair<Path, SimNode::Pointer>> ahead{{"/", root_}};
  while (!ahead.empty()) {
    const auto [path, node] = std::move(ahead.back());
    ahead.pop_back();
    if (node.get() == &directory) return path;
    for (const auto& [name, child] : node->current_entries) {
      if (child->is_directory) ahead.emplace_back(path / name, child);
    }
  }
  return std::nullopt;
}

Result<SimNode::Pointer> SimDisk::parent_of(const Path& path) const {
  SimNode::Pointer parent = find(path.parent_path());
  if (parent == nullptr) return Error{ErrorCode::NotFound, path.parent_path().string() + " does not exist"};
  if (!parent->is_directory) return Error{ErrorCode::NotADirectory, path.parent_path().string() + " is no directory"};
  return parent;
}

void SimDisk::write(SimNode& file, std::uint64_t offset, ByteView bytes, bool visible) {
  changed(file);
  file.file_ops.push_back({false, offset, to_bytes(bytes), !visible});
  if (visible) put_bytes(file.current, offset, bytes);
}

void SimDisk::truncate(SimNode& file, std::uint64_t size, bool visible) {
  changed(file);
  file.file_ops.push_back({true, size, {}, !visible});
  if (visible) file.current.resize(size);
}

void SimDisk::link(SimNode& directory, const std::string& name, const SimNode::Pointer& node, bool visible) {
  directory.directory_ops.push_back({{{name, node}}, 0, nullptr, !visible});
  if (visible) apply_changes(directory.current_entries, directory.directory_ops.back());
}

void SimDisk::unlink(SimNode& directory, const std::string& name, bool visible) {
  directory.directory_ops.push_back({{{name, nullptr}}, 0, nullptr, !visible});
  if (visible) apply_changes(directory.current_entries, directory.directory_ops.back());
}

void SimDisk::rename(SimNode& from, const std::string& from_name, SimNode& to, const std::string& to_name,
                     bool visible) {
  const SimNode::Pointer node = from.current_entries.at(from_name);
  if (&from == &to) {
    from.directory_ops.push_back({{{from_name, nullptr}, {to_name, node}}, 0, nullptr, !visible});
    if (visible) apply_changes(from.current_entries, from.directory_ops.back());
    return;
  }
  const std::uint64_t move = next_move_++;
  to.directory_ops.push_back({{{to_name, node}}, move, nullptr, !visible});
  from.directory_ops.push_back({{{from_name, nullptr}}, move, &to, !visible});
  if (visible) {
    apply_changes(to.current_entries, to.directory_ops.back());
    apply_changes(from.current_entries, from.directory_ops.back());
  }
}

void SimDisk::sync_file(SimNode& file) {
  for (const SimNode::FileOp& op : file.file_ops) apply_whole(file.durable, op);
  file.file_ops.clear();
}

void SimDisk::lose_unsynced(SimNode& file) { file.file_ops.clear(); }

void SimDisk::apply_prefix(SimNode& directory, std::size_t count) {
  for (std::size_t i = 0; i < count; ++i) apply_changes(directory.durable_entries, directory.directory_ops[i]);
  directory.directory_ops.erase(directory.directory_ops.begin(),
                                directory.directory_ops.begin() + static_cast<std::ptrdiff_t>(count));
}

void SimDisk::sync_directory(SimNode& directory) {
  const std::vector<SimNode::DirectoryOp> ops = std::exchange(directory.directory_ops, {});
  for (const SimNode::DirectoryOp& op : ops) {
    if (op.destination != nullptr) {
      // The other half of a move goes to the disk in the same transaction, with all that precedes it there.
      auto& others = op.destination->directory_ops;
      const auto half = std::find_if(others.begin(), others.end(), [&](const auto& o) { return o.move == op.move; });
      if (half != others.end()) apply_prefix(*op.destination, static_cast<std::size_t>(half - others.begin()) + 1);
    }
    apply_changes(directory.durable_entries, op);
  }
}

void SimDisk::crash_directories(std::mt19937_64& random, CrashMode mode) {
  std::vector<SimNode::Pointer> directories;
  std::map<const SimNode*, std::size_t> kept;
  for (const auto& weak : nodes_) {
    SimNode::Pointer node = weak.lock();
    if (node == nullptr || !node->is_directory) continue;
    const std::size_t count = node->directory_ops.size();
    std::size_t keep = 0;
    if (mode == CrashMode::keep_all) keep = count;
    if (mode == CrashMode::random) keep = random() % (count + 1);
    kept[node.get()] = keep;
    directories.push_back(std::move(node));
  }
  // A name is not taken away from one directory before it is in the other; shortening one may shorten others.
  for (bool changed = true; changed;) {
    changed = false;
    for (const auto& directory : directories) {
      for (std::size_t i = 0; i < kept[directory.get()]; ++i) {
        const SimNode::DirectoryOp& op = directory->directory_ops[i];
        if (op.destination == nullptr) continue;
        const auto& others = op.destination->directory_ops;
        const auto half = std::find_if(others.begin(), others.end(), [&](const auto& o) { return o.move == op.move; });
        if (half == others.end()) continue;  // it is durable already
        if (static_cast<std::size_t>(half - others.begin()) < kept[op.destination]) continue;
        kept[directory.get()] = i;
        changed = true;
      }
    }
  }
  for (const auto& directory : directories) {
    apply_prefix(*directory, kept[directory.get()]);
    directory->directory_ops.clear();
    directory->current_entries = directory->durable_entries;
  }
}

void SimDisk::unlock_all() {
  for (const auto& weak : nodes_) {
    if (const SimNode::Pointer node = weak.lock()) {
      node->locked = false;
      node->sharers = 0;
    }
  }
}

void SimDisk::drop_in_flight() {
  for (const auto& weak : nodes_) {
    const SimNode::Pointer node = weak.lock();
    if (node == nullptr) continue;
    std::erase_if(node->file_ops, [](const auto& op) { return op.in_flight; });
    std::erase_if(node->directory_ops, [](const auto& op) { return op.in_flight; });
  }
  std::erase_if(nodes_, [](const auto& weak) { return weak.expired(); });
}

void SimDisk::crash(std::mt19937_64& random, CrashMode mode) {
  unlock_all();
  for (const auto& weak : nodes_) {
    const SimNode::Pointer node = weak.lock();
    if (node == nullptr) continue;
    if (!node->is_directory) crash_file(*node, random, mode);
  }
  crash_directories(random, mode);
  std::erase_if(nodes_, [](const auto& weak) { return weak.expired(); });
}

SimDisk SimDisk::settled_copy() const {
  SimDisk copy;
  copy.nodes_.clear();
  copy.root_ = copy_settled(*root_, copy);
  return copy;
}

std::shared_ptr<const Bytes> SimDisk::share(SimNode& file) {
  if (file.copy == nullptr) file.copy = std::make_shared<const Bytes>(file.current);
  return file.copy;
}

void SimDisk::settle(SimNode& file, std::shared_ptr<const Bytes> content) {
  if (file.settled && file.copy == content) return;
  file.file_ops.clear();
  file.current = *content;
  file.durable = *content;
  file.copy = std::move(content);
  file.settled = true;
}

std::uint64_t SimDisk::used_bytes() const { return used_below(*root_); }

std::uint64_t SimDisk::used_files() const { return files_below(*root_); }

}  // namespace vaultfs
