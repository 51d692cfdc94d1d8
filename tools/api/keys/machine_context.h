#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <string>

#include "base/result.h"
#include "tools/api/key_usage.h"
#include "tools/machine.h"
#include "vaultmeta/vault/vault.h"

namespace vaultfs {

// How the vaults of this machine are asked and told: by their owners, or by whoever opens them for it.
class VaultContact {
 public:
  VaultContact() = default;
  VaultContact(const VaultContact&) = delete;
  VaultContact& operator=(const VaultContact&) = delete;
  virtual ~VaultContact() = default;

  // What the vault at that path knows of its keys. Changes nothing in the vault.
  [[nodiscard]] virtual Result<KeyUsage> key_usage(const std::filesystem::path& vault) = 0;
  // Writes operation, outcome, subject and detail into the vault's activity log; the rest of the entry is the vault's
  // to say.
  [[nodiscard]] virtual Status record(const std::filesystem::path& vault, const ActivityEntry& entry) = 0;
};

// What went wrong beside a request and does not stop it.
struct Notice {
  enum class Kind : std::uint8_t {
    not_in_activity_log,  // of the vault `subject`
    not_in_audit_log,     // of the machine: `subject` was done all the same
    refusal_not_in_audit_log,
  };
  Kind kind;
  std::string subject;
  Error error;
};

// What a request about keys, key vaults and identities works on, as RequestContext is for one about an open vault.
struct MachineContext {
  Machine& machine;
  VaultContact& vaults;
  std::function<void(const Notice&)> tell;  // never empty
};

// Appends to the machine's audit log what has been done already; that this fails undoes nothing and is a notice.
void note_audit(const MachineContext& context, const std::string& what, const std::string& detail);
// That something was refused; that this fails is a notice.
void note_refusal(const MachineContext& context, const std::string& what, const std::string& detail);

// What changes keys, key vaults or who may use them is in the machine's audit log before it is done, and is not done if
// that record can't be written. `change` gives a Status or a Result; that it failed is recorded besides.
template <typename Outcome, typename Change>
[[nodiscard]] Outcome audited(const MachineContext& context, const std::string& what, const std::string& detail,
                              const Change& change) {
  VAULTFS_RETURN_IF_ERROR(context.machine.state().audit(what, detail));
  Outcome outcome = change();
  if (!outcome.ok()) note_audit(context, what, detail + " failed: " + std::string(error_name(outcome.code())));
  return outcome;
}

}  // namespace vaultfs
