#include "vaultmeta/heads/head_chain.h"

namespace vaultfs {

HeadChain::HeadChain(const std::vector<Head::Signed>& newest_first, const Head::Signed& newest) {
  IndexHead next{newest.head.generation, newest.file_digest};
  for (const Head::Signed& at : newest_first) {
    if (at.head.generation > next.generation) continue;
    if (at.head.generation != next.generation || at.file_digest != next.digest) return;
    highest_segments_[next] = at.head.highest_segment;
    next = {Generation(next.generation.value - 1), at.head.predecessor};
  }
}

std::optional<ContainerNumber> HeadChain::highest_segment_of(const IndexHead& head) const {
  const auto found = highest_segments_.find(head);
  if (found == highest_segments_.end()) return std::nullopt;
  return found->second;
}

}  // namespace vaultfs
