#include "fs/tree/state/change_log.h"

#include <utility>

#include "base/thread/mutex.h"

namespace vaultfs {
namespace {

// What may wait in memory while the disk has no room for the journal, before changes are refused.
constexpr std::uint64_t kMaxWaitingJournalBytes = 64ULL << 20;

void raise(std::atomic<std::uint64_t>& value, std::uint64_t to) {
  std::uint64_t seen = value.load();
  while (seen < to && !value.compare_exchange_weak(seen, to)) {
  }
}

}  // namespace

Status ChangeLog::check_unsealed() const {
  if (vault_sealed_.load())
    return Error{ErrorCode::KeyRevoked, "the vault is sealed: its key is revoked or out of reach"};
  return ok_status();
}

Status ChangeLog::writable() const {
  if (journal_ == nullptr) return Error{ErrorCode::ReadOnly, "the vault is open for reading only"};
  VAULTFS_RETURN_IF_ERROR(check_unsealed());
  if (dead_.load()) return Error{ErrorCode::IoError, "the vault's journal failed; remount to go on"};
  if (journal_->buffered_bytes() > kMaxWaitingJournalBytes) {
    return Error{ErrorCode::NoSpace, "the vault's disk is full and has no room for the journal"};
  }
  return ok_status();
}

Status ChangeLog::before_change(const Item* item) {
  VAULTFS_RETURN_IF_ERROR(writable());
  if (item == nullptr) return ok_status();
  return observer_->before_change(item->name);
}

void ChangeLog::write_lost(Item& item, const Error& error) {
  {
    const MutexLock lock(item.mutex);
    item.failure = error;
  }
  observer_->write_failed(item.name, error);
}

void ChangeLog::stamp(Item* item, Lsn lsn) {
  if (item != nullptr) raise(item->last_change, lsn.value);
}

Result<Lsn> ChangeLog::append(TreeEntryWriter entry) {
  auto lsn = journal_->append(EntryOwner::tree, std::move(entry).take());
  if (!lsn.ok()) dead_ = true;
  return lsn;
}

}  // namespace vaultfs
