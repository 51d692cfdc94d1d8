#include "tools/long_call.h"

#include <algorithm>
#include <cstdint>
#include <filesystem>
#include <fstream>
#include <map>
#include <string>

#include "base/files/mount_table.h"
#include "base/thread/mutex.h"
#include "base/thread/pending_call.h"

namespace vaultfs {
namespace {

constexpr std::int64_t kNanos = 1'000'000'000;

// When the disk that a path lies on was last seen to move: a sync of much data on a slow one may take minutes.
class DiskMovement {
 public:
  [[nodiscard]] static DiskMovement& instance() {
    static DiskMovement movement;
    return movement;
  }
  // 0: never, or that can't be told.
  [[nodiscard]] std::int64_t last_of(const std::filesystem::path& path) {
    const std::string device = device_below(path);
    if (device.empty()) return 0;
    std::ifstream file("/sys/dev/block/" + device + "/stat");
    std::string figures;
    std::string word;
    // Reads, writes and sectors; from the ninth on they count while nothing is done.
    for (int i = 0; i < 8 && file >> word; ++i) figures += word + ' ';
    const MutexLock lock(mutex_);
    Seen& seen = disks_[device];
    if (seen.figures != figures) {
      // The first look says nothing.
      if (!seen.figures.empty()) seen.moved_nanos = pending_call_clock();
      seen.figures = figures;
    }
    return seen.moved_nanos;
  }

 private:
  struct Seen {
    std::string figures;
    std::int64_t moved_nanos = 0;
  };

  // Asking the file system might take as long as the call that is looked at: only what is mounted there is asked.
  [[nodiscard]] static std::string device_below(const std::filesystem::path& path);

  Mutex mutex_;
  std::map<std::string, Seen> disks_ GUARDED_BY(mutex_);
};

std::string DiskMovement::device_below(const std::filesystem::path& path) {
  std::string device;
  std::size_t longest = 0;
  for (const MountEntry& entry : mount_table()) {
    const std::string prefix = entry.point == "/" ? "/" : entry.point + '/';
    if (!path.native().starts_with(prefix) || prefix.size() < longest) continue;
    longest = prefix.size();
    device = entry.device;
  }
  return device;
}

}  // namespace

nlohmann::json long_pending_call() {
  const auto call = oldest_pending_call();
  if (!call) return nullptr;
  const std::int64_t now = pending_call_clock();
  if (now - call->since_nanos < kNanos) return nullptr;  // most of the time
  const std::int64_t moved = DiskMovement::instance().last_of(call->path);
  if (now - std::max(call->since_nanos, moved) < kLongCallSeconds * kNanos) return nullptr;
  return {{"what", call->what + ' ' + call->path.string()}, {"seconds", (now - call->since_nanos) / kNanos}};
}

}  // namespace vaultfs
