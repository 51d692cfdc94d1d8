#include "crypto/keyvault/local/vault_file.h"

#include <utility>

#include "crypto/files/json_members.h"
#include "crypto/memory/base64.h"

namespace vaultfs {
namespace {

constexpr std::uint64_t kVaultFileLimitBytes = std::uint64_t{1024} * 1024;
constexpr std::int64_t kMinRetentionDays = 7;
constexpr std::int64_t kMaxRetentionDays = 90;
constexpr std::string_view kMachineKey = "machine-key";
constexpr std::string_view kPassphrase = "passphrase";

Result<std::vector<AccessPolicy>> decode_access(const nlohmann::json& state, const std::string& path) {
  JsonMembers members(state, path);
  const nlohmann::json* list = members.array("access");
  VAULTFS_RETURN_IF_ERROR(members.finish());
  std::vector<AccessPolicy> policies;
  for (const nlohmann::json& entry : *list) {
    const std::string where = path + ", access policy " + std::to_string(policies.size() + 1) + " of its list,";
    JsonMembers policy(entry, where);
    AccessPolicy read;
    read.identity = policy.text("identity");
    read.label = policy.text("label");
    const nlohmann::json* permissions = policy.array("permissions");
    if (!policy.failed() && !is_identity_id(read.identity)) policy.fail("\"identity\" is not 32 hexadecimal digits");
    for (std::size_t i = 0; permissions != nullptr && i < permissions->size(); ++i) {
      const nlohmann::json& name = (*permissions)[i];
      const auto parsed =
          name.is_string() ? KeyPermissions::parse(name.get_ref<const std::string&>()) : KeyPermissions::parse("?");
      if (parsed.ok()) {
        read.permissions = read.permissions | *parsed;
      } else {
        policy.fail("a permission is unknown");
      }
    }
    VAULTFS_RETURN_IF_ERROR(policy.finish());
    policies.push_back(std::move(read));
  }
  return policies;
}

}  // namespace

bool is_retention(std::int64_t days) noexcept { return days >= kMinRetentionDays && days <= kMaxRetentionDays; }

std::string LocalVaultFile::encode() const {
  nlohmann::ordered_json state;
  state["format"] = kLocalVaultFormat;
  state["name"] = name;
  state["created"] = created_unix_seconds;
  state["protection"] = options.protection == LocalProtection::passphrase ? kPassphrase : kMachineKey;
  state["region"] = options.region;
  state["soft_delete"] = options.soft_delete;
  state["purge_protection"] = options.purge_protection;
  state["retention_days"] = options.retention_days;
  if (access) {
    nlohmann::ordered_json& list = state["access"] = nlohmann::ordered_json::array();
    for (const AccessPolicy& policy : *access) {
      list.push_back(
          {{"identity", policy.identity}, {"label", policy.label}, {"permissions", policy.permissions.names()}});
    }
  }
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
  if (const auto days = members.optional_integer("retention_days"); days && !members.failed()) {
    if (!is_retention(*days)) members.fail("its retention is not 7 to 90 days");
    file.options.retention_days = static_cast<unsigned>(*days);
  }
  if (protection == kPassphrase) {
    file.options.protection = LocalProtection::passphrase;
    file.passphrase_box = members.base64("passphrase_box");
  } else if (protection != kMachineKey) {
    members.fail("its protection is unknown");
  }
  // The name is bound into every sealed private key, so a key vault can't be renamed by renaming its directory.
  if (file.name != name) members.fail("it belongs to a key vault of another name than " + name);
  VAULTFS_RETURN_IF_ERROR(members.finish());
  if (state.contains("access")) {
    VAULTFS_ASSIGN_OR_RETURN(file.access, decode_access(state, path));
  }
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
