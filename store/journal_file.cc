#include "store/journal_file.h"

#include <algorithm>
#include <utility>

#include "store/blob_store.h"
#include "store/record.h"

namespace vaultfs {
namespace {

// Sealed bytes are written when so many have come together, which bounds the memory of a great batch.
constexpr std::size_t kWriteBytes = std::size_t{4} * 1024 * 1024;
// So much is written ahead at a time: fewer than one sync in a hundred pays for it, and it is soon read through at a
// replay. A batch that is not small beside it gains nothing.
constexpr std::size_t kZerosAhead = std::size_t{1024} * 1024;
constexpr std::size_t kSmallBatch = kZerosAhead / 8;

}  // namespace

Bytes JournalContinues::encode() const {
  ByteWriter writer;
  writer.u64(replayed_to.value);
  writer.u64(checkpoint.value);
  return std::move(writer).take();
}

Result<JournalContinues> JournalContinues::decode(ByteView bytes) {
  ByteReader reader(bytes);
  JournalContinues continues;
  continues.replayed_to = Lsn(reader.u64());
  continues.checkpoint = ContainerNumber(reader.u64());
  VAULTFS_RETURN_IF_ERROR(reader.finish(ErrorCode::JournalDamaged, "a journal's first entry"));
  return continues;
}

Result<std::unique_ptr<JournalFile>> JournalFile::create(Env& env, const Env::Path& directory, const EpochKeys& keys,
                                                         ContainerNumber number, const JournalContinues& continues) {
  const Env::Path path = directory / numbered_name(number.value, kJournalExtension);
  VAULTFS_ASSIGN_OR_RETURN(const FileInfo existing, env.info(path));
  if (existing.kind != FileKind::missing) {
    return Error{ErrorCode::AlreadyExists, "journal " + std::to_string(number.value) + " exists"};
  }
  ContainerHeader header;
  VAULTFS_ASSIGN_OR_RETURN(auto cipher, ContainerCipher::create(env, keys, ContainerKind::journal, number, header));
  std::unique_ptr<JournalFile> journal(new JournalFile(std::move(cipher), number));
  journal->sealed_ = header.encode();
  const JournalEntry first{JournalRoom::journal, continues.encode()};
  VAULTFS_RETURN_IF_ERROR(journal->seal_entries({&first, 1}, continues.replayed_to.next(), continues.replayed_to));
  VAULTFS_RETURN_IF_ERROR(write_file_durably(env, path, journal->sealed_));
  journal->sealed_to_ = continues.replayed_to.next();
  journal->offset_ = journal->sealed_.size();
  journal->synced_offset_ = journal->offset_;
  journal->sealed_.clear();
  VAULTFS_ASSIGN_OR_RETURN(journal->file_, env.open(path, OpenMode::read_write));
  return journal;
}

Status JournalFile::seal(RecordType type, ByteView plaintext, Lsn sequence, Lsn synced) {
  RecordDraft draft;
  draft.type = type;
  draft.nonce_base = next_nonce_;
  draft.sequence = sequence.value;
  draft.synced_lsn = synced.value;
  draft.compression = Compression::off;  // somebody waits for it, and it is soon gone
  next_nonce_ += frame_count_of(plaintext.size(), draft.frame_log2);
  return seal_record(*cipher_, draft, plaintext, sealed_);
}

Status JournalFile::seal_entries(std::span<const JournalEntry> entries, Lsn first, Lsn synced) {
  std::size_t bytes = 4;
  for (const JournalEntry& entry : entries) bytes += kJournalEntryFramingBytes + entry.content.size();
  ByteWriter writer;
  writer.reserve(bytes);
  writer.u32(static_cast<std::uint32_t>(entries.size()));
  for (const JournalEntry& entry : entries) {
    writer.u8(static_cast<std::uint8_t>(entry.room));
    writer.blob(entry.content);
  }
  return seal(RecordType::journal_entries, writer.view(), first, synced);
}

JournalFile::~JournalFile() { static_cast<void>(take_zeros_back()); }

void JournalFile::write_zeros_ahead() {
  const std::uint64_t end = offset_ + sealed_.size();
  if (end <= zeros_to_ || sealed_.size() > kSmallBatch) return;
  static const Bytes zeros(kZerosAhead);
  // Only for speed. Where there is no room for it, there may be for the records.
  if (file_->write_at(end, zeros).ok()) {
    zeros_to_ = end + zeros.size();
  } else {
    zeros_to_ = end;
    static_cast<void>(take_zeros_back());
  }
}

Status JournalFile::take_zeros_back() {
  if (std::exchange(zeros_to_, 0) <= offset_ || file_ == nullptr) return ok_status();
  return file_->truncate(offset_);
}

Status JournalFile::write_sealed() {
  Status written = file_->write_at(offset_, sealed_);
  waits_for_room_ = !written.ok() && written.code() == ErrorCode::NoSpace;
  if (!written.ok()) {
    // The part that did fit. If this fails too, the same bytes will come to the same place.
    if (waits_for_room_) static_cast<void>(file_->truncate(offset_));
    zeros_to_ = 0;
    return written;
  }
  offset_ += sealed_.size();
  sealed_.clear();
  return ok_status();
}

Status JournalFile::sync_or_take_back(Status status) {
  if (status.ok()) status = file_->sync();
  if (status.ok()) {
    synced_offset_ = offset_;
    return status;
  }
  if (waits_for_room_) return status;
  // Nobody was told that these records are durable. After a failed sync the kernel may show them until the next restart
  // and lose them then: a replay in between must not build on them.
  static_cast<void>(file_->truncate(synced_offset_));
  zeros_to_ = 0;
  return status;
}

Status JournalFile::write_durably(std::span<const JournalEntry> entries, Lsn first, Lsn synced) {
  const auto write_all = [&]() -> Status {
    while (!entries.empty()) {
      std::size_t count = 0;
      for (std::size_t plaintext = 4; count < entries.size(); ++count) {
        plaintext += kJournalEntryFramingBytes + entries[count].content.size();
        if (count > 0 && plaintext > kMaxJournalPlaintextBytes) break;
      }
      VAULTFS_RETURN_IF_ERROR(seal_entries(entries.first(count), first, synced));
      sealed_to_ = Lsn(first.value + count - 1);
      first = Lsn(first.value + count);
      entries = entries.subspan(count);
      if (sealed_.size() >= kWriteBytes) VAULTFS_RETURN_IF_ERROR(write_sealed());
    }
    if (sealed_.empty()) return ok_status();
    write_zeros_ahead();
    return write_sealed();
  };
  return sync_or_take_back(write_all());
}

Status JournalFile::write_end(Lsn last) {
  ByteWriter writer;
  writer.u64(last.value);
  // Nothing may follow an end, whatever a crash keeps of this and of the write.
  const bool zeros = zeros_to_ > offset_;
  Status status = take_zeros_back();
  if (status.ok() && zeros) status = file_->sync();
  if (status.ok()) status = seal(RecordType::journal_end, writer.view(), last, last);
  if (status.ok()) status = write_sealed();
  if (!status.ok()) {
    // Nothing may follow an end, so this one is not to be written later; its nonce is burnt.
    sealed_.clear();
    waits_for_room_ = false;
  }
  return sync_or_take_back(std::move(status));
}

}  // namespace vaultfs
