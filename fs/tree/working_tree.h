#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "base/result.h"
#include "fs/content/space_guard.h"
#include "fs/tree/file_tree.h"
#include "fs/tree/snapshot.h"
#include "fs/tree/state/change_observer.h"
#include "vaultmeta/vault/vault.h"

namespace vaultfs {

// Whom a new inode belongs to. Where the directory has a default ACL, that takes the umask's place.
struct Creator {
  std::uint32_t uid = 0;
  std::uint32_t gid = 0;
  std::uint32_t umask = 0;
};

// The files of all items as writers see them: namespace in memory, file content by extent maps whose pages load on
// demand, dirty data in the bounded write buffer, every change in the journal. Changes are durable after fsync (or the
// periodic flush), in order.
//
// Thread-safe; lock order: docs/locks.md. Permission checks are the kernel's (default_permissions); the tree checks
// only what POSIX leaves to the file system.
class WorkingTree : public FileTree, public TreeReplay {
 public:
  struct Options {
    std::uint64_t write_buffer_bytes = 128ULL << 20;  // dirty data in RAM; beyond, writers wait for the store workers
    std::uint64_t frame_cache_bytes = 64ULL << 20;
    unsigned store_workers = 0;  // 0: one per core
    unsigned flush_seconds = 5;  // data is journalled and synced within that time; 0: only when asked (tests)
    // Whoever changes content sets mtime and ctime by set_attributes: the kernel does, with a writeback cache.
    bool caller_keeps_times = false;
  };
  [[nodiscard]] static std::unique_ptr<WorkingTree> create(const Options& options);
  // After Vault::open (which replayed into this tree): connects vault and observer, starts the workers. For a read-only
  // vault: reading only.
  virtual void start(Vault& vault, ChangeObserver& observer) = 0;
  // Flushes everything and stops the workers. Idempotent.
  [[nodiscard]] virtual Status stop() = 0;

  // --- Namespace. Names: 1–255 bytes, no '/' or NUL, not "." or ".." (InvalidName, NameTooLong). The root takes
  // directories only (NotPermitted), item names additionally must be valid item names (see item_name_problem).
  // CrossItem for renames and links across items; renaming an item directory is NotPermitted. ".recovery-points" is
  // reserved in the root.
  [[nodiscard]] virtual Result<Attributes> make_directory(InodeNumber parent, const std::string& name,
                                                          std::uint32_t mode, Creator who) = 0;
  [[nodiscard]] virtual Result<Attributes> make_node(InodeNumber parent, const std::string& name, InodeType type,
                                                     std::uint32_t mode, std::uint64_t rdev,
                                                     Creator who) = 0;  // file, fifo, socket, devices
  // A file without a name in the item of `directory` (O_TMPFILE), gone with its last handle unless make_link names it.
  // Open it at once: the handle is part of the call.
  struct UnnamedFile {
    Attributes attributes;
    std::uint64_t handle = 0;
  };
  [[nodiscard]] virtual Result<UnnamedFile> make_unnamed(InodeNumber directory, std::uint32_t mode, Creator who) = 0;
  [[nodiscard]] virtual Result<Attributes> make_symlink(InodeNumber parent, const std::string& name,
                                                        const std::string& target, Creator who) = 0;
  [[nodiscard]] virtual Result<Attributes> make_link(InodeNumber inode, InodeNumber new_parent,
                                                     const std::string& name) = 0;
  [[nodiscard]] virtual Status unlink(InodeNumber parent, const std::string& name) = 0;
  [[nodiscard]] virtual Status remove_directory(InodeNumber parent, const std::string& name) = 0;
  enum class RenameMode : std::uint8_t { replace, no_replace, exchange };
  [[nodiscard]] virtual Status rename(InodeNumber parent, const std::string& name, InodeNumber new_parent,
                                      const std::string& new_name, RenameMode mode) = 0;
  [[nodiscard]] virtual Result<Attributes> set_attributes(InodeNumber inode, const AttributeChange& change) = 0;

  // --- The kernel's references, one for each time that it was told of an inode. One that has any stays after its last
  // name and handle: the working directory of a process, or a file that was looked up and is about to be opened while
  // another one is renamed over it.
  // lookup(), and counts one.
  [[nodiscard]] virtual Result<Attributes> lookup_known(InodeNumber parent, const std::string& name) = 0;
  // Counts one. False if the inode is gone.
  [[nodiscard]] virtual bool remember(InodeNumber inode) = 0;
  // Takes back so many. The inode may be gone, or have fewer.
  virtual void forget(InodeNumber inode, std::uint64_t count) = 0;

  // --- Extended attributes: names of user.*, trusted.*, security.*, of 255 bytes at most, values of up to 64 KiB, 256
  // KiB for one inode (NoSpace beyond). A POSIX ACL (system.posix_acl_access, system.posix_acl_default) sets the mode's
  // bits, and set_attributes of a mode changes the ACL; one that says no more than the mode is not kept. With
  // `drops_set_gid` the bit goes in the same change as an access ACL comes: its owner is not in the file's group.
  // AlreadyExists, NoData, NotSupported for other names, InvalidArgument for an ACL that makes no sense.
  enum class ExtendedMode : std::uint8_t { set, create, replace };
  [[nodiscard]] virtual Status set_extended(InodeNumber inode, const std::string& name, ByteView value,
                                            ExtendedMode mode, bool drops_set_gid) = 0;
  [[nodiscard]] virtual Status remove_extended(InodeNumber inode, const std::string& name) = 0;
  // What a write, truncation, fallocate or chown by someone without CAP_FSETID does first: the right to run as the
  // owner goes, and that to run as the group. Where the group may not execute, the bit stays if the caller is in that
  // group: `in_group` is asked then only. True if a bit went. File capabilities go with every change of content by
  // themselves.
  using InGroup = std::function<bool(std::uint32_t gid)>;
  [[nodiscard]] virtual Result<bool> drop_set_id(InodeNumber inode, const InGroup& in_group) = 0;

  // --- Content.
  // An open handle keeps an unlinked inode alive and holds the sticky error of that open file. `writing` counts for
  // jobs (settle). ItemBusy while `backup run` writes that file.
  [[nodiscard]] virtual Result<std::uint64_t> open(InodeNumber inode, bool writing) = 0;  // a handle number, never 0
  virtual void release(std::uint64_t handle) = 0;
  // Copies `bytes` into the write buffer; waits for room. Size and times change at once for
  // readers.
  [[nodiscard]] virtual Status write(InodeNumber inode, std::uint64_t handle, std::uint64_t offset, ByteView bytes) = 0;
  // Appends atomically at the end; the offset written to.
  [[nodiscard]] virtual Result<std::uint64_t> append(InodeNumber inode, std::uint64_t handle, ByteView bytes) = 0;
  [[nodiscard]] virtual Status truncate(InodeNumber inode, std::uint64_t size) = 0;
  enum class FallocateMode : std::uint8_t {
    allocate,
    allocate_keep_size,
    punch_hole,
    zero_range,
    zero_range_keep_size
  };
  [[nodiscard]] virtual Status fallocate(InodeNumber inode, FallocateMode mode, std::uint64_t offset,
                                         std::uint64_t length) = 0;
  // Copies a range, whole chunks by reference where both offsets lie alike in their chunks. `source` is this tree or
  // that of a recovery point. How many bytes: fewer than asked for at the end of the source, and where that is more
  // than one call should do. InvalidArgument if the ranges overlap in one file.
  struct CopyEnd {
    InodeNumber inode;
    std::uint64_t offset = 0;
  };
  [[nodiscard]] virtual Result<std::uint64_t> copy_range(FileTree& source, CopyEnd from, CopyEnd to,
                                                         std::uint64_t handle, std::uint64_t length) = 0;
  // Data and attributes of the inode, and every namespace change before the call, are durable on success. Reports a
  // sticky error once per handle (handle 0: none).
  [[nodiscard]] virtual Status fsync(InodeNumber inode, std::uint64_t handle) = 0;
  // The sticky error of a handle, once; success otherwise. For flush (close).
  [[nodiscard]] virtual Status take_error(std::uint64_t handle) = 0;
  // Everything of every item.
  [[nodiscard]] virtual Status sync_all() = 0;
  // Puts a chunk reference straight into a file (backup run): content already stored, or a zero id for a hole. The file
  // must be reserved.
  [[nodiscard]] virtual Status set_chunk(InodeNumber inode, ChunkIndexInFile index, const ChunkId& id) = 0;
  // Reserves a file for backup run: other writers get ItemBusy (ItemBusy here if someone has it open for writing).
  [[nodiscard]] virtual Status reserve(InodeNumber inode) = 0;
  virtual void unreserve(InodeNumber inode) = 0;

  // --- For commits.
  [[nodiscard]] virtual std::vector<std::string> item_names() = 0;
  [[nodiscard]] virtual bool open_for_writing(const std::string& item) = 0;
  // True if anything of the item differs from what the last snapshot of it saw (also across restarts: the LSN of its
  // last change is kept and compared with `since`, the cut of its newest point or checked job).
  [[nodiscard]] virtual bool changed_since(const std::string& item, Lsn since) = 0;
  // One atomic cut: what was acknowledged before the call is in the snapshot, what comes later is not. Writers wait for
  // well under 100 ms. Then (outside the cut) dirty data of the cut is stored, dirty map pages are put, and the inodes
  // are returned ready for a manifest. Every chunk and page they name has been put (not yet synced). ItemNotFound. A
  // sticky write error of the item fails it.
  [[nodiscard]] virtual Result<TreeSnapshot> snapshot(const std::string& item) = 0;
  // NoSpace unless `bytes` more can be stored beside all that is promised to writers, and the reserve left alone. For
  // who stores without the tree.
  [[nodiscard]] virtual Status check_room(std::uint64_t bytes) = 0;
  // Writes a checkpoint through Vault::checkpoint.
  [[nodiscard]] virtual Status checkpoint() = 0;
  // For compaction, after a checkpoint that began later than SegmentStore::begin_collection(): retains every chunk,
  // patch and map page that the tree refers to or is about to read. The errors of reading map pages and of retain().
  [[nodiscard]] virtual Status retain_references() = 0;
  // Everything that the tree refers to, while writers go on: what one of them adds meanwhile may be missed, and what is
  // told may be referred to no more. `damaged` is told of map pages that can't be read; what they list is passed over.
  // The errors of `visit`, and of reading map pages that are not of integrity or I/O.
  using ReferenceVisitor = std::function<Status(const ChunkId&)>;
  using DamageListener = std::function<void(const ChunkId& page, const Error& error)>;
  [[nodiscard]] virtual Status visit_references(const ReferenceVisitor& visit, const DamageListener& damaged) = 0;

  // The worst case of a chunk on disk.
  static constexpr std::uint64_t kStoredChunkBytes = vaultfs::kStoredChunkBytes;
  struct Statistics {
    std::uint64_t files = 0;   // regular ones
    std::uint64_t inodes = 0;  // of all kinds
    std::uint64_t logical_bytes = 0;
    std::uint64_t dirty_bytes = 0;
    std::uint64_t set_aside_bytes = 0;  // by fallocate, and not written yet
    std::uint64_t written_bytes = 0;    // accepted since start
  };
  [[nodiscard]] virtual Statistics statistics() = 0;
  // Wipes slots and cached frames and refuses writes until keys are back (rule 7). sync_all() was called before.
  virtual void vault_sealed() = 0;
  virtual void vault_unsealed() = 0;
};

// Why `name` can't be an item's name (for people), or nothing: 1–128 bytes of printable text without '/', '@', newline
// or other control characters, no leading '.' or '-'.
[[nodiscard]] std::optional<std::string> item_name_problem(std::string_view name);

}  // namespace vaultfs
