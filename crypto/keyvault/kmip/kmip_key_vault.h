#pragma once

#include <memory>

#include "base/result.h"
#include "crypto/keyvault/administered_key_vault.h"
#include "crypto/keyvault/kmip/client.h"
#include "crypto/keyvault/kmip/options.h"
#include "crypto/keyvault/provider.h"

namespace vaultfs {

// Key versions at a KMIP 1.4 server, over TLS with a client certificate. The options stand at check_kmip_options
// (options.h).
//
// A version of the key NAME is a symmetric key that has the Name attribute NAME; its id is its unique identifier.
// Versions are ordered by initial date, those of one second by identifier (as numbers, where both are). So a rotation
// by any KMIP client is another key of the same name. Servers that want names to be unique hold one version of a key.
//
// Wrapping is AES-256-GCM inside the server ("A256GCM"), with a random IV of ours and the associated data
// "vaultfs/1 kek wrap". The wrapped bytes:
//   version u8 = 1 ‖ IV 12 ‖ tag 16 ‖ ciphertext, as long as the plaintext
//
// States: Active versions wrap and unwrap. A Pre-Active one is KeyVersionNotYetValid until it is activated. Deactivated
// and Compromised ones wrap no more (KeyVersionExpired), and KMIP never takes that back; whether they still decrypt is
// the server's decision, so it is asked, and its refusal is KeyVersionDisabled. That is why they are listed as expired
// rather than disabled: a list that says "disabled" would keep a restore from trying. Destroyed ones are gone. There is
// no reversible disable, so set_enabled is NotSupportedByProvider; so are deleting, and dates of new versions.
//
// Which keys exist is answered by what this client certificate may see: where a server hides what it does not allow, as
// PyKMIP does, a missing permission looks like a missing key (KeyNotFound), which is a revocation as well.
//
// Beyond KeyVault's errors: NotSupportedByProvider (the server speaks another KMIP, doesn't do AES-GCM with a tag of
// 16 bytes, …), KeySizeUnsupported (a version that is no AES-256 key), PermissionDenied (the client's key file is open
// to others), InvalidName, MemoryLockFailed; TryAgain from rotate_key, if the new version would not be the newest.
// Every call ends within the option `timeout`; taking back a version that could not be made whole may take 5 s more.

// Nothing is read or asked before the first call. InvalidArgument.
[[nodiscard]] Result<std::unique_ptr<AdministeredKeyVault>> open_kmip_key_vault(const ProviderContext& context);

// The same with other pauses between attempts.
[[nodiscard]] Result<std::unique_ptr<AdministeredKeyVault>> open_kmip_key_vault(const ProviderContext& context,
                                                                                const KmipRetryPlan& retry);

}  // namespace vaultfs
