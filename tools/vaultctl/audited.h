#pragma once

#include <string>

#include "base/result.h"
#include "tools/vaultctl/command_context.h"

namespace vaultfs {

// What changes keys, key vaults or who may use them is in the machine's audit log before it is done, and is not done if
// that record can't be written. `change` gives a Status or a Result; that it failed is recorded besides.
template <typename Outcome, typename Change>
[[nodiscard]] Outcome audited(Machine& machine, const std::string& what, const std::string& detail,
                              const Change& change) {
  VAULTFS_RETURN_IF_ERROR(machine.state().audit(what, detail));
  Outcome outcome = change();
  if (!outcome.ok()) note_audit(machine, what, detail + " failed: " + std::string(error_name(outcome.code())));
  return outcome;
}

// That something was refused, in the machine's audit log; that this fails is a warning.
void note_refusal(Machine& machine, const std::string& what, const std::string& detail);

}  // namespace vaultfs
