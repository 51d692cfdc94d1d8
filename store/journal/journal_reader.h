#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>

#include "base/files/env.h"
#include "base/ids.h"
#include "base/result.h"
#include "crypto/hash.h"
#include "store/journal/journal_file.h"
#include "store/record/container.h"
#include "store/record/record.h"

namespace vaultfs {

// Reads a file through a window, so that small records cost no system call each.
class WindowReader {
 public:
  // `bytes` is where the file ends for this reader, however it grows.
  WindowReader(File& file, std::uint64_t bytes) : file_(file), bytes_(bytes) {}
  // The bytes [offset, offset + size), or fewer at the end of the file. Valid until the next call.
  [[nodiscard]] Result<ByteView> read(std::uint64_t offset, std::size_t size);
  [[nodiscard]] std::uint64_t file_bytes() const noexcept { return bytes_; }

 private:
  File& file_;
  const std::uint64_t bytes_;
  std::uint64_t start_ = 0;
  Bytes window_;
};

// One stored journal file, read by the rules of format.md, section 5. Not thread-safe.
class JournalReader {
 public:
  // Opens the header and the *continues* entry. JournalDamaged if they are not authentic: a journal gets its name only
  // with both of them durable. NotFound.
  [[nodiscard]] static Result<std::unique_ptr<JournalReader>> open(Env& env, const Env::Path& directory,
                                                                   const EpochKeys& keys, ContainerNumber number);
  // The journal that a head names: JournalDamaged if another file has its name, or its durable bytes are not there as
  // they were (the latter by read_entries).
  [[nodiscard]] static Result<std::unique_ptr<JournalReader>> open_named(Env& env, const Env::Path& directory,
                                                                         const EpochKeys& keys,
                                                                         const JournalPosition& named);
  // A journal of which a later one says how much was accepted: nothing behind that is read. JournalDamaged if that is
  // not there as it was, by this or by read_entries.
  [[nodiscard]] static Result<std::unique_ptr<JournalReader>> open_accepted(Env& env, const Env::Path& directory,
                                                                            const EpochKeys& keys,
                                                                            const JournalExtent& accepted);

  [[nodiscard]] const JournalContinues& continues() const noexcept { return continues_; }
  // Whose DEK it was sealed under.
  [[nodiscard]] EpochNumber epoch() const noexcept { return epoch_; }
  // Of the container: 1 or 2.
  [[nodiscard]] std::uint16_t version() const noexcept { return cipher_->version(); }
  // What was read and taken so far.
  [[nodiscard]] JournalExtent accepted() const { return {number_, offset_, taken_.digest()}; }
  // Highest LSN read so far.
  [[nodiscard]] Lsn reached() const noexcept { return reached_; }
  [[nodiscard]] bool clean_end() const noexcept { return clean_end_; }
  // Bytes after the last valid record, without the zeros that the file ends in, once read_entries has returned.
  [[nodiscard]] std::uint64_t tail_bytes() const noexcept { return tail_end_ <= offset_ ? 0 : tail_end_ - offset_; }

  // Calls `apply` with each entry that follows. Ends at the clean end or before the first record that is not valid;
  // JournalDamaged if a later record proves that more was synced. UnsupportedFormat for an entry of an unknown owner.
  using Apply = std::function<Status(Lsn, EntryOwner, ByteView)>;
  [[nodiscard]] Status read_entries(const Apply& apply);

 private:
  struct Record {
    RecordHeader header;
    Bytes plaintext;
    ByteView stored;  // until the window moves
  };
  JournalReader(std::unique_ptr<File> file, std::uint64_t bytes, ContainerNumber number)
      : file_(std::move(file)), window_(*file_, bytes), number_(number) {}

  [[nodiscard]] static Result<std::unique_ptr<JournalReader>> open_up_to(Env& env, const Env::Path& directory,
                                                                         const EpochKeys& keys, ContainerNumber number,
                                                                         std::optional<std::uint64_t> end);
  [[nodiscard]] Status read_records(const Apply& apply);
  // The record at offset_ is taken.
  [[nodiscard]] Status take(const Record& record);
  // Compares what was taken with what the head says was durable, where that ends.
  [[nodiscard]] Status check_named();

  [[nodiscard]] Error damaged(const std::string& what) const;
  // The authentic journal record at `offset`; DamagedRecord or AuthenticationFailed if there is none.
  [[nodiscard]] Result<Record> record_at(std::uint64_t offset);
  [[nodiscard]] Status check_place(const Record& record) const;
  [[nodiscard]] Status apply_entries(const Record& record, const Apply& apply);
  [[nodiscard]] Status finish_clean(const Record& record);
  [[nodiscard]] Status search_for_proof_of_loss();
  // No record begins at `at`: where the next one may, whatever lies between being a part of the tail.
  [[nodiscard]] Result<std::uint64_t> pass_over(std::uint64_t at);

  const std::unique_ptr<File> file_;
  WindowReader window_;
  const ContainerNumber number_;
  std::unique_ptr<ContainerCipher> cipher_;
  EpochNumber epoch_;
  Digest header_;  // of the container header
  std::optional<JournalPosition> named_;
  bool named_met_ = false;
  std::optional<JournalExtent> expected_;  // all that counts of it
  Sha256Stream taken_;                     // the bytes before offset_
  JournalContinues continues_;
  Lsn reached_;
  std::uint64_t offset_ = 0;    // of the next record
  std::uint64_t tail_end_ = 0;  // of what a crash left behind the last one
  std::uint64_t next_nonce_ = 0;
  bool clean_end_ = false;
};

}  // namespace vaultfs
