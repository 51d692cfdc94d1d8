#include "vaultmeta/machine/needed_list.h"

#include <algorithm>

namespace vaultfs {

Result<std::vector<RegisteredKey>> NeededList::add(const std::vector<RegisteredKey>& versions) {
  std::vector<RegisteredKey> added;
  VAULTFS_RETURN_IF_ERROR(machine_.change_registration(vault_, place_, [&](Registration& own) {
    if (!own.needed) return;  // any version may be among them: that covers these too
    for (const RegisteredKey& version : versions) {
      const auto at = std::ranges::lower_bound(*own.needed, version);
      if (at != own.needed->end() && *at == version) continue;
      own.needed->insert(at, version);
      added.push_back(version);
    }
  }));
  return added;
}

void NeededList::take_back(const std::vector<RegisteredKey>& versions) {
  if (versions.empty()) return;
  // What can't be taken back only makes a withdrawal harder; why the proof failed says more.
  static_cast<void>(machine_.change_registration(vault_, place_, [&](Registration& own) {
    if (!own.needed) return;
    for (const RegisteredKey& version : versions) std::erase(*own.needed, version);
  }));
}

Status NeededList::replace(const std::string& key_vault, const std::string& key, const std::string& identity,
                           const std::vector<RegisteredKey>& needed) {
  return machine_.change_registration(vault_, place_, [&](Registration& own) {
    own.key_vault = key_vault;
    own.key = key;
    own.identity = identity;
    own.needed = needed;
  });
}

}  // namespace vaultfs
