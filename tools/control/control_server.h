#pragma once

#include <sys/types.h>

#include <chrono>
#include <filesystem>
#include <functional>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "base/result.h"
#include "tools/control/end_watch.h"
#include "tools/control/message.h"

namespace vaultfs {

// Who asked over the control socket.
struct Caller {
  uid_t uid = 0;
  pid_t pid = 0;
};

// Listens for vaultctl, and for who unmounts, on behalf of a mount. Each connection brings one request
// {"verb","arguments","vault"} and gets any number of
// {"progress":{"done_bytes","total_bytes"}} and then one {"result":…} or {"error":…}. A client that goes away stops its
// request at the next progress report. Only the owner's user and root may connect.
class ControlServer {
 public:
  using SendProgress = std::function<bool(const nlohmann::json&)>;  // false: the client is gone
  using Handler = std::function<Result<nlohmann::json>(const Caller&, Message& request, const SendProgress&)>;

  // Listens on each of the sockets. A stale one (nobody answers) is replaced. `waits_for` is what a watch of the end is
  // told (end_watch.h); may be empty. REQUIRES: the caller holds the vault's lock.
  [[nodiscard]] static Result<std::unique_ptr<ControlServer>> start(const std::vector<std::filesystem::path>& sockets,
                                                                    Handler handler, EndWatch::WaitsFor waits_for = {});
  virtual ~ControlServer() = default;
  // The file system that this owner serves, MAJOR:MINOR: from now on its sockets have that name, too, and the end of
  // that mount may be watched. Once.
  virtual void name_mount(const std::string& device) = 0;
  // Stops listening, removes the sockets and waits for the requests under way; who watches the end is told that it has
  // begun. A client that does not take what is sent to it is waited for no longer than kPatience, then its connection
  // is shut down.
  virtual void stop() = 0;
  // After stop(): what who watches the end is told. Without it, they see the connection close.
  virtual void tell_end(const Status& outcome) = 0;
  static constexpr std::chrono::seconds kPatience{5};
};

}  // namespace vaultfs
