#include "fs/content/space_promises.h"

#include <algorithm>

namespace vaultfs {

std::uint64_t SpacePromises::accepted_bytes() const {
  // Each slot may become a whole new chunk, and its bytes may go through the journal before.
  return buffer_.slots() * kStoredChunkBytes + buffer_.used_bytes();
}

SpacePromises::Share SpacePromises::share(const SetAside& file, std::uint64_t offset, std::uint64_t length) {
  const std::uint64_t first = offset / kChunkBytes;
  const std::uint64_t end = (offset + length - 1) / kChunkBytes + 1;
  const std::uint64_t chunks = file.count(first, end);
  return {chunks, chunks == end - first};
}

Status SpacePromises::check_write(std::uint64_t bytes, const Share& share) {
  if (share.whole) {
    // Others have been refused for the sake of this write, down to the last byte above the reserve: what it takes
    // besides its chunks (small synced writes go through the journal first) comes out of one half of the reserve.
    return guard_->check(accepted_bytes(), share.chunks * kStoredChunkBytes + bytes, kSpaceReserveBytes / 2);
  }
  const std::uint64_t most = (bytes / kChunkBytes + 2) * kStoredChunkBytes + bytes;
  return check(most - std::min(most, share.chunks * kStoredChunkBytes));
}

void SpacePromises::set_aside(SetAside& file, std::uint64_t begin, std::uint64_t end) {
  use(file, begin, end);
  set_aside_chunks_ += end - begin;
  file.add(begin, end);
}

void SpacePromises::take(SetAside& file, std::uint64_t begin, std::uint64_t end) {
  const std::uint64_t taken = file.remove(begin, end);
  if (taken > 0) set_aside_chunks_ -= taken;
}

void SpacePromises::take_part(SetAside& file, std::uint64_t index, std::uint32_t begin, std::uint32_t end) {
  if (file.count(index, index + 1) == 0) return;
  const auto [rest, added] = file.rest_.try_emplace(index);
  if (added) rest->second.add(0, kChunkBytes);
  rest->second.remove(begin, end);
  if (rest->second.empty()) take(file, index, index + 1);
}

void SpacePromises::give_back(SetAside& file, std::uint64_t offset, std::uint64_t end) {
  if (file.empty() || offset >= end) return;
  const std::uint64_t first = offset / kChunkBytes;
  const std::uint64_t last = (end - 1) / kChunkBytes;
  const auto within = [&](std::uint64_t at, std::uint64_t index) {
    return static_cast<std::uint32_t>(std::min<std::uint64_t>(at - index * kChunkBytes, kChunkBytes));
  };
  use_part(file, first, within(offset, first), within(end, first));
  if (last == first) return;
  use(file, first + 1, last);
  use_part(file, last, 0, within(end, last));
}

}  // namespace vaultfs
