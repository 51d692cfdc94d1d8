// Extended attributes and POSIX ACLs.
#include <sys/stat.h>

#include <array>

#include "base/thread/mutex.h"
#include "fs/tree/posix_acl.h"
#include "fs/tree/state/inode_locks.h"
#include "fs/tree/tree_engine.h"

namespace vaultfs {
namespace {

constexpr std::uint64_t kMaxExtendedBytes = std::uint64_t{256} * 1024;  // names and values of one inode
constexpr std::uint32_t kPermissions = 0777;
constexpr std::uint32_t kSetIdBits = S_ISUID | S_ISGID;
constexpr const char* kCapability = "security.capability";

Error no_data() { return {ErrorCode::NoData, "there is no such extended attribute"}; }

Status check_attribute_name(const std::string& name) {
  if (name == kAccessAcl || name == kDefaultAcl) return ok_status();
  if (name.size() > kMaxNameBytes) return Error{ErrorCode::OutOfRange, "an attribute's name has at most 255 bytes"};
  constexpr std::array<std::string_view, 3> kSpaces{"user.", "trusted.", "security."};
  for (const std::string_view space : kSpaces) {
    if (!name.starts_with(space)) continue;
    if (name.size() == space.size() || name.find('\0') != std::string::npos)
      return Error{ErrorCode::InvalidArgument, "an attribute needs a name behind its name space"};
    return ok_status();
  }
  return Error{ErrorCode::NotSupported, "extended attributes of that name space are not kept"};
}

std::uint64_t bytes_of_others(const Inode& inode, const std::string& name) REQUIRES_SHARED(inode.mutex) {
  std::uint64_t sum = 0;
  if (inode.extended == nullptr) return sum;
  for (const auto& [known, value] : *inode.extended) {
    if (known != name) sum += known.size() + value.size();
  }
  return sum;
}

}  // namespace

Result<Bytes> TreeEngine::extended_attribute(InodeNumber number, const std::string& name) {
  VAULTFS_ASSIGN_OR_RETURN(const InodePointer inode, table_.find(number));
  {
    const ReaderLock lock(inode->mutex);
    if (inode->extended != nullptr) {
      if (const auto found = inode->extended->find(name); found != inode->extended->end()) return found->second;
    }
  }
  VAULTFS_RETURN_IF_ERROR(check_attribute_name(name));
  return no_data();
}

Result<std::vector<std::string>> TreeEngine::extended_names(InodeNumber number) {
  VAULTFS_ASSIGN_OR_RETURN(const InodePointer inode, table_.find(number));
  const ReaderLock lock(inode->mutex);
  std::vector<std::string> names;
  if (inode->extended == nullptr) return names;
  for (const auto& [name, value] : *inode->extended) names.push_back(name);
  return names;
}

Status TreeEngine::change_extended(Inode& inode, const std::string& name, std::optional<ByteView> value,
                                   std::optional<std::uint32_t> mode) {
  SetAttributes record = attributes_record(inode);
  record.ctime = now();
  record.mode = mode.value_or(record.mode);
  TreeEntryWriter entry;
  if (value.has_value()) {
    entry.add(SetExtended{inode.number, name, *value});
  } else {
    entry.add(RemoveExtended{inode.number, name});
  }
  entry.add(record);
  VAULTFS_ASSIGN_OR_RETURN(const Lsn lsn, log_.append(std::move(entry)));
  inode.set_extended(name, value.has_value() ? std::optional<Bytes>(to_bytes(*value)) : std::nullopt);
  apply_record(inode, record, lsn);
  ChangeLog::stamp(inode.item, lsn);
  return ok_status();
}

Status TreeEngine::set_acl(Inode& inode, const std::string& name, ByteView value, bool drops_set_gid) {
  if (inode.type == InodeType::symlink) return Error{ErrorCode::NotSupported, "a symbolic link has no access list"};
  if (name == kDefaultAcl && inode.type != InodeType::directory)
    return Error{ErrorCode::PermissionDenied, "only a directory has a default access list"};
  VAULTFS_ASSIGN_OR_RETURN(const PosixAcl acl, PosixAcl::parse(value));
  if (name == kDefaultAcl) return change_extended(inode, name, value, std::nullopt);
  std::uint32_t mode = (inode.mode & ~kPermissions) | acl.permissions();
  if (drops_set_gid) mode &= ~static_cast<std::uint32_t>(S_ISGID);
  if (acl.only_mode()) return change_extended(inode, name, std::nullopt, mode);
  return change_extended(inode, name, value, mode);
}

Status TreeEngine::set_extended(InodeNumber number, const std::string& name, ByteView value, ExtendedMode mode,
                                bool drops_set_gid) {
  VAULTFS_RETURN_IF_ERROR(check_attribute_name(name));
  if (value.size() > kMaxAttributeValueBytes)
    return Error{ErrorCode::InvalidArgument, "an attribute's value has at most 64 KiB"};
  VAULTFS_ASSIGN_OR_RETURN(const InodePointer inode, table_.find(number));
  VAULTFS_RETURN_IF_ERROR(log_.before_change(inode->item));
  VAULTFS_RETURN_IF_ERROR(space_.check(name.size() + value.size()));
  const ReaderLock cut(gate_.changes());
  const WriterLock lock(inode->mutex);
  if (inode->dead) return Error{ErrorCode::NotFound, "the file was removed"};
  const bool there = inode->extended != nullptr && inode->extended->contains(name);
  if (there && mode == ExtendedMode::create) return Error{ErrorCode::AlreadyExists, "the attribute exists"};
  if (!there && mode == ExtendedMode::replace) return no_data();
  if (bytes_of_others(*inode, name) + name.size() + value.size() > kMaxExtendedBytes)
    return Error{ErrorCode::NoSpace, "the attributes of one file have at most 256 KiB"};
  if (name == kAccessAcl || name == kDefaultAcl) return set_acl(*inode, name, value, drops_set_gid);
  return change_extended(*inode, name, value, std::nullopt);
}

Status TreeEngine::remove_extended(InodeNumber number, const std::string& name) {
  VAULTFS_RETURN_IF_ERROR(check_attribute_name(name));
  VAULTFS_ASSIGN_OR_RETURN(const InodePointer inode, table_.find(number));
  VAULTFS_RETURN_IF_ERROR(log_.before_change(inode->item));
  const ReaderLock cut(gate_.changes());
  const WriterLock lock(inode->mutex);
  if (inode->dead) return Error{ErrorCode::NotFound, "the file was removed"};
  const bool there = inode->extended != nullptr && inode->extended->contains(name);
  if (!there) {
    // What a list would say without being kept is gone already.
    if (name == kAccessAcl || name == kDefaultAcl) return ok_status();
    return no_data();
  }
  return change_extended(*inode, name, std::nullopt, std::nullopt);
}

void TreeEngine::chmod_acl(const Inode& inode, std::uint32_t mode, ExtendedChanges& changes) {
  if (inode.extended == nullptr) return;
  const auto known = inode.extended->find(kAccessAcl);
  if (known == inode.extended->end()) return;
  Result<PosixAcl> acl = PosixAcl::parse(known->second);
  if (!acl.ok()) return;  // never kept; a manifest's may be anything
  acl->set_permissions(mode);
  changes.emplace_back(kAccessAcl, acl->encode());
}

std::uint32_t TreeEngine::inherit_acl(const Inode& directory, InodeType type, std::uint32_t mode, std::uint32_t umask,
                                      ExtendedChanges& changes) {
  if (type == InodeType::symlink) return mode;
  const Bytes* inherited = nullptr;
  if (directory.extended != nullptr) {
    if (const auto found = directory.extended->find(kDefaultAcl); found != directory.extended->end())
      inherited = &found->second;
  }
  if (inherited == nullptr) return mode & ~umask;
  Result<PosixAcl> acl = PosixAcl::parse(*inherited);
  if (!acl.ok()) return mode & ~umask;
  if (type == InodeType::directory) changes.emplace_back(kDefaultAcl, *inherited);
  acl->restrict_to(mode);
  if (!acl->only_mode()) changes.emplace_back(kAccessAcl, acl->encode());
  return (mode & ~kPermissions) | acl->permissions();
}

void TreeEngine::lose_capability(const Inode& inode, ExtendedChanges& changes) {
  if (inode.extended != nullptr && inode.extended->contains(std::string_view(kCapability)))
    changes.emplace_back(kCapability, std::nullopt);
}

void TreeEngine::add_changes(InodeNumber number, const ExtendedChanges& changes, TreeEntryWriter& entry) {
  for (const auto& [name, value] : changes) {
    if (value.has_value()) {
      entry.add(SetExtended{number, name, *value});
    } else {
      entry.add(RemoveExtended{number, name});
    }
  }
}

void TreeEngine::apply_changes(Inode& inode, ExtendedChanges changes) {
  for (auto& [name, value] : changes) inode.set_extended(name, std::move(value));
}

Status TreeEngine::drop_capability(Inode& inode) {
  if (inode.extended == nullptr || !inode.extended->contains(std::string_view(kCapability))) return ok_status();
  return change_extended(inode, kCapability, std::nullopt, std::nullopt);
}

std::uint32_t TreeEngine::without_set_id(std::uint32_t mode) {
  mode &= ~static_cast<std::uint32_t>(S_ISUID);
  // Without the group's right to execute, this bit means mandatory locking and not a right.
  if ((mode & S_IXGRP) != 0) mode &= ~static_cast<std::uint32_t>(S_ISGID);
  return mode;
}

Result<bool> TreeEngine::drop_set_id(InodeNumber number, const InGroup& in_group) {
  VAULTFS_ASSIGN_OR_RETURN(const InodePointer inode, table_.find(number));
  if (inode->type != InodeType::file) return false;
  std::uint32_t mode = 0;
  std::uint32_t gid = 0;
  {
    const ReaderLock lock(inode->mutex);
    mode = inode->mode;
    gid = inode->gid;
  }
  std::uint32_t taken = mode & kSetIdBits;
  // Without the group's right to execute, its bit means mandatory locking.
  if ((taken & S_ISGID) != 0 && (mode & S_IXGRP) == 0 && in_group(gid)) taken &= ~static_cast<std::uint32_t>(S_ISGID);
  if (taken == 0) return false;
  VAULTFS_RETURN_IF_ERROR(log_.before_change(inode->item));
  const ReaderLock cut(gate_.changes());
  const WriterLock lock(inode->mutex);
  if (inode->dead) return false;
  SetAttributes record = attributes_record(*inode);
  record.ctime = now();
  record.mode &= ~taken;
  TreeEntryWriter entry;
  entry.add(record);
  VAULTFS_ASSIGN_OR_RETURN(const Lsn lsn, log_.append(std::move(entry)));
  apply_record(*inode, record, lsn);
  ChangeLog::stamp(inode->item, lsn);
  return true;
}

}  // namespace vaultfs
