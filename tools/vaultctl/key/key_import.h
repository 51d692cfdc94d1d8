#pragma once

#include "base/result.h"
#include "crypto/keyvault/key_ref.h"
#include "crypto/memory/secret_buffer.h"
#include "tools/machine.h"

namespace vaultfs {

// KeyVersionDisabled if the key in `pem` (`passphrase` if it is encrypted) is a version that is disabled under another
// name than `target` on this machine: it must not come back by an import, since a vault uses it wherever it finds it. A
// key vault that can't be read says nothing, for an import may be what repairs it.
[[nodiscard]] Status refuse_disabled_copy(Machine& machine, const KeyRef& target, ByteView pem,
                                          const SecretBuffer* passphrase);

}  // namespace vaultfs
