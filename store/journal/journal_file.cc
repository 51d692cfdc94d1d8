#include "store/journal/journal_file.h"

#include <algorithm>
#include <utility>

#include "store/blobs/blob_store.h"
#include "store/record/record.h"

namespace vaultfs {
namespace {

// So many bytes of a great batch are sealed and written at a time, unless one entry has more: that is all the memory it
// takes, and what was just sealed is still in the processor's cache when the file takes it.
constexpr std::size_t kWriteBytes = std::size_t{1024} * 1024;
// So much is written ahead at a time: fewer than one sync in a hundred pays for it, and it is soon read through at a
// replay. A batch that is not small beside it gains nothing.
constexpr std::size_t kZerosAhead = std::size_t{1024} * 1024;
constexpr std::size_t kSmallBatch = kZerosAhead / 8;

constexpr std::size_t kEntryCountBytes = 4;  // at the begin of a record's plaintext
constexpr std::size_t kExtentBytes = 8 + 8 + Digest::kSize;

}  // namespace

Bytes JournalContinues::encode() const {
  ByteWriter writer;
  writer.u64(replayed_to.value);
  writer.u64(checkpoint.value);
  writer.u32(static_cast<std::uint32_t>(before.size()));
  for (const JournalExtent& journal : before) {
    writer.u64(journal.number.value);
    writer.u64(journal.bytes);
    writer.id(journal.digest);
  }
  return std::move(writer).take();
}

Result<JournalContinues> JournalContinues::decode(ByteView bytes, std::uint16_t container_version) {
  ByteReader reader(bytes);
  JournalContinues continues;
  continues.replayed_to = Lsn(reader.u64());
  continues.checkpoint = ContainerNumber(reader.u64());
  const std::uint32_t count = container_version < kChainedVersion ? 0 : reader.count(kExtentBytes);
  for (std::uint32_t i = 0; i < count; ++i) {
    JournalExtent journal;
    journal.number = ContainerNumber(reader.u64());
    journal.bytes = reader.u64();
    journal.digest = reader.id<Digest>();
    const ContainerNumber last = continues.before.empty() ? ContainerNumber(0) : continues.before.back().number;
    if (journal.number <= last) reader.fail();
    continues.before.push_back(journal);
  }
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
  journal->sealed_memory_ = header.encode();
  journal->sealed_bytes_ = journal->sealed_memory_.size();
  journal->header_ = sha256(journal->sealed_memory_);
  const JournalEntry first{EntryOwner::journal, continues.encode()};
  VAULTFS_RETURN_IF_ERROR(journal->seal_entries({&first, 1}, continues.replayed_to.next(), continues.replayed_to));
  VAULTFS_RETURN_IF_ERROR(write_file_durably(env, path, journal->sealed()));
  journal->sealed_to_ = continues.replayed_to.next();
  journal->written_.add(journal->sealed());
  journal->offset_ = std::exchange(journal->sealed_bytes_, 0);
  journal->synced_offset_ = journal->offset_;
  VAULTFS_ASSIGN_OR_RETURN(journal->file_, env.open(path, OpenMode::read_write));
  return journal;
}

Status JournalFile::seal(RecordType type, std::span<const ByteView> plaintext, Lsn sequence, Lsn synced) {
  RecordDraft draft;
  draft.type = type;
  draft.nonce_base = next_nonce_;
  draft.sequence = sequence.value;
  draft.synced_lsn = synced.value;
  draft.compression = Compression::off;  // somebody waits for it, and it is soon gone
  std::size_t bytes = 0;
  for (const ByteView piece : plaintext) bytes += piece.size();
  next_nonce_ += frame_count_of(bytes, draft.frame_log2);
  const std::size_t most = sealed_bytes_ + max_stored_bytes(bytes, draft.frame_log2, cipher_->overhead_bytes());
  if (sealed_memory_.size() < most) sealed_memory_.resize(most);
  const MutableByteView room = MutableByteView(sealed_memory_).subspan(sealed_bytes_);
  VAULTFS_ASSIGN_OR_RETURN(const std::size_t size, seal_pieces_into(*cipher_, draft, plaintext, room));
  sealed_bytes_ += size;
  return ok_status();
}

Status JournalFile::seal_entries(std::span<const JournalEntry> entries, Lsn first, Lsn synced) {
  // The contents stay where they are; what stands before each is made here, all of it before any is looked at.
  ByteWriter framing;
  framing.reserve(kEntryCountBytes + kJournalEntryFramingBytes * entries.size());
  framing.u32(static_cast<std::uint32_t>(entries.size()));
  for (const JournalEntry& entry : entries) {
    framing.u8(static_cast<std::uint8_t>(entry.owner));
    framing.u32(static_cast<std::uint32_t>(entry.content.size()));
  }
  std::vector<ByteView> pieces{framing.view().first(kEntryCountBytes)};
  pieces.reserve(1 + 2 * entries.size());
  for (std::size_t i = 0; i < entries.size(); ++i) {
    const std::size_t place = kEntryCountBytes + i * kJournalEntryFramingBytes;
    pieces.emplace_back(framing.view().subspan(place, kJournalEntryFramingBytes));
    pieces.push_back(entries[i].content);
  }
  return seal(RecordType::journal_entries, pieces, first, synced);
}

JournalFile::~JournalFile() { static_cast<void>(take_zeros_back()); }

void JournalFile::write_zeros_ahead() {
  const std::uint64_t end = offset_ + sealed_bytes_;
  if (end <= zeros_to_ || sealed_bytes_ > kSmallBatch) return;
  static const Bytes zeros(kZerosAhead);
  // Only for speed. Where there is no room for it, there may be for the records.
  if (file_->write_if_room(end, zeros).ok()) {
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
  Status written = file_->write_at(offset_, sealed());
  waits_for_room_ = !written.ok() && written.code() == ErrorCode::NoSpace;
  if (!written.ok()) {
    // The part that did fit. If this fails too, the same bytes will come to the same place.
    if (waits_for_room_) static_cast<void>(file_->truncate(offset_));
    zeros_to_ = 0;
    return written;
  }
  written_.add(sealed());
  offset_ += std::exchange(sealed_bytes_, 0);
  return ok_status();
}

JournalPosition JournalFile::position() const { return {number_, header_, offset_, written_.digest(), sealed_to_}; }

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
    bool in_one_write = true;
    while (!entries.empty()) {
      std::size_t count = 0;
      for (std::size_t plaintext = kEntryCountBytes; count < entries.size(); ++count) {
        plaintext += kJournalEntryFramingBytes + entries[count].content.size();
        if (count > 0 && plaintext > kWriteBytes) break;
      }
      VAULTFS_RETURN_IF_ERROR(seal_entries(entries.first(count), first, synced));
      sealed_to_ = Lsn(first.value + count - 1);
      first = Lsn(first.value + count);
      entries = entries.subspan(count);
      if (entries.empty()) break;
      VAULTFS_RETURN_IF_ERROR(write_sealed());
      in_one_write = false;
    }
    if (sealed_bytes_ == 0) return ok_status();
    if (in_one_write) write_zeros_ahead();
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
  const ByteView plaintext = writer.view();
  if (status.ok()) status = seal(RecordType::journal_end, {&plaintext, 1}, last, last);
  if (status.ok()) status = write_sealed();
  if (!status.ok()) {
    // Nothing may follow an end, so this one is not to be written later; its nonce is burnt.
    sealed_bytes_ = 0;
    waits_for_room_ = false;
  }
  return sync_or_take_back(std::move(status));
}

}  // namespace vaultfs
