// Opening, reading and writing files.

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <memory>

#include "crypto/memory/plaintext_memory.h"
#include "fs/content/space_guard.h"
#include "fs/mount/fuse_request.h"
#include "fs/mount/kernel_channel.h"

namespace vaultfs {
namespace {

bool opened_for_writing(int flags) { return (static_cast<unsigned>(flags) & O_ACCMODE) != O_RDONLY; }
bool has_flag(int flags, unsigned flag) { return (static_cast<unsigned>(flags) & flag) != 0; }

void set_caching(const MountContext& context, fuse_file_info& file) {
  // Direct I/O moves 1 MiB at a time without a pass through the page cache; with cache=writeback the kernel gathers
  // small writes.
  file.direct_io = context.writeback_cache ? 0 : 1;
  file.keep_cache = 0;
  file.nonseekable = 0;
  // Closing tells of late errors of writes; a reader has none.
  file.noflush = opened_for_writing(file.flags) ? 0 : 1;
  if (!context.writeback_cache) allow_parallel_writes();
}

// Before a change of content by someone whom the kernel does not name as privileged in the request itself.
Status drop_set_id_of_caller(fuse_req_t request, MountContext& context, InodeNumber inode) {
  return fuse_req_ctx(request)->uid == 0 ? ok_status() : drop_set_id(request, context, inode);
}

void open(fuse_req_t request, fuse_ino_t number, fuse_file_info* file) {
  serve(request, [&](MountContext& context) -> Status {
    const bool writing = opened_for_writing(file->flags);
    VAULTFS_ASSIGN_OR_RETURN(const TreeInode inode, tree_inode(context, number));
    if (writing) VAULTFS_RETURN_IF_ERROR(writable_inode(context, number));
    file->fh = 0;
    if (inode.working) {
      // The kernel's writeback reads pages of files opened for writing only, so nothing else has to be asked for.
      VAULTFS_ASSIGN_OR_RETURN(file->fh, context.engine.tree().open(inode.inode, writing));
    }
    if (has_flag(file->flags, O_TRUNC) && writing) {
      Status truncated = request_drops_set_id() ? drop_set_id(request, context, inode.inode) : ok_status();
      if (truncated.ok()) truncated = context.engine.tree().truncate(inode.inode, 0);
      if (truncated.ok()) truncated = sync_if_wanted(context, inode.inode);
      if (!truncated.ok()) {
        context.engine.tree().release(file->fh);
        return truncated;
      }
    }
    set_caching(context, *file);
    if (writing && context.writeback_cache) {
      // The kernel may know for long how many blocks it takes: see working_attributes().
      constexpr off_t kAttributesOnly = -1;
      static_cast<void>(fuse_lowlevel_notify_inval_inode(context.fuse, number, kAttributesOnly, 0));
    }
    if (fuse_reply_open(request, file) != 0 && file->fh != 0) context.engine.tree().release(file->fh);
    return ok_status();
  });
}

void create(fuse_req_t request, fuse_ino_t parent, const char* name, mode_t mode, fuse_file_info* file) {
  serve(request, [&](MountContext& context) -> Status {
    WorkingTree& tree = context.engine.tree();
    VAULTFS_ASSIGN_OR_RETURN(const InodeNumber directory, writable_inode(context, parent));
    const fuse_ctx* caller = fuse_req_ctx(request);
    const Creator creator{caller->uid, caller->gid, caller->umask};
    Attributes made;
    if (has_flag(file->flags, O_TMPFILE & ~O_DIRECTORY)) {
      VAULTFS_ASSIGN_OR_RETURN(const WorkingTree::UnnamedFile unnamed,
                               tree.make_unnamed(directory, mode & 07777U, creator));
      made = unnamed.attributes;
      file->fh = unnamed.handle;
    } else {
      VAULTFS_ASSIGN_OR_RETURN(made, tree.make_node(directory, name, InodeType::file, mode & 07777U, 0, creator));
      VAULTFS_ASSIGN_OR_RETURN(file->fh, tree.open(made.number, opened_for_writing(file->flags)));
    }
    VAULTFS_RETURN_IF_ERROR(sync_if_wanted(context, made.number));
    set_caching(context, *file);
    made.open_for_writing = opened_for_writing(file->flags);
    const fuse_entry_param entry = entry_of(working_attributes(context, made));
    static_cast<void>(tree.remember(made.number));
    if (fuse_reply_create(request, &entry, file) != 0) {
      tree.release(file->fh);
      tree.forget(made.number, 1);
    }
    return ok_status();
  });
}

void read(fuse_req_t request, fuse_ino_t number, size_t size, off_t offset, fuse_file_info* /*file*/) {
  serve(request, [&](MountContext& context) -> Status {
    VAULTFS_ASSIGN_OR_RETURN(const TreeInode inode, tree_inode(context, number));
    // Kept by the thread: a fresh megabyte per request would cost more in page faults than the decryption.
    thread_local PlaintextScratch scratch;
    const PlaintextScratch::Use buffer = scratch.use(size);
    VAULTFS_ASSIGN_OR_RETURN(const std::size_t got,
                             inode.tree->read(inode.inode, static_cast<std::uint64_t>(offset), buffer.bytes()));
    fuse_reply_buf(request, reinterpret_cast<const char*>(buffer.bytes().data()), got);
    return ok_status();
  });
}

struct WriteRequest {
  fuse_ino_t number;
  off_t offset;
  fuse_file_info file;
  bool drops_set_id;
};

Status write_now(fuse_req_t request, MountContext& context, const WriteRequest& wanted, ByteView bytes) {
  WorkingTree& tree = context.engine.tree();
  const fuse_file_info& file = wanted.file;
  VAULTFS_ASSIGN_OR_RETURN(const InodeNumber inode, writable_inode(context, wanted.number));
  if (wanted.drops_set_id) VAULTFS_RETURN_IF_ERROR(drop_set_id(request, context, inode));
  // With the writeback cache the kernel has resolved the position of an append already.
  if (has_flag(file.flags, O_APPEND) && !context.writeback_cache) {
    VAULTFS_RETURN_IF_ERROR(tree.append(inode, file.fh, bytes));
  } else {
    VAULTFS_RETURN_IF_ERROR(tree.write(inode, file.fh, static_cast<std::uint64_t>(wanted.offset), bytes));
  }
  // Direct I/O brings O_SYNC and O_DSYNC with the write only; no fsync follows.
  if (has_flag(file.flags, O_DSYNC) || context.synchronous) VAULTFS_RETURN_IF_ERROR(tree.fsync(inode, file.fh));
  fuse_reply_write(request, bytes.size());
  return ok_status();
}

void write(fuse_req_t request, fuse_ino_t number, const char* data, size_t size, off_t offset, fuse_file_info* file) {
  // serve_in_turn() with a copy of the bytes only where one is needed: they lie in the thread's memory.
  serve(request, [&](MountContext& context) -> Status {
    const WriteRequest wanted{number, offset, *file, request_drops_set_id()};
    const ByteView bytes = std::as_bytes(std::span(data, size));
    TurnQueue& turns = *context.turn_queue;
    if (!turns.enter()) {
      const auto kept = std::make_shared<const Bytes>(to_bytes(bytes));
      const auto later = [request, wanted, kept](MountContext& c) { return write_now(request, c, wanted, *kept); };
      if (turns.keep([request, later] { serve(request, later); }, size)) return ok_status();
    }
    serve(request, [&](MountContext& c) { return write_now(request, c, wanted, bytes); });
    turns.leave();
    return ok_status();
  });
}

void flush(fuse_req_t request, fuse_ino_t /*number*/, fuse_file_info* file) {
  serve(request, [&](MountContext& context) -> Status {
    if (file->fh != 0) VAULTFS_RETURN_IF_ERROR(context.engine.tree().take_error(file->fh));
    fuse_reply_err(request, 0);
    return ok_status();
  });
}

void release(fuse_req_t request, fuse_ino_t /*number*/, fuse_file_info* file) {
  serve(request, [&](MountContext& context) -> Status {
    if (file->fh != 0) context.engine.tree().release(file->fh);
    fuse_reply_err(request, 0);
    return ok_status();
  });
}

void fsync(fuse_req_t request, fuse_ino_t number, int /*datasync*/, fuse_file_info* file) {
  const std::uint64_t handle = file == nullptr ? 0 : file->fh;
  serve_in_turn(request, [request, number, handle](MountContext& context) -> Status {
    VAULTFS_ASSIGN_OR_RETURN(const TreeInode inode, tree_inode(context, number));
    if (inode.working && !context.read_only) {
      VAULTFS_RETURN_IF_ERROR(context.engine.tree().fsync(inode.inode, handle));
    }
    fuse_reply_err(request, 0);
    return ok_status();
  });
}

void fallocate(fuse_req_t request, fuse_ino_t number, int mode, off_t offset, off_t length, fuse_file_info* /*file*/) {
  serve_in_turn(request, [=](MountContext& context) -> Status {
    VAULTFS_ASSIGN_OR_RETURN(const InodeNumber inode, writable_inode(context, number));
    WorkingTree::FallocateMode wanted = WorkingTree::FallocateMode::allocate;
    switch (static_cast<unsigned>(mode)) {
      case 0:
        break;
      case FALLOC_FL_KEEP_SIZE:
        wanted = WorkingTree::FallocateMode::allocate_keep_size;
        break;
      case FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE:
        wanted = WorkingTree::FallocateMode::punch_hole;
        break;
      case FALLOC_FL_ZERO_RANGE:
        wanted = WorkingTree::FallocateMode::zero_range;
        break;
      case FALLOC_FL_ZERO_RANGE | FALLOC_FL_KEEP_SIZE:
        wanted = WorkingTree::FallocateMode::zero_range_keep_size;
        break;
      default:
        return Error{ErrorCode::NotSupported, "this mode of fallocate is not supported"};
    }
    VAULTFS_RETURN_IF_ERROR(drop_set_id_of_caller(request, context, inode));
    VAULTFS_RETURN_IF_ERROR(context.engine.tree().fallocate(inode, wanted, static_cast<std::uint64_t>(offset),
                                                            static_cast<std::uint64_t>(length)));
    VAULTFS_RETURN_IF_ERROR(sync_if_wanted(context, inode));
    fuse_reply_err(request, 0);
    return ok_status();
  });
}

void lseek(fuse_req_t request, fuse_ino_t number, off_t offset, int whence, fuse_file_info* /*file*/) {
  serve(request, [&](MountContext& context) -> Status {
    if (context.writeback_cache) {
      // The kernel asks without writing its dirty pages back first, so that new data could look like a hole. Without an
      // answer it takes all for data.
      fuse_reply_err(request, ENOSYS);
      return ok_status();
    }
    VAULTFS_ASSIGN_OR_RETURN(const TreeInode inode, tree_inode(context, number));
    if (offset < 0) return Error{ErrorCode::OutOfRange, "negative offset"};
    const auto from = static_cast<std::uint64_t>(offset);
    std::uint64_t found = 0;
    if (whence == SEEK_DATA) {
      VAULTFS_ASSIGN_OR_RETURN(found, inode.tree->seek_data(inode.inode, from));
    } else if (whence == SEEK_HOLE) {
      VAULTFS_ASSIGN_OR_RETURN(found, inode.tree->seek_hole(inode.inode, from));
    } else {
      return Error{ErrorCode::InvalidArgument, "unknown whence"};
    }
    fuse_reply_lseek(request, static_cast<off_t>(found));
    return ok_status();
  });
}

void copy_file_range(fuse_req_t request, fuse_ino_t in, off_t offset_in, fuse_file_info* /*file_in*/, fuse_ino_t out,
                     off_t offset_out, fuse_file_info* file_out, size_t length, int flags) {
  const std::uint64_t handle = file_out->fh;
  serve_in_turn(request, [=](MountContext& context) -> Status {
    VAULTFS_ASSIGN_OR_RETURN(const TreeInode source, tree_inode(context, in));
    VAULTFS_ASSIGN_OR_RETURN(const InodeNumber target, writable_inode(context, out));
    if (flags != 0 || offset_in < 0 || offset_out < 0) return Error{ErrorCode::InvalidArgument, "unknown flags"};
    VAULTFS_RETURN_IF_ERROR(drop_set_id_of_caller(request, context, target));
    // The answer has 32 bits for the length.
    constexpr std::uint64_t kMost = 1ULL << 30;
    VAULTFS_ASSIGN_OR_RETURN(
        const std::uint64_t copied,
        context.engine.tree().copy_range(*source.tree, {source.inode, static_cast<std::uint64_t>(offset_in)},
                                         {target, static_cast<std::uint64_t>(offset_out)}, handle,
                                         std::min<std::uint64_t>(length, kMost)));
    VAULTFS_RETURN_IF_ERROR(sync_if_wanted(context, target));
    fuse_reply_write(request, copied);
    return ok_status();
  });
}

void ioctl(fuse_req_t request, fuse_ino_t /*number*/, unsigned /*command*/, void* /*argument*/,
           fuse_file_info* /*file*/, unsigned /*flags*/, const void* /*in*/, size_t /*in_size*/, size_t /*out_size*/) {
  fuse_reply_err(request, ENOTTY);
}

void statfs(fuse_req_t request, fuse_ino_t /*number*/) {
  serve(request, [&](MountContext& context) -> Status {
    struct statvfs below {};
    if (::fstatvfs(context.vault_directory.get(), &below) != 0)
      return Error{error_from_errno(errno), "cannot ask for the free space"};
    constexpr std::uint64_t kBlock = 4096;
    const WorkingTree::Statistics statistics = context.engine.tree().statistics();
    Vault& vault = context.engine.vault();
    VAULTFS_ASSIGN_OR_RETURN(const FreeSpace free, vault.env().free_space(vault.path()));
    const std::uint64_t available = usable_bytes(free, vault.space_reserve());
    const std::uint64_t kept = statistics.dirty_bytes + statistics.set_aside_bytes;
    // As much as fallocate gives: whole chunks, with what each takes besides its content.
    const std::uint64_t usable =
        available > kept ? (available - kept) / WorkingTree::kStoredChunkBytes * kChunkBytes : 0;
    struct statvfs st {};
    st.f_bsize = kBlock;
    st.f_frsize = kBlock;
    st.f_blocks = static_cast<std::uint64_t>(below.f_blocks) * below.f_frsize / kBlock;
    st.f_bfree = usable / kBlock;
    st.f_bavail = st.f_bfree;
    // Files are records in the journal and in checkpoints: their number is bounded by the space alone, as long as the
    // vault can have files for those. Otherwise nothing is usable.
    constexpr std::uint64_t kFileBytes = 512;
    st.f_ffree = usable / kFileBytes;
    st.f_favail = st.f_ffree;
    st.f_files = st.f_ffree + statistics.inodes;
    st.f_namemax = kMaxNameBytes;
    fuse_reply_statfs(request, &st);
    return ok_status();
  });
}

}  // namespace

void register_content_operations(fuse_lowlevel_ops& operations) {
  operations.open = open;
  operations.create = create;
  operations.read = read;
  operations.write = write;
  operations.flush = flush;
  operations.release = release;
  operations.fsync = fsync;
  operations.fallocate = fallocate;
  operations.lseek = lseek;
  operations.copy_file_range = copy_file_range;
  operations.ioctl = ioctl;
  operations.statfs = statfs;
}

}  // namespace vaultfs
