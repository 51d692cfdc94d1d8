#include "crypto/keyvault/local_vault_file.h"

#include "crypto/keyvault/json_members.h"

namespace vaultfs {
namespace {

constexpr std::uint64_t kVaultFileLimitBytes = 64 * 1024;
constexpr std::string_view kMachineKey = "machine-key";
constexpr std::string_view kPassphrase = "passphrase";

}  // namespace

std::string LocalVaultFile::encode() const {
  nlohmann::ordered_json state;
  state["format"] = kLocalVaultFormat;
  state["name"] = name;
  state["created"] = created_unix_seconds;
  state["protection"] = options.protection == LocalProtection::passphrase ? kPassphrase : kMachineKey;
  state["region"] = options.region;
  state["soft_delete"] = options.soft_delete;
  state["purge_protection"] = options.purge_protection;
  if (options.protection == LocalProtection::passphrase) state["passphrase_box"] = to_base64(passphrase_box);
  return json_state_text(state);
}

Result<LocalVaultFile> LocalVaultFile::decode(std::string_view json, const std::string& name, const std::string& path) {
  VAULTFS_ASSIGN_OR_RETURN(const auto state, parse_json_state(json, kLocalVaultFormat, path));
  JsonMembers members(state, path);
  LocalVaultFile file;
  file.name = members.text("name");
  file.created_unix_seconds = members.integer("created");
  const std::string protection = members.text("protection");
  file.options.region = members.text("region");
  file.options.soft_delete = members.boolean("soft_delete");
  file.options.purge_protection = members.boolean("purge_protection");
  if (protection == kPassphrase) {
    file.options.protection = LocalProtection::passphrase;
    file.passphrase_box = members.base64("passphrase_box");
  } else if (protection != kMachineKey) {
    members.fail("its protection is unknown");
  }
  // The name is bound into every sealed private key, so a key vault can't be renamed by renaming its directory.
  if (file.name != name) members.fail("it belongs to a key vault of another name than " + name);
  VAULTFS_RETURN_IF_ERROR(members.finish());
  return file;
}

Env::Path local_vault_file_path(const Env::Path& directory) { return directory / "vault.json"; }

Result<LocalVaultFile> read_local_vault_file(Env& env, const Env::Path& directory, const std::string& name) {
  const Env::Path path = local_vault_file_path(directory);
  const auto bytes = read_file(env, path, kVaultFileLimitBytes);
  if (!bytes.ok()) {
    switch (bytes.code()) {
      case ErrorCode::NotFound:
      case ErrorCode::NotADirectory:
        return Error{ErrorCode::KeyVaultUnavailable,
                     "key vault " + name + " is not there: " + path.string() +
                         " does not exist; mount the disk that holds it, or create it with: vaultctl keyvault create " +
                         name};
      case ErrorCode::IoError:
        return Error{ErrorCode::KeyVaultUnavailable, "key vault " + name + " can't be read: " + bytes.error().message};
      case ErrorCode::InvalidArgument:
        return Error{ErrorCode::DamagedMachineState, path.string() + " is damaged: " + bytes.error().message};
      default:
        return bytes.error();
    }
  }
  return LocalVaultFile::decode(text_of(*bytes), name, path.string());
}

}  // namespace vaultfs
