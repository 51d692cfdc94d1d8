#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <vector>

#include "base/bytes.h"
#include "base/env.h"
#include "base/ids.h"
#include "base/result.h"
#include "store/epoch_keys.h"

namespace vaultfs {

// Whose entry it is (format.md, section 5).
enum class JournalRoom : std::uint8_t { journal = 0, catalogue = 1, tree = 2 };

// The sealed log of what no checkpoint holds yet.
//
// append() only buffers: an entry reaches the disk by commit(), never before, so that a caller can order it after other
// data. commit() calls `before_write` first (where the segments are synced), then seals all that was buffered when it
// started, writes it and syncs. Concurrent commits share the work (group commit): each returns when its entries are durable.
// After a failed write or sync the journal is dead: every later call gives the same error (sticky), until the vault is reopened.
// Thread-safe.
class Journal {
 public:
  using BeforeWrite = std::function<Status()>;

  // Starts a new journal file `number`; entries get LSNs from `next_lsn`. `replayed_to` and `checkpoint` go into its first entry.
  [[nodiscard]] static Result<std::unique_ptr<Journal>> create(Env& env, Env::Path directory, const EpochKeys& keys,
                                                               ContainerNumber number, Lsn replayed_to, ContainerNumber checkpoint,
                                                               BeforeWrite before_write);
  virtual ~Journal() = default;

  // Buffers an entry of at most 4 MiB; its LSN. Entries of one thread keep their order.
  [[nodiscard]] virtual Result<Lsn> append(JournalRoom room, Bytes entry) = 0;
  // Makes everything appended before the call durable.
  [[nodiscard]] virtual Status commit() = 0;
  // commit() only if `lsn` is not durable yet.
  [[nodiscard]] virtual Status commit_up_to(Lsn lsn) = 0;
  // Commits, then continues in a new file (same LSN sequence): for a checkpoint. The number of the new file.
  [[nodiscard]] virtual Result<ContainerNumber> rotate(ContainerNumber checkpoint) = 0;
  // Commits and writes the clean end. No append may follow.
  [[nodiscard]] virtual Status close_cleanly() = 0;

  [[nodiscard]] virtual Lsn last_appended() const = 0;
  [[nodiscard]] virtual Lsn last_synced() const = 0;
  [[nodiscard]] virtual ContainerNumber number() const = 0;
  // Bytes appended but not yet written, and bytes in the current file.
  [[nodiscard]] virtual std::uint64_t buffered_bytes() const = 0;
  [[nodiscard]] virtual std::uint64_t file_bytes() const = 0;
};

struct JournalReplay {
  Lsn last;                     // highest LSN replayed (at least `start` given)
  ContainerNumber last_journal; // highest journal number seen; 0 if none
  bool clean = true;            // the last journal has its clean end
  std::uint64_t dropped_tail_bytes = 0;
};

// Calls `apply` for each entry of rooms 1 and 2 with an LSN above `after`, in order, from journal `first` on.
// JournalDamaged as in format.md, section 5 (`required` is the LSN that the head claims as synced).
// An error of `apply` stops the replay and is returned.
[[nodiscard]] Result<JournalReplay> replay_journals(Env& env, const Env::Path& directory, const EpochKeys& keys, ContainerNumber first,
                                                    Lsn after, Lsn required,
                                                    const std::function<Status(Lsn, JournalRoom, ByteView)>& apply);

}  // namespace vaultfs
