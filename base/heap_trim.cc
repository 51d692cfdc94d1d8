#include "base/heap_trim.h"

#include <malloc.h>
#include <unistd.h>

#include <algorithm>
#include <fstream>

namespace vaultfs {
namespace {

constexpr std::uint64_t kWorthwhileBytes = 32ULL << 20;

std::uint64_t resident_bytes() {
  std::ifstream file("/proc/self/statm");
  std::uint64_t size = 0;
  std::uint64_t resident = 0;
  if (!(file >> size >> resident)) return 0;
  return resident * static_cast<std::uint64_t>(::sysconf(_SC_PAGESIZE));
}

}  // namespace

bool HeapTrim::look() {
  const std::uint64_t now = resident_bytes();
  if (now < bytes_after_trim_ + kWorthwhileBytes) {
    // What went by itself may come back, and go again.
    bytes_after_trim_ = std::min(bytes_after_trim_, now);
    return false;
  }
  ::malloc_trim(0);
  bytes_after_trim_ = resident_bytes();
  return true;
}

}  // namespace vaultfs
