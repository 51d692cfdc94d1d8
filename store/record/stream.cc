#include "store/record/stream.h"

#include <algorithm>
#include <utility>

#include "base/byte_codec.h"
#include "crypto/hash.h"
#include "store/record/record.h"

namespace vaultfs {
namespace {

constexpr std::size_t kPartBytes = std::size_t{1024} * 1024;
constexpr std::size_t kEndBytes = 8 + 8 + Digest::kSize;

// What the caller's code for damaged form must not hide: who may read is another question than what is broken.
bool keeps_its_code(ErrorCode code) {
  return code == ErrorCode::AuthenticationFailed || code == ErrorCode::KeyCommitmentMismatch ||
         code == ErrorCode::EpochClosed || code == ErrorCode::KeyRevoked || code == ErrorCode::UnsupportedFormat ||
         code == ErrorCode::MemoryLockFailed;
}

bool may_have_inventory(ContainerKind kind) { return kind == ContainerKind::manifest; }

// Whether the keys, or the medium, are in the way, rather than what stands in the file.
bool says_nothing_of_the_file(ErrorCode code) {
  return code == ErrorCode::KeyRevoked || code == ErrorCode::MemoryLockFailed ||
         (code != ErrorCode::UnsupportedFormat && !is_integrity_error(code));
}

// Bytes in memory, read like a file.
class BytesAsFile final : public File {
 public:
  explicit BytesAsFile(ByteView bytes) : bytes_(bytes) {}
  Result<std::size_t> read_at(std::uint64_t offset, MutableByteView out) override {
    if (offset >= bytes_.size()) return std::size_t{0};
    const ByteView rest = bytes_.subspan(static_cast<std::size_t>(offset));
    const std::size_t size = std::min(rest.size(), out.size());
    std::copy_n(rest.begin(), size, out.begin());
    return size;
  }
  Result<std::uint64_t> size() override { return std::uint64_t{bytes_.size()}; }
  Status write_at(std::uint64_t, ByteView) override { return read_only(); }
  Status sync() override { return ok_status(); }
  Status truncate(std::uint64_t) override { return read_only(); }
  Result<FileInfo> info() override { return FileInfo{.kind = FileKind::file, .size = bytes_.size()}; }

 private:
  static Error read_only() { return {ErrorCode::ReadOnly, "these bytes are only read"}; }
  const ByteView bytes_;
};

// A stream's file from front to back. Every byte is read once, so that digest and content are of the same ones.
class StreamFile {
 public:
  StreamFile(File& file, std::uint64_t file_bytes) : file_(file), file_bytes_(file_bytes) {}

  [[nodiscard]] Result<ContainerHeader> container_header() {
    VAULTFS_ASSIGN_OR_RETURN(const ByteView bytes, take_bytes(ContainerHeader::kEncodedBytes));
    return ContainerHeader::decode(bytes);
  }
  // The next record's header. The record itself is open_next's.
  [[nodiscard]] Result<RecordHeader> next_header() {
    stored_.clear();
    VAULTFS_RETURN_IF_ERROR(extend(RecordHeader::kEncodedBytes));
    return RecordHeader::decode(stored_);
  }
  // REQUIRES: `header` is what next_header() gave.
  [[nodiscard]] Result<Bytes> open_next(const ContainerCipher& cipher, const RecordHeader& header) {
    VAULTFS_RETURN_IF_ERROR(extend(static_cast<std::size_t>(header.stored_bytes()) - stored_.size()));
    return open_record(cipher, header, stored_);
  }
  [[nodiscard]] bool at_end() const noexcept { return at_ == file_bytes_; }
  // What is left goes into the digest too.
  [[nodiscard]] Status pass_over_rest() {
    while (!at_end()) {
      VAULTFS_RETURN_IF_ERROR(take_bytes(std::min<std::uint64_t>(kPartBytes, file_bytes_ - at_)));
    }
    return ok_status();
  }
  [[nodiscard]] Digest digest() const { return digest_.digest(); }
  [[nodiscard]] std::uint64_t file_bytes() const noexcept { return file_bytes_; }

 private:
  Result<ByteView> take_bytes(std::uint64_t size) {
    stored_.clear();
    VAULTFS_RETURN_IF_ERROR(extend(static_cast<std::size_t>(size)));
    return ByteView(stored_);
  }
  Status extend(std::size_t size) {
    const Error cut_off{ErrorCode::DamagedRecord, "the stream is cut off"};
    if (size > file_bytes_ - at_) return cut_off;
    const std::size_t before = stored_.size();
    stored_.resize(before + size);
    const MutableByteView fresh = MutableByteView(stored_).subspan(before);
    VAULTFS_ASSIGN_OR_RETURN(const std::size_t read, file_.read_at(at_, fresh));
    if (read != size) return cut_off;
    digest_.add(fresh);
    at_ += size;
    return ok_status();
  }

  File& file_;
  const std::uint64_t file_bytes_;
  std::uint64_t at_ = 0;
  Bytes stored_;
  Sha256Stream digest_;
};

Status check_end(ByteView end, std::uint64_t parts, ByteView content) {
  ByteReader reader(end);
  const std::uint64_t stored_parts = reader.u64();
  const std::uint64_t stored_length = reader.u64();
  const auto digest = reader.id<Digest>();
  VAULTFS_RETURN_IF_ERROR(reader.finish(ErrorCode::DamagedRecord, "stream end"));
  if (stored_parts != parts || stored_length != content.size() || digest != sha256(content)) {
    return Error{ErrorCode::DamagedRecord, "the stream's end does not fit what stands before it"};
  }
  return ok_status();
}

Result<OpenedStream> open_parts(const ContainerCipher& cipher, const ContainerHeader& header, StreamFile& file) {
  OpenedStream out;
  out.epoch = header.epoch;
  out.version = header.version;
  VAULTFS_ASSIGN_OR_RETURN(RecordHeader record, file.next_header());
  if (record.type == RecordType::clear_inventory && may_have_inventory(header.kind)) {
    VAULTFS_ASSIGN_OR_RETURN(out.inventory, file.open_next(cipher, record));
    VAULTFS_ASSIGN_OR_RETURN(record, file.next_header());
  }
  std::uint64_t parts = 0;
  bool short_part = false;
  while (record.type == RecordType::stream_part) {
    if (record.sequence != ++parts || short_part || record.plaintext_bytes > kPartBytes) {
      return Error{ErrorCode::DamagedRecord, "a part of the stream is missing, repeated or out of order"};
    }
    short_part = record.plaintext_bytes < kPartBytes;
    VAULTFS_ASSIGN_OR_RETURN(const Bytes part, file.open_next(cipher, record));
    out.content.insert(out.content.end(), part.begin(), part.end());
    VAULTFS_ASSIGN_OR_RETURN(record, file.next_header());
  }
  if (record.type != RecordType::stream_end || record.sequence != parts + 1 || record.plaintext_bytes != kEndBytes) {
    return Error{ErrorCode::DamagedRecord, "the stream has no end where one should be"};
  }
  VAULTFS_ASSIGN_OR_RETURN(const Bytes end, file.open_next(cipher, record));
  VAULTFS_RETURN_IF_ERROR(check_end(end, parts, out.content));
  if (!file.at_end()) return Error{ErrorCode::DamagedRecord, "something follows the stream's end"};
  out.file_bytes = file.file_bytes();
  out.file_digest = file.digest();
  return out;
}

Result<OpenedStream> open_file(const EpochKeys& keys, ContainerKind kind, ContainerNumber number, StreamFile& file) {
  VAULTFS_ASSIGN_OR_RETURN(const ContainerHeader header, file.container_header());
  VAULTFS_ASSIGN_OR_RETURN(const auto cipher, ContainerCipher::open(keys, header, kind, number));
  return open_parts(*cipher, header, file);
}

}  // namespace

Result<Bytes> seal_stream(Env& env, const EpochKeys& keys, ContainerKind kind, ContainerNumber number, ByteView content,
                          std::optional<ByteView> inventory) {
  if (inventory && !may_have_inventory(kind)) {
    return Error{ErrorCode::InvalidArgument, "only a manifest has a clear inventory"};
  }
  ContainerHeader header;
  VAULTFS_ASSIGN_OR_RETURN(const auto cipher, ContainerCipher::create(env, keys, kind, number, header));
  Bytes file = header.encode();
  if (inventory) {
    RecordDraft draft;
    draft.type = RecordType::clear_inventory;
    VAULTFS_RETURN_IF_ERROR(encode_clear_record(draft, *inventory, file));
  }
  RecordDraft draft;
  draft.type = RecordType::stream_part;
  for (std::size_t at = 0; at < content.size(); at += kPartBytes) {
    const ByteView part = content.subspan(at, std::min(kPartBytes, content.size() - at));
    ++draft.sequence;
    VAULTFS_RETURN_IF_ERROR(seal_record(*cipher, draft, part, file));
    draft.nonce_base += frame_count_of(part.size(), draft.frame_log2);
  }
  ByteWriter end;
  end.u64(draft.sequence);
  end.u64(content.size());
  end.id(sha256(content));
  draft.type = RecordType::stream_end;
  ++draft.sequence;
  VAULTFS_RETURN_IF_ERROR(seal_record(*cipher, draft, end.view(), file));
  return file;
}

Result<OpenedStream> open_stream(const EpochKeys& keys, ContainerKind kind, ContainerNumber number, ByteView file,
                                 ErrorCode damaged) {
  BytesAsFile bytes(file);
  return read_stream(keys, kind, number, bytes, damaged);
}

Result<OpenedStream> read_stream(const EpochKeys& keys, ContainerKind kind, ContainerNumber number, File& file,
                                 ErrorCode damaged, const ExpectedFile& expected) {
  VAULTFS_ASSIGN_OR_RETURN(const std::uint64_t file_bytes, file.size());
  if (expected.bytes && file_bytes != *expected.bytes) {
    return Error{damaged,
                 "the file has " + std::to_string(file_bytes) + " bytes instead of " + std::to_string(*expected.bytes)};
  }
  StreamFile source(file, file_bytes);
  auto result = open_file(keys, kind, number, source);
  if (!result.ok() && says_nothing_of_the_file(result.code())) return result;
  if (expected.digest) {
    // Only where a length was expected is the rest of a file that does not open worth its reading.
    const Status rest = result.ok() || !expected.bytes ? ok_status() : source.pass_over_rest();
    if (!rest.ok() && says_nothing_of_the_file(rest.code())) return rest.error();
    if (source.digest() != *expected.digest) return Error{damaged, "the file is not the one that was written"};
  }
  if (result.ok() || keeps_its_code(result.code())) return result;
  return Error{damaged, result.error().message};
}

}  // namespace vaultfs
