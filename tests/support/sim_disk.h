#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <memory>
#include <optional>
#include <random>
#include <string>
#include <vector>

#include "base/bytes.h"
#include "base/result.h"

namespace vaultfs {

// What a power loss does to everything that was not synced.
enum class CrashMode : std::uint8_t {
  drop_all_unsynced,  // the disk holds what sync() and sync_directory() promised, and no more
  keep_all,           // the disk holds everything that was asked for, the step that failed included
  random,             // each write, truncation and directory change is kept, dropped or torn, as the seed decides
};

// A file or directory of the simulated disk, with two states: what the running system sees (`current…`) and what is on
// the platter (`durable…`), and between them the operations in their order.
struct SimNode {
  struct FileOp {
    bool is_truncate = false;
    std::uint64_t offset = 0;  // of a truncation: the new size
    Bytes bytes;
    bool in_flight = false;  // the running system does not see it
  };
  using Pointer = std::shared_ptr<SimNode>;
  using Entries = std::map<std::string, Pointer>;
  // One atomic change of a directory: each name gets a node or (null) goes away.
  struct DirectoryOp {
    std::vector<std::pair<std::string, Pointer>> changes;
    std::uint64_t move = 0;          // not zero: half of a move between two directories, both halves have this number
    SimNode* destination = nullptr;  // set in the half that takes the name away; may only happen after the other half
    bool in_flight = false;
  };

  std::uint64_t number = 0;  // the first node has 1
  bool is_directory = false;
  bool locked = false;
  unsigned sharers = 0;  // of the lock
  bool sparse = false;   // takes no room on the disk
  Bytes current;
  std::shared_ptr<const Bytes> copy;  // of `current` as it is now, if somebody asked for one
  bool settled = false;               // `durable` equals `current` for sure
  Bytes durable;
  std::vector<FileOp> file_ops;
  Entries current_entries;
  Entries durable_entries;
  std::vector<DirectoryOp> directory_ops;
};

// The tree of nodes and its rules of durability. No locking, no faults: SimEnv has those.
//
// Directories behave as on a journalling filesystem: changes of one directory reach the disk in their order, a rename
// is atomic (a move between directories may leave both names, never none), and neither says anything about file data.
class SimDisk {
 public:
  using Path = std::filesystem::path;
  SimDisk();

  // The node as the running system sees it; null if there is none.
  [[nodiscard]] SimNode::Pointer find(const Path& path) const;
  // Where the directory is by now; nothing: nowhere.
  [[nodiscard]] std::optional<Path> path_of(const SimNode& directory) const;
  // The directory that holds `path`'s last name. NotFound, NotADirectory.
  [[nodiscard]] Result<SimNode::Pointer> parent_of(const Path& path) const;
  [[nodiscard]] SimNode::Pointer new_node(bool is_directory);

  // Each takes effect for the running system only if `visible`; otherwise it is only in flight: a crash may keep it.
  void write(SimNode& file, std::uint64_t offset, ByteView bytes, bool visible);
  void truncate(SimNode& file, std::uint64_t size, bool visible);
  void link(SimNode& directory, const std::string& name, const SimNode::Pointer& node, bool visible);
  void unlink(SimNode& directory, const std::string& name, bool visible);
  void rename(SimNode& from, const std::string& from_name, SimNode& to, const std::string& to_name, bool visible);

  void sync_file(SimNode& file);
  // What Linux does when an fdatasync fails: the running system still sees the data, no later sync will write it.
  void lose_unsynced(SimNode& file);
  void sync_directory(SimNode& directory);
  void unlock_all();
  // What was in flight never happened: the system goes on without a power loss.
  void drop_in_flight();
  // Power loss and restart.
  void crash(std::mt19937_64& random, CrashMode mode);
  // Everything as the running system sees it, durable, shared with nothing.
  [[nodiscard]] SimDisk settled_copy() const;

  // The file's content, which stays as it is when the file changes: until then everybody gets the same one.
  [[nodiscard]] static std::shared_ptr<const Bytes> share(SimNode& file);
  // Makes it the file's content, at once and durably.
  static void settle(SimNode& file, std::shared_ptr<const Bytes> content);

  [[nodiscard]] std::uint64_t used_bytes() const;
  [[nodiscard]] std::uint64_t used_files() const;  // directories too
  [[nodiscard]] const SimNode::Pointer& root() const { return root_; }

 private:
  void apply_prefix(SimNode& directory, std::size_t count);
  void crash_directories(std::mt19937_64& random, CrashMode mode);

  std::vector<std::weak_ptr<SimNode>> nodes_;  // all, in order of creation, so that a seed always means the same
  std::uint64_t next_move_ = 1;
  std::uint64_t last_number_ = 0;
  SimNode::Pointer root_;  // after nodes_, which knows it
};

}  // namespace vaultfs
