#include "fs/mount/fuse_request.h"

#include <spdlog/spdlog.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <string>
#include <vector>

namespace vaultfs {
namespace {

std::uint32_t type_bits(InodeType type) {
  switch (type) {
    case InodeType::file:
      return S_IFREG;
    case InodeType::directory:
      return S_IFDIR;
    case InodeType::symlink:
      return S_IFLNK;
    case InodeType::fifo:
      return S_IFIFO;
    case InodeType::socket:
      return S_IFSOCK;
    case InodeType::character_device:
      return S_IFCHR;
    case InodeType::block_device:
      return S_IFBLK;
  }
  return S_IFREG;
}

struct timespec timespec_of(UnixNanos time) {
  std::int64_t seconds = time.value / 1'000'000'000;
  std::int64_t nanos = time.value % 1'000'000'000;
  if (nanos < 0) {
    nanos += 1'000'000'000;
    --seconds;
  }
  struct timespec result {};
  result.tv_sec = seconds;
  result.tv_nsec = nanos;
  return result;
}

struct stat virtual_directory_stat(MountContext& context, fuse_ino_t number) {
  struct stat st {};
  st.st_ino = number;
  st.st_mode = S_IFDIR | 0555U;
  st.st_nlink = 2;
  st.st_uid = ::getuid();
  st.st_gid = ::getgid();
  st.st_blksize = 4096;
  const struct timespec created = timespec_of(context.engine.vault().header().created);
  st.st_atim = created;
  st.st_mtim = created;
  st.st_ctim = created;
  return st;
}

}  // namespace

void reply_error(fuse_req_t request, const Error& error) noexcept {
  try {
    if (is_integrity_error(error.code) || error.code == ErrorCode::Internal || error.code == ErrorCode::IoError) {
      spdlog::error("{}: {}", error_name(error.code), error.message);
    }
  } catch (...) {
    // A log that fails must not cost the caller its answer.
  }
  fuse_reply_err(request, error_errno(error.code));
}

Status sync_if_wanted(MountContext& context, InodeNumber inode) {
  return context.synchronous ? context.engine.tree().fsync(inode, 0) : ok_status();
}

Status drop_set_id(fuse_req_t request, MountContext& context, InodeNumber inode) {
  const auto in_group = [request](std::uint32_t gid) {
    if (fuse_req_ctx(request)->gid == gid) return true;
    constexpr int kMost = 65536;  // NGROUPS_MAX
    std::vector<gid_t> groups(64);
    int count = fuse_req_getgroups(request, static_cast<int>(groups.size()), groups.data());
    if (count > static_cast<int>(groups.size())) {
      groups.resize(static_cast<std::size_t>(std::min(count, kMost)));
      count = fuse_req_getgroups(request, static_cast<int>(groups.size()), groups.data());
    }
    if (count < 0) return false;  // gone, or not to be seen from here
    groups.resize(std::min(static_cast<std::size_t>(count), groups.size()));
    return std::ranges::find(groups, gid) != groups.end();
  };
  VAULTFS_ASSIGN_OR_RETURN(const bool dropped, context.engine.tree().drop_set_id(inode, in_group));
  constexpr off_t kAttributesOnly = -1;
  if (dropped) static_cast<void>(fuse_lowlevel_notify_inval_inode(context.fuse, inode.value, kAttributesOnly, 0));
  return ok_status();
}

void forget_number(MountContext& context, fuse_ino_t number, std::uint64_t count) {
  // Others are not counted: what the points hold stays, and the root too.
  if (number != FUSE_ROOT_ID && number < InodeRouting::kPointsDirectory) {
    context.engine.tree().forget(InodeNumber(number), count);
  }
}

Result<TreeInode> tree_inode(MountContext& context, fuse_ino_t number) {
  VAULTFS_ASSIGN_OR_RETURN(InodeRouting::Route route, context.routing.route(number));
  TreeInode result;
  switch (route.kind) {
    case InodeRouting::Kind::working:
      result.tree = &context.engine.tree();
      result.working = true;
      break;
    case InodeRouting::Kind::point:
      result.keep_alive = route.tree;
      result.tree = result.keep_alive.get();
      break;
    case InodeRouting::Kind::points_directory:
    case InodeRouting::Kind::item_points:
      return Error{ErrorCode::IsADirectory, "a directory of recovery points"};
  }
  result.inode = route.inode;
  return result;
}

Result<InodeNumber> writable_inode(MountContext& context, fuse_ino_t number) {
  VAULTFS_ASSIGN_OR_RETURN(const InodeRouting::Route route, context.routing.route(number));
  if (route.kind != InodeRouting::Kind::working) return Error{ErrorCode::ReadOnly, "recovery points never change"};
  if (context.read_only) return Error{ErrorCode::ReadOnly, "the mount is read-only"};
  return route.inode;
}

struct stat stat_of(const Attributes& attributes, fuse_ino_t number) {
  struct stat st {};
  st.st_ino = number;
  st.st_mode = type_bits(attributes.type) | attributes.mode;
  st.st_nlink = attributes.link_count;
  st.st_uid = attributes.uid;
  st.st_gid = attributes.gid;
  st.st_rdev = attributes.rdev;
  st.st_size = static_cast<off_t>(attributes.size);
  st.st_blksize = 1 << 20;  // what tools should write at once
  st.st_blocks = static_cast<blkcnt_t>((attributes.allocated_bytes + 511) / 512);
  st.st_atim = timespec_of(attributes.atime);
  st.st_mtim = timespec_of(attributes.mtime);
  st.st_ctim = timespec_of(attributes.ctime);
  return st;
}

KernelAttributes working_attributes(const MountContext& context, const Attributes& attributes) {
  KernelAttributes result{.stat = stat_of(attributes, attributes.number.value)};
  if (context.writeback_cache && attributes.open_for_writing) {
    // What the kernel has and we have not yet must not look like a hole to programs that go by st_blocks (tar): all of
    // the file counts, and some in any case, because we may not know its size either. What it takes shows when the last
    // writer has closed it.
    constexpr blkcnt_t kOnePage = 8;
    const auto whole = static_cast<blkcnt_t>((attributes.size + 511) / 512);
    result.stat.st_blocks = std::max({result.stat.st_blocks, whole, kOnePage});
    // Size and times are the kernel's own then. It asks before each write for what it does not know any more.
    result.attribute_seconds = kShortSeconds;
    result.entry_seconds = kKeptSeconds;
    return result;
  }
  const bool keeps = attributes.stored && attributes.number != kRootInode;
  result.attribute_seconds = keeps ? kKeptSeconds : kShortSeconds;
  result.entry_seconds = kKeptSeconds;
  return result;
}

Result<KernelAttributes> attributes_of_number(MountContext& context, fuse_ino_t number) {
  VAULTFS_ASSIGN_OR_RETURN(const InodeRouting::Route route, context.routing.route(number));
  switch (route.kind) {
    case InodeRouting::Kind::points_directory:
    case InodeRouting::Kind::item_points:
      return KernelAttributes{.stat = virtual_directory_stat(context, number)};
    case InodeRouting::Kind::working: {
      VAULTFS_ASSIGN_OR_RETURN(const Attributes attributes, context.engine.tree().attributes(route.inode));
      return working_attributes(context, attributes);
    }
    case InodeRouting::Kind::point: {
      // Modes as they were, so that a copy out of a point keeps them; what tries to write gets EROFS.
      VAULTFS_ASSIGN_OR_RETURN(const Attributes attributes, route.tree->attributes(route.inode));
      return KernelAttributes{.stat = stat_of(attributes, number),
                              .attribute_seconds = kKeptSeconds,
                              .entry_seconds = InodeRouting::is_point_root(number) ? kShortSeconds : kKeptSeconds};
    }
  }
  return Error{ErrorCode::Internal, "unknown route"};
}

fuse_entry_param entry_of(const KernelAttributes& attributes) {
  fuse_entry_param entry{};
  entry.ino = attributes.stat.st_ino;
  entry.attr = attributes.stat;
  entry.attr_timeout = attributes.attribute_seconds;
  entry.entry_timeout = attributes.entry_seconds;
  return entry;
}

fuse_ino_t child_number(const InodeRouting::Route& parent_route, InodeNumber child) {
  if (parent_route.kind == InodeRouting::Kind::point)
    return InodeRouting::point_inode_number(parent_route.point, child);
  return child.value;
}

}  // namespace vaultfs
