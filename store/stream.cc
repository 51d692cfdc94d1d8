#include "store/stream.h"

#include <algorithm>
#include <utility>

#include "base/byte_codec.h"
#include "crypto/hash.h"
#include "store/record.h"

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

// Takes records off the front of a stream's file.
class RecordSequence {
 public:
  RecordSequence(const ContainerCipher& cipher, ByteView rest) : cipher_(cipher), rest_(rest) {}

  [[nodiscard]] Result<RecordHeader> peek() const { return RecordHeader::decode(rest_); }
  [[nodiscard]] Result<Bytes> take(const RecordHeader& header) {
    if (header.stored_bytes() > rest_.size()) return Error{ErrorCode::DamagedRecord, "the stream is cut off"};
    const ByteView stored = rest_.first(static_cast<std::size_t>(header.stored_bytes()));
    rest_ = rest_.subspan(stored.size());
    return open_record(cipher_, header, stored);
  }
  [[nodiscard]] bool at_end() const noexcept { return rest_.empty(); }

 private:
  const ContainerCipher& cipher_;
  ByteView rest_;
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

Result<OpenedStream> open_parts(const ContainerCipher& cipher, const ContainerHeader& header, ByteView records) {
  RecordSequence sequence(cipher, records);
  OpenedStream out;
  out.epoch = header.epoch;
  out.version = header.version;
  VAULTFS_ASSIGN_OR_RETURN(RecordHeader record, sequence.peek());
  if (record.type == RecordType::clear_inventory && may_have_inventory(header.kind)) {
    VAULTFS_ASSIGN_OR_RETURN(out.inventory, sequence.take(record));
    VAULTFS_ASSIGN_OR_RETURN(record, sequence.peek());
  }
  std::uint64_t parts = 0;
  bool short_part = false;
  while (record.type == RecordType::stream_part) {
    if (record.sequence != ++parts || short_part || record.plaintext_bytes > kPartBytes) {
      return Error{ErrorCode::DamagedRecord, "a part of the stream is missing, repeated or out of order"};
    }
    short_part = record.plaintext_bytes < kPartBytes;
    VAULTFS_ASSIGN_OR_RETURN(const Bytes part, sequence.take(record));
    out.content.insert(out.content.end(), part.begin(), part.end());
    VAULTFS_ASSIGN_OR_RETURN(record, sequence.peek());
  }
  if (record.type != RecordType::stream_end || record.sequence != parts + 1 || record.plaintext_bytes != kEndBytes) {
    return Error{ErrorCode::DamagedRecord, "the stream has no end where one should be"};
  }
  VAULTFS_ASSIGN_OR_RETURN(const Bytes end, sequence.take(record));
  VAULTFS_RETURN_IF_ERROR(check_end(end, parts, out.content));
  if (!sequence.at_end()) return Error{ErrorCode::DamagedRecord, "something follows the stream's end"};
  return out;
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
  const auto opened = [&]() -> Result<OpenedStream> {
    VAULTFS_ASSIGN_OR_RETURN(const ContainerHeader header, ContainerHeader::decode(file));
    VAULTFS_ASSIGN_OR_RETURN(const auto cipher, ContainerCipher::open(keys, header, kind, number));
    return open_parts(*cipher, header, file.subspan(ContainerHeader::kEncodedBytes));
  };
  auto result = opened();
  if (result.ok() || keeps_its_code(result.code())) return result;
  return Error{damaged, result.error().message};
}

}  // namespace vaultfs
