// Renaming within an item.

#include "base/thread/mutex.h"
#include "fs/tree/state/inode_locks.h"
#include "fs/tree/tree_engine.h"

namespace vaultfs {

bool TreeEngine::is_below(const Inode& directory, const Inode& ancestor) const {
  const Inode* at = &directory;
  while (at->number != kRootInode) {
    if (at == &ancestor) return true;
    const InodePointer parent = table_.get(at->parent);
    if (parent == nullptr) return false;
    at = parent.get();
  }
  return false;
}

Result<TreeEngine::RenamePlan> TreeEngine::plan_rename(InodeNumber parent, const std::string& name,
                                                       InodeNumber new_parent, const std::string& new_name,
                                                       RenameMode mode) const {
  RenamePlan plan;
  plan.name = name;
  plan.new_name = new_name;
  plan.exchange = mode == RenameMode::exchange;
  VAULTFS_ASSIGN_OR_RETURN(plan.from, table_.directory(parent));
  VAULTFS_ASSIGN_OR_RETURN(plan.to, table_.directory(new_parent));
  const auto source = plan.from->entries->find(name);
  if (source == plan.from->entries->end()) return Error{ErrorCode::NotFound, "there is no such file"};
  if (parent == kRootInode)
    return Error{ErrorCode::NotPermitted, "an item is its name: its directory can't be renamed"};
  if (plan.from->item != plan.to->item) return Error{ErrorCode::CrossItem, "a file belongs to one item"};
  if (plan.to->links == 0) return Error{ErrorCode::NotFound, "the directory was removed"};
  VAULTFS_ASSIGN_OR_RETURN(plan.source, table_.find_locked(source->second.number));
  const auto target = plan.to->entries->find(new_name);
  if (target != plan.to->entries->end()) {
    VAULTFS_ASSIGN_OR_RETURN(plan.target, table_.find_locked(target->second.number));
  }
  if (plan.target == nullptr && plan.exchange) return Error{ErrorCode::NotFound, "there is no such file"};
  if (plan.target != nullptr && mode == RenameMode::no_replace)
    return Error{ErrorCode::AlreadyExists, "the name is taken"};
  const bool moves_directory = plan.source->type == InodeType::directory;
  if (moves_directory && is_below(*plan.to, *plan.source)) {
    return Error{ErrorCode::InvalidArgument, "a directory can't be moved into itself"};
  }
  if (plan.target == nullptr) return plan;
  plan.nothing = plan.source == plan.target;
  const bool onto_directory = plan.target->type == InodeType::directory;
  if (plan.exchange) {
    if (onto_directory && is_below(*plan.from, *plan.target)) {
      return Error{ErrorCode::InvalidArgument, "a directory can't be moved into itself"};
    }
    return plan;
  }
  if (moves_directory && !onto_directory) return Error{ErrorCode::NotADirectory, "a directory can't replace a file"};
  if (!moves_directory && onto_directory) return Error{ErrorCode::IsADirectory, "a file can't replace a directory"};
  if (onto_directory && !plan.nothing && !plan.target->entries->empty()) {
    return Error{ErrorCode::DirectoryNotEmpty, "the directory to replace is not empty"};
  }
  return plan;
}

void TreeEngine::move_names(const RenamePlan& plan) {
  const Inode::Entry source{plan.source->number, plan.source->type};
  const bool source_is_directory = plan.source->type == InodeType::directory;
  if (source_is_directory) {
    --plan.from->links;
    ++plan.to->links;
    plan.source->parent = plan.to->number;
  }
  if (plan.exchange) {
    plan.from->entries->insert_or_assign(plan.name, Inode::Entry{plan.target->number, plan.target->type});
    if (plan.target->type == InodeType::directory) {
      --plan.to->links;
      ++plan.from->links;
      plan.target->parent = plan.from->number;
    }
  } else {
    plan.from->entries->erase(plan.name);
    if (plan.target != nullptr && plan.target->type == InodeType::directory) --plan.to->links;
  }
  plan.to->entries->insert_or_assign(plan.new_name, source);
}

Status TreeEngine::execute(const RenamePlan& plan) {
  {
    const InodeLocks locks{plan.from, plan.to, plan.source.get(), plan.target.get()};
    plan.from->mutex.assert_held();
    plan.to->mutex.assert_held();
    plan.source->mutex.assert_held();
    const UnixNanos time = now();
    std::vector<std::pair<Inode*, SetAttributes>> touched;
    touched.emplace_back(plan.from, touched_record(*plan.from, time, true));
    if (plan.to != plan.from) touched.emplace_back(plan.to, touched_record(*plan.to, time, true));
    touched.emplace_back(plan.source.get(), touched_record(*plan.source, time, false));
    if (plan.target != nullptr) {
      plan.target->mutex.assert_held();
      touched.emplace_back(plan.target.get(), touched_record(*plan.target, time, false));
    }
    TreeEntryWriter entry;
    if (plan.exchange) {
      entry.add(LinkName{plan.from->number, plan.name, plan.target->number});
    } else {
      entry.add(UnlinkName{plan.from->number, plan.name});
    }
    entry.add(LinkName{plan.to->number, plan.new_name, plan.source->number});
    for (const auto& [inode, record] : touched) entry.add(record);
    VAULTFS_ASSIGN_OR_RETURN(const Lsn lsn, log_.append(std::move(entry)));
    for (const auto& [inode, record] : touched) {
      inode->mutex.assert_held();
      apply_record(*inode, record, lsn);
    }
    ChangeLog::stamp(plan.source->item, lsn);
  }
  move_names(plan);
  if (!plan.exchange && plan.target != nullptr) drop_name(plan.target);
  return ok_status();
}

Status TreeEngine::rename(InodeNumber parent, const std::string& name, InodeNumber new_parent,
                          const std::string& new_name, RenameMode mode) {
  if (name.size() > kMaxNameBytes || new_name.size() > kMaxNameBytes)
    return Error{ErrorCode::NameTooLong, "a name has at most 255 bytes"};
  if (new_name.empty() || new_name == "." || new_name == ".." || new_name.find('/') != std::string::npos ||
      new_name.find('\0') != std::string::npos) {
    return Error{ErrorCode::InvalidName, "that can't be a file name"};
  }
  InodePointer source;
  bool replaces = false;
  {
    const ReaderLock lock(table_.mutex());
    VAULTFS_ASSIGN_OR_RETURN(const RenamePlan plan, plan_rename(parent, name, new_parent, new_name, mode));
    if (plan.nothing) return ok_status();
    source = plan.source;
    replaces = plan.target != nullptr;
  }
  VAULTFS_RETURN_IF_ERROR(log_.before_change(source->item));
  // A program that writes a new version and renames it over the old one without fsync must never find an empty file
  // after a crash: the data goes to the journal before the name does.
  if (replaces && source->type == InodeType::file) VAULTFS_RETURN_IF_ERROR(flush_.flush_inode(source));
  const ReaderLock cut(gate_.changes());
  const WriterLock lock(table_.mutex());
  VAULTFS_ASSIGN_OR_RETURN(const RenamePlan plan, plan_rename(parent, name, new_parent, new_name, mode));
  if (plan.nothing) return ok_status();
  return execute(plan);
}

}  // namespace vaultfs
