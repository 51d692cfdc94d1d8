#include <algorithm>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "store/blobs/blob_store.h"
#include "store/blobs/write_again.h"
#include "store/journal/journal.h"
#include "store/journal/journal_reader.h"

namespace vaultfs {
namespace {

using ReaderPtr = std::unique_ptr<JournalReader>;

Result<std::vector<ContainerNumber>> journals_from(Env& env, const Env::Path& directory, ContainerNumber first) {
  VAULTFS_ASSIGN_OR_RETURN(const std::vector<std::string> names, env.list(directory));
  std::vector<ContainerNumber> numbers;
  for (const std::string& name : names) {
    const auto number = number_of(name, kJournalExtension);
    if (number.has_value() && ContainerNumber(*number) >= first) numbers.emplace_back(*number);
  }
  std::sort(numbers.begin(), numbers.end());
  return numbers;
}

Error damaged(ContainerNumber number, const std::string& what) {
  return {ErrorCode::JournalDamaged, "journal " + std::to_string(number.value) + " " + what};
}

// What a journal says about its predecessors against what they gave; `reached` is nothing before the first one. What is
// missing up to `after` is in the checkpoint.
Status check_continuity(const JournalReader& journal, ContainerNumber number, std::optional<Lsn> reached, Lsn after) {
  const Lsn claimed = journal.continues().replayed_to;
  const bool fits =
      reached.has_value() ? claimed == *reached || (claimed > *reached && claimed <= after) : claimed <= after;
  if (fits) return ok_status();
  return damaged(number, "continues LSN " + std::to_string(claimed.value) + ", but what precedes it ends at " +
                             std::to_string(reached.value_or(after).value));
}

// An epoch is closed once its keys seal nothing new: a journal of such an epoch is an old one.
Status check_epoch_open(const EpochKeys& keys, const JournalReader& journal, ContainerNumber number) {
  return keys.with_dek(journal.epoch(), [&](const EpochKeys::Epoch& epoch) -> Status {
    if (!epoch.last_segment) return ok_status();
    return damaged(number, "was made with the key of a DEK epoch that was closed before it");
  });
}

Error gone(ContainerNumber number, const std::string& who) {
  return damaged(number, "is gone, but " + who + " needs it");
}

// One replay. The readers are made one after another, since each keeps a file and a window.
class Replay {
 public:
  using Apply = std::function<Status(Lsn, EntryOwner, ByteView)>;
  Replay(Env& env, const Env::Path& directory, const EpochKeys& keys, const JournalReplayRange& range,
         const Apply& apply)
      : env_(env), directory_(directory), keys_(keys), range_(range), apply_(apply) {}

  Result<JournalReplay> run() {
    VAULTFS_ASSIGN_OR_RETURN(stored_, journals_from(env_, directory_, range_.first));
    VAULTFS_RETURN_IF_ERROR(range_.named.has_value() ? read_chain(*range_.named) : read_by_number());
    result_.last = std::max(range_.after, reached_.value_or(range_.after));
    if (result_.last < range_.required) {
      return Error{ErrorCode::JournalDamaged, "LSN " + std::to_string(range_.required.value) +
                                                  " was synced, but the journals end at " +
                                                  std::to_string(result_.last.value)};
    }
    return std::move(result_);
  }

 private:
  // Format 1: the files from the first on, in the order of their numbers.
  Status read_by_number() {
    EpochNumber newest_epoch;
    for (const ContainerNumber number : stored_) {
      VAULTFS_ASSIGN_OR_RETURN(const ReaderPtr journal, JournalReader::open(env_, directory_, keys_, number));
      if (range_.last_of_closed_epochs && number >= *range_.last_of_closed_epochs) {
        VAULTFS_RETURN_IF_ERROR(check_epoch_open(keys_, *journal, number));
      }
      if (journal->epoch() < newest_epoch) return damaged(number, "is of an older DEK epoch than the one before it");
      newest_epoch = journal->epoch();
      VAULTFS_RETURN_IF_ERROR(read(*journal, number, number == stored_.back()));
    }
    return ok_status();
  }

  // Format 2: what the head names, after what that says came before it.
  Status read_chain(const JournalPosition& named) {
    result_.unnamed = stored_;
    if (named.number.value == 0) return ok_status();
    std::vector<JournalExtent> before;
    {
      VAULTFS_ASSIGN_OR_RETURN(const ReaderPtr newest, open_newest(named));
      VAULTFS_RETURN_IF_ERROR(check_epoch_open(keys_, *newest, named.number));
      before = newest->continues().before;
    }
    for (const JournalExtent& journal : before) {
      if (journal.number < range_.first) continue;  // the checkpoint has it
      if (journal.number >= named.number) return damaged(named.number, "follows itself");
      auto reader = JournalReader::open_accepted(env_, directory_, keys_, journal);
      if (!reader.ok() && reader.code() == ErrorCode::NotFound) {
        return gone(journal.number, "journal " + std::to_string(named.number.value));
      }
      if (!reader.ok()) return std::move(reader).error();
      VAULTFS_RETURN_IF_ERROR(read(**reader, journal.number, false));
    }
    VAULTFS_ASSIGN_OR_RETURN(const ReaderPtr newest, open_newest(named));
    return read(*newest, named.number, true);
  }

  Result<ReaderPtr> open_newest(const JournalPosition& named) {
    auto reader = JournalReader::open_named(env_, directory_, keys_, named);
    if (!reader.ok() && reader.code() == ErrorCode::NotFound) return gone(named.number, "the head");
    return reader;
  }

  Status read(JournalReader& journal, ContainerNumber number, bool is_newest) {
    VAULTFS_RETURN_IF_ERROR(check_continuity(journal, number, reached_, range_.after));
    VAULTFS_RETURN_IF_ERROR(journal.read_entries([this](Lsn lsn, EntryOwner owner, ByteView entry) {
      return lsn > range_.after ? apply_(lsn, owner, entry) : ok_status();
    }));
    if (is_newest && range_.take_over) VAULTFS_RETURN_IF_ERROR(make_durable(journal.accepted()));
    reached_ = journal.reached();
    result_.last_journal = number;
    result_.clean = journal.clean_end();
    result_.dropped_tail_bytes = journal.tail_bytes();
    result_.accepted.push_back(journal.accepted());
    std::erase(result_.unnamed, number);
    return ok_status();
  }

  // A killed owner may have left records that only the kernel's memory has. What a head says was synced was.
  Status make_durable(const JournalExtent& journal) {
    const bool is_named = range_.named.has_value() && range_.named->number == journal.number;
    const std::string name = numbered_name(journal.number.value, kJournalExtension);
    VAULTFS_ASSIGN_OR_RETURN(const auto file, env_.open(directory_ / name, OpenMode::read_write));
    Status status = write_again(*file, is_named ? range_.named->bytes : 0, journal.bytes);
    return status.ok() ? ok_status() : with_context(std::move(status).error(), name);
  }

  Env& env_;
  const Env::Path& directory_;
  const EpochKeys& keys_;
  const JournalReplayRange& range_;
  const Apply& apply_;
  std::vector<ContainerNumber> stored_;
  std::optional<Lsn> reached_;
  JournalReplay result_;
};

}  // namespace

Result<JournalReplay> replay_journals(Env& env, const Env::Path& directory, const EpochKeys& keys,
                                      const JournalReplayRange& range,
                                      const std::function<Status(Lsn, EntryOwner, ByteView)>& apply) {
  return Replay(env, directory, keys, range, apply).run();
}

}  // namespace vaultfs
