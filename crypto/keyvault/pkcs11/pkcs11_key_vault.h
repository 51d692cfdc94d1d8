#pragma once

#include <memory>

#include "base/result.h"
#include "crypto/keyvault/administered_key_vault.h"
#include "crypto/keyvault/provider.h"

namespace vaultfs {

// A token behind a PKCS#11 module (OASIS PKCS#11 v2.40): an HSM, a smart card, SoftHSM.
//
// A key is a label: its versions are the RSA private keys and AES secret keys with that CKA_LABEL on the token. A
// version's id is its CKA_ID in lower-case hex. An object without CKA_ID, or with one of more than 64 bytes, is no
// version, like whatever else carries the label (public keys, certificates). One CKA_ID twice under one label is a
// version that neither wraps nor unwraps (NotSupportedByProvider): which object wrapped something must never be a
// guess. On a token that wants a login, an object with CKA_PRIVATE false is a version that wraps nothing: anybody who
// reaches the token, without its PIN, can have put it there under a key value of his own.
//
// Order and dates. CKA_START_DATE and CKA_END_DATE are days in UTC: nbf is the start of the first, exp the end of the
// second. A pair has its dates on the private key, or else on the public key with its CKA_ID and modulus (SoftHSM keeps
// the dates of private objects but cannot give them back). A version is as old as its start date says; within that day,
// and for versions without a date, the order in which this machine first saw them counts, which is kept (see
// first_seen.h). Several machines agree on the order where all versions have a start date; those that
// create_key makes have one, and those of rotate_key if the others have.
//
// Enabled means CKA_DECRYPT. set_enabled changes CKA_DECRYPT (and CKA_UNWRAP of AES keys), which is reversible. A token
// refuses to decrypt under a disabled version by itself; that it wraps no more is our rule, as the public key stays
// what it is. A token has no soft delete: delete_key is NotSupportedByProvider.
//
// Algorithms: "RSA-OAEP-256" or "RSA-OAEP" (oaep.h), "A256GCM" or "A256KWP" (wrapping.h says which and
// why), found out by trying, once for each key vault object and type of key.
//
// Trouble. A module runs on a thread of its own and gets `timeout`: beyond it the call is KeyVaultUnavailable, and so
// is every later one, at once, until the module returns. A lost session, a token that went away or a module that must
// be started again costs one attempt to open everything anew, then it is KeyVaultUnavailable. "Not found" is believed
// only of a token that still answers. A PIN that the token has refused is never sent again (pin.h):
// KeyVaultDenied.
//
// Forking: a child that inherits a key vault starts the module again at its first call; its parent's thread and
// sessions are not touched. The first call starts a thread, so a process that daemonises does so before.
[[nodiscard]] Result<std::unique_ptr<AdministeredKeyVault>> open_pkcs11_key_vault(const ProviderContext& context);

// InvalidArgument naming the option, and the known ones, unless the options make sense together (options.h).
[[nodiscard]] Status check_pkcs11_options(const ProviderOptions& options);

}  // namespace vaultfs
