#pragma once

#include <map>
#include <optional>
#include <vector>

#include "base/ids.h"
#include "store/index/index_head.h"
#include "vaultmeta/heads/head.h"

namespace vaultfs {

// The heads that lead to the newest one, as far back as they are kept: the history that an opening has accepted.
class HeadChain {
 public:
  // `newest_first` are authentic; those above `newest`, and what lies behind the first gap, have no part in it.
  HeadChain(const std::vector<Head::Signed>& newest_first, const Head::Signed& newest);
  // The highest segment number that this head names, if it is one of them.
  [[nodiscard]] std::optional<ContainerNumber> highest_segment_of(const IndexHead& head) const;

 private:
  std::map<IndexHead, ContainerNumber> highest_segments_;
};

}  // namespace vaultfs
