#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string_view>
#include <utility>
#include <vector>

#include "base/byte_codec.h"
#include "base/files/env.h"
#include "base/ids.h"
#include "base/result.h"
#include "crypto/hash.h"
#include "store/journal/journal.h"
#include "store/record/container.h"
#include "store/record/record.h"

namespace vaultfs {

inline constexpr std::string_view kJournalExtension = "journal";

// The container version from which a journal says which journals came before it.
inline constexpr std::uint16_t kChainedVersion = 2;

struct JournalEntry {
  EntryOwner owner = EntryOwner::journal;
  Bytes content;
};

// Plaintext of a record that holds just one entry of the greatest length. No record is longer.
inline constexpr std::size_t kJournalEntryFramingBytes = 5;  // u8 owner, u32 length
inline constexpr std::size_t kMaxJournalPlaintextBytes = 4 + kJournalEntryFramingBytes + kMaxJournalEntryBytes;

// The first entry of every journal (format.md, section 5).
struct JournalContinues {
  Lsn replayed_to;                    // highest LSN of all journals before
  ContainerNumber checkpoint;         // that replay starts from
  std::vector<JournalExtent> before;  // not in containers of version 1

  [[nodiscard]] Bytes encode() const;
  // JournalDamaged.
  [[nodiscard]] static Result<JournalContinues> decode(ByteView bytes, std::uint16_t container_version);
};

// One journal file being written. Not thread-safe: the journal's leader has it for himself.
//
// Small batches find their place already written, with zeros: an append would make the file longer, which the file
// system below has to record in a journal of its own at every sync. Replay takes the zeros for an unsynced tail.
class JournalFile {
 public:
  JournalFile(const JournalFile&) = delete;
  JournalFile& operator=(const JournalFile&) = delete;
  // Takes the zeros away.
  ~JournalFile();

  // A durable new file that holds the header and the *continues* entry (LSN replayed_to + 1) and nothing else. It gets
  // its name only when it is whole, so that a journal without them is always damage. AlreadyExists.
  [[nodiscard]] static Result<std::unique_ptr<JournalFile>> create(Env& env, const Env::Path& directory,
                                                                   const EpochKeys& keys, ContainerNumber number,
                                                                   const JournalContinues& continues);
  // All that was written. Durable, if the last call succeeded.
  [[nodiscard]] JournalPosition position() const;

  // Seals and writes entries, the first with LSN `first`, and makes them durable: one write and one sync for a batch of
  // up to 1 MiB. After a failure what was written is taken back as far as possible, and the file is not to be used any
  // more; except after NoSpace of a write (waits_for_room): entries up to sealed_to() belong to the file then, and the
  // next call, which brings those that follow, writes them first. What is sealed is never sealed again.
  [[nodiscard]] Status write_durably(std::span<const JournalEntry> entries, Lsn first, Lsn synced);
  // The clean end. REQUIRES: all is synced up to `last`.
  [[nodiscard]] Status write_end(Lsn last);

  [[nodiscard]] bool waits_for_room() const noexcept { return waits_for_room_; }
  [[nodiscard]] Lsn sealed_to() const noexcept { return sealed_to_; }
  [[nodiscard]] ContainerNumber number() const noexcept { return number_; }
  [[nodiscard]] std::uint64_t bytes() const noexcept { return offset_; }

 private:
  JournalFile(std::unique_ptr<ContainerCipher> cipher, ContainerNumber number)
      : cipher_(std::move(cipher)), number_(number) {}
  Status seal(RecordType type, std::span<const ByteView> plaintext, Lsn sequence, Lsn synced);
  Status seal_entries(std::span<const JournalEntry> entries, Lsn first, Lsn synced);
  [[nodiscard]] ByteView sealed() const { return ByteView(sealed_memory_).first(sealed_bytes_); }
  Status write_sealed();
  void write_zeros_ahead();
  Status take_zeros_back();
  Status sync_or_take_back(Status status);

  const std::unique_ptr<ContainerCipher> cipher_;
  const ContainerNumber number_;
  std::unique_ptr<File> file_;
  Digest header_;
  Sha256Stream written_;  // the bytes before offset_
  std::uint64_t next_nonce_ = 0;
  std::uint64_t offset_ = 0;         // where the next write goes
  std::uint64_t synced_offset_ = 0;  // all before is durable
  std::uint64_t zeros_to_ = 0;       // the file's length if zeros lie beyond offset_, else at most offset_
  Bytes sealed_memory_;              // begins with the records that are not written yet; never gets smaller
  std::size_t sealed_bytes_ = 0;
  Lsn sealed_to_;  // of the last entry that was sealed
  bool waits_for_room_ = false;
};

}  // namespace vaultfs
