#include "tools/api/key_usage.h"

namespace vaultfs {

KeyUsage key_usage_of(Vault& vault) {
  const EncryptionStatus status = vault.custody().status();
  KeyUsage usage;
  usage.vault = to_hex(vault.header().id.view());
  usage.path = vault.path().string();
  usage.recovery_points = vault.catalogue().points().size();
  usage.keyring_generation = vault.custody().generation().value;
  usage.identity = status.settings.identity;
  usage.follows_new_versions = status.settings.customer_managed && !status.settings.pinned_version.has_value();
  usage.versions = status.versions;
  return usage;
}

}  // namespace vaultfs
