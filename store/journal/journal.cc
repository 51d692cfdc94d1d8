#include "store/journal/journal.h"

#include <iterator>
#include <new>
#include <optional>
#include <utility>

#include "base/thread/mutex.h"
#include "store/blobs/blob_store.h"
#include "store/journal/journal_file.h"
#include "store/record/file_origin.h"

namespace vaultfs {
namespace {

constexpr int kNumberAttempts = 1000;

// Group commit: whoever finds no leader leads. He takes all that is buffered, writes and syncs it without the mutex,
// and wakes the others, of whom those whose entries came too late find the next leader among themselves.
class GroupCommitJournal final : public Journal {
 public:
  GroupCommitJournal(Env& env, Env::Path directory, const EpochKeys& keys, std::unique_ptr<JournalFile> file,
                     JournalStart start, BeforeWrite before_write, Bytes no_change)
      : env_(env),
        directory_(std::move(directory)),
        keys_(keys),
        before_write_(std::move(before_write)),
        no_change_(std::move(no_change)),
        appended_(start.replayed_to.next()),
        synced_(appended_),
        position_(file->position()),
        file_bytes_(file->bytes()),
        file_(std::move(file)),
        checkpoint_(start.checkpoint),
        before_(std::move(start.before)),
        highest_number_(position_.number) {}

  void on_new_file(Announce announce) override { announce_ = std::move(announce); }

  Result<Lsn> append(EntryOwner owner, Bytes entry) override {
    if (owner != EntryOwner::catalogue && owner != EntryOwner::tree) {
      return Error{ErrorCode::InvalidArgument, "a journal entry belongs to the catalogue or the working tree"};
    }
    if (entry.size() > kMaxJournalEntryBytes) {
      return Error{ErrorCode::InvalidArgument, "a journal entry has at most 4 MiB"};
    }
    const MutexLock lock(mutex_);
    VAULTFS_RETURN_IF_ERROR(usable());
    if (closed_) return Error{ErrorCode::Internal, "the journal is closed"};
    buffered_bytes_ += entry.size();
    buffer_.push_back({owner, std::move(entry)});
    appended_ = appended_.next();
    return appended_;
  }

  Status commit() override {
    MutexLock lock(mutex_);
    return commit_under_lock(appended_);
  }

  Status commit_up_to(Lsn lsn) override {
    MutexLock lock(mutex_);
    if (lsn > appended_) return Error{ErrorCode::InvalidArgument, "an LSN that no entry has yet"};
    return commit_under_lock(lsn);
  }

  Result<ContainerNumber> rotate(ContainerNumber checkpoint) override {
    MutexLock lock(mutex_);
    // A disk that was full at the last try is likely to be so still, and is told of before anything is changed.
    if (waiting_) VAULTFS_RETURN_IF_ERROR(commit_under_lock(appended_));
    VAULTFS_RETURN_IF_ERROR(become_leader());
    if (closed_) {
      stop_leading(ok_status(), synced_);
      return Error{ErrorCode::Internal, "the journal is closed"};
    }
    Batch batch = take_buffer();
    const ContainerNumber checkpoint_before = std::exchange(checkpoint_, checkpoint);
    Lsn durable = batch.last;
    // After drop_cipher() the file that is due anyway is the new one, and its first entry has an LSN already.
    const bool continues = file_ != nullptr;
    if (continues) {
      // What is appended from now on belongs to the new file, after its first entry.
      appended_ = appended_.next();
      durable = appended_;
    }
    lock.unlock();
    Status status = write(batch);
    const bool written = status.ok();
    if (written && continues) status = start_file(batch, batch.last);
    lock.lock();
    const bool passes = !status.ok() && (status.code() == ErrorCode::KeyRevoked || status.code() == ErrorCode::NoSpace);
    if (passes) checkpoint_ = checkpoint_before;
    if (written && passes) {
      // The keys went, or the room for another file did: as after drop_cipher().
      stop_leading(ok_status(), batch.last);
      file_.reset();
      return std::move(status).error();
    }
    if (!written && continues && may_go_on(status)) {
      // No file begins with the LSN of the new one's first entry: it is given back or, where later ones have been given
      // away meanwhile, filled.
      if (appended_ == durable) {
        appended_ = batch.last;
      } else {
        buffered_bytes_ += no_change_.size();
        buffer_.insert(buffer_.begin(), {EntryOwner::catalogue, no_change_});
      }
    }
    finish(std::move(batch), status, durable);
    VAULTFS_RETURN_IF_ERROR(std::move(status));
    return position_.number;
  }

  void forget_before(ContainerNumber number) override {
    const MutexLock lock(mutex_);
    forgotten_below_ = std::max(forgotten_below_, number);
  }

  Status close_cleanly() override {
    MutexLock lock(mutex_);
    VAULTFS_RETURN_IF_ERROR(become_leader());
    if (closed_) {
      stop_leading(ok_status(), synced_);
      return ok_status();
    }
    closed_ = true;
    Batch batch = take_buffer();
    lock.unlock();
    Status status = write(batch);
    // Only after the sync: an end that survives a power loss without what it seals would be taken for damage.
    if (status.ok()) status = file_->write_end(batch.last);
    lock.lock();
    if (may_go_on(status)) closed_ = false;
    const Lsn last = batch.last;
    finish(std::move(batch), status, last);
    return status;
  }

  void drop_cipher() override {
    MutexLock lock(mutex_);
    while (leading_) changed_.wait(mutex_);
    if (file_ == nullptr) return;
    if (closed_ || failure_.has_value()) {
      file_.reset();
      return;
    }
    leading_ = true;
    const Batch batch = take_buffer();
    // The first entry of the file that will follow: what is appended from now on comes after it.
    appended_ = appended_.next();
    lock.unlock();
    const Status status = write(batch);
    lock.lock();
    stop_leading(status, batch.last);
    file_.reset();
  }

  [[nodiscard]] bool dead() const override {
    const MutexLock lock(mutex_);
    return failure_.has_value();
  }
  [[nodiscard]] Lsn last_appended() const override {
    const MutexLock lock(mutex_);
    return appended_;
  }
  [[nodiscard]] Lsn last_synced() const override {
    const MutexLock lock(mutex_);
    return synced_;
  }
  [[nodiscard]] ContainerNumber number() const override {
    const MutexLock lock(mutex_);
    return position_.number;
  }
  [[nodiscard]] JournalPosition position() const override {
    const MutexLock lock(mutex_);
    return position_;
  }
  [[nodiscard]] std::uint64_t buffered_bytes() const override {
    const MutexLock lock(mutex_);
    return buffered_bytes_ + batch_bytes_;
  }
  [[nodiscard]] std::uint64_t file_bytes() const override {
    const MutexLock lock(mutex_);
    return file_bytes_;
  }

 private:
  struct Batch {
    std::vector<JournalEntry> entries;
    Lsn last;                         // of the entries, or the highest durable one if there are none
    Lsn synced;                       // when the batch was taken
    ContainerNumber forgotten_below;  // what a file that follows need not tell of
  };

  [[nodiscard]] Status usable() const REQUIRES(mutex_) {
    if (failure_.has_value()) return *failure_;
    return ok_status();
  }

  // Lets go of the lock while it writes.
  Status commit_under_lock(Lsn target) REQUIRES(mutex_) {
    VAULTFS_RETURN_IF_ERROR(usable());
    while (synced_ < target) {
      if (leading_) {
        changed_.wait(mutex_);
        if (synced_ < target) VAULTFS_RETURN_IF_ERROR(usable());
        continue;
      }
      leading_ = true;
      Batch batch = take_buffer();
      const Lsn last = batch.last;
      const bool nothing = batch.entries.empty();
      mutex_.unlock();
      Status status = write(batch);
      mutex_.lock();
      const bool nothing_waits = nothing && file_ == nullptr && may_go_on(status);
      finish(std::move(batch), status, last);
      if (nothing_waits) return ok_status();  // all is durable but the first entry of a file that is not there yet
      VAULTFS_RETURN_IF_ERROR(std::move(status));
    }
    return ok_status();
  }

  Status become_leader() REQUIRES(mutex_) {
    while (leading_) changed_.wait(mutex_);
    VAULTFS_RETURN_IF_ERROR(usable());
    leading_ = true;
    return ok_status();
  }

  Batch take_buffer() REQUIRES(mutex_) {
    batch_bytes_ = std::exchange(buffered_bytes_, 0);
    return {std::exchange(buffer_, {}), appended_, synced_, forgotten_below_};
  }

  // Without the mutex, by the leader. A file that could not be announced is left behind, and its number with it: a head
  // that names it may have become durable all the same. It holds nothing that was acknowledged.
  Status start_file(const Batch& batch, Lsn replayed_to) {
    JournalContinues continues{replayed_to, checkpoint_, before_};
    const JournalPosition ended = file_ != nullptr ? file_->position() : position();
    continues.before.push_back({ended.number, ended.bytes, ended.digest});
    std::erase_if(continues.before,
                  [&](const JournalExtent& journal) { return journal.number < batch.forgotten_below; });
    for (int attempt = 1;; ++attempt) {
      const ContainerNumber number = highest_number_.next();
      auto file = JournalFile::create(env_, directory_, keys_, number, continues);
      const bool taken = !file.ok() && file.code() == ErrorCode::AlreadyExists;
      if (file.ok() || taken) highest_number_ = number;
      // What is there already is stepped over: no head names it.
      if (taken && attempt < kNumberAttempts) continue;
      if (!file.ok()) return std::move(file).error();
      if (announce_) VAULTFS_RETURN_IF_ERROR(announce_((*file)->position()));
      before_ = std::move(continues.before);
      file_ = std::move(file).value();
      return ok_status();
    }
  }

  // Without the mutex, by the leader. Starts a new file if the cipher of the one before was dropped.
  Status write(const Batch& batch) {
    try {
      return try_write(batch);
    } catch (const std::bad_alloc&) {
      // All that needs memory comes before a record counts as sealed: what is not waits, as for room on the disk.
      no_room_ = true;
      return Error{ErrorCode::OutOfMemory, "no memory"};
    }
  }

  Status try_write(const Batch& batch) {
    no_room_ = false;
    if (file_ == nullptr) VAULTFS_RETURN_IF_ERROR(start_file(batch, batch.synced));
    if (batch.entries.empty() && !file_->waits_for_room()) return ok_status();
    if (before_write_) VAULTFS_RETURN_IF_ERROR(before_write_());
    const Lsn first(batch.last.value - batch.entries.size() + 1);
    Status status = file_->write_durably(batch.entries, first, batch.synced);
    no_room_ = !status.ok() && file_->waits_for_room();
    return status;
  }

  // The failure may pass, and nothing is lost by it: the keys or the room for a new file may come back, or the room for
  // records that the file keeps. Asked by the leader only.
  [[nodiscard]] bool may_go_on(const Status& status) const {
    if (status.ok()) return false;
    if (file_ == nullptr) {
      return no_room_ || status.code() == ErrorCode::KeyRevoked || status.code() == ErrorCode::NoSpace;
    }
    return no_room_;
  }

  // The leader's end. Of a batch that has to wait, what is not sealed goes back to where it was.
  void finish(Batch batch, const Status& status, Lsn durable) REQUIRES(mutex_) {
    if (!may_go_on(status)) return stop_leading(status, durable);
    auto unsealed = batch.entries.begin();
    if (file_ != nullptr) {
      const std::uint64_t before_first = batch.last.value - batch.entries.size();
      if (file_->sealed_to().value > before_first) {
        unsealed += static_cast<std::ptrdiff_t>(file_->sealed_to().value - before_first);
      }
    }
    buffer_.insert(buffer_.begin(), std::make_move_iterator(unsealed), std::make_move_iterator(batch.entries.end()));
    buffered_bytes_ += std::exchange(batch_bytes_, 0);
    waiting_ = true;
    leading_ = false;
    changed_.notify_all();
  }

  void stop_leading(const Status& status, Lsn durable) REQUIRES(mutex_) {
    leading_ = false;
    batch_bytes_ = 0;
    waiting_ = false;
    if (status.ok()) {
      synced_ = durable;
      if (file_ != nullptr) {
        position_ = file_->position();
        file_bytes_ = file_->bytes();
      }
    } else {
      failure_ = status.error();
    }
    changed_.notify_all();
  }

  Env& env_;
  const Env::Path directory_;
  const EpochKeys& keys_;
  const BeforeWrite before_write_;
  const Bytes no_change_;  // an entry that fills an LSN
  Announce announce_;      // set before the journal is shared

  mutable Mutex mutex_;  // a leaf: not held during I/O and before_write_
  CondVar changed_;      // leading_ became false
  std::vector<JournalEntry> buffer_ GUARDED_BY(mutex_);
  std::uint64_t buffered_bytes_ GUARDED_BY(mutex_) = 0;
  std::uint64_t batch_bytes_ GUARDED_BY(mutex_) = 0;  // taken by the leader, not durable yet
  Lsn appended_ GUARDED_BY(mutex_);
  Lsn synced_ GUARDED_BY(mutex_);
  JournalPosition position_ GUARDED_BY(mutex_);  // of the newest file that was announced
  ContainerNumber forgotten_below_ GUARDED_BY(mutex_);
  std::uint64_t file_bytes_ GUARDED_BY(mutex_) = 0;
  bool leading_ GUARDED_BY(mutex_) = false;
  bool waiting_ GUARDED_BY(mutex_) = false;  // the last commit may go on later, and nothing has been written since
  bool closed_ GUARDED_BY(mutex_) = false;
  std::optional<Error> failure_;

  // These belong to the thread that set leading_, or that holds mutex_ while nobody leads.
  std::unique_ptr<JournalFile> file_;  // null after drop_cipher(), until the keys are back
  ContainerNumber checkpoint_;         // that replay of the current file starts from
  std::vector<JournalExtent> before_;  // the journals before the current one
  ContainerNumber highest_number_;     // of the files made so far
  bool no_room_ = false;               // the last write ended so; the file keeps what it has sealed
};

}  // namespace

Result<std::unique_ptr<Journal>> Journal::create(Env& env, Env::Path directory, const EpochKeys& keys,
                                                 JournalStart start, BeforeWrite before_write, Bytes no_change) {
  VAULTFS_ASSIGN_OR_RETURN(auto file, JournalFile::create(env, directory, keys, start.number,
                                                          {start.replayed_to, start.checkpoint, start.before}));
  return std::unique_ptr<Journal>(std::make_unique<GroupCommitJournal>(env, std::move(directory), keys, std::move(file),
                                                                       std::move(start), std::move(before_write),
                                                                       std::move(no_change)));
}

}  // namespace vaultfs
