#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <unordered_map>

#include "base/ids.h"
#include "base/thread/mutex.h"
#include "store/record/record.h"

namespace vaultfs {

// Where the frames of a stored record lie, and what they are sealed with.
struct RecordMap {
  RecordHeader header;
  FrameTable table;
};

// Maps of records that were read in part, so that the next such read asks the file for its frames only. Holds nothing
// secret: headers and tables are stored in the clear, and what they say is authenticated with each frame.
// Thread-safe.
//
// Memory: at most 2 · kGenerationBytes, enough for some 4,000 chunks of incompressible content. Two generations, as in
// PatchCache.
class RecordMapCache {
 public:
  // Null if it is not known. The caller compares it with what it looks for.
  [[nodiscard]] std::shared_ptr<const RecordMap> find(ContainerNumber segment, std::uint64_t offset);
  void insert(ContainerNumber segment, std::uint64_t offset, std::shared_ptr<const RecordMap> map);

 private:
  static constexpr std::size_t kGenerationBytes = std::size_t{4} * 1024 * 1024;
  struct Place {
    ContainerNumber segment;
    std::uint64_t offset = 0;
    bool operator==(const Place&) const = default;
  };
  struct PlaceHash {
    std::size_t operator()(const Place& place) const noexcept {
      return std::hash<std::uint64_t>{}((place.segment.value * 0x9e3779b97f4a7c15ULL) ^ place.offset);
    }
  };
  using Generation = std::unordered_map<Place, std::shared_ptr<const RecordMap>, PlaceHash>;
  void insert_locked(const Place& place, std::shared_ptr<const RecordMap> map) REQUIRES(mutex_);

  Mutex mutex_;  // a leaf
  Generation young_ GUARDED_BY(mutex_);
  Generation old_ GUARDED_BY(mutex_);
  std::size_t young_bytes_ GUARDED_BY(mutex_) = 0;
};

}  // namespace vaultfs
