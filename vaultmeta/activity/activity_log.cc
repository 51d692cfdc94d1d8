#include "vaultmeta/activity/activity_log.h"

#include <algorithm>
#include <optional>
#include <set>
#include <utility>

#include "base/byte_codec.h"
#include "base/thread/mutex.h"
#include "crypto/hash.h"
#include "store/blobs/blob_store.h"
#include "store/blobs/write_again.h"
#include "store/record/container.h"
#include "store/record/file_origin.h"
#include "store/record/record.h"
#include "store/record/record_scanner.h"
#include "store/segment/file/segment_recovery.h"
#include "vaultmeta/activity/activity_verify.h"
#include "vaultmeta/layout/vault_layout.h"

namespace vaultfs {
namespace {

constexpr std::uint8_t kFrameLog2 = 13;  // an entry is one frame

std::string cut(std::string text, std::size_t limit) {
  if (text.size() > limit) text.resize(limit);
  return text;
}

struct FileEntries {
  ContainerNumber number;
  std::vector<ActivityEntry> entries;
  bool closed_epoch = false;  // the file's epoch is closed by now
};

// The entries of an own file. A torn end is left out: whether an entry is missing shows in the numbers that follow, and
// in the head.
Result<FileEntries> read_entries(const EpochKeys& keys, ContainerNumber number, File& file) {
  FileEntries result;
  result.number = number;
  std::vector<ActivityEntry>& entries = result.entries;
  VAULTFS_ASSIGN_OR_RETURN(const std::uint64_t file_bytes, file.size());
  VAULTFS_ASSIGN_OR_RETURN(const ContainerHeader header, ContainerHeader::read(file));
  result.closed_epoch = is_closed_epoch(keys, header.epoch);
  VAULTFS_ASSIGN_OR_RETURN(const auto cipher, ContainerCipher::open(keys, header, ContainerKind::activity, number));
  RecordScanner scanner(file, ContainerHeader::kEncodedBytes, file_bytes);
  while (true) {
    VAULTFS_ASSIGN_OR_RETURN(const auto found, scanner.next());
    if (!found.has_value()) return result;
    if (scanner.gap_bytes() > 0)
      return Error{ErrorCode::DamagedActivityLog, "a record in the midst of a file is damaged"};
    const RecordHeader& record = found->header;
    if (record.type != RecordType::activity_entry || record.clear) {
      return Error{ErrorCode::DamagedActivityLog, "a record of another type is in the log"};
    }
    VAULTFS_ASSIGN_OR_RETURN(const Bytes plain, open_record(*cipher, record, found->stored));
    VAULTFS_ASSIGN_OR_RETURN(ActivityEntry entry, decode_activity_entry(plain));
    if (entry.number != record.sequence) return Error{ErrorCode::DamagedActivityLog, "an entry has two numbers"};
    entries.push_back(std::move(entry));
  }
}

// Whether a file without a header that can be read holds a record: then it may be one of ours whose header was damaged.
// Without one it has no entry that anybody was promised.
bool may_be_ours(Env& env, const Env::Path& path) {
  const auto file = env.open(path, OpenMode::read_only);
  if (!file.ok()) return false;
  const auto size = (*file)->size();
  if (!size.ok()) return false;
  const auto header = ContainerHeader::read(**file);
  if (header.ok()) return false;  // whose it is stands there, undamaged
  if (header.code() == ErrorCode::UnsupportedFormat) return true;
  if (header.code() != ErrorCode::DamagedHeader) return false;  // it can't be read at all
  RecordScanner scanner(**file, ContainerHeader::kEncodedBytes, *size);
  const auto found = scanner.next();
  return found.ok() && found->has_value();
}

class ActivityLogFiles final : public ActivityLog {
 public:
  ActivityLogFiles(Env& env, Env::Path directory, const EpochKeys& keys, bool read_only, std::uint64_t known_entries,
                   const Digest& known_chain, bool closed_epochs_end, ContainerNumber known_file)
      : env_(env),
        directory_(std::move(directory)),
        keys_(keys),
        read_only_(read_only),
        known_entries_(known_entries),
        known_chain_(known_chain),
        known_file_(known_file),
        closed_epochs_end_(closed_epochs_end) {}

  Status start() {
    const MutexLock lock(mutex_);
    VAULTFS_ASSIGN_OR_RETURN(const Scan scan, this->scan(!read_only_));
    last_file_ = scan.last_file;
    // Epochs that this process closes later, and files that it makes itself, are no reason to doubt an entry.
    closed_epochs_end_ = closed_epochs_end_ && scan.damage.has_value();
    passed_over_ = scan.passed_over;
    newest_file_ = scan.newest_file;
    count_ = scan.entries.size();
    if (count_ > 0) chain_ = scan.entries.back().chain;
    if (count_ < known_entries_) {
      // What is missing stays visible as a gap in the numbers.
      count_ = known_entries_;
      chain_ = known_chain_;
      newest_file_ = std::max(newest_file_, known_file_);
    }
    return ok_status();
  }

  Status append(ActivityEntry entry) override {
    const MutexLock lock(mutex_);
    if (read_only_) return Error{ErrorCode::ReadOnly, "the vault is open for reading only"};
    entry.number = count_ + 1;
    entry.time = env_.clock().now();
    entry.operation = cut(std::move(entry.operation), kMaxActivityShortText);
    entry.outcome = cut(std::move(entry.outcome), kMaxActivityShortText);
    entry.subject = cut(std::move(entry.subject), kMaxActivitySubject);
    entry.detail = cut(std::move(entry.detail), kMaxActivityDetail);
    entry.chain = activity_chain_after(chain_, entry);
    const std::uint64_t before = file_ == nullptr ? 0 : end_;
    Status written = write(entry);
    if (!written.ok()) {
      // Nobody was told that it is durable. After a failed sync the kernel may show it until the next restart and lose
      // it then: the next owner must not go on from there.
      if (file_ != nullptr) static_cast<void>(file_->truncate(before));
      file_.reset();
      cipher_.reset();
      return written;
    }
    count_ = entry.number;
    chain_ = entry.chain;
    newest_file_ = last_file_;
    return ok_status();
  }

  Result<std::vector<ActivityEntry>> entries() override {
    const MutexLock lock(mutex_);
    VAULTFS_ASSIGN_OR_RETURN(Scan scan, this->scan(false));
    if (scan.damage.has_value()) return std::move(*scan.damage);
    return std::move(scan.entries);
  }

  Result<ActivityReport> verify() override {
    const MutexLock lock(mutex_);
    VAULTFS_RETURN_IF_ERROR(keys_.current());
    ActivityExpectation expected;
    expected.entries = count_;
    expected.chain = chain_;
    expected.file = newest_file_;
    if (closed_epochs_end_) expected.closed_epochs_end_above = known_entries_;
    expected.made_since = made_;
    return verify_activity_files(env_, directory_, &keys_, expected);
  }

  PassedOver passed_over() const override {
    const MutexLock lock(mutex_);
    return passed_over_;
  }

  std::uint64_t count() const override {
    const MutexLock lock(mutex_);
    return count_;
  }

  Digest chain() const override {
    const MutexLock lock(mutex_);
    return chain_;
  }

  ContainerNumber newest_file() const override {
    const MutexLock lock(mutex_);
    return newest_file_;
  }

  End end() const override {
    const MutexLock lock(mutex_);
    return {count_, chain_, newest_file_};
  }

  void roll() override {
    const MutexLock lock(mutex_);
    file_.reset();
    cipher_.reset();
  }

 private:
  struct Scan {
    std::vector<ActivityEntry> entries;
    std::optional<Error> damage;  // what ended the reading early
    ContainerNumber last_file;    // the next one has a higher number
    ContainerNumber newest_file;  // that gave an entry
    ContainerNumber known_file;   // that gave the last one that the head knows
    PassedOver passed_over;
  };

  Status make_durable(const Env::Path& path) {
    VAULTFS_ASSIGN_OR_RETURN(const auto file, env_.open(path, OpenMode::read_write));
    VAULTFS_ASSIGN_OR_RETURN(const std::uint64_t bytes, file->size());
    return write_again(*file, 0, bytes);
  }

  // With `sync` what was read has been made durable: a killed owner may have left entries that only the kernel's
  // memory has, and the next entry builds on them.
  Result<Scan> scan(bool sync) REQUIRES(mutex_) {
    Scan scan;
    VAULTFS_ASSIGN_OR_RETURN(const auto names, env_.list(directory_));
    // Files of closed epochs that nothing but the entries in them vouches for.
    ContainerNumber by_entries;
    ContainerNumber before;  // of whoever's file
    for (const std::string& name : names) {
      const auto parsed = number_of(name, kActivityFiles.extension);
      if (!parsed.has_value()) continue;
      const ContainerNumber number(*parsed);
      const bool follows = number == std::exchange(before, number).next();
      VAULTFS_ASSIGN_OR_RETURN(const FileOrigin origin,
                               origin_of(env_, directory_ / name, keys_, ContainerKind::activity, number));
      if (!origin.own) {
        // The numbers go up one by one: behind a gap it is none of ours.
        if (follows && may_be_ours(env_, directory_ / name)) {
          if (!scan.damage.has_value()) scan.damage = damaged(scan, origin.reason.message);
        } else if (scan.passed_over.size() < kMostFilesTold) {
          scan.passed_over.emplace_back(kActivityFiles.file(number.value), vaultfs::passed_over(origin.reason));
        }
        continue;
      }
      // With the key of a closed epoch somebody else could have made it, too.
      if (origin.current_epoch || follows) scan.last_file = number;
      if (scan.damage.has_value()) continue;
      auto entries = read_file_entries(name, number);
      if (!entries.ok()) {
        if (ends_the_opening(entries.code()) || entries.code() == ErrorCode::IoError) return entries.error();
        scan.damage = damaged(scan, entries.error().message);
        continue;
      }
      const bool any = !entries->entries.empty();
      join(scan, std::move(*entries));
      if (any) by_entries = number;
      // A head is written after the entries that it knows were synced.
      if (sync && scan.entries.size() > known_entries_) VAULTFS_RETURN_IF_ERROR(make_durable(directory_ / name));
    }
    if (!scan.damage.has_value()) check_against_head(scan);
    if (!scan.damage.has_value()) scan.last_file = std::max(scan.last_file, by_entries);
    return scan;
  }

  Result<FileEntries> read_file_entries(const std::string& name, ContainerNumber number) const {
    VAULTFS_ASSIGN_OR_RETURN(const auto file, env_.open(directory_ / name, OpenMode::read_only));
    return read_entries(keys_, number, *file);
  }

  static Error damaged(const Scan& scan, const std::string& reason) {
    return {ErrorCode::DamagedActivityLog, "activity entry " + std::to_string(scan.entries.size() + 1) + ": " + reason};
  }

  void join(Scan& scan, FileEntries file) const REQUIRES(mutex_) {
    std::vector<ActivityEntry>& entries = file.entries;
    if (entries.empty()) return;
    // An epoch is closed after the log has gone on in a file of the next one, and the head is written later still.
    const bool found = !made_.contains(file.number);
    if (closed_epochs_end_ && found && file.closed_epoch && entries.back().number > known_entries_) {
      std::erase_if(entries, [this](const ActivityEntry& entry) { return entry.number > known_entries_; });
      join(scan, {file.number, std::move(entries), false});
      if (!scan.damage.has_value())
        scan.damage = damaged(scan, "it was made with the key of a DEK epoch that was closed before it");
      return;
    }
    const std::uint64_t first = entries.front().number;
    if (first == 0 || first > scan.entries.size() + 1) {
      scan.damage = damaged(scan, "it is missing");
      return;
    }
    if (known_file_.value != 0 && file.number > known_file_ && first <= known_entries_) {
      scan.damage = damaged(scan, "it stands in a later file than the one that the vault's head names");
      return;
    }
    // A file that starts again at an earlier number follows an append that failed: nobody was promised what it
    // replaces.
    scan.entries.resize(first - 1);
    for (ActivityEntry& entry : entries) {
      const Digest before = scan.entries.empty() ? Digest{} : scan.entries.back().chain;
      if (entry.number != scan.entries.size() + 1 || entry.chain != activity_chain_after(before, entry)) {
        scan.damage = damaged(scan, "it does not continue the chain");
        return;
      }
      scan.entries.push_back(std::move(entry));
      scan.newest_file = file.number;
      if (scan.entries.size() == known_entries_) scan.known_file = file.number;
    }
  }

  void check_against_head(Scan& scan) const {
    if (scan.entries.size() < known_entries_) {
      scan.damage = damaged(scan, "it is missing; the vault's head knows of " + std::to_string(known_entries_));
    } else if (known_entries_ > 0 && scan.entries[known_entries_ - 1].chain != known_chain_) {
      scan.entries.resize(known_entries_ - 1);
      scan.damage = damaged(scan, "it is not the one that the vault's head names");
    } else if (known_entries_ > 0 && known_file_.value != 0 && scan.known_file != known_file_) {
      scan.entries.resize(known_entries_ - 1);
      scan.damage = damaged(scan, "it is not in " + kActivityFiles.file(known_file_.value) +
                                      ", which the vault's head names, but in another file");
    }
  }

  Status write(const ActivityEntry& entry) REQUIRES(mutex_) {
    // Asked each time: a sealed vault must not go on with a cipher that it still has.
    VAULTFS_RETURN_IF_ERROR(keys_.current());
    Bytes out;
    const bool starts_file = file_ == nullptr;
    if (starts_file) VAULTFS_RETURN_IF_ERROR(start_file(out));
    Bytes plain = encode_activity_entry(entry);
    plain.insert(plain.end(), entry.chain.view().begin(), entry.chain.view().end());
    RecordDraft draft;
    draft.type = RecordType::activity_entry;
    draft.frame_log2 = kFrameLog2;
    draft.nonce_base = next_nonce_;
    draft.sequence = entry.number;
    next_nonce_ += frame_count_of(plain.size(), kFrameLog2);
    VAULTFS_RETURN_IF_ERROR(seal_record(*cipher_, draft, plain, out));
    VAULTFS_RETURN_IF_ERROR(file_->write_at(end_, out));
    end_ += out.size();
    VAULTFS_RETURN_IF_ERROR(file_->sync());
    if (starts_file) VAULTFS_RETURN_IF_ERROR(env_.sync_directory(directory_));
    return ok_status();
  }

  Status start_file(Bytes& out) REQUIRES(mutex_) {
    VAULTFS_RETURN_IF_ERROR(take_number());
    ContainerHeader header;
    VAULTFS_ASSIGN_OR_RETURN(cipher_,
                             ContainerCipher::create(env_, keys_, ContainerKind::activity, last_file_, header));
    VAULTFS_ASSIGN_OR_RETURN(file_, env_.open(directory_ / numbered_name(last_file_.value, kActivityFiles.extension),
                                              OpenMode::create_exclusive));
    made_.insert(last_file_);
    out = header.encode();
    next_nonce_ = 0;
    end_ = 0;
    return ok_status();
  }

  // The next number that no file has, neither ours nor a stranger's.
  Status take_number() REQUIRES(mutex_) {
    while (last_file_.next() != last_file_) {
      last_file_ = last_file_.next();
      const Env::Path path = directory_ / numbered_name(last_file_.value, kActivityFiles.extension);
      VAULTFS_ASSIGN_OR_RETURN(const FileInfo info, env_.info(path));
      if (info.kind == FileKind::missing) return ok_status();
    }
    return Error{ErrorCode::OutOfRange, "the activity log has used up its numbers of files"};
  }

  Env& env_;
  const Env::Path directory_;
  const EpochKeys& keys_;
  const bool read_only_;
  const std::uint64_t known_entries_;
  const Digest known_chain_;
  const ContainerNumber known_file_;  // 0: not told
  bool closed_epochs_end_;            // set before the log is shared

  // Held across the log's own file I/O; only EpochKeys' lock is taken under it.
  mutable Mutex mutex_;
  std::uint64_t count_ GUARDED_BY(mutex_) = 0;
  Digest chain_ GUARDED_BY(mutex_);
  PassedOver passed_over_ GUARDED_BY(mutex_);  // at the opening
  ContainerNumber last_file_ GUARDED_BY(mutex_);
  ContainerNumber newest_file_ GUARDED_BY(mutex_);
  std::set<ContainerNumber> made_ GUARDED_BY(mutex_);  // by this process
  std::unique_ptr<File> file_ GUARDED_BY(mutex_);      // null: the next entry starts a new one
  std::unique_ptr<ContainerCipher> cipher_ GUARDED_BY(mutex_);
  std::uint64_t next_nonce_ GUARDED_BY(mutex_) = 0;
  std::uint64_t end_ GUARDED_BY(mutex_) = 0;
};

}  // namespace

Result<std::unique_ptr<ActivityLog>> ActivityLog::open(Env& env, Env::Path directory, const EpochKeys& keys,
                                                       bool read_only, std::uint64_t known_entries,
                                                       const Digest& known_chain, bool closed_epochs_end,
                                                       ContainerNumber known_file) {
  auto log = std::make_unique<ActivityLogFiles>(env, std::move(directory), keys, read_only, known_entries, known_chain,
                                                closed_epochs_end, known_file);
  VAULTFS_RETURN_IF_ERROR(log->start());
  return std::unique_ptr<ActivityLog>(std::move(log));
}

}  // namespace vaultfs
