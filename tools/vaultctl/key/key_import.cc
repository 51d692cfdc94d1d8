#include "tools/vaultctl/key/key_import.h"

#include <algorithm>
#include <string>

#include "crypto/keyvault/local/key_file.h"
#include "crypto/rsa_key.h"

namespace vaultfs {

Status refuse_disabled_copy(Machine& machine, const KeyRef& target, ByteView pem, const SecretBuffer* passphrase) {
  VAULTFS_ASSIGN_OR_RETURN(const auto pair, RsaKey::from_pem(pem, passphrase));
  VAULTFS_ASSIGN_OR_RETURN(const Bytes public_der, pair->public_der());
  const std::string id = local_version_id(public_der);
  const auto places = machine.key_vaults().find_version(id);
  if (!places.ok()) return ok_status();
  for (const KeyRef& place : *places) {
    if (place.key_vault == target.key_vault && place.key == target.key) continue;  // import_version's to refuse
    const auto key_vault = machine.key_vaults().open(place.key_vault);
    if (!key_vault.ok()) continue;
    const auto versions = (*key_vault)->list_versions(place.key);
    if (!versions.ok()) continue;
    const bool disabled = std::any_of(versions->begin(), versions->end(),
                                      [&id](const KeyVersionInfo& info) { return info.id == id && !info.enabled; });
    if (!disabled) continue;
    return Error{ErrorCode::KeyVersionDisabled,
                 "this is the version " + place.to_string() +
                     ", which is disabled; an enabled copy would undo that, so nothing was imported; if that is what "
                     "you want, say --enable"};
  }
  return ok_status();
}

}  // namespace vaultfs
