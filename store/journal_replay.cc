#include <algorithm>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "store/blob_store.h"
#include "store/journal.h"
#include "store/journal_reader.h"

namespace vaultfs {
namespace {

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

// What a journal says about its predecessors against what they gave; `reached` is nothing before the first one. What is
// missing up to `after` is in the checkpoint.
Status check_continuity(const JournalReader& journal, ContainerNumber number, std::optional<Lsn> reached, Lsn after) {
  const Lsn claimed = journal.continues().replayed_to;
  const bool fits =
      reached.has_value() ? claimed == *reached || (claimed > *reached && claimed <= after) : claimed <= after;
  if (fits) return ok_status();
  return Error{ErrorCode::JournalDamaged, "journal " + std::to_string(number.value) + " continues LSN " +
                                              std::to_string(claimed.value) + ", but what precedes it ends at " +
                                              std::to_string(reached.value_or(after).value)};
}

// An epoch is closed once its keys seal nothing new: a journal of such an epoch is an old one.
Status check_epoch_open(const EpochKeys& keys, const JournalReader& journal, ContainerNumber number) {
  return keys.with_dek(journal.epoch(), [&](const EpochKeys::Epoch& epoch) -> Status {
    if (!epoch.last_segment) return ok_status();
    return Error{ErrorCode::JournalDamaged, "journal " + std::to_string(number.value) +
                                                " was made with the key of a DEK epoch that was closed before it"};
  });
}

}  // namespace

Result<JournalReplay> replay_journals(Env& env, const Env::Path& directory, const EpochKeys& keys,
                                      ContainerNumber first, Lsn after, Lsn required,
                                      const std::function<Status(Lsn, JournalRoom, ByteView)>& apply,
                                      std::optional<ContainerNumber> last_of_closed_epochs) {
  VAULTFS_ASSIGN_OR_RETURN(const std::vector<ContainerNumber> numbers, journals_from(env, directory, first));
  const JournalReader::Apply apply_new = [&](Lsn lsn, JournalRoom room, ByteView entry) {
    return lsn > after ? apply(lsn, room, entry) : ok_status();
  };
  JournalReplay replay;
  std::optional<Lsn> reached;
  for (const ContainerNumber number : numbers) {
    VAULTFS_ASSIGN_OR_RETURN(const auto journal, JournalReader::open(env, directory, keys, number));
    VAULTFS_RETURN_IF_ERROR(check_continuity(*journal, number, reached, after));
    if (last_of_closed_epochs && number > *last_of_closed_epochs) {
      VAULTFS_RETURN_IF_ERROR(check_epoch_open(keys, *journal, number));
    }
    // A killed owner may have left records that only the kernel's memory has. A new journal will be built on what is
    // read here, so it has to be durable before it is believed.
    if (number == numbers.back()) VAULTFS_RETURN_IF_ERROR(journal->make_durable());
    VAULTFS_RETURN_IF_ERROR(journal->read_entries(apply_new));
    reached = journal->reached();
    replay.last_journal = number;
    replay.clean = journal->clean_end();
    replay.dropped_tail_bytes = journal->tail_bytes();
  }
  replay.last = std::max(after, reached.value_or(after));
  if (replay.last < required) {
    return Error{ErrorCode::JournalDamaged, "LSN " + std::to_string(required.value) +
                                                " was synced, but the journals end at " +
                                                std::to_string(replay.last.value)};
  }
  return replay;
}

}  // namespace vaultfs
