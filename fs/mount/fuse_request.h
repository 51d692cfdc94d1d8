#pragma once

#include <fuse_lowlevel.h>

#include <atomic>
#include <cerrno>
#include <exception>
#include <functional>
#include <memory>
#include <new>
#include <utility>

#include "base/files/file_descriptor.h"
#include "base/result.h"
#include "fs/engine/vault_engine.h"
#include "fs/mount/inode_routing.h"
#include "fs/mount/turn_queue.h"
#include "fs/tree/attributes.h"

namespace vaultfs {

// Seconds for which the kernel may keep what it was told. Names and attributes of the working tree change by the
// kernel's own requests, which it applies to what it keeps; what a backup run changes it is told of (EngineObserver).
// Shortly only what changes by itself: the blocks of a file while its data is being stored, and the list of recovery
// points. And the root's: whoever looks at the mount point is to notice that its daemon has died.
inline constexpr double kKeptSeconds = 3600.0;
inline constexpr double kShortSeconds = 1.0;

// What the FUSE entries work on: the userdata of the engine.
struct MountContext {
  VaultEngine& engine;
  InodeRouting& routing;
  bool read_only = false;
  bool writeback_cache = false;
  bool synchronous = false;
  FileDescriptor vault_directory;  // the one that was opened, whatever lies at its path by now
  std::function<void()> on_ready;
  std::unique_ptr<TurnQueue> turn_queue;  // for requests that may wait for the disk
  fuse_session* fuse = nullptr;
  std::atomic<bool> told_of_times = false;  // that one was clamped
};

[[nodiscard]] inline MountContext& context_of(fuse_req_t request) {
  return *static_cast<MountContext*>(fuse_req_userdata(request));
}

// The one place where errors become errno. Logs integrity errors by their name.
void reply_error(fuse_req_t request, const Error& error) noexcept;

// Runs one entry: `body` replies itself on success and returns an Error, without having replied, otherwise. Nothing is
// thrown out of it.
template <typename Body>
void serve(fuse_req_t request, Body&& body) noexcept {
  try {
    Status status = std::forward<Body>(body)(context_of(request));
    if (!status.ok()) reply_error(request, status.error());
  } catch (const std::bad_alloc&) {
    fuse_reply_err(request, ENOMEM);  // of this request; others, and this one tried again, may go through
  } catch (const std::exception& failure) {
    reply_error(request, Error{ErrorCode::Internal, failure.what()});
  }
}

// serve() for what may have to wait for the disk: at once or later, so `body` owns all that it needs.
template <typename Body>
void serve_in_turn(fuse_req_t request, Body body) noexcept {
  serve(request, [&](MountContext& context) -> Status {
    TurnQueue& turns = *context.turn_queue;
    if (!turns.enter() && turns.keep([request, body] { serve(request, body); }, 0)) return ok_status();
    serve(request, body);
    turns.leave();
    return ok_status();
  });
}

// After a change of `inode`, of its names or of a directory's: makes it durable where the mount is synchronous.
[[nodiscard]] Status sync_if_wanted(MountContext& context, InodeNumber inode);

// Before a change of content, or of the owner, by someone without CAP_FSETID: takes the set-id bits and tells the
// kernel, which would go on showing them.
[[nodiscard]] Status drop_set_id(fuse_req_t request, MountContext& context, InodeNumber inode);

// The kernel has not got the answer that told it of an inode, or has forgotten it.
void forget_number(MountContext& context, fuse_ino_t number, std::uint64_t count);

// Routes for reading: the tree and the inode in it. NotFound / IsADirectory for the virtual directories.
struct TreeInode {
  FileTree* tree = nullptr;
  InodeNumber inode;
  std::shared_ptr<FileTree> keep_alive;
  bool working = false;
};
[[nodiscard]] Result<TreeInode> tree_inode(MountContext& context, fuse_ino_t number);
// For changing: ReadOnly for anything but the working tree of a writable mount.
[[nodiscard]] Result<InodeNumber> writable_inode(MountContext& context, fuse_ino_t number);

// Attributes as the kernel gets them, and for how long it may keep them and the name that led there.
struct KernelAttributes {
  struct stat stat;
  double attribute_seconds = kShortSeconds;
  double entry_seconds = kShortSeconds;
};
[[nodiscard]] struct stat stat_of(const Attributes& attributes, fuse_ino_t number);
[[nodiscard]] KernelAttributes working_attributes(const MountContext& context, const Attributes& attributes);
// Attributes of any number, the virtual directories included.
[[nodiscard]] Result<KernelAttributes> attributes_of_number(MountContext& context, fuse_ino_t number);
[[nodiscard]] fuse_entry_param entry_of(const KernelAttributes& attributes);

// The number that the mount shows for an inode found below `parent`.
[[nodiscard]] fuse_ino_t child_number(const InodeRouting::Route& parent_route, InodeNumber child);

// Entries of the low-level operations, by room of the table.
void register_namespace_operations(fuse_lowlevel_ops& operations);
void register_directory_operations(fuse_lowlevel_ops& operations);
void register_content_operations(fuse_lowlevel_ops& operations);
void register_xattr_operations(fuse_lowlevel_ops& operations);

}  // namespace vaultfs
