#pragma once

#include <string>
#include <vector>

#include "base/ids.h"

namespace vaultfs {

// Told what a engine does to files without a call of the working tree's user, who may keep copies: a mount passes it
// on to the kernel. Called from any thread without locks of the engine's parts held; must not call back into the
// engine's changing operations.
class EngineObserver {
 public:
  virtual ~EngineObserver() = default;
  // Other files stand behind these names of a directory now, or some that were not there (backup run).
  virtual void names_changed(InodeNumber directory, const std::vector<std::string>& names) = 0;
  // The vault has been sealed (rule 7): what was read from it is not to be shown any longer.
  virtual void sealed() = 0;
};

}  // namespace vaultfs
