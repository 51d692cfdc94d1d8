#pragma once

#include <functional>
#include <nlohmann/json.hpp>
#include <optional>

#include "base/thread/mutex.h"

namespace vaultfs {

// Those who unmount want to know whether all is safe, and the kernel does not wait for it: they connect before, and are
// told at the end what came of it (the request "mount.end"). Until then each gets {"progress":{"state","waits_for"}}
// every second: "serving" or "closing", and what this process has waited for longer than a disk takes, or null. A
// connection that ends without an answer says that nothing is known to be safe. Thread-safe.
class EndWatch {
 public:
  using WaitsFor = std::function<nlohmann::json()>;  // null, or {"what","seconds"}
  using Send = std::function<bool(const nlohmann::json&)>;

  explicit EndWatch(WaitsFor waits_for) : waits_for_(std::move(waits_for)) {}

  // Serves one client until the end, or until it is gone.
  void serve(int socket, const Send& send);
  // The file system is unmounted.
  void closing();
  // What each is answered: {"result":…} or {"error":…}; null hangs up.
  void end(nlohmann::json answer);

 private:
  const WaitsFor waits_for_;
  Mutex mutex_;  // a leaf
  CondVar changed_;
  bool closing_ GUARDED_BY(mutex_) = false;
  std::optional<nlohmann::json> answer_ GUARDED_BY(mutex_);
};

}  // namespace vaultfs
