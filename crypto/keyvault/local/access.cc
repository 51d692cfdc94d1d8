#include "crypto/keyvault/local/access.h"

#include <algorithm>
#include <optional>
#include <utility>
#include <vector>

namespace vaultfs {
namespace {

class BoundKeyVault final : public AdministeredKeyVault {
 public:
  BoundKeyVault(std::shared_ptr<LocalKeyVault> key_vault, AccessIdentity identity)
      : key_vault_(std::move(key_vault)), identity_(std::move(identity)) {}

  [[nodiscard]] const std::string& name() const override { return key_vault_->name(); }
  Result<KeyVaultProperties> properties() override { return key_vault_->properties(); }
  Result<KeyVaultPlace> place() override { return key_vault_->place(); }
  Result<std::vector<KeyVersionInfo>> list_versions(const std::string& key) override {
    VAULTFS_RETURN_IF_ERROR(check(KeyPermission::list));
    return key_vault_->list_versions(key);
  }
  Result<Bytes> wrap(const std::string& key, const std::string& version, ByteView plaintext) override {
    VAULTFS_RETURN_IF_ERROR(check(KeyPermission::wrap_key));
    return key_vault_->wrap(key, version, plaintext);
  }
  Result<SecretBuffer> unwrap(const std::string& key, const std::string& version, std::string_view algorithm,
                              ByteView wrapped) override {
    VAULTFS_RETURN_IF_ERROR(check(KeyPermission::unwrap_key));
    return key_vault_->unwrap(key, version, algorithm, wrapped);
  }
  Result<std::string> wrap_algorithm(const std::string& key, const std::string& version) override {
    VAULTFS_RETURN_IF_ERROR(check(KeyPermission::get));
    return key_vault_->wrap_algorithm(key, version);
  }
  Result<std::vector<std::string>> list_keys() override {
    VAULTFS_RETURN_IF_ERROR(check(KeyPermission::list));
    return key_vault_->list_keys();
  }

 private:
  [[nodiscard]] Status check(KeyPermission permission) {
    VAULTFS_ASSIGN_OR_RETURN(const auto policies, key_vault_->access());
    if (!policies) return ok_status();
    const auto policy =
        std::ranges::find_if(*policies, [this](const AccessPolicy& known) { return known.identity == identity_.id; });
    if (policy != policies->end() && policy->permissions.has(permission)) return ok_status();
    return Error{ErrorCode::KeyVaultDenied, "the key vault " + name() + " does not grant " +
                                                std::string(permission_name(permission)) + " to " +
                                                identity_.description + "; its owner can: vaultctl keyvault allow " +
                                                name() + " --identity " + identity_.id + " --template backup"};
  }

  const std::shared_ptr<LocalKeyVault> key_vault_;
  const AccessIdentity identity_;
};

}  // namespace

std::shared_ptr<AdministeredKeyVault> bind_identity(std::shared_ptr<LocalKeyVault> key_vault, AccessIdentity identity) {
  return std::make_shared<BoundKeyVault>(std::move(key_vault), std::move(identity));
}

}  // namespace vaultfs
