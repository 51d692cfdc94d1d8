#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "base/files/env.h"
#include "store/index/segment_format.h"
#include "store/record/epoch_keys.h"
#include "store/segment/segment_verifier.h"

namespace vaultfs {

// Compares the chunk index with the records that a verification has walked over: an index is derived, and who can write
// one can keep content from being stored. Eight bytes of memory a record. Not thread-safe.
class IndexCheck {
 public:
  // A record was seen in the segment that is being walked over.
  void saw(ContainerNumber segment, const SegmentEntry& entry);
  // The segment was walked over. Where it has damage, a record that is not there may have been.
  void walked(ContainerNumber segment, bool has_damage);
  // Names what an index file says of those segments and is not so. An index that is not authentic, or damaged, has been
  // told of already. KeyRevoked.
  [[nodiscard]] Status check(Env& env, const std::filesystem::path& vault, const std::string& file,
                             ContainerNumber number, const EpochKeys& keys, std::vector<Damage>& damage) const;

 private:
  struct Segment {
    std::vector<std::uint64_t> records;  // what each one is, as a number; sorted once it is walked over
    bool has_damage = false;
    bool complete = false;
  };
  std::map<ContainerNumber, Segment> segments_;
};

}  // namespace vaultfs
