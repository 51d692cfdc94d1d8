#include "fs/mount/inode_routing.h"

#include <optional>
#include <set>

#include "base/thread/mutex.h"

namespace vaultfs {
namespace {

constexpr unsigned kInodeBits = 40;
constexpr std::uint64_t kPointFlag = 1ULL << 63U;
constexpr std::uint64_t kInodeMask = (1ULL << kInodeBits) - 1;
constexpr std::size_t kMaxOpenPoints = 64;  // a manifest takes memory in the size of its namespace

}  // namespace

std::uint64_t InodeRouting::point_inode_number(PointNumber point, InodeNumber inode) {
  return kPointFlag | (point.value << kInodeBits) | (inode.value & kInodeMask);
}

Result<InodeRouting::OpenPoint> InodeRouting::open_point(PointNumber number) {
  {
    const MutexLock lock(mutex_);
    const auto found = points_.find(number);
    if (found != points_.end()) {
      found->second.last_used = ++use_counter_;
      return found->second;
    }
  }
  const std::optional<PointInfo> point = engine_.vault().catalogue().point(number);
  if (!point.has_value()) return Error{ErrorCode::RecoveryPointNotFound, "the recovery point is not there any more"};
  OpenPoint opened;
  VAULTFS_ASSIGN_OR_RETURN(opened.tree, engine_.open_point(*point, opened.root));
  const MutexLock lock(mutex_);
  opened.last_used = ++use_counter_;
  while (points_.size() >= kMaxOpenPoints) {
    auto oldest = points_.begin();
    for (auto it = points_.begin(); it != points_.end(); ++it) {
      if (it->second.last_used < oldest->second.last_used) oldest = it;
    }
    points_.erase(oldest);
  }
  return points_.insert_or_assign(number, opened).first->second;
}

Result<InodeRouting::Route> InodeRouting::route(std::uint64_t number) {
  Route route;
  if ((number & kPointFlag) != 0) {
    route.kind = Kind::point;
    route.point = PointNumber((number & ~kPointFlag) >> kInodeBits);
    route.inode = InodeNumber(number & kInodeMask);
    VAULTFS_ASSIGN_OR_RETURN(const OpenPoint opened, open_point(route.point));
    route.tree = opened.tree;
    if (is_point_root(number)) route.inode = opened.root;
    return route;
  }
  if (number == kPointsDirectory) {
    route.kind = Kind::points_directory;
    return route;
  }
  if (number > kPointsDirectory) {
    const MutexLock lock(mutex_);
    const std::uint64_t index = number - kPointsDirectory - 1;
    if (index >= items_.size()) return Error{ErrorCode::NotFound, "no such item"};
    route.kind = Kind::item_points;
    route.item = items_[index];
    return route;
  }
  route.inode = InodeNumber(number);
  return route;
}

std::uint64_t InodeRouting::item_points_number(const std::string& item) {
  const MutexLock lock(mutex_);
  const auto [found, added] = item_numbers_.try_emplace(item, kPointsDirectory + 1 + items_.size());
  if (added) items_.push_back(item);
  return found->second;
}

std::vector<std::string> InodeRouting::items_with_points() {
  std::set<std::string> items;
  for (const PointInfo& point : engine_.vault().catalogue().points()) items.insert(point.item);
  return {items.begin(), items.end()};
}

std::vector<std::uint64_t> InodeRouting::all_inode_numbers() {
  std::vector<std::uint64_t> numbers;
  for (const InodeNumber inode : engine_.tree().inode_numbers()) numbers.push_back(inode.value);
  const MutexLock lock(mutex_);
  for (const auto& [point, opened] : points_) {
    for (const InodeNumber inode : opened.tree->inode_numbers()) numbers.push_back(point_inode_number(point, inode));
  }
  return numbers;
}

std::uint64_t InodeRouting::point_root_number(PointNumber point) { return point_inode_number(point, InodeNumber(0)); }

Result<std::uint64_t> InodeRouting::number_in_point(PointNumber point, InodeNumber inode) {
  VAULTFS_ASSIGN_OR_RETURN(const OpenPoint opened, open_point(point));
  return inode == opened.root ? point_root_number(point) : point_inode_number(point, inode);
}

bool InodeRouting::is_point_root(std::uint64_t number) {
  return (number & kPointFlag) != 0 && (number & kInodeMask) == 0;
}

}  // namespace vaultfs
