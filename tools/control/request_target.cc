#include "tools/control/request_target.h"

#include <string>

#include "vaultmeta/vault/opening.h"

namespace vaultfs {

using nlohmann::json;

Result<json> request_target(VaultDirectory& directory) {
  VAULTFS_ASSIGN_OR_RETURN(const FileInfo info, directory.identity());
  json target{{"directory", {{"device", info.device}, {"inode", info.inode}}}};
  Digest digest;
  const auto header = read_vault_header(directory, digest);
  if (header.ok()) {
    target["id"] = to_hex(header->id.view());
    target["root_fingerprint"] = to_hex(header->root_fingerprint.view());
  }
  return target;
}

Status check_request_target(const json& request, Vault& vault) {
  const auto target = request.find("vault");
  if (target == request.end() || !target->is_object() || !target->contains("directory")) {
    return Error{ErrorCode::Usage, "the request does not say for which vault it is; use the vaultctl of this version"};
  }
  VAULTFS_ASSIGN_OR_RETURN(const FileInfo info, vault.directory().identity());
  const json own{{"device", info.device}, {"inode", info.inode}};
  // Only what the client could read of the header is compared.
  const auto differs = [&](const char* name, const std::string& value) {
    const auto said = target->find(name);
    return said != target->end() && *said != value;
  };
  const VaultHeader& header = vault.header();
  if ((*target)["directory"] != own || differs("id", to_hex(header.id.view())) ||
      differs("root_fingerprint", to_hex(header.root_fingerprint.view()))) {
    return Error{ErrorCode::AnotherVault, "the owner of this vault.lock has vault " + to_hex(header.id.view()) +
                                              " at " + vault.path().string() +
                                              " open, and that is not the vault at the path that was named"};
  }
  return vault.directory().check_place();
}

}  // namespace vaultfs
