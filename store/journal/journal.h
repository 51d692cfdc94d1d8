#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <vector>

#include "base/bytes.h"
#include "base/files/env.h"
#include "base/ids.h"
#include "base/result.h"
#include "store/record/epoch_keys.h"

namespace vaultfs {

// Whose entry it is (format.md, section 5).
enum class EntryOwner : std::uint8_t { journal = 0, catalogue = 1, tree = 2 };

inline constexpr std::size_t kMaxJournalEntryBytes = std::size_t{4} * 1024 * 1024;

// What was accepted of a journal file: so many bytes from its beginning, and their SHA-256.
struct JournalExtent {
  ContainerNumber number;
  std::uint64_t bytes = 0;
  Digest digest;

  friend bool operator==(const JournalExtent&, const JournalExtent&) = default;
};

// A journal as a head names it: which file it is (no other one has its container header), and what of it is durable.
struct JournalPosition {
  ContainerNumber number;  // 0: no journal yet
  Digest header;           // SHA-256 of the container header
  std::uint64_t bytes = 0;
  Digest digest;  // SHA-256 of these bytes
  Lsn lsn;        // highest LSN in them
};

// Where a new journal file begins.
struct JournalStart {
  ContainerNumber number;
  Lsn replayed_to;                    // highest LSN of all journals before
  ContainerNumber checkpoint;         // that replay starts from
  std::vector<JournalExtent> before;  // the journals from which, with the checkpoint, the state came; ascending
};

// The sealed log of what no checkpoint holds yet.
//
// History is one chain: the first entry of a file says which journals came before it, by digest; and no entry of a file
// is acknowledged before `announce` has made a head name the file. So a journal that was continued elsewhere, or made
// by somebody with an old key, can't take the place of one.
//
// append() only buffers: an entry reaches the disk by commit(), never before, so that a caller can order it after other
// data. commit() calls `before_write` (where the segments are synced) after it has taken what was buffered, then seals
// it, writes it and syncs. Concurrent commits share the work (group commit): each returns when its entries are durable;
// append() goes on meanwhile. A commit with nothing to write costs nothing, `before_write` included.
// After a failed `before_write`, write or sync the journal is dead: every later call gives the same error (sticky),
// until the vault is reopened. Thread-safe.
//
// A full disk alone does not kill it: a commit that finds no room gives NoSpace, nothing is lost, and the next commit
// tries again. Records that were sealed already are kept and written later as they are, to the same place.
//
// A vault that is sealed takes the cipher away (drop_cipher); the journal is not dead then. As long as the keys are
// away, a commit of something gives KeyRevoked and what was appended stays buffered; once they are back, the next
// commit continues in a new file.
class Journal {
 public:
  // Called without a lock held; may append, must not commit, rotate or close.
  using BeforeWrite = std::function<Status()>;

  // Makes a new file the one that counts: called by the thread that made it, without a lock held, once it is durable
  // and before anything in it is acknowledged. An error is that of the commit; after NoSpace and KeyRevoked the next
  // commit tries again, with another file. May ask position() and the like; must not append, commit, rotate or close.
  using Announce = std::function<Status(const JournalPosition&)>;

  // Starts a new journal file, durable on return. Its first entry takes LSN start.replayed_to + 1. AlreadyExists if the
  // number is taken. The caller announces this first file himself, before he commits anything.
  // `no_change` is an entry of the catalogue that changes nothing: it fills an LSN that was meant for the first entry
  // of a file that could not be started. `env` and `keys` must outlive the journal.
  [[nodiscard]] static Result<std::unique_ptr<Journal>> create(Env& env, Env::Path directory, const EpochKeys& keys,
                                                               JournalStart start, BeforeWrite before_write,
                                                               Bytes no_change);
  virtual ~Journal() = default;
  // Announces the files that follow the first one. REQUIRES: called before the journal is shared; unless it is, nobody
  // is told of them.
  virtual void on_new_file(Announce announce) = 0;

  // Buffers an entry of at most kMaxJournalEntryBytes for the owner catalogue or tree; its LSN. LSNs grow, but not
  // always by one.
  [[nodiscard]] virtual Result<Lsn> append(EntryOwner owner, Bytes entry) = 0;
  // Makes everything appended before the call durable.
  [[nodiscard]] virtual Status commit() = 0;
  // commit() only if `lsn` is not durable yet.
  [[nodiscard]] virtual Status commit_up_to(Lsn lsn) = 0;
  // Commits, then continues in a new file (same LSN sequence): for a checkpoint. The number of the new file.
  [[nodiscard]] virtual Result<ContainerNumber> rotate(ContainerNumber checkpoint) = 0;
  // Journals below `number` are in a checkpoint that a durable head names: files that follow don't tell of them.
  virtual void forget_before(ContainerNumber number) = 0;
  // Commits and writes the clean end. No append may follow.
  [[nodiscard]] virtual Status close_cleanly() = 0;
  // Commits what is buffered and forgets the file's cipher, whether or not that worked: for a vault whose keys were
  // just wiped. Again is nothing. Waits for a commit under way.
  virtual void drop_cipher() = 0;

  // True once an error is sticky: nothing that is not durable yet will be.
  [[nodiscard]] virtual bool dead() const = 0;
  [[nodiscard]] virtual Lsn last_appended() const = 0;
  [[nodiscard]] virtual Lsn last_synced() const = 0;
  [[nodiscard]] virtual ContainerNumber number() const = 0;
  // What of the newest file is durable.
  [[nodiscard]] virtual JournalPosition position() const = 0;
  // Bytes appended but not yet written, and bytes in the current file.
  [[nodiscard]] virtual std::uint64_t buffered_bytes() const = 0;
  [[nodiscard]] virtual std::uint64_t file_bytes() const = 0;
};

struct JournalReplay {
  Lsn last;                              // highest LSN replayed, at least `after`
  ContainerNumber last_journal;          // highest journal number replayed; 0 if none
  bool clean = true;                     // the last journal has its clean end; true if there is no journal
  std::uint64_t dropped_tail_bytes = 0;  // of the last journal: what a crash left behind its last valid record
  std::vector<JournalExtent> accepted;   // what was replayed, ascending: what a next journal follows
  std::vector<ContainerNumber> unnamed;  // files from `first` on that no head names, and that were passed over
};

// From where to where a replay goes.
struct JournalReplayRange {
  ContainerNumber first{1};  // the checkpoint's
  Lsn after;                 // the checkpoint holds all entries up to it
  Lsn required;              // that the head says was synced
  // The journal that the head names, if the head is of format 2 (its number may be 0: none). Only this file, and those
  // that it says came before it, are read; each must be just what it was.
  std::optional<JournalPosition> named;
  // Without `named`: a journal of that number or above must be of an epoch that is not closed: whoever has no more than
  // an old key can't add to the vault's history.
  std::optional<ContainerNumber> last_of_closed_epochs;
  // The last journal is made durable as it was read, so that a new one may build on it: for who holds the vault's lock.
  bool take_over = false;
};

// Calls `apply` for each entry of owners 1 and 2 with an LSN above range.after, in order. JournalDamaged as in
// format.md, section 5; what was applied before that is authentic. An error of `apply` stops the replay and is
// returned; so are KeyRevoked, UnsupportedFormat and failures of reading. Changes nothing.
[[nodiscard]] Result<JournalReplay> replay_journals(Env& env, const Env::Path& directory, const EpochKeys& keys,
                                                    const JournalReplayRange& range,
                                                    const std::function<Status(Lsn, EntryOwner, ByteView)>& apply);

}  // namespace vaultfs
