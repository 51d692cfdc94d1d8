#include "store/journal/journal_reader.h"

#include <algorithm>
#include <utility>

#include "store/blobs/blob_store.h"
#include "store/record/record_scanner.h"

namespace vaultfs {
namespace {

constexpr std::size_t kWindowBytes = std::size_t{1024} * 1024;
constexpr std::size_t kRecordAlignment = 8;
// No crash leaves valid record headers before damaged records without number; whoever forges them does not get to keep
// a reader busy for ever.
constexpr std::uint64_t kSearchBudgetBytes = 256ULL * 1024 * 1024;

bool is_not_valid(ErrorCode code) {
  return code == ErrorCode::DamagedRecord || code == ErrorCode::AuthenticationFailed;
}

bool starts_a_record(ByteView bytes) {
  return bytes.size() >= RecordHeader::kEncodedBytes &&
         bytes_equal(bytes.first(kRecordMagic.size()), bytes_of(kRecordMagic));
}

}  // namespace

Result<ByteView> WindowReader::read(std::uint64_t offset, std::size_t size) {
  if (offset >= bytes_) return ByteView{};
  size = std::min<std::uint64_t>(size, bytes_ - offset);
  if (offset < start_ || offset + size > start_ + window_.size()) {
    start_ = offset;
    window_.resize(std::min<std::uint64_t>(std::max(size, kWindowBytes), bytes_ - offset));
    VAULTFS_ASSIGN_OR_RETURN(const std::size_t read, file_.read_at(offset, window_));
    window_.resize(read);
  }
  const ByteView available = ByteView(window_).subspan(offset - start_);
  return available.first(std::min(size, available.size()));
}

Error JournalReader::damaged(const std::string& what) const {
  return {ErrorCode::JournalDamaged, "journal " + std::to_string(number_.value) + ": " + what};
}

Result<JournalReader::Record> JournalReader::record_at(std::uint64_t offset) {
  VAULTFS_ASSIGN_OR_RETURN(const ByteView start, window_.read(offset, RecordHeader::kEncodedBytes));
  Record record;
  VAULTFS_ASSIGN_OR_RETURN(record.header, RecordHeader::decode(start));
  const RecordHeader& header = record.header;
  const bool is_journal = header.type == RecordType::journal_entries || header.type == RecordType::journal_end;
  if (!is_journal || header.plaintext_bytes > kMaxJournalPlaintextBytes) {
    return Error{ErrorCode::DamagedRecord, "a record that no journal holds"};
  }
  VAULTFS_ASSIGN_OR_RETURN(record.stored, window_.read(offset, static_cast<std::size_t>(header.stored_bytes())));
  VAULTFS_ASSIGN_OR_RETURN(record.plaintext, open_record(*cipher_, header, record.stored));
  return record;
}

Result<std::unique_ptr<JournalReader>> JournalReader::open(Env& env, const Env::Path& directory, const EpochKeys& keys,
                                                           ContainerNumber number) {
  return open_up_to(env, directory, keys, number, std::nullopt);
}

Result<std::unique_ptr<JournalReader>> JournalReader::open_named(Env& env, const Env::Path& directory,
                                                                 const EpochKeys& keys, const JournalPosition& named) {
  VAULTFS_ASSIGN_OR_RETURN(auto reader, open_up_to(env, directory, keys, named.number, std::nullopt));
  if (reader->header_ != named.header) return reader->damaged("it is not the one that the head names");
  if (reader->version() < kChainedVersion)
    return reader->damaged("it is of an older format than the head that names it");
  reader->named_ = named;
  VAULTFS_RETURN_IF_ERROR(reader->check_named());
  return reader;
}

Result<std::unique_ptr<JournalReader>> JournalReader::open_accepted(Env& env, const Env::Path& directory,
                                                                    const EpochKeys& keys,
                                                                    const JournalExtent& accepted) {
  VAULTFS_ASSIGN_OR_RETURN(auto reader, open_up_to(env, directory, keys, accepted.number, accepted.bytes));
  reader->expected_ = accepted;
  return reader;
}

Result<std::unique_ptr<JournalReader>> JournalReader::open_up_to(Env& env, const Env::Path& directory,
                                                                 const EpochKeys& keys, ContainerNumber number,
                                                                 std::optional<std::uint64_t> end) {
  VAULTFS_ASSIGN_OR_RETURN(auto file,
                           env.open(directory / numbered_name(number.value, kJournalExtension), OpenMode::read_only));
  VAULTFS_ASSIGN_OR_RETURN(std::uint64_t bytes, file->size());
  if (end.has_value()) bytes = std::min(bytes, *end);
  std::unique_ptr<JournalReader> reader(new JournalReader(std::move(file), bytes, number));
  VAULTFS_ASSIGN_OR_RETURN(const ByteView stored, reader->window_.read(0, ContainerHeader::kEncodedBytes));
  auto cipher = [&]() -> Result<std::unique_ptr<ContainerCipher>> {
    VAULTFS_ASSIGN_OR_RETURN(const ContainerHeader header, ContainerHeader::decode(stored));
    reader->epoch_ = header.epoch;
    return ContainerCipher::open(keys, header, ContainerKind::journal, number);
  }();
  if (!cipher.ok()) {
    if (is_integrity_error(cipher.code())) return reader->damaged(cipher.error().message);
    return std::move(cipher).error();
  }
  reader->cipher_ = std::move(cipher).value();
  reader->taken_.add(stored);
  reader->header_ = sha256(stored);
  reader->offset_ = ContainerHeader::kEncodedBytes;

  auto first = reader->record_at(reader->offset_);
  if (!first.ok()) {
    if (is_not_valid(first.code())) return reader->damaged("its first record: " + first.error().message);
    return std::move(first).error();
  }
  ByteReader content(first->plaintext);
  const std::uint32_t count = content.u32();
  const std::uint8_t owner = content.u8();
  const ByteView entry = content.blob(kMaxJournalEntryBytes);
  const Status form = content.finish(ErrorCode::JournalDamaged, "a journal's first record");
  if (!form.ok() || count != 1 || owner != static_cast<std::uint8_t>(EntryOwner::journal) ||
      first->header.type != RecordType::journal_entries) {
    return reader->damaged("its first record is not the one that a journal starts with");
  }
  VAULTFS_ASSIGN_OR_RETURN(reader->continues_, JournalContinues::decode(entry, reader->version()));
  reader->reached_ = reader->continues_.replayed_to;
  VAULTFS_RETURN_IF_ERROR(reader->check_place(*first));
  reader->reached_ = reader->reached_.next();
  VAULTFS_RETURN_IF_ERROR(reader->take(*first));
  return reader;
}

Status JournalReader::take(const Record& record) {
  taken_.add(record.stored);
  next_nonce_ += record.header.frame_count;
  offset_ += record.header.stored_bytes();
  return check_named();
}

Status JournalReader::check_named() {
  if (!named_.has_value() || named_met_ || offset_ < named_->bytes) return ok_status();
  named_met_ = offset_ == named_->bytes && taken_.digest() == named_->digest;
  return named_met_ ? ok_status() : damaged("it does not hold what the head says was synced");
}

// An authentic record that does not follow the one before it was put there by somebody: no crash moves records.
Status JournalReader::check_place(const Record& record) const {
  const RecordHeader& header = record.header;
  const Lsn expected = header.type == RecordType::journal_end ? reached_ : reached_.next();
  if (header.sequence != expected.value || header.nonce_base != next_nonce_ || header.synced_lsn > reached_.value) {
    return damaged("a record stands in a place that is not its own");
  }
  return ok_status();
}

Status JournalReader::apply_entries(const Record& record, const Apply& apply) {
  ByteReader content(record.plaintext);
  const std::uint32_t count = content.count(kJournalEntryFramingBytes);
  for (std::uint32_t i = 0; i < count && !content.failed(); ++i) {
    const auto owner = static_cast<EntryOwner>(content.u8());
    const ByteView entry = content.blob(kMaxJournalEntryBytes);
    if (content.failed()) break;
    if (owner > EntryOwner::tree) {
      return Error{ErrorCode::UnsupportedFormat,
                   "journal " + std::to_string(number_.value) + " has an entry for owner " +
                       std::to_string(static_cast<unsigned>(owner)) + ", which a newer vaultfs made; use that one"};
    }
    if (owner == EntryOwner::journal) return damaged("what a journal starts with stands behind its first record");
    VAULTFS_RETURN_IF_ERROR(apply(reached_.next(), owner, entry));
    reached_ = reached_.next();
  }
  if (count == 0) return damaged("a record without entries");
  const Status form = content.finish(ErrorCode::JournalDamaged, "a record");
  return form.ok() ? form : damaged(form.error().message);
}

Status JournalReader::finish_clean(const Record& record) {
  ByteReader content(record.plaintext);
  const Lsn last(content.u64());
  const Status form = content.finish(ErrorCode::JournalDamaged, "a clean end");
  if (!form.ok() || last != reached_) return damaged("its clean end does not fit what precedes it");
  VAULTFS_RETURN_IF_ERROR(take(record));
  if (offset_ != window_.file_bytes()) return damaged("bytes after its clean end");
  clean_end_ = true;
  return ok_status();
}

Status JournalReader::read_entries(const Apply& apply) {
  VAULTFS_RETURN_IF_ERROR(read_records(apply));
  if (expected_.has_value() && accepted() != *expected_) return damaged("it is not what the journal after it followed");
  if (named_.has_value() && !named_met_) {
    return damaged("entries that the head says were synced are lost: it ends at LSN " + std::to_string(reached_.value));
  }
  return ok_status();
}

Status JournalReader::read_records(const Apply& apply) {
  while (offset_ < window_.file_bytes()) {
    auto record = record_at(offset_);
    if (!record.ok()) {
      if (!is_not_valid(record.code())) return std::move(record).error();
      return expected_.has_value() ? ok_status() : search_for_proof_of_loss();
    }
    VAULTFS_RETURN_IF_ERROR(check_place(*record));
    if (record->header.type == RecordType::journal_end) return finish_clean(*record);
    VAULTFS_RETURN_IF_ERROR(apply_entries(*record, apply));
    VAULTFS_RETURN_IF_ERROR(take(*record));
  }
  return ok_status();
}

Status JournalReader::search_for_proof_of_loss() {
  std::uint64_t budget = kSearchBudgetBytes;
  std::uint64_t at = offset_;
  std::uint64_t record_end = offset_;  // of the last one found
  // The record at offset_ itself is known not to be one.
  while (at < window_.file_bytes()) {
    VAULTFS_ASSIGN_OR_RETURN(const ByteView start, window_.read(at, RecordHeader::kEncodedBytes));
    if (start.empty()) break;
    // What was written and not synced is a batch, and the zeros ahead of it.
    if (at - record_end > kMaxPassedOverBytes)
      return damaged("more follows its last record than was ever left unsynced");
    if (at == offset_ || !starts_a_record(start)) {
      VAULTFS_ASSIGN_OR_RETURN(at, pass_over(at));
      continue;
    }
    const auto header = RecordHeader::decode(start);
    const std::uint64_t cost = header.ok() ? header->stored_bytes() : RecordHeader::kEncodedBytes;
    if (cost > budget) return damaged("its end is full of records that are none");
    budget -= cost;
    auto record = record_at(at);
    if (record.ok()) {
      if (record->header.synced_lsn > reached_.value) {
        return damaged("entries from LSN " + std::to_string(reached_.value + 1) + " on were synced and are lost");
      }
      at += record->header.stored_bytes();  // part of the same unsynced tail
      record_end = tail_end_ = at;
      budget = kSearchBudgetBytes;
      continue;
    }
    if (!is_not_valid(record.code())) return std::move(record).error();
    VAULTFS_ASSIGN_OR_RETURN(at, pass_over(at));
  }
  return ok_status();
}

Result<std::uint64_t> JournalReader::pass_over(std::uint64_t at) {
  VAULTFS_ASSIGN_OR_RETURN(const ByteView piece, window_.read(at, kPassOverBytes));
  const ByteView passed = piece.first(bytes_before_record(piece));
  std::size_t used = is_all_zero(passed) ? 0 : passed.size();
  while (used > 0 && passed[used - 1] == std::byte{0}) --used;
  used = std::min((used + kRecordAlignment - 1) / kRecordAlignment * kRecordAlignment, passed.size());
  if (used > 0) tail_end_ = at + used;
  return passed.empty() ? window_.file_bytes() : at + passed.size();
}

}  // namespace vaultfs
