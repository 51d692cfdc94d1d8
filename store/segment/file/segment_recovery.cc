#include "store/segment/file/segment_recovery.h"

#include <algorithm>
#include <array>
#include <utility>

#include "base/byte_codec.h"
#include "store/blobs/write_again.h"
#include "store/record/container.h"
#include "store/record/record_scanner.h"
#include "store/segment/file/segment_writer.h"

namespace vaultfs {
namespace {

// The footer of a recovered segment has nonces of its own: which of the others a lost record burnt is not known, and a
// recovery that crashed may have sealed another footer. Half of the number space, and in it a random start.
constexpr std::uint64_t kRecoveryNonces = 1ULL << 63U;
constexpr std::uint64_t kRecoveryNonceMask = (1ULL << 62U) - 1;

struct Gap {
  std::uint64_t offset = 0;
  std::uint64_t size = 0;
};

struct Walk {
  std::vector<SegmentEntry> entries;
  std::uint64_t records = 0;                           // valid ones, also such that do not open
  std::uint64_t end = ContainerHeader::kEncodedBytes;  // behind the last valid record
  std::vector<Gap> torn;                               // between valid records, not zero
  std::optional<Error> damage;
};

Result<std::unique_ptr<ContainerCipher>> open_cipher(File& file, const EpochKeys& keys, ContainerNumber number,
                                                     Env& env = posix_env()) {
  VAULTFS_ASSIGN_OR_RETURN(const ContainerHeader header, ContainerHeader::read(file));
  return ContainerCipher::open(keys, header, ContainerKind::segment, number, env);
}

Status open_segment_record(const ContainerCipher& cipher, const RecordScanner::Found& found) {
  if (found.header.plaintext_bytes > max_content_bytes(found.header.type) || found.offset > ChunkIndex::kMaxOffset) {
    return Error{ErrorCode::DamagedSegment, "the segment holds a record that no segment has"};
  }
  VAULTFS_RETURN_IF_ERROR(open_record(cipher, found.header, found.stored));
  return ok_status();
}

// All records up to the footer, if there is one. A record that is whole but does not open was put there by somebody: it
// stays where it is and is damage, not a gap.
Result<Walk> walk_records(File& file, const ContainerCipher& cipher, std::uint64_t file_bytes) {
  Walk walk;
  if (file_bytes > kMaxSegmentFileBytes) walk.damage = overlong_segment(file_bytes);
  RecordScanner scanner(file, ContainerHeader::kEncodedBytes, std::min(file_bytes, kMaxSegmentFileBytes));
  while (true) {
    VAULTFS_ASSIGN_OR_RETURN(const auto found, scanner.next());
    if (!found || found->header.type == RecordType::segment_footer) return walk;
    if (scanner.gap_bytes() > 0 && !scanner.gap_is_zero()) {
      walk.torn.push_back({scanner.gap_offset(), scanner.gap_bytes()});
    }
    if (walk.records == kMaxSegmentRecords) {
      walk.damage = Error{ErrorCode::DamagedSegment, "the file has more records than any segment"};
      return walk;
    }
    ++walk.records;
    walk.end = found->offset + found->stored.size();
    const Status opened = open_segment_record(cipher, *found);
    if (!opened.ok()) {
      walk.damage = opened.error();
      continue;
    }
    walk.entries.push_back({found->header.id, found->header.type, found->offset,
                            static_cast<std::uint32_t>(found->stored.size()), found->header.plaintext_bytes});
  }
}

Result<std::vector<SegmentEntry>> read_footer(File& file, const ContainerCipher& cipher, std::uint64_t file_bytes) {
  const Error too_short{ErrorCode::DamagedSegment, "the segment is too short for a footer"};
  if (file_bytes < ContainerHeader::kEncodedBytes + SegmentTrailer::kEncodedBytes) return too_short;
  const std::uint64_t trailer_offset = file_bytes - SegmentTrailer::kEncodedBytes;
  std::array<std::byte, SegmentTrailer::kEncodedBytes> trailer_bytes{};
  VAULTFS_ASSIGN_OR_RETURN(const std::size_t trailer_read, file.read_at(trailer_offset, trailer_bytes));
  VAULTFS_ASSIGN_OR_RETURN(const auto trailer, SegmentTrailer::decode(ByteView(trailer_bytes).first(trailer_read)));
  if (trailer.footer_offset < ContainerHeader::kEncodedBytes || trailer.footer_offset > trailer_offset ||
      trailer.footer_offset > ChunkIndex::kMaxOffset ||
      trailer_offset - trailer.footer_offset > std::uint64_t{2} * kMaxRecordBytes) {
    return Error{ErrorCode::DamagedSegment, "the segment's trailer points nowhere"};
  }
  std::array<std::byte, RecordHeader::kEncodedBytes> start{};
  VAULTFS_ASSIGN_OR_RETURN(const std::size_t start_read, file.read_at(trailer.footer_offset, start));
  VAULTFS_ASSIGN_OR_RETURN(const RecordHeader header, RecordHeader::decode(ByteView(start).first(start_read)));
  const std::uint64_t stored_bytes = trailer_offset - trailer.footer_offset;
  if (header.type != RecordType::segment_footer || header.stored_bytes() != stored_bytes) {
    return Error{ErrorCode::DamagedSegment, "the segment has no footer"};
  }
  Bytes stored(static_cast<std::size_t>(stored_bytes));
  VAULTFS_ASSIGN_OR_RETURN(const std::size_t read, file.read_at(trailer.footer_offset, stored));
  stored.resize(read);
  VAULTFS_ASSIGN_OR_RETURN(const Bytes plaintext, open_record(cipher, header, stored));
  VAULTFS_ASSIGN_OR_RETURN(auto entries, decode_segment_footer(plaintext, trailer.footer_offset));
  if (entries.size() > trailer.record_count) {
    return Error{ErrorCode::DamagedSegment, "the segment's trailer counts fewer records than its footer"};
  }
  return entries;
}

// Turns an error into damage, unless it concerns the keys of the whole vault.
Status note(SegmentContents& contents, Error error) {
  if (ends_the_opening(error.code)) return error;
  contents.damage = std::move(error);
  return ok_status();
}

Result<SegmentContents> load_by_walking(File& file, const ContainerCipher& cipher, SegmentContents contents) {
  auto walk = walk_records(file, cipher, contents.file_bytes);
  if (!walk.ok()) {
    VAULTFS_RETURN_IF_ERROR(note(contents, std::move(walk).error()));
    return contents;
  }
  contents.entries = std::move(walk->entries);
  if (walk->damage && !contents.damage) contents.damage = walk->damage;
  return contents;
}

Result<bool> holds_no_record(File& file, std::uint64_t file_bytes) {
  if (file_bytes > kMaxSegmentFileBytes) return false;
  RecordScanner scanner(file, ContainerHeader::kEncodedBytes, file_bytes);
  VAULTFS_ASSIGN_OR_RETURN(const auto found, scanner.next());
  return !found.has_value();
}

Status remove_empty(Env& env, const Env::Path& path) {
  VAULTFS_RETURN_IF_ERROR(env.remove_file(path));
  return env.sync_directory(path.parent_path());
}

Status close_walked(Env& env, const Env::Path& path, BlobStore& blobs, File& file, const ContainerCipher& cipher,
                    ContainerNumber number, const Walk& walk, SegmentContents& contents) {
  for (const Gap& gap : walk.torn) VAULTFS_RETURN_IF_ERROR(write_zeros(file, gap.offset, gap.size));
  std::array<std::byte, 8> random{};
  env.fill_random(random);
  const std::uint64_t nonce_base = kRecoveryNonces | (ByteReader(random).u64() & kRecoveryNonceMask);
  VAULTFS_ASSIGN_OR_RETURN(contents.file_bytes,
                           write_segment_end(file, cipher, nonce_base, walk.entries, walk.records, walk.end));
  VAULTFS_RETURN_IF_ERROR(file.sync());
  return blobs.adopt(path, closed_segment_name(number));
}

}  // namespace

Result<SegmentContents> load_closed_segment(File& file, const EpochKeys& keys, ContainerNumber number) {
  SegmentContents contents;
  const auto size = file.size();
  if (!size.ok()) {
    VAULTFS_RETURN_IF_ERROR(note(contents, size.error()));
    return contents;
  }
  contents.file_bytes = *size;
  const auto cipher = open_cipher(file, keys, number);
  if (!cipher.ok()) {
    VAULTFS_RETURN_IF_ERROR(note(contents, cipher.error()));
    return contents;
  }
  auto entries = contents.file_bytes > kMaxSegmentFileBytes ? overlong_segment(contents.file_bytes)
                                                            : read_footer(file, **cipher, contents.file_bytes);
  if (entries.ok()) {
    contents.entries = std::move(entries).value();
    return contents;
  }
  VAULTFS_RETURN_IF_ERROR(note(contents, std::move(entries).error()));
  return load_by_walking(file, **cipher, std::move(contents));
}

Result<std::vector<SegmentEntry>> load_segment_footer(File& file, const EpochKeys& keys, ContainerNumber number) {
  VAULTFS_ASSIGN_OR_RETURN(const std::uint64_t file_bytes, file.size());
  VAULTFS_ASSIGN_OR_RETURN(const auto cipher, open_cipher(file, keys, number));
  return read_footer(file, *cipher, file_bytes);
}

Status check_may_be_open(File& file, const EpochKeys& keys, ContainerNumber number) {
  const auto header = ContainerHeader::read(file);
  if (!header.ok() || !ContainerCipher::open(keys, *header, ContainerKind::segment, number).ok()) return ok_status();
  return keys.with_dek(header->epoch, [](const EpochKeys::Epoch& epoch) -> Status {
    if (!epoch.last_segment) return ok_status();
    return Error{ErrorCode::EpochClosed,
                 "an unfinished segment of a DEK epoch that is closed: only somebody with its key can have made it"};
  });
}

Result<bool> holds_neither_header_nor_record(File& file) {
  const auto header = ContainerHeader::read(file);
  if (header.ok() || header.code() != ErrorCode::DamagedHeader) return false;
  VAULTFS_ASSIGN_OR_RETURN(const std::uint64_t file_bytes, file.size());
  return holds_no_record(file, file_bytes);
}

Result<SegmentContents> load_open_segment(File& file, const EpochKeys& keys, ContainerNumber number) {
  SegmentContents contents;
  const auto size = file.size();
  if (!size.ok()) {
    VAULTFS_RETURN_IF_ERROR(note(contents, size.error()));
    return contents;
  }
  contents.file_bytes = *size;
  const auto cipher = open_cipher(file, keys, number);
  if (cipher.ok()) return load_by_walking(file, **cipher, std::move(contents));
  // A crash right after its creation leaves a file without a header, and without anything else.
  const auto empty =
      cipher.code() == ErrorCode::DamagedHeader ? holds_no_record(file, contents.file_bytes) : Result<bool>(false);
  if (empty.ok() && *empty) return contents;
  VAULTFS_RETURN_IF_ERROR(note(contents, cipher.error()));
  return contents;
}

Result<OpenSegmentEnd> recover_open_segment(Env& env, const Env::Path& root, BlobStore& blobs, const EpochKeys& keys,
                                            ContainerNumber number, SegmentContents& contents) {
  const Env::Path path = root / open_segment_name(number);
  const auto fail = [&](Error error) -> Result<OpenSegmentEnd> {
    VAULTFS_RETURN_IF_ERROR(note(contents, std::move(error)));
    return OpenSegmentEnd::left_open;
  };
  auto file = env.open(path, OpenMode::read_write);
  if (!file.ok()) return fail(std::move(file).error());
  auto size = (*file)->size();
  if (!size.ok()) return fail(std::move(size).error());
  contents.file_bytes = *size;
  auto cipher = open_cipher(**file, keys, number, env);
  if (!cipher.ok()) {
    const auto empty = holds_neither_header_nor_record(**file);
    if (empty.ok() && *empty) {
      if (Status removed = remove_empty(env, path); !removed.ok()) return fail(std::move(removed).error());
      return OpenSegmentEnd::removed;
    }
    return fail(std::move(cipher).error());
  }
  auto walk = walk_records(**file, **cipher, *size);
  if (!walk.ok()) return fail(std::move(walk).error());
  contents.entries = walk->entries;
  contents.damage = walk->damage;
  if (walk->records == 0) {
    if (Status removed = remove_empty(env, path); !removed.ok()) return fail(std::move(removed).error());
    return OpenSegmentEnd::removed;
  }
  // The records are about to be counted on: where they can't be made durable, nobody becomes the owner.
  if (Status durable = write_again(**file, 0, walk->end); !durable.ok()) {
    return with_context(std::move(durable).error(), open_segment_name(number));
  }
  Status closed = close_walked(env, path, blobs, **file, **cipher, number, *walk, contents);
  if (!closed.ok()) return fail(std::move(closed).error());
  return OpenSegmentEnd::closed;
}

void add_entries(ChunkIndex& index, ContainerNumber number, const std::vector<SegmentEntry>& entries) {
  for (const SegmentEntry& entry : entries) {
    index.insert_if_better(entry.id,
                           {number, entry.offset, entry.stored_bytes, entry.plaintext_bytes, entry.type, false});
  }
}

}  // namespace vaultfs
