#pragma once

#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "base/ids.h"
#include "vaultmeta/heads/head.h"

namespace vaultfs {

// Which of the genuine heads may be the vault's history (docs/format.md, section 8). A number proves nothing: the
// holder of an old key makes heads of closed epochs, another branch has heads of the current one, and both can be put
// beside the vault's own under whatever number they have.
struct HeadChoice {
  std::vector<Head::Signed> newest_first;                       // the first may be the newest
  std::vector<std::pair<Generation, std::string>> passed_over;  // and why
  bool closed_epochs_only = false;                              // all heads are of closed epochs; taken nevertheless
};

struct HeadChoiceRules {
  Generation pinned;  // 0: none
  Digest pinned_digest;
  // Whether the keyring says that the epoch is closed: its heads precede the newest one.
  std::function<bool(EpochNumber)> is_closed;
  // How many of the files that the head names are there with the digests that it has of them. Asked only where the
  // heads are not one chain.
  std::function<int(const Head&)> files_there;
  bool take_closed_epochs = false;  // where there is nothing else: at the reader's own risk
};

// `newest_first`: all genuine heads, by falling numbers. Of several chains that one counts which has the pinned head
// (without a pin the lowest), unless a higher one names more of what is there, or as much behind a gap: that may be the
// vault's own, of which heads are missing.
[[nodiscard]] HeadChoice choose_heads(const std::vector<Head::Signed>& newest_first, const HeadChoiceRules& rules);

// Those that lead to the first one without a gap, it included.
[[nodiscard]] std::vector<Head::Signed> chain_of_heads(const std::vector<Head::Signed>& newest_first,
                                                       const Head::Signed& newest);

}  // namespace vaultfs
