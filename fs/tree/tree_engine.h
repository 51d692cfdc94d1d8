#pragma once

#include <algorithm>
#include <atomic>
#include <memory>
#include <string>
#include <vector>

#include "base/thread/mutex.h"
#include "fs/content/chunk_reader.h"
#include "fs/content/frame_cache.h"
#include "fs/content/slot_memory.h"
#include "fs/content/space_promises.h"
#include "fs/content/store_job.h"
#include "fs/content/store_queue.h"
#include "fs/content/write_buffer.h"
#include "fs/tree/format/entry.h"
#include "fs/tree/format/section.h"
#include "fs/tree/replay.h"
#include "fs/tree/state/change_log.h"
#include "fs/tree/state/cut_gate.h"
#include "fs/tree/state/file_contents.h"
#include "fs/tree/state/inode.h"
#include "fs/tree/state/inode_table.h"
#include "fs/tree/state/open_files.h"
#include "fs/tree/tree_flush.h"
#include "fs/tree/working_tree.h"

namespace vaultfs {

// The working tree. How data travels, and why no interleaving loses a byte: docs/decisions/0002-write-path.md.
//
// Lock order: docs/locks.md. Every change passes the CutGate while it happens in memory and is appended to the journal,
// and is through before it waits for anything.
class TreeEngine final : public WorkingTree {
 public:
  explicit TreeEngine(const Options& options);
  TreeEngine(const TreeEngine&) = delete;
  TreeEngine& operator=(const TreeEngine&) = delete;
  ~TreeEngine() override;

  // TreeReplay (replay.cc)
  Status load(ByteView checkpoint_section) override;
  Status apply(Lsn lsn, ByteView entry) override;

  // tree_engine.cc
  void start(Vault& vault, ChangeObserver& observer) override;
  Status stop() override;
  std::vector<std::string> item_names() override { return table_.item_names(); }
  bool open_for_writing(const std::string& item) override { return table_.open_for_writing(item); }
  bool changed_since(const std::string& item, Lsn since) override { return table_.changed_since(item, since); }
  Statistics statistics() override;
  void vault_sealed() override;
  void vault_unsealed() override;

  // lookup.cc
  Result<Attributes> lookup(InodeNumber parent, const std::string& name) override;
  Result<Attributes> lookup_known(InodeNumber parent, const std::string& name) override;
  bool remember(InodeNumber number) override;
  Result<InodeNumber> parent(InodeNumber directory) override;
  Status check_room(std::uint64_t bytes) override { return space_.check(bytes); }
  Result<Attributes> attributes(InodeNumber number) override;
  Result<std::vector<DirectoryEntry>> list(InodeNumber directory) override;
  std::vector<InodeNumber> inode_numbers() override;
  Result<std::string> read_link(InodeNumber number) override;

  // xattr.cc
  Result<Bytes> extended_attribute(InodeNumber number, const std::string& name) override;
  Result<std::vector<std::string>> extended_names(InodeNumber number) override;
  Status set_extended(InodeNumber number, const std::string& name, ByteView value, ExtendedMode mode,
                      bool drops_set_gid) override;
  Status remove_extended(InodeNumber number, const std::string& name) override;
  Result<bool> drop_set_id(InodeNumber number, const InGroup& in_group) override;

  // read.cc
  Result<std::size_t> read(InodeNumber number, std::uint64_t offset, MutableByteView out) override;
  Result<std::uint64_t> seek_data(InodeNumber number, std::uint64_t offset) override;
  Result<std::uint64_t> seek_hole(InodeNumber number, std::uint64_t offset) override;
  Result<std::optional<ChunkId>> chunk_at(InodeNumber number, ChunkIndexInFile index) override;

  // namespace.cc, rename.cc
  Result<Attributes> make_directory(InodeNumber parent, const std::string& name, std::uint32_t mode,
                                    Creator who) override;
  Result<Attributes> make_node(InodeNumber parent, const std::string& name, InodeType type, std::uint32_t mode,
                               std::uint64_t rdev, Creator who) override;
  Result<UnnamedFile> make_unnamed(InodeNumber parent, std::uint32_t mode, Creator who) override;
  Result<Attributes> make_symlink(InodeNumber parent, const std::string& name, const std::string& target,
                                  Creator who) override;
  Result<Attributes> make_link(InodeNumber number, InodeNumber new_parent, const std::string& name) override;
  Status unlink(InodeNumber parent, const std::string& name) override;
  Status remove_directory(InodeNumber parent, const std::string& name) override;
  Status rename(InodeNumber parent, const std::string& name, InodeNumber new_parent, const std::string& new_name,
                RenameMode mode) override;
  Result<Attributes> set_attributes(InodeNumber number, const AttributeChange& change) override;

  // handles.cc
  Result<std::uint64_t> open(InodeNumber number, bool writing) override;
  void release(std::uint64_t handle_number) override;
  Status take_error(std::uint64_t handle_number) override { return open_files_.take_error(handle_number); }
  void forget(InodeNumber number, std::uint64_t count) override;
  Status reserve(InodeNumber number) override;
  void unreserve(InodeNumber number) override;

  // write.cc, zero.cc
  Status write(InodeNumber inode, std::uint64_t handle, std::uint64_t offset, ByteView bytes) override;
  Result<std::uint64_t> append(InodeNumber inode, std::uint64_t handle, ByteView bytes) override;
  Status truncate(InodeNumber number, std::uint64_t size) override;
  Status fallocate(InodeNumber number, FallocateMode mode, std::uint64_t offset, std::uint64_t length) override;
  Status set_chunk(InodeNumber number, ChunkIndexInFile index, const ChunkId& id) override;

  // copy.cc
  Result<std::uint64_t> copy_range(FileTree& source, CopyEnd from, CopyEnd to, std::uint64_t handle,
                                   std::uint64_t length) override;

  Status fsync(InodeNumber number, std::uint64_t handle) override;
  Status sync_all() override;

  // snapshot.cc, section.cc
  Result<TreeSnapshot> snapshot(const std::string& item_name) override;
  Status checkpoint() override;

  // retain.cc
  Status retain_references() override;
  Status visit_references(const ReferenceVisitor& visit, const DamageListener& damaged) override;

 private:
  // --- tree_engine.cc
  // A content changed.
  void touch_content(Inode& inode) const REQUIRES(inode.mutex) {
    if (!options_.caller_keeps_times) inode.mtime = inode.ctime = now();
    inode.attributes_dirty = true;
  }
  // The journal's record of that.
  [[nodiscard]] SetAttributes content_record(const Inode& inode) const REQUIRES_SHARED(inode.mutex);
  [[nodiscard]] UnixNanos now() const { return vault_->env().clock().now(); }
  void resize(Inode& inode, std::uint64_t size) REQUIRES(inode.mutex);

  // --- lookup.cc
  [[nodiscard]] Attributes attributes_locked(const Inode& inode) REQUIRES_SHARED(table_.mutex(), inode.mutex);
  // Counts a reference of the kernel if `known`.
  [[nodiscard]] Result<InodePointer> find_child(InodeNumber parent, const std::string& name, bool known);
  [[nodiscard]] Attributes attributes_of(const InodePointer& inode);  // without locks
  // Loads what attributes_locked needs to count a file's chunks. Without locks.
  void count_pages(const InodePointer& inode);

  // --- namespace.cc. “REQUIRES: gate” is one of the CutGate's locks, shared.
  struct NewInode {
    InodeType type;
    std::uint32_t mode;
    std::uint64_t rdev = 0;
    std::string target;
    Creator who;
  };
  [[nodiscard]] Result<Attributes> make(InodeNumber parent, const std::string& name, const NewInode& what);
  // An empty name: a file that has none. REQUIRES: gate.
  [[nodiscard]] Result<Attributes> add_inode(Inode& directory, const std::string& name, const NewInode& what)
      REQUIRES(table_.mutex());
  [[nodiscard]] Status remove(InodeNumber parent, const std::string& name, bool directory_wanted);
  // One name less; gone with the last handle and reference. REQUIRES: the inode's mutex not held.
  void drop_name(const InodePointer& inode) REQUIRES(table_.mutex());
  void destroy(const InodePointer& inode) REQUIRES(table_.mutex());
  // No name, handle or reference left. Without locks.
  void destroy_if_unused(const InodePointer& inode);
  // --- xattr.cc
  using ExtendedChanges = std::vector<std::pair<std::string, std::optional<Bytes>>>;  // no value: removed
  // Logs and applies one change, with the mode that goes with it. REQUIRES: gate, the inode's mutex (all below).
  [[nodiscard]] Status change_extended(Inode& inode, const std::string& name, std::optional<ByteView> value,
                                       std::optional<std::uint32_t> mode) REQUIRES(inode.mutex);
  [[nodiscard]] Status set_acl(Inode& inode, const std::string& name, ByteView value, bool drops_set_gid)
      REQUIRES(inode.mutex);
  // The access list that goes with a new mode.
  static void chmod_acl(const Inode& inode, std::uint32_t mode, ExtendedChanges& changes) REQUIRES_SHARED(inode.mutex);
  // What a new inode gets from the default list of its directory, and its mode then. REQUIRES: the directory's mutex.
  [[nodiscard]] static std::uint32_t inherit_acl(const Inode& directory, InodeType type, std::uint32_t mode,
                                                 std::uint32_t umask, ExtendedChanges& changes)
      REQUIRES_SHARED(directory.mutex);
  static void lose_capability(const Inode& inode, ExtendedChanges& changes) REQUIRES_SHARED(inode.mutex);
  // A change of content takes the file's capabilities: logs and applies that.
  [[nodiscard]] Status drop_capability(Inode& inode) REQUIRES(inode.mutex);
  static void add_changes(InodeNumber number, const ExtendedChanges& changes, TreeEntryWriter& entry);
  static void apply_changes(Inode& inode, ExtendedChanges changes) REQUIRES(inode.mutex);
  [[nodiscard]] static std::uint32_t without_set_id(std::uint32_t mode);
  // --- copy.cc
  struct ChunkShare {
    InodePointer to;
    std::uint64_t first = 0;  // chunk index in `to`
    std::uint64_t end = 0;    // where the range ends in `to`
    // How much of the i-th chunk the range has.
    [[nodiscard]] std::uint64_t bytes_of(std::uint64_t i) const {
      return std::min<std::uint64_t>(kChunkBytes, end - (first + i) * kChunkBytes);
    }
  };
  // REQUIRES: the mutex of the inode to share into.
  [[nodiscard]] bool may_share(const ChunkShare& share, std::uint64_t i, const ChunkId& id) const
      REQUIRES_SHARED(share.to->mutex);
  // Puts references into a file; zero ids are holes. REQUIRES: gate, the inode's mutex, its pages loaded.
  [[nodiscard]] Status put_references(const ChunkShare& share, const std::vector<ChunkId>& ids)
      REQUIRES(share.to->mutex);
  [[nodiscard]] static bool pages_loaded(const InodePointer& inode, std::uint64_t first, std::uint64_t count)
      REQUIRES_SHARED(inode->mutex);
  // Chunks shared: fewer than asked for where one is being written to. Without locks.
  [[nodiscard]] Result<std::uint64_t> share_chunks(const InodePointer& from, std::uint64_t first_from,
                                                   const ChunkShare& share, std::uint64_t count);
  [[nodiscard]] Result<std::uint64_t> share_point_chunks(FileTree& point, InodeNumber from, std::uint64_t first_from,
                                                         const ChunkShare& share, std::uint64_t count);
  [[nodiscard]] Result<std::uint64_t> copy_bytes(FileTree& source, CopyEnd from, CopyEnd to, std::uint64_t handle,
                                                 std::uint64_t length);
  // --- rename.cc
  struct RenamePlan {
    Inode* from = nullptr;  // the directories
    Inode* to = nullptr;
    std::string name;
    std::string new_name;
    InodePointer source;
    InodePointer target;  // null if the new name is free
    bool exchange = false;
    bool nothing = false;  // both names are the same file already
  };
  [[nodiscard]] Result<RenamePlan> plan_rename(InodeNumber parent, const std::string& name, InodeNumber new_parent,
                                               const std::string& new_name, RenameMode mode) const
      REQUIRES_SHARED(table_.mutex());
  [[nodiscard]] bool is_below(const Inode& directory, const Inode& ancestor) const REQUIRES_SHARED(table_.mutex());
  [[nodiscard]] Status execute(const RenamePlan& plan) REQUIRES(table_.mutex());
  static void move_names(const RenamePlan& plan);

  // --- read.cc
  struct Piece {
    ChunkId base;
    ByteRanges covered;  // already copied from slots
    std::uint32_t length = 0;
  };
  // Copies what slots have of a file's bytes from `offset` (at most to the chunk's end), tells the rest.
  [[nodiscard]] Result<Piece> read_slots(const InodePointer& inode, std::uint64_t offset, MutableByteView out);
  void read_ahead(const InodePointer& inode, std::uint64_t offset, std::uint64_t length);
  [[nodiscard]] static std::vector<ChunkId> stored_chunks(const InodePointer& inode, std::uint64_t begin,
                                                          std::uint64_t end);

  // --- write.cc
  [[nodiscard]] Result<std::uint64_t> write_at(InodeNumber number, std::uint64_t handle,
                                               std::optional<std::uint64_t> offset, ByteView bytes);
  [[nodiscard]] Result<WriteBuffer::Reservation> admit_bytes(std::uint64_t bytes, const SpacePromises::Share& share);
  // REQUIRES: inode's mutex (all below).
  // --- zero.cc
  [[nodiscard]] Status zero_range(const InodePointer& inode, std::uint64_t offset, std::uint64_t length, bool extend);
  // --- allocate.cc. Without locks.
  [[nodiscard]] Status allocate(const InodePointer& inode, std::uint64_t offset, std::uint64_t length, bool extend);
  // Does it if it takes no more than `room` chunks, and says so by nothing; else for how many room must be found first.
  [[nodiscard]] Result<std::optional<std::uint64_t>> allocate_within(const InodePointer& inode, std::uint64_t offset,
                                                                     std::uint64_t length, bool extend,
                                                                     std::optional<std::uint64_t> room);
  // --- snapshot.cc
  struct FileCut {
    std::size_t record;  // index into the records
    InodePointer inode;
    std::uint64_t size;
    ExtentMap extents;
    std::vector<JobPointer> jobs;  // of each dirty chunk the last
  };
  struct Cut {
    std::uint32_t number = 0;
    std::vector<InodeRecord> records;
    std::vector<FileCut> files;
    std::uint64_t logical_bytes = 0;
    std::vector<SectionFragment> fragments;  // checkpoint only
    std::uint64_t fragment_bytes = 0;
    std::optional<Error> failure;
  };
  [[nodiscard]] static InodeRecord record_of(const Inode& inode) REQUIRES_SHARED(inode.mutex);
  void cut_open_files(const Item* item, Cut& cut, bool keep_small_slots) REQUIRES_SHARED(table_.mutex());
  void cut_inode(const InodePointer& inode, Cut& cut, bool keep_small_slots) REQUIRES_SHARED(table_.mutex());
  void cut_tree(const InodePointer& top, Cut& cut, bool keep_small_slots) REQUIRES_SHARED(table_.mutex());
  // Waits until the cut is stored, stores its map pages, fills its records. Without locks.
  [[nodiscard]] Status finish_cut(Cut& cut);
  [[nodiscard]] Result<Bytes> encode_section(const std::function<void()>& cut_made);
  // Drops what could not be stored: those files can't be read or written until the vault is opened again.
  void forget_slots();

  // --- retain.cc
  // `damaged` null: a map page that can't be read is an error.
  [[nodiscard]] Status for_each_reference(const ReferenceVisitor& visit, const DamageListener* damaged);
  [[nodiscard]] Status visit_references_of(const InodePointer& inode, const ReferenceVisitor& visit,
                                           const DamageListener* damaged);
  // --- replay.cc
  // As load(), which see.
  [[nodiscard]] Status load_section(ByteView checkpoint_section) REQUIRES(table_.mutex());
  void replay_change(Lsn lsn, const TreeChange& change) REQUIRES(table_.mutex());
  void replay_name(Lsn lsn, const TreeChange& change) REQUIRES(table_.mutex());
  void replay_content(Lsn lsn, const TreeChange& change) REQUIRES(table_.mutex());
  [[nodiscard]] Inode* replayed(InodeNumber number, Lsn changed) REQUIRES(table_.mutex());
  // --- start.cc
  void finish_replay();
  void attach_items() REQUIRES(table_.mutex());
  void finish_replayed_file(const InodePointer& inode, FileReplay& replay);
  [[nodiscard]] Status lay_extents(const InodePointer& inode, const FileReplay& replay);
  [[nodiscard]] Status lay_fragments(const InodePointer& inode, const FileReplay& replay);
  [[nodiscard]] Status cut_beyond_end(const InodePointer& inode);
  [[nodiscard]] bool has_content_beyond_end(const Inode& inode) const REQUIRES_SHARED(inode.mutex);

  const Options options_;
  Vault* vault_ = nullptr;  // set by start()
  ChangeLog log_;
  CutGate gate_;

  SlotMemoryPool memory_;   // outlives everything that holds slots or blocks
  FrameMemoryPool frames_;  // likewise
  WriteBuffer buffer_;
  FrameCache cache_;
  SpacePromises space_;
  StoreQueue queue_;
  FileContents contents_;                // slots that still exist tell it of their end
  std::unique_ptr<ChunkReader> reader_;  // set by start()

  Mutex snapshot_mutex_;  // one snapshot or checkpoint at a time
  InodeTable table_;
  ReplayState replay_ GUARDED_BY(table_.mutex());  // between load() and start() only
  OpenFiles open_files_;

  TreeFlush flush_;

  std::atomic<std::uint64_t> files_{0};
  std::atomic<std::uint64_t> logical_bytes_{0};
  std::atomic<std::uint64_t> written_bytes_{0};
};

}  // namespace vaultfs
