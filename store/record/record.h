#pragma once

#include <cstdint>
#include <string_view>
#include <utility>
#include <vector>

#include "base/bytes.h"
#include "base/ids.h"
#include "base/result.h"
#include "store/record/container.h"

namespace vaultfs {

// docs/format.md, section 2.2.
enum class RecordType : std::uint8_t {
  chunk = 1,
  map_page = 2,
  segment_footer = 3,
  patch = 4,
  journal_entries = 16,
  journal_end = 17,
  stream_part = 32,
  stream_end = 33,
  clear_inventory = 34,
  activity_entry = 48,
};

inline constexpr std::string_view kRecordMagic = "VREC";
inline constexpr std::uint32_t kMaxRecordBytes = 16U * 1024 * 1024;
inline constexpr std::uint8_t kMinFrameLog2 = 12;
inline constexpr std::uint8_t kMaxFrameLog2 = 20;
inline constexpr std::uint8_t kDefaultFrameLog2 = 16;  // 64 KiB

struct RecordHeader {
  static constexpr std::size_t kEncodedBytes = 88;
  RecordType type = RecordType::chunk;
  bool clear = false;
  std::uint8_t frame_log2 = kDefaultFrameLog2;
  std::uint64_t nonce_base = 0;
  std::uint64_t sequence = 0;  // LSN, part number or entry number
  std::uint64_t synced_lsn = 0;
  ChunkId id;
  RecordSalt salt{};  // lies where `sequence` and `synced_lsn` would, or where `id` would: no record has all three
  std::uint32_t plaintext_bytes = 0;
  std::uint32_t frame_count = 0;
  std::uint32_t payload_bytes = 0;

  [[nodiscard]] std::uint32_t frame_bytes() const noexcept { return 1U << frame_log2; }
  // Plaintext bytes of frame `index`; the last frame may be shorter.
  [[nodiscard]] std::uint32_t plaintext_bytes_of(std::uint32_t index) const noexcept;
  // Bytes that the whole record takes in its container, padding included.
  [[nodiscard]] std::uint64_t stored_bytes() const noexcept;
  void encode(MutableByteView out) const;  // kEncodedBytes
  // DamagedRecord unless magic, checksum, and every field's range are right.
  [[nodiscard]] static Result<RecordHeader> decode(ByteView bytes);
};

// How new frames are compressed: not at all; by zstd so that little space is taken; or quicker, in frames of which a
// random read opens less, for about a sixth more space. The ordered ones are for what is mostly read from its beginning
// to its end, as backups are: larger frames. Readers need not know.
enum class Compression : std::uint8_t { off, automatic, fast, ordered, ordered_fast };

// What to seal. The nonce base must be fresh: `frame_count_of(...)` numbers from it are burnt, whatever happens.
struct RecordDraft {
  RecordType type = RecordType::chunk;
  std::uint8_t frame_log2 = kDefaultFrameLog2;
  std::uint64_t nonce_base = 0;
  std::uint64_t sequence = 0;
  std::uint64_t synced_lsn = 0;
  ChunkId id;
  Compression compression = Compression::automatic;
};

[[nodiscard]] std::uint32_t frame_count_of(std::size_t plaintext_bytes, std::uint8_t frame_log2) noexcept;

// Most bytes that sealing can need.
[[nodiscard]] std::size_t max_stored_bytes(std::size_t plaintext_bytes, std::uint8_t frame_log2,
                                           std::size_t overhead_bytes) noexcept;

// Seals 1 byte to 16 MiB into a whole stored record at the start of `out` and gives its size (a multiple of 8).
// Compresses frames by zstd unless a cheap probe of the content says that it does not pay. Thread-safe.
// REQUIRES: out.size() >= max_stored_bytes(…), out does not overlap plaintext.
[[nodiscard]] Result<std::size_t> seal_record_into(const ContainerCipher& cipher, const RecordDraft& draft,
                                                   ByteView plaintext, MutableByteView out);
// The same, of a plaintext that lies in pieces, one behind the other; only a frame that has several of them is copied.
[[nodiscard]] Result<std::size_t> seal_pieces_into(const ContainerCipher& cipher, const RecordDraft& draft,
                                                   std::span<const ByteView> pieces, MutableByteView out);
// As seal_record_into, appended to `out`.
[[nodiscard]] Status seal_record(const ContainerCipher& cipher, const RecordDraft& draft, ByteView plaintext,
                                 Bytes& out);

// A clear record (type 34).
[[nodiscard]] Status encode_clear_record(const RecordDraft& draft, ByteView plaintext, Bytes& out);

// Whether the salt is zero exactly where it must be: in clear records and in containers of version 1.
[[nodiscard]] bool has_right_salt(const RecordHeader& header, std::uint16_t container_version) noexcept;

// Checks the XXH3-128 and the padding of a whole stored record. DamagedRecord.
[[nodiscard]] Status check_record(const RecordHeader& header, ByteView stored);

// Opens a whole stored record, checksum first; for a clear record that is the payload. DamagedRecord,
// AuthenticationFailed.
[[nodiscard]] Result<Bytes> open_record(const ContainerCipher& cipher, const RecordHeader& header, ByteView stored);

// Where frames lie in the payload: decoded from the frame table, with every length checked against the payload.
struct FrameTable {
  struct Frame {
    std::uint32_t offset = 0;  // from the start of the record
    std::uint32_t sealed_bytes = 0;
    std::uint32_t entry = 0;  // as stored
  };
  std::vector<Frame> frames;
  // `table` is the payload's first 4 · frame_count bytes. DamagedRecord.
  [[nodiscard]] static Result<FrameTable> decode(const RecordHeader& header, ByteView table,
                                                 std::size_t overhead_bytes);
};

// Opens the frames of one record, one by one. The record's key is derived once, for all of them.
class FrameOpener {
 public:
  // DamagedRecord if the header has no salt where its container's version has one, or the other way round.
  [[nodiscard]] static Result<FrameOpener> create(const ContainerCipher& cipher, const RecordHeader& header);
  // Frame `index` into `out`, whose size is the frame's plaintext length. AuthenticationFailed, DamagedRecord.
  [[nodiscard]] Status open(const FrameTable& table, std::uint32_t index, ByteView sealed, MutableByteView out) const;

 private:
  FrameOpener(ContainerCipher::Record record, const RecordHeader& header)
      : record_(std::move(record)), header_(header) {}
  ContainerCipher::Record record_;
  RecordHeader header_;
};

// One frame alone.
[[nodiscard]] Status open_frame(const ContainerCipher& cipher, const RecordHeader& header, const FrameTable& table,
                                std::uint32_t index, ByteView sealed, MutableByteView out);

}  // namespace vaultfs
