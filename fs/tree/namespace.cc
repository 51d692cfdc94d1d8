// Names: making and removing them.
#include <sys/stat.h>

#include "base/thread/mutex.h"
#include "fs/tree/state/inode_locks.h"
#include "fs/tree/state/tree_errors.h"
#include "fs/tree/tree_engine.h"

namespace vaultfs {
namespace {

constexpr std::uint32_t kPermissionBits = 07777;
constexpr std::size_t kMaxNewLinkTargetBytes = 4095;

Status check_name(const std::string& name) {
  if (name.size() > kMaxNameBytes) return Error{ErrorCode::NameTooLong, "a name has at most 255 bytes"};
  if (name.empty() || name == "." || name == ".." || name.find('/') != std::string::npos ||
      name.find('\0') != std::string::npos) {
    return Error{ErrorCode::InvalidName, "that can't be a file name"};
  }
  return ok_status();
}

Error name_taken() { return {ErrorCode::AlreadyExists, "the name is taken"}; }

}  // namespace

Result<Attributes> TreeEngine::make(InodeNumber parent, const std::string& name, const NewInode& what) {
  VAULTFS_RETURN_IF_ERROR(check_name(name));
  const Item* item = nullptr;
  {
    const ReaderLock lock(table_.mutex());
    VAULTFS_ASSIGN_OR_RETURN(const Inode* directory, table_.directory(parent));
    if (directory->entries->contains(name)) return name_taken();
    item = directory->item;
    if (parent == kRootInode) {
      if (what.type != InodeType::directory) {
        return Error{ErrorCode::NotPermitted, "the top of the mount holds item directories only"};
      }
      if (const auto problem = item_name_problem(name)) return Error{ErrorCode::InvalidName, *problem};
    }
  }
  VAULTFS_RETURN_IF_ERROR(log_.before_change(item));
  if (parent == kRootInode) VAULTFS_RETURN_IF_ERROR(log_.before_making(name));
  const ReaderLock cut(gate_.changes());
  const WriterLock lock(table_.mutex());
  VAULTFS_ASSIGN_OR_RETURN(Inode * directory, table_.directory(parent));
  if (directory->entries->contains(name)) return name_taken();
  // A directory that was removed while it is open takes no new names.
  if (directory->links == 0) return no_such_file();
  return add_inode(*directory, name, what);
}

Result<Attributes> TreeEngine::add_inode(Inode& directory, const std::string& name, const NewInode& what) {
  const WriterLock directory_lock(directory.mutex);
  const UnixNanos time = now();
  auto inode = std::make_shared<Inode>(table_.next_number(), what.type);
  const WriterLock inode_lock(inode->mutex);
  const bool inherits = (directory.mode & S_ISGID) != 0;
  ExtendedChanges lists;
  inode->mode = inherit_acl(directory, what.type, what.mode & kPermissionBits, what.who.umask, lists);
  if (inherits && what.type == InodeType::directory) inode->mode |= S_ISGID;
  inode->uid = what.who.uid;
  inode->gid = inherits ? directory.gid : what.who.gid;
  inode->rdev = what.rdev;
  inode->atime = inode->mtime = inode->ctime = time;
  if (what.type == InodeType::symlink) inode->target = std::make_unique<std::string>(what.target);
  inode->links = name.empty() ? 0 : 1;
  if (what.type == InodeType::directory) {
    inode->links = 2;
    inode->parent = directory.number;
    inode->entries = std::make_unique<std::map<std::string, Inode::Entry, std::less<>>>();
  }

  const SetAttributes touched = touched_record(directory, time, true);
  TreeEntryWriter entry;
  entry.add(CreateInode{inode->number, what.type, inode->mode, inode->uid, inode->gid, what.rdev, time, what.target});
  add_changes(inode->number, lists, entry);
  if (!name.empty()) {
    entry.add(LinkName{directory.number, name, inode->number});
    entry.add(touched);
  }
  VAULTFS_ASSIGN_OR_RETURN(const Lsn lsn, log_.append(std::move(entry)));

  apply_changes(*inode, std::move(lists));
  table_.raise_next(inode->number.next());
  inode->item = directory.number == kRootInode ? &table_.item_named(name) : directory.item;
  inode->changed = lsn;
  ChangeLog::stamp(inode->item, lsn);
  if (name.empty()) {
    table_.add_unnamed(inode->number);
  } else {
    apply_record(directory, touched, lsn);
    directory.entries->emplace(name, Inode::Entry{inode->number, what.type});
  }
  if (what.type == InodeType::directory) ++directory.links;
  table_.add(inode);
  if (what.type == InodeType::file) ++files_;
  return attributes_locked(*inode);
}

Result<Attributes> TreeEngine::make_directory(InodeNumber parent, const std::string& name, std::uint32_t mode,
                                              Creator who) {
  return make(parent, name, {InodeType::directory, mode, 0, {}, who});
}

Result<Attributes> TreeEngine::make_node(InodeNumber parent, const std::string& name, InodeType type,
                                         std::uint32_t mode, std::uint64_t rdev, Creator who) {
  if (type == InodeType::directory || type == InodeType::symlink) {
    return Error{ErrorCode::InvalidArgument, "directories and links have their own calls"};
  }
  const bool is_device = type == InodeType::character_device || type == InodeType::block_device;
  return make(parent, name, {type, mode, is_device ? rdev : 0, {}, who});
}

Result<WorkingTree::UnnamedFile> TreeEngine::make_unnamed(InodeNumber parent, std::uint32_t mode, Creator who) {
  const Item* item = nullptr;
  {
    const ReaderLock lock(table_.mutex());
    VAULTFS_ASSIGN_OR_RETURN(const Inode* directory, table_.directory(parent));
    item = directory->item;
  }
  if (item == nullptr) return Error{ErrorCode::NotPermitted, "the top of the mount holds item directories only"};
  VAULTFS_RETURN_IF_ERROR(log_.before_change(item));
  UnnamedFile file;
  {
    const ReaderLock cut(gate_.changes());
    const WriterLock lock(table_.mutex());
    VAULTFS_ASSIGN_OR_RETURN(Inode * directory, table_.directory(parent));
    if (directory->links == 0) return no_such_file();
    VAULTFS_ASSIGN_OR_RETURN(file.attributes, add_inode(*directory, {}, {InodeType::file, mode, 0, {}, who}));
  }
  Result<std::uint64_t> handle = open(file.attributes.number, true);
  if (!handle.ok()) {
    const ReaderLock cut(gate_.changes());
    const WriterLock lock(table_.mutex());
    VAULTFS_ASSIGN_OR_RETURN(const InodePointer inode, table_.find_locked(file.attributes.number));
    destroy(inode);
    return std::move(handle).error();
  }
  file.handle = *handle;
  return file;
}

Result<Attributes> TreeEngine::make_symlink(InodeNumber parent, const std::string& name, const std::string& target,
                                            Creator who) {
  if (target.empty()) return no_such_file();
  if (target.size() > kMaxNewLinkTargetBytes)
    return Error{ErrorCode::NameTooLong, "a link's target has at most 4095 bytes"};
  return make(parent, name, {InodeType::symlink, 0777, 0, target, who});
}

Result<Attributes> TreeEngine::make_link(InodeNumber number, InodeNumber new_parent, const std::string& name) {
  VAULTFS_RETURN_IF_ERROR(check_name(name));
  VAULTFS_ASSIGN_OR_RETURN(const InodePointer inode, table_.find(number));
  if (inode->type == InodeType::directory) return Error{ErrorCode::NotPermitted, "a directory has one name"};
  count_pages(inode);
  VAULTFS_RETURN_IF_ERROR(log_.before_change(inode->item));
  const ReaderLock cut(gate_.changes());
  const WriterLock lock(table_.mutex());
  VAULTFS_ASSIGN_OR_RETURN(Inode * directory, table_.directory(new_parent));
  if (directory->item != inode->item) return Error{ErrorCode::CrossItem, "a file belongs to one item"};
  if (directory->entries->contains(name)) return name_taken();
  if ((inode->links == 0 && !table_.unnamed().contains(number)) || directory->links == 0) return no_such_file();
  const InodeLocks locks{directory, inode.get()};
  directory->mutex.assert_held();
  inode->mutex.assert_held();
  const UnixNanos time = now();
  const SetAttributes directory_record = touched_record(*directory, time, true);
  const SetAttributes inode_record = touched_record(*inode, time, false);
  TreeEntryWriter entry;
  entry.add(LinkName{new_parent, name, number});
  entry.add(directory_record);
  entry.add(inode_record);
  VAULTFS_ASSIGN_OR_RETURN(const Lsn lsn, log_.append(std::move(entry)));
  directory->entries->emplace(name, Inode::Entry{number, inode->type});
  table_.give_name(number);
  ++inode->links;
  apply_record(*directory, directory_record, lsn);
  apply_record(*inode, inode_record, lsn);
  ChangeLog::stamp(inode->item, lsn);
  return attributes_locked(*inode);
}

Status TreeEngine::unlink(InodeNumber parent, const std::string& name) { return remove(parent, name, false); }
Status TreeEngine::remove_directory(InodeNumber parent, const std::string& name) { return remove(parent, name, true); }

Status TreeEngine::remove(InodeNumber parent, const std::string& name, bool directory_wanted) {
  if (name.size() > kMaxNameBytes) return Error{ErrorCode::NameTooLong, "a name has at most 255 bytes"};
  const Item* item = nullptr;
  {
    const ReaderLock lock(table_.mutex());
    VAULTFS_ASSIGN_OR_RETURN(const Inode* directory, table_.directory(parent));
    if (!directory->entries->contains(name)) return no_such_file();
    // Removing an item's directory is no change of the item: it ends with its points kept, and no job is begun for it.
    item = directory->item;
  }
  VAULTFS_RETURN_IF_ERROR(log_.before_change(item));
  const ReaderLock cut(gate_.changes());
  const WriterLock lock(table_.mutex());
  VAULTFS_ASSIGN_OR_RETURN(Inode * directory, table_.directory(parent));
  const auto place = directory->entries->find(name);
  if (place == directory->entries->end()) return no_such_file();
  VAULTFS_ASSIGN_OR_RETURN(const InodePointer inode, table_.find_locked(place->second.number));
  const bool is_directory = inode->type == InodeType::directory;
  if (directory_wanted && !is_directory) return Error{ErrorCode::NotADirectory, "that is no directory"};
  if (!directory_wanted && is_directory) return Error{ErrorCode::IsADirectory, "that is a directory"};
  if (is_directory && !inode->entries->empty())
    return Error{ErrorCode::DirectoryNotEmpty, "the directory is not empty"};
  {
    const InodeLocks locks{directory, inode.get()};
    directory->mutex.assert_held();
    inode->mutex.assert_held();
    const UnixNanos time = now();
    const SetAttributes directory_record = touched_record(*directory, time, true);
    const SetAttributes inode_record = touched_record(*inode, time, false);
    TreeEntryWriter entry;
    entry.add(UnlinkName{parent, name});
    entry.add(directory_record);
    if (inode->links > 1 && !is_directory) entry.add(inode_record);
    VAULTFS_ASSIGN_OR_RETURN(const Lsn lsn, log_.append(std::move(entry)));
    apply_record(*directory, directory_record, lsn);
    apply_record(*inode, inode_record, lsn);
    ChangeLog::stamp(inode->item, lsn);
  }
  directory->entries->erase(place);
  if (is_directory) --directory->links;
  drop_name(inode);
  return ok_status();
}

void TreeEngine::drop_name(const InodePointer& inode) {
  inode->links = inode->type == InodeType::directory ? 0 : inode->links - 1;
  if (inode->links > 0 || inode->known.load() > 0) return;
  if (open_files_.is_open(*inode)) return;
  destroy(inode);
}

void TreeEngine::destroy(const InodePointer& inode) {
  table_.erase(inode->number);
  const WriterLock lock(inode->mutex);
  inode->dead = true;
  if (inode->type == InodeType::file) --files_;
  resize(*inode, 0);
  if (inode->content == nullptr) return;
  DiskImage& image = *inode->content;
  while (!image.dirty.empty()) FileContents::drop_chunk(image, image.dirty.begin());
  space_.use(image.set_aside, 0, ~std::uint64_t{0});
  contents_.note_unused(image, 0, ~std::uint64_t{0});
  image.extents = {};
}

Result<Attributes> TreeEngine::set_attributes(InodeNumber number, const AttributeChange& change) {
  VAULTFS_ASSIGN_OR_RETURN(const InodePointer inode, table_.find(number));
  count_pages(inode);
  VAULTFS_RETURN_IF_ERROR(log_.before_change(inode->item));
  const ReaderLock cut(gate_.changes());
  const ReaderLock lock(table_.mutex());
  const WriterLock inode_lock(inode->mutex);
  SetAttributes record = attributes_record(*inode);
  record.ctime = change.ctime.value_or(now());
  record.uid = change.uid.value_or(record.uid);
  record.gid = change.gid.value_or(record.gid);
  ExtendedChanges extended;
  if ((change.uid.has_value() || change.gid.has_value()) && inode->type != InodeType::directory) {
    // POSIX chown: a new owner does not inherit the right to run as the old one.
    record.mode = without_set_id(record.mode);
    lose_capability(*inode, extended);
  }
  if (change.mode.has_value()) {
    record.mode = *change.mode & kPermissionBits;
    chmod_acl(*inode, record.mode, extended);
  }
  record.atime = change.atime.value_or(record.atime);
  record.mtime = change.mtime.value_or(record.mtime);
  TreeEntryWriter entry;
  entry.add(record);
  add_changes(number, extended, entry);
  VAULTFS_ASSIGN_OR_RETURN(const Lsn lsn, log_.append(std::move(entry)));
  apply_record(*inode, record, lsn);
  apply_changes(*inode, std::move(extended));
  ChangeLog::stamp(inode->item, lsn);
  return attributes_locked(*inode);
}

}  // namespace vaultfs
