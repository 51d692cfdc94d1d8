#pragma once

#include <string>

#include "base/result.h"

namespace vaultfs {

// Told, before a change is made, that an item is about to change: starts a job if none runs. Errors refuse the change.
// Called without locks of the tree held. `Lsn` of the job is the journal's business.
class ChangeObserver {
 public:
  virtual ~ChangeObserver() = default;
  [[nodiscard]] virtual Status before_change(const std::string& item) = 0;
  // An acknowledged write could not be kept: the item's job has failed.
  virtual void write_failed(const std::string& item, const Error& error) = 0;
};

}  // namespace vaultfs
