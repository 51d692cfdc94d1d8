#include "base/byte_codec.h"

namespace vaultfs {

std::uint64_t ByteReader::integer(unsigned width) {
  if (bytes_.size() < width) {
    fail();
    return 0;
  }
  std::uint64_t value = 0;
  for (unsigned i = 0; i < width; ++i) value |= std::to_integer<std::uint64_t>(bytes_[i]) << (8U * i);
  bytes_ = bytes_.subspan(width);
  return value;
}

bool ByteReader::boolean() {
  const std::uint8_t value = u8();
  if (value > 1) fail();
  return value == 1;
}

ByteView ByteReader::raw(std::size_t size) {
  if (bytes_.size() < size) {
    fail();
    return {};
  }
  const ByteView view = bytes_.first(size);
  bytes_ = bytes_.subspan(size);
  return view;
}

ByteView ByteReader::blob(std::size_t limit) {
  const std::uint32_t size = u32();
  if (size > limit) {
    fail();
    return {};
  }
  return raw(size);
}

std::string ByteReader::text(std::size_t limit) { return std::string(text_of(blob(limit))); }

std::uint32_t ByteReader::count(std::size_t element_bytes) {
  const std::uint32_t value = u32();
  if (element_bytes != 0 && value > bytes_.size() / element_bytes) {
    fail();
    return 0;
  }
  return value;
}

Status ByteReader::finish(ErrorCode code, std::string_view what) const {
  if (failed_) return Error{code, std::string(what) + " is malformed or cut short"};
  if (!bytes_.empty()) return Error{code, std::string(what) + " has bytes after its end"};
  return ok_status();
}

}  // namespace vaultfs
