#pragma once

#include <atomic>
#include <cstdint>
#include <string>

#include "base/result.h"
#include "fs/tree/format/entry.h"
#include "fs/tree/state/change_observer.h"
#include "fs/tree/state/inode.h"
#include "store/journal/journal.h"

namespace vaultfs {

// The tree's way to the journal: stamps changes, appends and commits them, and knows when there can be none, since the
// vault is open for reading only, is sealed, or its journal died. Tells the ChangeObserver. Thread-safe; has no lock,
// and calls the observer with none held.
class ChangeLog {
 public:
  // Before anything else, once. Null: a vault that is open for reading only.
  void start(Journal* journal, ChangeObserver& observer) {
    journal_ = journal;
    observer_ = &observer;
  }
  [[nodiscard]] bool read_only() const { return journal_ == nullptr; }

  // Refuses a change the tree can't keep: read-only, sealed, journal dead or too full.
  [[nodiscard]] Status writable() const;
  // writable(), then tells the observer. Null: a change of no item. Without locks.
  [[nodiscard]] Status before_change(const Item* item);
  // Tells the observer of an item that is about to be made. Without locks.
  [[nodiscard]] Status before_making(const std::string& item) { return observer_->before_change(item); }
  // An acknowledged write to the item was lost: the item keeps that for its next cut, and the observer is told. Without
  // locks.
  void write_lost(Item& item, const Error& error);

  // The stamp of a change that is made now, see Inode::changed; also moves the item's. REQUIRES: one of the CutGate's
  // locks, as does append().
  [[nodiscard]] Lsn stamp(const Inode& inode) const {
    const Lsn lsn = journal_->last_appended().next();
    stamp(inode.item, lsn);
    return lsn;
  }
  static void stamp(Item* item, Lsn lsn);
  // Appends an entry. An error means that the journal is dead: nothing was changed, and nothing can be any more.
  [[nodiscard]] Result<Lsn> append(TreeEntryWriter entry);
  // Of the newest entry; zero for a read-only vault.
  [[nodiscard]] Lsn last_appended() const { return journal_ == nullptr ? Lsn{} : journal_->last_appended(); }
  // The newest entry that is durable.
  [[nodiscard]] Lsn last_synced() const { return journal_->last_synced(); }
  // What waits in memory to be written.
  [[nodiscard]] std::uint64_t buffered_bytes() const { return journal_->buffered_bytes(); }
  // Writes and syncs all that was appended. After an error, journal_lost() says whether a later one may succeed: a full
  // disk, or keys that are away, pass.
  [[nodiscard]] Status commit() { return journal_->commit(); }
  [[nodiscard]] bool journal_lost() const { return journal_->dead(); }

  // No change any more. False if that was so before.
  bool mark_dead() { return !dead_.exchange(true); }
  [[nodiscard]] bool dead() const { return dead_.load(); }
  // The vault's keys are gone: no change and no read until they are back. False if that was so before.
  bool begin_sealed() { return !vault_sealed_.exchange(true); }
  void end_sealed() { vault_sealed_ = false; }
  [[nodiscard]] bool sealed() const { return vault_sealed_.load(); }
  [[nodiscard]] Status check_unsealed() const;

 private:
  Journal* journal_ = nullptr;          // set by start(); null for a read-only vault
  ChangeObserver* observer_ = nullptr;  // set by start()
  std::atomic<bool> vault_sealed_{false};
  std::atomic<bool> dead_{false};
};

}  // namespace vaultfs
