#include "crypto/keyvault/administered_key_vault.h"

namespace vaultfs {
namespace {

constexpr std::string_view kOwnTools = "use the key vault's own tools";

}  // namespace

Error AdministeredKeyVault::not_supported(std::string_view what, std::string_view instead) {
  return {ErrorCode::NotSupportedByProvider,
          "the provider of the key vault " + name() + " cannot " + std::string(what) + "; " + std::string(instead)};
}

Result<KeyVersionInfo> AdministeredKeyVault::create_key(const std::string&, const KeyOptions&) {
  return not_supported("create a key", kOwnTools);
}

Result<KeyVersionInfo> AdministeredKeyVault::rotate_key(const std::string&, const KeyOptions&, bool) {
  return not_supported("make a key version", kOwnTools);
}

Status AdministeredKeyVault::set_enabled(const std::string&, const std::string&, bool enabled) {
  return not_supported(enabled ? "enable a key version" : "disable a key version reversibly", kOwnTools);
}

Status AdministeredKeyVault::delete_key(const std::string&) { return not_supported("delete a key", kOwnTools); }

Status AdministeredKeyVault::recover_key(const std::string&) {
  return not_supported("recover a deleted key", kOwnTools);
}

Status AdministeredKeyVault::purge_key(const std::string&) { return not_supported("purge a key", kOwnTools); }

Result<std::optional<RotationPolicyText>> AdministeredKeyVault::describe_rotation_policy(const std::string&) {
  return not_supported("run a rotation policy that vaultctl knows", kOwnTools);
}

Status AdministeredKeyVault::set_rotation_policy(const std::string&, const std::optional<RotationPolicy>&) {
  return not_supported("run a rotation policy that vaultctl knows", kOwnTools);
}

}  // namespace vaultfs
