// Extended attributes. The kernel checks who may touch which name space, and enforces the ACLs among them.

#include <sys/xattr.h>

#include <cerrno>
#include <cstdio>
#include <string>

#include "fs/mount/fuse_request.h"
#include "fs/mount/kernel_channel.h"

namespace vaultfs {
namespace {

// Answers as getxattr(2) and listxattr(2) do: a size of zero asks for the size.
void reply_value(fuse_req_t request, ByteView value, std::size_t room) {
  if (room == 0) {
    fuse_reply_xattr(request, value.size());
  } else if (value.size() > room) {
    fuse_reply_err(request, ERANGE);
  } else {
    fuse_reply_buf(request, reinterpret_cast<const char*>(value.data()), value.size());
  }
}

void setxattr(fuse_req_t request, fuse_ino_t number, const char* name, const char* value, size_t size, int flags) {
  serve(request, [&](MountContext& context) -> Status {
    const bool drops_set_gid = request_drops_set_gid();
    VAULTFS_ASSIGN_OR_RETURN(const InodeNumber inode, writable_inode(context, number));
    WorkingTree::ExtendedMode mode = WorkingTree::ExtendedMode::set;
    if (flags == XATTR_CREATE) {
      mode = WorkingTree::ExtendedMode::create;
    } else if (flags == XATTR_REPLACE) {
      mode = WorkingTree::ExtendedMode::replace;
    } else if (flags != 0) {
      return Error{ErrorCode::InvalidArgument, "unknown flags"};
    }
    VAULTFS_RETURN_IF_ERROR(
        context.engine.tree().set_extended(inode, name, std::as_bytes(std::span(value, size)), mode, drops_set_gid));
    VAULTFS_RETURN_IF_ERROR(sync_if_wanted(context, inode));
    fuse_reply_err(request, 0);
    return ok_status();
  });
}

void getxattr(fuse_req_t request, fuse_ino_t number, const char* name, size_t size) {
  serve(request, [&](MountContext& context) -> Status {
    auto inode = tree_inode(context, number);
    // The directories of recovery points have none.
    if (!inode.ok() && inode.code() == ErrorCode::IsADirectory) return Error{ErrorCode::NoData, "no attributes"};
    VAULTFS_RETURN_IF_ERROR(inode);
    VAULTFS_ASSIGN_OR_RETURN(const Bytes value, inode->tree->extended_attribute(inode->inode, name));
    reply_value(request, value, size);
    return ok_status();
  });
}

void listxattr(fuse_req_t request, fuse_ino_t number, size_t size) {
  serve(request, [&](MountContext& context) -> Status {
    std::string list;
    auto inode = tree_inode(context, number);
    if (inode.ok()) {
      VAULTFS_ASSIGN_OR_RETURN(const std::vector<std::string> names, inode->tree->extended_names(inode->inode));
      const bool privileged = fuse_req_ctx(request)->uid == 0;
      for (const std::string& name : names) {
        // As on other file systems: who may not read a trusted attribute does not see it either.
        if (name.starts_with("trusted.") && !privileged) continue;
        list.append(name).push_back('\0');
      }
    } else if (inode.code() != ErrorCode::IsADirectory) {
      return std::move(inode).error();
    }
    reply_value(request, bytes_of(list), size);
    return ok_status();
  });
}

void removexattr(fuse_req_t request, fuse_ino_t number, const char* name) {
  serve(request, [&](MountContext& context) -> Status {
    VAULTFS_ASSIGN_OR_RETURN(const InodeNumber inode, writable_inode(context, number));
    VAULTFS_RETURN_IF_ERROR(context.engine.tree().remove_extended(inode, name));
    VAULTFS_RETURN_IF_ERROR(sync_if_wanted(context, inode));
    fuse_reply_err(request, 0);
    return ok_status();
  });
}

}  // namespace

void register_xattr_operations(fuse_lowlevel_ops& operations) {
  operations.setxattr = setxattr;
  operations.getxattr = getxattr;
  operations.listxattr = listxattr;
  operations.removexattr = removexattr;
}

}  // namespace vaultfs
