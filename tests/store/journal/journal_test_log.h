#pragma once

#include <gtest/gtest.h>

#include <optional>
#include <string>
#include <vector>

#include "store/journal/journal.h"
#include "tests/support/sim_env.h"
#include "tests/support/test_epoch_keys.h"

namespace vaultfs {

inline const Env::Path kJournalDirectory = "/journal";

struct ReplayedEntry {
  Lsn lsn;
  EntryOwner owner = EntryOwner::tree;
  std::string content;
  bool operator==(const ReplayedEntry&) const = default;
};

struct ReplayedLog {
  Result<JournalReplay> outcome = JournalReplay{};
  std::vector<ReplayedEntry> entries;  // also what was applied before an error

  [[nodiscard]] std::vector<std::string> contents() const {
    std::vector<std::string> all;
    for (const ReplayedEntry& entry : entries) all.push_back(entry.content);
    return all;
  }
};

// A file name in the journal's directory.
[[nodiscard]] inline Env::Path journal_path(std::uint64_t number) {
  const std::string digits = std::to_string(number);  // tests stay below ten
  return kJournalDirectory / (std::string(16 - digits.size(), '0') + digits + ".journal");
}

// As an owner does.
[[nodiscard]] inline ReplayedLog replay(Env& env, const EpochKeys& keys, JournalReplayRange range) {
  ReplayedLog log;
  range.take_over = true;
  log.outcome = replay_journals(env, kJournalDirectory, keys, range, [&](Lsn lsn, EntryOwner owner, ByteView entry) {
    log.entries.push_back({lsn, owner, std::string(text_of(entry))});
    return ok_status();
  });
  return log;
}

[[nodiscard]] inline ReplayedLog replay(Env& env, const EpochKeys& keys, std::uint64_t first = 1, Lsn after = {},
                                        Lsn required = {},
                                        std::optional<ContainerNumber> last_of_closed_epochs = std::nullopt) {
  JournalReplayRange range;
  range.first = ContainerNumber(first);
  range.after = after;
  range.required = required;
  range.last_of_closed_epochs = last_of_closed_epochs;
  return replay(env, keys, range);
}

[[nodiscard]] inline Bytes entry_of(std::string_view text) { return to_bytes(bytes_of(text)); }

inline constexpr const char* kNoChange = "(no change)";  // what fills an LSN in these tests

[[nodiscard]] inline Result<std::unique_ptr<Journal>> start_journal(Env& env, const EpochKeys& keys,
                                                                    std::uint64_t number = 1, Lsn replayed_to = {},
                                                                    Journal::BeforeWrite before_write = {}) {
  return Journal::create(env, kJournalDirectory, keys, {ContainerNumber(number), replayed_to, {}, {}},
                         std::move(before_write), entry_of(kNoChange));
}

}  // namespace vaultfs
