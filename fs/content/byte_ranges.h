#pragma once

#include <cstdint>
#include <vector>

namespace vaultfs {

// A set of byte positions inside one chunk, kept as sorted, disjoint, non-touching half-open ranges. Not thread-safe.
class ByteRanges {
 public:
  struct Range {
    std::uint32_t begin = 0;
    std::uint32_t end = 0;
    bool operator==(const Range&) const = default;
  };

  // Adds or removes [begin, end); nothing happens if it is empty.
  void add(std::uint32_t begin, std::uint32_t end);
  void remove(std::uint32_t begin, std::uint32_t end);
  void clear() noexcept { ranges_.clear(); }

  [[nodiscard]] bool empty() const noexcept { return ranges_.empty(); }
  [[nodiscard]] bool covers(std::uint32_t begin, std::uint32_t end) const noexcept;
  [[nodiscard]] std::uint32_t total_bytes() const noexcept;
  [[nodiscard]] const std::vector<Range>& ranges() const noexcept { return ranges_; }

  // The parts of [begin, end) that are in the set, and those that are not, in order.
  [[nodiscard]] std::vector<Range> inside(std::uint32_t begin, std::uint32_t end) const;
  [[nodiscard]] std::vector<Range> outside(std::uint32_t begin, std::uint32_t end) const;

 private:
  // The first range that ends after `position`.
  [[nodiscard]] std::vector<Range>::const_iterator first_ending_after(std::uint32_t position) const noexcept;
  std::vector<Range> ranges_;
};

}  // namespace vaultfs
