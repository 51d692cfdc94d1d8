#include "tools/api/keys/key_import.h"

#include <algorithm>
#include <utility>

#include "crypto/keyvault/local/key_file.h"
#include "crypto/rsa_key.h"
#include "tools/api/keys/opened_key_vault.h"

namespace vaultfs {
namespace {

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

}  // namespace

Result<KeyImportAnswer> import_key(const MachineContext& context, const KeyImportRequest& request) {
  const KeyRef& key = request.key;
  if (request.versions.empty()) return Error{ErrorCode::InvalidArgument, "there is no key to import"};
  VAULTFS_ASSIGN_OR_RETURN(const auto key_vault, open_local_key_vault(context.machine, key.key_vault));
  for (const KeyToImport& one : request.versions) {
    VAULTFS_RETURN_IF_ERROR(RsaKey::from_pem(one.pem, one.passphrase));
    if (request.although_disabled) continue;
    VAULTFS_RETURN_IF_ERROR(refuse_disabled_copy(context.machine, key, one.pem, one.passphrase));
  }
  KeyImportAnswer answer;
  const std::string what = key.to_string() + " from " + request.source;
  VAULTFS_RETURN_IF_ERROR(audited<Status>(context, "key.import", what, [&]() -> Status {
    for (const KeyToImport& one : request.versions) {
      auto version = key_vault->import_version(key.key, one.pem, one.passphrase, std::nullopt);
      if (version.ok()) {
        answer.imported.push_back(std::move(version).value());
      } else if (request.versions.size() > 1 && version.code() == ErrorCode::AlreadyExists) {
        answer.there_already = std::move(version).error();  // of an earlier import: the others are what it lacks
      } else {
        return std::move(version).error();
      }
    }
    return answer.imported.empty() ? Status(*answer.there_already) : ok_status();
  }));
  return answer;
}

}  // namespace vaultfs
