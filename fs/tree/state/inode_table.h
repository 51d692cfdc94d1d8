#pragma once

#include <algorithm>
#include <memory>
#include <set>
#include <string>
#include <unordered_map>
#include <vector>

#include "base/result.h"
#include "base/thread/mutex.h"
#include "fs/tree/state/inode.h"

namespace vaultfs {

// The inodes of the working tree and the items they belong to, and the lock of the tree: mutex() guards also what Inode
// says of names. It comes after the CutGate's locks and before the inodes' mutexes; see docs/locks.md. Thread-safe
// where nothing is required.
class InodeTable {
 public:
  using Inodes = std::unordered_map<InodeNumber, InodePointer>;

  [[nodiscard]] SharedMutex& mutex() const RETURN_CAPABILITY(mutex_) { return mutex_; }

  // --- Of itself, without the lock.
  [[nodiscard]] Result<InodePointer> find(InodeNumber number) const EXCLUDES(mutex_);       // NotFound
  [[nodiscard]] Result<InodePointer> find_file(InodeNumber number) const EXCLUDES(mutex_);  // IsADirectory,
                                                                                            // InvalidArgument
  // All there are, those that only a handle keeps alive among them.
  [[nodiscard]] std::vector<InodePointer> inodes() const EXCLUDES(mutex_);
  [[nodiscard]] std::vector<InodePointer> files() const EXCLUDES(mutex_);
  [[nodiscard]] std::size_t size() const EXCLUDES(mutex_);
  // As WorkingTree's.
  [[nodiscard]] std::vector<std::string> item_names() const EXCLUDES(mutex_);
  [[nodiscard]] bool open_for_writing(const std::string& item) const EXCLUDES(mutex_);
  [[nodiscard]] bool changed_since(const std::string& item, Lsn since) const EXCLUDES(mutex_);
  // The items with a change behind that LSN. They live as long as the table.
  [[nodiscard]] std::vector<Item*> changed_behind(Lsn lsn) const EXCLUDES(mutex_);

  // --- Under the lock.
  [[nodiscard]] Result<InodePointer> find_locked(InodeNumber number) const REQUIRES_SHARED(mutex_);  // NotFound
  [[nodiscard]] InodePointer get(InodeNumber number) const REQUIRES_SHARED(mutex_);                  // null: none
  [[nodiscard]] const InodePointer& at(InodeNumber number) const REQUIRES_SHARED(mutex_) { return inodes_.at(number); }
  [[nodiscard]] bool contains(InodeNumber number) const REQUIRES_SHARED(mutex_) { return inodes_.contains(number); }
  [[nodiscard]] Result<Inode*> directory(InodeNumber number) const REQUIRES_SHARED(mutex_);  // NotADirectory
  [[nodiscard]] const Inodes& all() const REQUIRES_SHARED(mutex_) { return inodes_; }
  [[nodiscard]] const std::vector<std::unique_ptr<Item>>& items() const REQUIRES_SHARED(mutex_) { return items_; }

  // Made if it is not there. Items are never removed: inodes point to them.
  [[nodiscard]] Item& item_named(const std::string& name) REQUIRES(mutex_);
  // Adds an inode, unless one has its number.
  void add(const InodePointer& inode) REQUIRES(mutex_) { inodes_.emplace(inode->number, inode); }
  // In the place of one that has its number.
  void put(const InodePointer& inode) REQUIRES(mutex_) { inodes_.insert_or_assign(inode->number, inode); }
  void erase(InodeNumber number) REQUIRES(mutex_);
  void replace_all(Inodes inodes) REQUIRES(mutex_) { inodes_ = std::move(inodes); }

  // The number for the next inode that is made. No number is given twice: raise_next() once it was.
  [[nodiscard]] InodeNumber next_number() const REQUIRES_SHARED(mutex_) { return next_number_; }
  void raise_next(InodeNumber at_least) REQUIRES(mutex_) { next_number_ = std::max(next_number_, at_least); }

  // The files that never had a name, and may be given one.
  [[nodiscard]] const std::set<InodeNumber>& unnamed() const REQUIRES_SHARED(mutex_) { return unnamed_; }
  void add_unnamed(InodeNumber number) REQUIRES(mutex_) { unnamed_.insert(number); }
  void give_name(InodeNumber number) REQUIRES(mutex_) { unnamed_.erase(number); }

 private:
  mutable SharedMutex mutex_;
  Inodes inodes_ GUARDED_BY(mutex_);
  std::set<InodeNumber> unnamed_ GUARDED_BY(mutex_);  // of inodes_
  std::vector<std::unique_ptr<Item>> items_ GUARDED_BY(mutex_);
  InodeNumber next_number_ GUARDED_BY(mutex_){2};
};

}  // namespace vaultfs
