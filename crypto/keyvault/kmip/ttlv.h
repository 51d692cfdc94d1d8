#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/bytes.h"
#include "base/result.h"
#include "crypto/memory/secret_buffer.h"

namespace vaultfs {

// The encoding of KMIP messages (KMIP 1.4 section 9.1): an item is tag 3 bytes ‖ type 1 ‖ length 4 ‖ value, big-endian,
// the value padded with zero bytes to a multiple of 8. A structure's value is items.

// The tags that vaultfs sends or reads (KMIP 1.4 section 9.1.3.1). Others in an answer are passed over.
enum class KmipTag : std::uint32_t {
  activation_date = 0x420001,
  attribute = 0x420008,
  attribute_name = 0x42000a,
  attribute_value = 0x42000b,
  batch_count = 0x42000d,
  batch_item = 0x42000f,
  block_cipher_mode = 0x420011,
  cryptographic_algorithm = 0x420028,
  cryptographic_parameters = 0x42002b,
  iv_counter_nonce = 0x42003d,
  name = 0x420053,
  name_type = 0x420054,
  name_value = 0x420055,
  object_type = 0x420057,
  operation = 0x42005c,
  protocol_version = 0x420069,
  protocol_version_major = 0x42006a,
  protocol_version_minor = 0x42006b,
  request_header = 0x420077,
  request_message = 0x420078,
  request_payload = 0x420079,
  response_header = 0x42007a,
  response_message = 0x42007b,
  response_payload = 0x42007c,
  result_message = 0x42007d,
  result_reason = 0x42007e,
  result_status = 0x42007f,
  template_attribute = 0x420091,
  unique_identifier = 0x420094,
  data = 0x4200c2,
  tag_length = 0x4200ce,
  additional_data = 0x4200fe,
  authentication_tag = 0x4200ff,
};

enum class TtlvType : std::uint8_t {
  structure = 1,
  integer = 2,
  long_integer = 3,
  big_integer = 4,
  enumeration = 5,
  boolean = 6,
  text = 7,
  bytes = 8,
  date_time = 9,
  interval = 10,
};

inline constexpr std::size_t kTtlvHeaderBytes = 8;

// Builds one message in locked memory, because a message may carry what is to be wrapped. What exceeds kLimitBytes
// aborts: every field that vaultfs sends has a small bound of its own. Not thread-safe.
class TtlvWriter {
 public:
  static constexpr std::size_t kLimitBytes = 2048;

  // MemoryLockFailed.
  [[nodiscard]] static Result<TtlvWriter> create();

  void integer(KmipTag tag, std::int32_t value);
  void enumeration(KmipTag tag, std::uint32_t value);
  void text(KmipTag tag, std::string_view value);
  void bytes(KmipTag tag, ByteView value);
  // A structure with the items that `body` writes.
  template <typename Body>
  void structure(KmipTag tag, Body&& body) {
    const std::size_t start = begin_structure(tag);
    std::forward<Body>(body)();
    end_structure(start);
  }

  [[nodiscard]] ByteView view() const noexcept { return buffer_.view().first(size_); }

 private:
  explicit TtlvWriter(SecretBuffer buffer) : buffer_(std::move(buffer)) {}
  std::size_t begin_structure(KmipTag tag);
  void end_structure(std::size_t start);
  void header(KmipTag tag, TtlvType type, std::size_t length);
  void raw(ByteView bytes);
  void big_endian(std::uint64_t value, unsigned width);
  void pad();

  SecretBuffer buffer_;
  std::size_t size_ = 0;
};

// One item of a structure. Its views point into the message.
struct TtlvItem {
  KmipTag tag{};
  TtlvType type{};
  ByteView value;  // without its padding

  // The value as the type that the caller expects. KeyVaultUnavailable if it is of another one.
  [[nodiscard]] Result<std::int32_t> integer() const;
  [[nodiscard]] Result<std::uint32_t> enumeration() const;
  [[nodiscard]] Result<std::int64_t> date_time() const;  // Unix seconds
  [[nodiscard]] Result<std::string_view> text() const;
  [[nodiscard]] Result<ByteView> bytes() const;
};

// The items of one structure of a foreign message, each with a length that fits and zero padding. Nested structures are
// decoded when they are asked for, so that a message can't make the decoder recurse. Its views point into the message.
//
// Every error is KeyVaultUnavailable: a server whose answers can't be read says nothing about a key.
class TtlvStructure {
 public:
  // A bound against answers that are many empty items.
  static constexpr std::size_t kItemLimit = 4096;

  // A message that is one structure with that tag, and nothing after it.
  [[nodiscard]] static Result<TtlvStructure> decode(ByteView message, KmipTag tag);
  // The items in a structure's value.
  [[nodiscard]] static Result<TtlvStructure> decode_items(const TtlvItem& structure);

  [[nodiscard]] const std::vector<TtlvItem>& items() const noexcept { return items_; }
  [[nodiscard]] bool has(KmipTag tag) const noexcept;
  // The one item with that tag; none, or more than one, is an error.
  [[nodiscard]] Result<TtlvItem> one(KmipTag tag) const;

  [[nodiscard]] Result<TtlvStructure> structure(KmipTag tag) const;
  [[nodiscard]] Result<std::int32_t> integer(KmipTag tag) const;
  [[nodiscard]] Result<std::uint32_t> enumeration(KmipTag tag) const;
  [[nodiscard]] Result<std::int64_t> date_time(KmipTag tag) const;
  [[nodiscard]] Result<std::string_view> text(KmipTag tag) const;
  [[nodiscard]] Result<ByteView> bytes(KmipTag tag) const;

 private:
  std::vector<TtlvItem> items_;
};

// The size of the answer that begins with these 8 bytes. KeyVaultUnavailable if they begin none, or one of more than
// `limit` bytes.
[[nodiscard]] Result<std::size_t> kmip_message_size(ByteView header, std::size_t limit);

// "the answer of the KMIP server can't be read: WHY".
[[nodiscard]] Error malformed_kmip_answer(const std::string& why);

}  // namespace vaultfs
