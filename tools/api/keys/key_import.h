#pragma once

#include <optional>
#include <string>
#include <vector>

#include "base/bytes.h"
#include "base/result.h"
#include "crypto/keyvault/key_ref.h"
#include "crypto/keyvault/key_vault.h"
#include "crypto/memory/secret_buffer.h"
#include "tools/api/keys/machine_context.h"

namespace vaultfs {

struct KeyToImport {
  ByteView pem;                              // PKCS#8
  const SecretBuffer* passphrase = nullptr;  // if it is encrypted
};
struct KeyImportRequest {
  KeyRef key;                         // of a local key vault, without a version
  std::string source;                 // where the keys come from, for the audit log
  std::vector<KeyToImport> versions;  // oldest first
  bool although_disabled = false;     // also one that is disabled under another name here
};
struct KeyImportAnswer {
  std::vector<KeyVersionInfo> imported;  // one at least
  // Of several versions some were there already: what the key vault said of the last of these.
  std::optional<Error> there_already;
};

// Adds the versions; all are looked at before the first is added. KeyVersionDisabled if one is a version that is
// disabled under another name than `key` on this machine: it must not come back by an import, since a vault uses it
// wherever it finds it. A key vault that can't be read says nothing, for an import may be what repairs it.
[[nodiscard]] Result<KeyImportAnswer> import_key(const MachineContext& context, const KeyImportRequest& request);

}  // namespace vaultfs
