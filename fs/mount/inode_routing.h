#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "base/result.h"
#include "base/thread/mutex.h"
#include "fs/engine/vault_engine.h"

namespace vaultfs {

// Where an inode number of the mount leads. The mount shows several trees under one number space:
//   1 … 2^40-1                    the working tree, numbers as they are
//   2^62                          the directory .recovery-points
//   2^62 + n                      .recovery-points/ITEM, n given in the order of first look-up
//   2^63 + point·2^40 + inode     an inode of a recovery point; inode 0 is its root, whose number only the manifest has
// Numbers are stable for the life of the mount. Thread-safe.
class InodeRouting {
 public:
  static constexpr const char* kPointsName = ".recovery-points";
  static constexpr std::uint64_t kPointsDirectory = 1ULL << 62U;

  enum class Kind : std::uint8_t { working, points_directory, item_points, point };
  struct Route {
    Kind kind = Kind::working;
    InodeNumber inode;               // inside the tree it leads to
    std::string item;                // item_points
    PointNumber point;               // point
    std::shared_ptr<FileTree> tree;  // point
  };

  explicit InodeRouting(VaultEngine& engine) : engine_(engine) {}

  // NotFound for numbers that were never given out or whose point is gone.
  [[nodiscard]] Result<Route> route(std::uint64_t number);
  // The number of an item's directory of points; the item need not exist in the working tree any more.
  [[nodiscard]] std::uint64_t item_points_number(const std::string& item);
  // Items that have points, sorted.
  [[nodiscard]] std::vector<std::string> items_with_points();
  // Opens nothing: whether the point can be opened shows when somebody looks at it.
  [[nodiscard]] static std::uint64_t point_root_number(PointNumber point);
  // Of an inode that the point is known to have: the root's as point_root_number() gives it.
  [[nodiscard]] Result<std::uint64_t> number_in_point(PointNumber point, InodeNumber inode);
  [[nodiscard]] static bool is_point_root(std::uint64_t number);
  // Of everything in the working tree and in the points that are open.
  [[nodiscard]] std::vector<std::uint64_t> all_inode_numbers();
  [[nodiscard]] static std::uint64_t point_inode_number(PointNumber point, InodeNumber inode);

 private:
  struct OpenPoint {
    std::shared_ptr<FileTree> tree;
    InodeNumber root;
    std::uint64_t last_used = 0;
  };
  Result<OpenPoint> open_point(PointNumber number);

  VaultEngine& engine_;
  Mutex mutex_;  // not held while a point is being opened
  std::map<PointNumber, OpenPoint> points_ GUARDED_BY(mutex_);
  std::vector<std::string> items_ GUARDED_BY(mutex_);
  std::map<std::string, std::uint64_t> item_numbers_ GUARDED_BY(mutex_);
  std::uint64_t use_counter_ GUARDED_BY(mutex_) = 0;
};

}  // namespace vaultfs
