#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "base/bytes.h"
#include "base/ids.h"
#include "base/result.h"

namespace vaultfs {

// Appends fixed-width little-endian integers and length-prefixed texts to a buffer.
// Every stored structure of vaultfs is written by one of these and read by a ByteReader.
class ByteWriter {
 public:
  void u8(std::uint8_t value) { buffer_.push_back(static_cast<std::byte>(value)); }
  void u16(std::uint16_t value) { integer(value, 2); }
  void u32(std::uint32_t value) { integer(value, 4); }
  void u64(std::uint64_t value) { integer(value, 8); }
  void i64(std::int64_t value) { u64(static_cast<std::uint64_t>(value)); }
  void boolean(bool value) { u8(value ? 1 : 0); }
  void raw(ByteView bytes) { buffer_.insert(buffer_.end(), bytes.begin(), bytes.end()); }
  // u32 length, then the bytes.
  void blob(ByteView bytes) {
    u32(static_cast<std::uint32_t>(bytes.size()));
    raw(bytes);
  }
  void text(std::string_view value) { blob(bytes_of(value)); }
  template <typename Tag, std::size_t N>
  void id(const ByteId<Tag, N>& value) {
    raw(value.view());
  }
  // Replaces the four bytes at `offset`, which were written before.
  void patch_u32(std::size_t offset, std::uint32_t value) {
    for (unsigned i = 0; i < 4; ++i) buffer_.at(offset + i) = static_cast<std::byte>((value >> (8U * i)) & 0xffU);
  }
  // Takes the memory for so many bytes at once, instead of ever larger pieces of it.
  void reserve(std::size_t bytes) { buffer_.reserve(bytes); }
  [[nodiscard]] std::size_t size() const noexcept { return buffer_.size(); }
  [[nodiscard]] ByteView view() const noexcept { return buffer_; }
  [[nodiscard]] Bytes take() && { return std::move(buffer_); }

 private:
  void integer(std::uint64_t value, unsigned width) {
    for (unsigned i = 0; i < width; ++i) buffer_.push_back(static_cast<std::byte>((value >> (8U * i)) & 0xffU));
  }
  Bytes buffer_;
};

// Reads what a ByteWriter wrote. It never reads past the end: the first short read sets failed(), and every read from
// then on gives zero or empty. So a decoder reads all its fields and asks once at the end, by finish().
class ByteReader {
 public:
  explicit ByteReader(ByteView bytes) : bytes_(bytes) {}

  std::uint8_t u8() { return static_cast<std::uint8_t>(integer(1)); }
  std::uint16_t u16() { return static_cast<std::uint16_t>(integer(2)); }
  std::uint32_t u32() { return static_cast<std::uint32_t>(integer(4)); }
  std::uint64_t u64() { return integer(8); }
  std::int64_t i64() { return static_cast<std::int64_t>(integer(8)); }
  // Any byte but 0 and 1 fails the reader.
  bool boolean();
  // The next `size` bytes, or an empty view if fewer are left. The view points into the input.
  ByteView raw(std::size_t size);
  // A u32 length of at most `limit`, then that many bytes.
  ByteView blob(std::size_t limit);
  std::string text(std::size_t limit);
  template <typename Id>
  Id id() {
    Id value;
    const ByteView view = raw(Id::kSize);
    if (view.size() == Id::kSize) std::memcpy(value.data(), view.data(), Id::kSize);
    return value;
  }
  // A u32 count whose elements take at least `element_bytes` each: fails if the rest can't hold them, so that a
  // damaged count never makes a decoder reserve memory.
  std::uint32_t count(std::size_t element_bytes);

  [[nodiscard]] std::size_t remaining() const noexcept { return bytes_.size(); }
  [[nodiscard]] bool failed() const noexcept { return failed_; }
  void fail() noexcept {
    failed_ = true;
    bytes_ = {};
  }
  // Success if nothing failed and nothing is left over; otherwise `code` with `what`.
  [[nodiscard]] Status finish(ErrorCode code, std::string_view what) const;

 private:
  std::uint64_t integer(unsigned width);
  ByteView bytes_;
  bool failed_ = false;
};

}  // namespace vaultfs
