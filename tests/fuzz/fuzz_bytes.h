#pragma once

#include <cstddef>
#include <cstdint>

#include "base/bytes.h"

namespace vaultfs {

// Takes small numbers from a fuzz input, in order; zeros behind its end.
class FuzzBytes {
 public:
  FuzzBytes(const std::uint8_t* data, std::size_t size) : data_(data), size_(size) {}
  [[nodiscard]] bool empty() const { return at_ >= size_; }
  std::uint64_t byte() { return empty() ? 0 : data_[at_++]; }
  std::uint64_t below(std::uint64_t bound) { return byte() % bound; }
  // `count` bytes, big-endian.
  std::uint64_t number(std::size_t count) {
    std::uint64_t value = 0;
    while (count-- > 0) value = value << 8U | byte();
    return value;
  }
  Bytes bytes(std::size_t count) {
    Bytes out(count);
    for (std::byte& one : out) one = static_cast<std::byte>(byte());
    return out;
  }

 private:
  const std::uint8_t* data_;
  std::size_t size_;
  std::size_t at_ = 0;
};

}  // namespace vaultfs
