#pragma once

#include <sys/types.h>

#include <chrono>
#include <filesystem>
#include <functional>
#include <memory>
#include <nlohmann/json.hpp>
#include <vector>

#include "base/result.h"
#include "tools/control/message.h"

namespace vaultfs {

// Who asked over the control socket.
struct Caller {
  uid_t uid = 0;
  pid_t pid = 0;
};

// Listens for vaultctl on behalf of a mount. Each connection brings one request {"verb","arguments","vault"} and gets
// any number of
// {"progress":{"done_bytes","total_bytes"}} and then one {"result":…} or {"error":…}. A client that goes away stops its
// request at the next progress report. Only the owner's user and root may connect.
class ControlServer {
 public:
  using SendProgress = std::function<bool(const nlohmann::json&)>;  // false: the client is gone
  using Handler = std::function<Result<nlohmann::json>(const Caller&, Message& request, const SendProgress&)>;

  // A stale socket (nobody answers) is replaced. REQUIRES: the caller holds the vault's lock.
  [[nodiscard]] static Result<std::unique_ptr<ControlServer>> start(const std::filesystem::path& socket,
                                                                    Handler handler);
  virtual ~ControlServer() = default;
  // Stops listening, removes the socket and waits for the requests under way. A client that does not take what is sent
  // to it is waited for no longer than kPatience, then its connection is shut down.
  virtual void stop() = 0;
  static constexpr std::chrono::seconds kPatience{5};
};

}  // namespace vaultfs
