#include "vaultmeta/vault/encryption_status.h"

namespace vaultfs {

EncryptionStatus encryption_status(Vault& vault) {
  // The keyring first: what is recorded meanwhile is newer.
  EncryptionStatus status = vault.custody().status();
  const std::optional<JobInfo> job = vault.catalogue().last_key_update();
  const bool keyring_is_newer = status.last_update && (!job || job->number < status.last_update->job);
  if (!keyring_is_newer && job) {
    status.last_update_status = job->state == JobState::completed ? "Succeeded" : "Failed: " + job->detail;
  }
  return status;
}

}  // namespace vaultfs
