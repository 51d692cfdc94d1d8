// Names and attributes: lookup, getattr, setattr and everything that makes, moves or removes a name.

#include <fcntl.h>
#include <sys/stat.h>

#include <optional>
#include <span>
#include <string>

#include "base/files/file_time.h"
#include "fs/mount/fuse_request.h"
#include "fs/mount/kernel_channel.h"

namespace vaultfs {
namespace {

Creator creator_of(fuse_req_t request) {
  const fuse_ctx* context = fuse_req_ctx(request);
  return {context->uid, context->gid, context->umask};
}

Result<InodeType> type_of_mode(mode_t mode) {
  switch (mode & S_IFMT) {
    case 0:
    case S_IFREG:
      return InodeType::file;
    case S_IFIFO:
      return InodeType::fifo;
    case S_IFSOCK:
      return InodeType::socket;
    case S_IFCHR:
      return InodeType::character_device;
    case S_IFBLK:
      return InodeType::block_device;
    default:
      return Error{ErrorCode::NotSupported, "this kind of file can't be kept"};
  }
}

// Each answer with an inode in it counts one reference of the kernel.
Status reply_new_entry(fuse_req_t request, MountContext& context, const Attributes& attributes) {
  VAULTFS_RETURN_IF_ERROR(sync_if_wanted(context, attributes.number));
  const fuse_entry_param entry = entry_of(working_attributes(context, attributes));
  // If it is gone by now, the kernel will be told so when it asks.
  static_cast<void>(context.engine.tree().remember(attributes.number));
  if (fuse_reply_entry(request, &entry) != 0) forget_number(context, entry.ino, 1);
  return ok_status();
}

// The directory in which a directory of the mount is, as the mount shows it.
Result<fuse_ino_t> number_above(MountContext& context, fuse_ino_t number) {
  VAULTFS_ASSIGN_OR_RETURN(const InodeRouting::Route route, context.routing.route(number));
  switch (route.kind) {
    case InodeRouting::Kind::points_directory:
      return fuse_ino_t{FUSE_ROOT_ID};
    case InodeRouting::Kind::item_points:
      return fuse_ino_t{InodeRouting::kPointsDirectory};
    case InodeRouting::Kind::point: {
      if (InodeRouting::is_point_root(number)) {
        const std::optional<PointInfo> point = context.engine.vault().catalogue().point(route.point);
        if (!point.has_value()) return Error{ErrorCode::NotFound, "no such recovery point"};
        return context.routing.item_points_number(point->item);
      }
      VAULTFS_ASSIGN_OR_RETURN(const InodeNumber parent, route.tree->parent(route.inode));
      return context.routing.number_in_point(route.point, parent);
    }
    case InodeRouting::Kind::working: {
      VAULTFS_ASSIGN_OR_RETURN(const InodeNumber parent, context.engine.tree().parent(route.inode));
      return fuse_ino_t{parent.value};
    }
  }
  return Error{ErrorCode::Internal, "unknown route"};
}

// "." and "..": asked for where the kernel has a handle (NFS, open_by_handle_at) and has forgotten the inode. Numbers
// of files outlast a mount and are never used again, so their handles do, too.
Result<KernelAttributes> lookup_by_number(MountContext& context, fuse_ino_t number, bool above) {
  if (above) {
    VAULTFS_ASSIGN_OR_RETURN(number, number_above(context, number));
  }
  VAULTFS_ASSIGN_OR_RETURN(const InodeRouting::Route route, context.routing.route(number));
  const bool counted = route.kind == InodeRouting::Kind::working && number != FUSE_ROOT_ID;
  if (counted && !context.engine.tree().remember(route.inode)) return Error{ErrorCode::NotFound, "the file is gone"};
  return attributes_of_number(context, number);
}

// Counts a reference, if it is an inode of the working tree.
Result<KernelAttributes> lookup_attributes(MountContext& context, fuse_ino_t parent, const std::string& name) {
  if (name == "." || name == "..") return lookup_by_number(context, parent, name == "..");
  if (parent == FUSE_ROOT_ID && name == InodeRouting::kPointsName)
    return attributes_of_number(context, InodeRouting::kPointsDirectory);
  VAULTFS_ASSIGN_OR_RETURN(const InodeRouting::Route route, context.routing.route(parent));
  switch (route.kind) {
    case InodeRouting::Kind::points_directory: {
      for (const std::string& item : context.routing.items_with_points()) {
        if (item == name) return attributes_of_number(context, context.routing.item_points_number(item));
      }
      return Error{ErrorCode::NotFound, "no such item"};
    }
    case InodeRouting::Kind::item_points: {
      const Result<PointInfo> point = context.engine.vault().catalogue().find_point(route.item, name);
      if (!point.ok() || point->id() != name) return Error{ErrorCode::NotFound, "no such recovery point"};
      return attributes_of_number(context, InodeRouting::point_root_number(point->number));
    }
    case InodeRouting::Kind::point: {
      VAULTFS_ASSIGN_OR_RETURN(const Attributes found, route.tree->lookup(route.inode, name));
      return attributes_of_number(context, child_number(route, found.number));
    }
    case InodeRouting::Kind::working: {
      VAULTFS_ASSIGN_OR_RETURN(const Attributes found, context.engine.tree().lookup_known(route.inode, name));
      return working_attributes(context, found);
    }
  }
  return Error{ErrorCode::Internal, "unknown route"};
}

void lookup(fuse_req_t request, fuse_ino_t parent, const char* name) {
  serve(request, [&](MountContext& context) -> Status {
    auto found = lookup_attributes(context, parent, name);
    if (!found.ok()) return std::move(found).error();
    const fuse_entry_param entry = entry_of(found.value());
    if (fuse_reply_entry(request, &entry) != 0) forget_number(context, entry.ino, 1);
    return ok_status();
  });
}

void getattr(fuse_req_t request, fuse_ino_t number, fuse_file_info* /*file*/) {
  serve(request, [&](MountContext& context) -> Status {
    VAULTFS_ASSIGN_OR_RETURN(const KernelAttributes attributes, attributes_of_number(context, number));
    fuse_reply_attr(request, &attributes.stat, attributes.attribute_seconds);
    return ok_status();
  });
}

AttributeChange change_of(MountContext& context, const struct stat& wanted, int what) {
  const auto flags = static_cast<unsigned>(what);
  const UnixNanos now = context.engine.vault().env().clock().now();
  const auto nanos_of = [&context](const struct timespec& time) {
    const FileTime kept = file_time_of(time);
    if (kept.clamped && !context.told_of_times.exchange(true)) {
      context.engine.vault().tell(
          "a time before 1677 or after 2262 was set: the nearest that a vault keeps was taken (told once)");
    }
    return kept.time;
  };
  AttributeChange change;
  if ((flags & FUSE_SET_ATTR_MODE) != 0) change.mode = wanted.st_mode & 07777U;
  if ((flags & FUSE_SET_ATTR_UID) != 0) change.uid = wanted.st_uid;
  if ((flags & FUSE_SET_ATTR_GID) != 0) change.gid = wanted.st_gid;
  if ((flags & FUSE_SET_ATTR_ATIME_NOW) != 0) {
    change.atime = now;
  } else if ((flags & FUSE_SET_ATTR_ATIME) != 0) {
    change.atime = nanos_of(wanted.st_atim);
  }
  if ((flags & FUSE_SET_ATTR_CTIME) != 0) change.ctime = nanos_of(wanted.st_ctim);
  if ((flags & FUSE_SET_ATTR_MTIME_NOW) != 0) {
    change.mtime = now;
  } else if ((flags & FUSE_SET_ATTR_MTIME) != 0) {
    change.mtime = nanos_of(wanted.st_mtim);
  }
  return change;
}

void setattr(fuse_req_t request, fuse_ino_t number, struct stat* wanted, int what, fuse_file_info* /*file*/) {
  serve(request, [&](MountContext& context) -> Status {
    VAULTFS_ASSIGN_OR_RETURN(const InodeNumber inode, writable_inode(context, number));
    // With a new owner the kernel says so in any case; what goes at a privileged caller's word, the tree knows.
    const bool cuts = (static_cast<unsigned>(what) & FUSE_SET_ATTR_SIZE) != 0;
    if (request_drops_set_id() && (cuts || fuse_req_ctx(request)->uid != 0))
      VAULTFS_RETURN_IF_ERROR(drop_set_id(request, context, inode));
    if ((static_cast<unsigned>(what) & FUSE_SET_ATTR_SIZE) != 0) {
      if (wanted->st_size < 0) return Error{ErrorCode::InvalidArgument, "negative size"};
      VAULTFS_RETURN_IF_ERROR(context.engine.tree().truncate(inode, static_cast<std::uint64_t>(wanted->st_size)));
    }
    const AttributeChange change = change_of(context, *wanted, what);
    VAULTFS_ASSIGN_OR_RETURN(const Attributes attributes, context.engine.tree().set_attributes(inode, change));
    VAULTFS_RETURN_IF_ERROR(sync_if_wanted(context, inode));
    const KernelAttributes answer = working_attributes(context, attributes);
    fuse_reply_attr(request, &answer.stat, answer.attribute_seconds);
    return ok_status();
  });
}

void readlink(fuse_req_t request, fuse_ino_t number) {
  serve(request, [&](MountContext& context) -> Status {
    VAULTFS_ASSIGN_OR_RETURN(const TreeInode inode, tree_inode(context, number));
    VAULTFS_ASSIGN_OR_RETURN(const std::string target, inode.tree->read_link(inode.inode));
    fuse_reply_readlink(request, target.c_str());
    return ok_status();
  });
}

void mknod(fuse_req_t request, fuse_ino_t parent, const char* name, mode_t mode, dev_t rdev) {
  serve(request, [&](MountContext& context) -> Status {
    VAULTFS_ASSIGN_OR_RETURN(const InodeNumber directory, writable_inode(context, parent));
    VAULTFS_ASSIGN_OR_RETURN(const InodeType type, type_of_mode(mode));
    VAULTFS_ASSIGN_OR_RETURN(
        const Attributes made,
        context.engine.tree().make_node(directory, name, type, mode & 07777U, rdev, creator_of(request)));
    return reply_new_entry(request, context, made);
  });
}

void mkdir(fuse_req_t request, fuse_ino_t parent, const char* name, mode_t mode) {
  serve(request, [&](MountContext& context) -> Status {
    VAULTFS_ASSIGN_OR_RETURN(const InodeNumber directory, writable_inode(context, parent));
    VAULTFS_ASSIGN_OR_RETURN(const Attributes made,
                             context.engine.tree().make_directory(directory, name, mode & 07777U, creator_of(request)));
    return reply_new_entry(request, context, made);
  });
}

void symlink(fuse_req_t request, const char* target, fuse_ino_t parent, const char* name) {
  serve(request, [&](MountContext& context) -> Status {
    VAULTFS_ASSIGN_OR_RETURN(const InodeNumber directory, writable_inode(context, parent));
    VAULTFS_ASSIGN_OR_RETURN(const Attributes made,
                             context.engine.tree().make_symlink(directory, name, target, creator_of(request)));
    return reply_new_entry(request, context, made);
  });
}

void link(fuse_req_t request, fuse_ino_t number, fuse_ino_t new_parent, const char* new_name) {
  serve(request, [&](MountContext& context) -> Status {
    VAULTFS_ASSIGN_OR_RETURN(const InodeNumber inode, writable_inode(context, number));
    VAULTFS_ASSIGN_OR_RETURN(const InodeNumber directory, writable_inode(context, new_parent));
    VAULTFS_ASSIGN_OR_RETURN(const Attributes linked, context.engine.tree().make_link(inode, directory, new_name));
    return reply_new_entry(request, context, linked);
  });
}

void unlink(fuse_req_t request, fuse_ino_t parent, const char* name) {
  serve(request, [&](MountContext& context) -> Status {
    VAULTFS_ASSIGN_OR_RETURN(const InodeNumber directory, writable_inode(context, parent));
    VAULTFS_RETURN_IF_ERROR(context.engine.tree().unlink(directory, name));
    VAULTFS_RETURN_IF_ERROR(sync_if_wanted(context, directory));
    fuse_reply_err(request, 0);
    return ok_status();
  });
}

void rmdir(fuse_req_t request, fuse_ino_t parent, const char* name) {
  serve(request, [&](MountContext& context) -> Status {
    VAULTFS_ASSIGN_OR_RETURN(const InodeNumber directory, writable_inode(context, parent));
    VAULTFS_RETURN_IF_ERROR(context.engine.tree().remove_directory(directory, name));
    VAULTFS_RETURN_IF_ERROR(sync_if_wanted(context, directory));
    fuse_reply_err(request, 0);
    return ok_status();
  });
}

void rename(fuse_req_t request, fuse_ino_t parent, const char* name, fuse_ino_t new_parent, const char* new_name,
            unsigned flags) {
  // Replacing a file waits for the data of the new one.
  serve_in_turn(request,
                [=, old_text = std::string(name), new_text = std::string(new_name)](MountContext& context) -> Status {
                  VAULTFS_ASSIGN_OR_RETURN(const InodeNumber from, writable_inode(context, parent));
                  VAULTFS_ASSIGN_OR_RETURN(const InodeNumber to, writable_inode(context, new_parent));
                  WorkingTree::RenameMode mode = WorkingTree::RenameMode::replace;
                  if (flags == RENAME_NOREPLACE) {
                    mode = WorkingTree::RenameMode::no_replace;
                  } else if (flags == RENAME_EXCHANGE) {
                    mode = WorkingTree::RenameMode::exchange;
                  } else if (flags != 0) {
                    return Error{ErrorCode::InvalidArgument, "unknown rename flags"};
                  }
                  VAULTFS_RETURN_IF_ERROR(context.engine.tree().rename(from, old_text, to, new_text, mode));
                  VAULTFS_RETURN_IF_ERROR(sync_if_wanted(context, to));
                  fuse_reply_err(request, 0);
                  return ok_status();
                });
}

void access(fuse_req_t request, fuse_ino_t number, int mask) {
  serve(request, [&](MountContext& context) -> Status {
    // The kernel checks permissions (default_permissions); what is left is whether it is there and may be written at
    // all.
    if ((static_cast<unsigned>(mask) & static_cast<unsigned>(W_OK)) != 0) {
      VAULTFS_RETURN_IF_ERROR(writable_inode(context, number));
    } else {
      VAULTFS_RETURN_IF_ERROR(attributes_of_number(context, number));
    }
    fuse_reply_err(request, 0);
    return ok_status();
  });
}

void forget(fuse_req_t request, fuse_ino_t number, std::uint64_t count) {
  forget_number(context_of(request), number, count);
  fuse_reply_none(request);
}

void forget_multi(fuse_req_t request, size_t count, fuse_forget_data* forgets) {
  for (const fuse_forget_data& each : std::span(forgets, count)) {
    forget_number(context_of(request), each.ino, each.nlookup);
  }
  fuse_reply_none(request);
}

}  // namespace

void register_namespace_operations(fuse_lowlevel_ops& operations) {
  operations.lookup = lookup;
  operations.forget = forget;
  operations.forget_multi = forget_multi;
  operations.getattr = getattr;
  operations.setattr = setattr;
  operations.readlink = readlink;
  operations.mknod = mknod;
  operations.mkdir = mkdir;
  operations.symlink = symlink;
  operations.link = link;
  operations.unlink = unlink;
  operations.rmdir = rmdir;
  operations.rename = rename;
  operations.access = access;
}

}  // namespace vaultfs
