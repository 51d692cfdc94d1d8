#pragma once

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <string>
#include <utility>
#include <vector>

#include "base/bytes.h"

namespace vaultfs {

// Counts the places of the process's own memory that hold a secret. The object itself keeps it in another form only.
// Linux: reads /proc/self/mem.
class OwnMemorySearch {
 public:
  // The secret is given from its last byte to its first, so that the caller need not have it as it is looked for.
  explicit OwnMemorySearch(ByteView reversed) : masked_(reversed.rbegin(), reversed.rend()) {
    for (std::byte& b : masked_) b ^= kMask;
  }
  [[nodiscard]] int places() const {
    // What was read lies in a mapping of its own, which is passed over.
    void* const room = ::mmap(nullptr, kPieceBytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    const int memory = ::open("/proc/self/mem", O_RDONLY | O_CLOEXEC);
    if (room == MAP_FAILED || memory < 0) std::abort();
    int found = 0;
    for (const auto& [begin, end] : mappings()) {
      for (std::uint64_t at = begin; at < end; at += kPieceBytes - masked_.size()) {
        const auto here = reinterpret_cast<std::uint64_t>(room);
        if (at < here + kPieceBytes && here < at + kPieceBytes) continue;
        const std::size_t size = std::min<std::uint64_t>(kPieceBytes, end - at);
        const ssize_t read = ::pread(memory, room, size, static_cast<off_t>(at));
        if (read > 0) found += count({static_cast<const std::byte*>(room), static_cast<std::size_t>(read)});
      }
    }
    ::close(memory);
    std::memset(room, 0, kPieceBytes);
    ::munmap(room, kPieceBytes);
    return found;
  }

 private:
  static constexpr std::byte kMask{0x5a};
  static constexpr std::size_t kPieceBytes = std::size_t{1} << 20;

  static std::vector<std::pair<std::uint64_t, std::uint64_t>> mappings() {
    std::vector<std::pair<std::uint64_t, std::uint64_t>> all;
    std::ifstream maps("/proc/self/maps");
    for (std::string line; std::getline(maps, line);) {
      char* rest = nullptr;
      const std::uint64_t begin = std::strtoull(line.c_str(), &rest, 16);
      const std::uint64_t end = std::strtoull(rest + 1, &rest, 16);
      if (std::string(rest + 1, 2) == "rw") all.emplace_back(begin, end);
    }
    return all;
  }
  [[nodiscard]] int count(ByteView piece) const {
    int found = 0;
    for (std::size_t at = 0; at + masked_.size() <= piece.size(); ++at) {
      std::size_t same = 0;
      while (same < masked_.size() && (piece[at + same] ^ kMask) == masked_[same]) ++same;
      if (same == masked_.size()) ++found;
    }
    return found;
  }
  Bytes masked_;
};

}  // namespace vaultfs
