#pragma once

#include <string>
#include <vector>

#include "base/bytes.h"
#include "base/files/env.h"
#include "base/result.h"
#include "vaultmeta/machine/machine_state.h"

namespace vaultfs {

// The machine's audit log: lines of JSON, {"time": Unix nanoseconds, "uid", "what", "detail", "chain"}. `chain` is the
// SHA-256 in hex of the chain value before (32 zero bytes at first) and the line's JSON without it, keys sorted. So a
// line that is changed, dropped or put elsewhere is found; cutting lines off the end is not. In `what` and `detail`
// every byte that is not printable ASCII stands as \xNN.
class AuditLog {
 public:
  AuditLog(Env& env, Env::Path path) : env_(env), path_(std::move(path)) {}
  // Durable on return. What a crash left behind the last whole line goes. REQUIRES: no other writer meanwhile.
  [[nodiscard]] Status append(const AuditEntry& entry);
  // DamagedMachineState names the first bad line.
  [[nodiscard]] Result<std::vector<AuditEntry>> entries();

 private:
  struct Content;
  [[nodiscard]] Result<Content> read();
  Env& env_;
  Env::Path path_;
};

}  // namespace vaultfs
