#include "crypto/keyvault/kmip/ttlv.h"

#include <algorithm>
#include <array>
#include <cstdlib>
#include <optional>

namespace vaultfs {
namespace {

constexpr std::size_t kAlignment = 8;

constexpr std::size_t padding_of(std::size_t length) { return (kAlignment - length % kAlignment) % kAlignment; }

std::uint64_t big_endian_value(ByteView bytes) {
  std::uint64_t value = 0;
  for (const std::byte byte : bytes) value = value << 8U | std::to_integer<std::uint64_t>(byte);
  return value;
}

std::string tag_text(KmipTag tag) {
  std::array<std::byte, 3> bytes{};
  for (unsigned i = 0; i < bytes.size(); ++i) {
    bytes.at(i) = static_cast<std::byte>(static_cast<std::uint32_t>(tag) >> (8U * (2U - i)) & 0xffU);
  }
  return "0x" + to_hex(bytes);
}

// The length that values of the type have, where it is fixed.
std::optional<std::size_t> fixed_length(TtlvType type) {
  switch (type) {
    case TtlvType::integer:
    case TtlvType::enumeration:
    case TtlvType::interval:
      return 4;
    case TtlvType::long_integer:
    case TtlvType::boolean:
    case TtlvType::date_time:
      return 8;
    default:
      return std::nullopt;
  }
}

// Takes the first item off `bytes`.
Result<TtlvItem> take_item(ByteView& bytes) {
  if (bytes.size() < kTtlvHeaderBytes) return malformed_kmip_answer("it ends within an item's header");
  TtlvItem item;
  item.tag = static_cast<KmipTag>(big_endian_value(bytes.first(3)));
  const auto type = std::to_integer<std::uint8_t>(bytes[3]);
  const auto length = static_cast<std::size_t>(big_endian_value(bytes.subspan(4, 4)));
  bytes = bytes.subspan(kTtlvHeaderBytes);
  if (type < static_cast<std::uint8_t>(TtlvType::structure) || type > static_cast<std::uint8_t>(TtlvType::interval)) {
    return malformed_kmip_answer("the item " + tag_text(item.tag) + " is of an unknown type");
  }
  item.type = static_cast<TtlvType>(type);
  const std::size_t padding = padding_of(length);
  // Padding never overflows the sum: a length is at most 2^32 - 1, and std::size_t has 64 bits.
  if (length + padding > bytes.size()) {
    return malformed_kmip_answer("the item " + tag_text(item.tag) + " is longer than what holds it");
  }
  if (length != fixed_length(item.type).value_or(length)) {
    return malformed_kmip_answer("the item " + tag_text(item.tag) + " has not the length of its type");
  }
  if (!is_all_zero(bytes.subspan(length, padding))) {
    return malformed_kmip_answer("the padding of the item " + tag_text(item.tag) + " is not zero");
  }
  item.value = bytes.first(length);
  bytes = bytes.subspan(length + padding);
  return item;
}

Error wrong_type(const TtlvItem& item) {
  return malformed_kmip_answer("the item " + tag_text(item.tag) + " is of another type than it should be");
}

}  // namespace

static_assert(sizeof(std::size_t) >= 8);

Error malformed_kmip_answer(const std::string& why) {
  return {ErrorCode::KeyVaultUnavailable, "the answer of the KMIP server can't be read: " + why};
}

// --- writing ---

Result<TtlvWriter> TtlvWriter::create() {
  VAULTFS_ASSIGN_OR_RETURN(SecretBuffer buffer, SecretBuffer::allocate(kLimitBytes));
  return TtlvWriter(std::move(buffer));
}

void TtlvWriter::raw(ByteView bytes) {
  if (bytes.size() > kLimitBytes - size_) std::abort();
  std::ranges::copy(bytes, buffer_.mutable_view().subspan(size_).begin());
  size_ += bytes.size();
}

void TtlvWriter::big_endian(std::uint64_t value, unsigned width) {
  for (unsigned i = width; i-- > 0;) {
    const auto byte = static_cast<std::byte>(value >> (8U * i) & 0xffU);
    raw({&byte, 1});
  }
}

void TtlvWriter::header(KmipTag tag, TtlvType type, std::size_t length) {
  big_endian(static_cast<std::uint32_t>(tag), 3);
  big_endian(static_cast<std::uint8_t>(type), 1);
  big_endian(length, 4);
}

void TtlvWriter::pad() {
  constexpr std::array<std::byte, kAlignment> kZeros{};
  raw(ByteView(kZeros).first(padding_of(size_)));  // every item begins aligned
}

void TtlvWriter::integer(KmipTag tag, std::int32_t value) {
  header(tag, TtlvType::integer, 4);
  big_endian(static_cast<std::uint32_t>(value), 4);
  pad();
}

void TtlvWriter::enumeration(KmipTag tag, std::uint32_t value) {
  header(tag, TtlvType::enumeration, 4);
  big_endian(value, 4);
  pad();
}

void TtlvWriter::text(KmipTag tag, std::string_view value) {
  header(tag, TtlvType::text, value.size());
  raw(bytes_of(value));
  pad();
}

void TtlvWriter::bytes(KmipTag tag, ByteView value) {
  header(tag, TtlvType::bytes, value.size());
  raw(value);
  pad();
}

std::size_t TtlvWriter::begin_structure(KmipTag tag) {
  header(tag, TtlvType::structure, 0);
  return size_;
}

void TtlvWriter::end_structure(std::size_t start) {
  const std::size_t end = size_;
  const std::size_t length = end - start;
  size_ = start - 4;
  big_endian(length, 4);
  size_ = end;
}

// --- reading ---

Result<std::int32_t> TtlvItem::integer() const {
  if (type != TtlvType::integer) return wrong_type(*this);
  return static_cast<std::int32_t>(static_cast<std::uint32_t>(big_endian_value(value)));
}

Result<std::uint32_t> TtlvItem::enumeration() const {
  if (type != TtlvType::enumeration) return wrong_type(*this);
  return static_cast<std::uint32_t>(big_endian_value(value));
}

Result<std::int64_t> TtlvItem::date_time() const {
  if (type != TtlvType::date_time) return wrong_type(*this);
  return static_cast<std::int64_t>(big_endian_value(value));
}

Result<std::string_view> TtlvItem::text() const {
  if (type != TtlvType::text) return wrong_type(*this);
  return text_of(value);
}

Result<ByteView> TtlvItem::bytes() const {
  if (type != TtlvType::bytes) return wrong_type(*this);
  return value;
}

Result<TtlvStructure> TtlvStructure::decode(ByteView message, KmipTag tag) {
  VAULTFS_ASSIGN_OR_RETURN(const TtlvItem item, take_item(message));
  if (item.tag != tag) return malformed_kmip_answer("it begins with " + tag_text(item.tag));
  if (!message.empty()) return malformed_kmip_answer("something follows it");
  return decode_items(item);
}

Result<TtlvStructure> TtlvStructure::decode_items(const TtlvItem& structure) {
  if (structure.type != TtlvType::structure) return wrong_type(structure);
  TtlvStructure decoded;
  for (ByteView rest = structure.value; !rest.empty();) {
    VAULTFS_ASSIGN_OR_RETURN(const TtlvItem item, take_item(rest));
    if (decoded.items_.size() == kItemLimit) {
      return malformed_kmip_answer("the item " + tag_text(structure.tag) + " holds too many items");
    }
    decoded.items_.push_back(item);
  }
  return decoded;
}

Result<std::size_t> kmip_message_size(ByteView header, std::size_t limit) {
  if (header.size() != kTtlvHeaderBytes) std::abort();
  const auto tag = static_cast<KmipTag>(big_endian_value(header.first(3)));
  if (tag != KmipTag::response_message ||
      std::to_integer<std::uint8_t>(header[3]) != static_cast<std::uint8_t>(TtlvType::structure)) {
    return malformed_kmip_answer("it is no KMIP message");
  }
  const auto length = static_cast<std::size_t>(big_endian_value(header.subspan(4)));
  if (padding_of(length) != 0) return malformed_kmip_answer("its length is no multiple of 8");
  if (length > limit - kTtlvHeaderBytes) {
    return malformed_kmip_answer("it says to be " + std::to_string(length) + " bytes long, more than the " +
                                 std::to_string(limit) + " expected at most");
  }
  return kTtlvHeaderBytes + length;
}

bool TtlvStructure::has(KmipTag tag) const noexcept {
  return std::ranges::find(items_, tag, &TtlvItem::tag) != items_.end();
}

Result<TtlvItem> TtlvStructure::one(KmipTag tag) const {
  const auto first = std::ranges::find(items_, tag, &TtlvItem::tag);
  if (first == items_.end()) return malformed_kmip_answer("the item " + tag_text(tag) + " is missing");
  if (std::find_if(first + 1, items_.end(), [tag](const TtlvItem& item) { return item.tag == tag; }) != items_.end()) {
    return malformed_kmip_answer("the item " + tag_text(tag) + " is there more than once");
  }
  return *first;
}

Result<TtlvStructure> TtlvStructure::structure(KmipTag tag) const {
  VAULTFS_ASSIGN_OR_RETURN(const TtlvItem item, one(tag));
  return decode_items(item);
}

Result<std::int32_t> TtlvStructure::integer(KmipTag tag) const {
  VAULTFS_ASSIGN_OR_RETURN(const TtlvItem item, one(tag));
  return item.integer();
}

Result<std::uint32_t> TtlvStructure::enumeration(KmipTag tag) const {
  VAULTFS_ASSIGN_OR_RETURN(const TtlvItem item, one(tag));
  return item.enumeration();
}

Result<std::int64_t> TtlvStructure::date_time(KmipTag tag) const {
  VAULTFS_ASSIGN_OR_RETURN(const TtlvItem item, one(tag));
  return item.date_time();
}

Result<std::string_view> TtlvStructure::text(KmipTag tag) const {
  VAULTFS_ASSIGN_OR_RETURN(const TtlvItem item, one(tag));
  return item.text();
}

Result<ByteView> TtlvStructure::bytes(KmipTag tag) const {
  VAULTFS_ASSIGN_OR_RETURN(const TtlvItem item, one(tag));
  return item.bytes();
}

}  // namespace vaultfs
