#include "tools/api/keys/machine_context.h"

namespace vaultfs {

void note_audit(const MachineContext& context, const std::string& what, const std::string& detail) {
  const Status noted = context.machine.state().audit(what, detail);
  if (!noted.ok()) context.tell({Notice::Kind::not_in_audit_log, what + " " + detail, noted.error()});
}

void note_refusal(const MachineContext& context, const std::string& what, const std::string& detail) {
  const Status noted = context.machine.state().audit(what + ".refused", detail);
  if (!noted.ok()) context.tell({Notice::Kind::refusal_not_in_audit_log, what + " " + detail, noted.error()});
}

}  // namespace vaultfs
