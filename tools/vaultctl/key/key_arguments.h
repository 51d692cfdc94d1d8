#pragma once

#include <memory>
#include <optional>
#include <string>

#include "base/result.h"
#include "crypto/keyvault/administered_key_vault.h"
#include "crypto/keyvault/key_ref.h"
#include "crypto/keyvault/rotation_policy.h"
#include "tools/vaultctl/command_context.h"

namespace vaultfs {

// What the commands of the group `key` are given; each reads what it has options for.
struct KeyArguments {
  std::string key, not_before, expires, file, passphrase_file, override_name, vault;
  int passphrase_fd = -1;
  unsigned bits = 0;
  bool drop_retiring = false, enable = false, deleted = false, due = false, none = false;
  std::string after_create, before_expiry, expiry;
};

// KEYVAULT/KEY: InvalidKeyRef if a version is named.
[[nodiscard]] Result<KeyRef> unpinned_key(const KeyArguments& arguments);
// KEYVAULT/KEY/VERSION: InvalidKeyRef without a version.
[[nodiscard]] Result<KeyRef> pinned_key(const KeyArguments& arguments);

// The key's key vault, opened: open_key_vault() and open_local_key_vault() of the API.
[[nodiscard]] Result<std::shared_ptr<AdministeredKeyVault>> key_vault_of(CommandContext& context, const KeyRef& key);
[[nodiscard]] Result<std::shared_ptr<LocalKeyVault>> local_key_vault_of(CommandContext& context, const KeyRef& key);

[[nodiscard]] nlohmann::json version_to_json(const KeyVersionInfo& version);

// A note on stderr where the copies that lie outside do not have the newest version (key_export_to_json's "Stale").
void warn_of_stale_export(const KeyRef& key, const nlohmann::json& exported);

using KeyCommand = Result<int> (*)(CommandContext&, const KeyArguments&);

// key impact, disable, delete, purge: what vaults need.
[[nodiscard]] Result<int> key_impact(CommandContext& context, const KeyArguments& arguments);
[[nodiscard]] Result<int> key_disable(CommandContext& context, const KeyArguments& arguments);
[[nodiscard]] Result<int> key_delete(CommandContext& context, const KeyArguments& arguments);
[[nodiscard]] Result<int> key_purge(CommandContext& context, const KeyArguments& arguments);
// key recover and list --deleted.
[[nodiscard]] Result<int> key_recover(CommandContext& context, const KeyArguments& arguments);
[[nodiscard]] Result<int> key_list_deleted(CommandContext& context, const KeyArguments& arguments);
// key rotation-policy set, show, and rotate --due.
[[nodiscard]] Result<int> key_policy_set(CommandContext& context, const KeyArguments& arguments);
[[nodiscard]] Result<int> key_policy_show(CommandContext& context, const KeyArguments& arguments);
[[nodiscard]] Result<int> key_rotate_due(CommandContext& context, const KeyArguments& arguments);
[[nodiscard]] nlohmann::json rotation_policy_to_json(const std::optional<RotationPolicyText>& policy);
// key export, key import: of local key vaults.
[[nodiscard]] Result<int> key_export(CommandContext& context, const KeyArguments& arguments);
[[nodiscard]] Result<int> key_import(CommandContext& context, const KeyArguments& arguments);

}  // namespace vaultfs
