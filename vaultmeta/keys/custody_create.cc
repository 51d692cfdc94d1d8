#include <utility>

#include "crypto/hash.h"
#include "crypto/keyvault/region.h"
#include "vaultmeta/keys/custody_impl.h"

// Creation: the secrets of a new vault and its first keyring.

namespace vaultfs {
namespace {

constexpr std::size_t kKeyBytes = 32;

Result<KeyringSecrets> new_secrets(const KeyCustody::CreateRequest& request, UnixNanos now) {
  KeyringSecrets secrets;
  VAULTFS_ASSIGN_OR_RETURN(secrets.root_key, SecretBuffer::random(kKeyBytes));
  VAULTFS_ASSIGN_OR_RETURN(secrets.id_key, SecretBuffer::random(kKeyBytes));
  VAULTFS_ASSIGN_OR_RETURN(SecretBuffer dek, SecretBuffer::random(kKeyBytes));
  secrets.epochs.emplace(EpochNumber(1), EpochRecord{std::move(dek), now, std::nullopt});
  secrets.settings.identity = request.identity;
  if (request.key) {
    secrets.settings.customer_managed = true;
    secrets.settings.key_vault = request.key->key_vault;
    secrets.settings.key = request.key->key;
    secrets.settings.pinned_version = request.key->version;
  }
  return secrets;
}

Result<WrappedKey> first_wrap(const KeyCustody::Context& context, const VaultHeader& header,
                              const KeyCustody::CreateRequest& request, NewPlatformKey& platform) {
  const Generation first(1);
  if (!request.key) {
    VAULTFS_ASSIGN_OR_RETURN(const PlatformKeyId id, platform.make());
    return wrap_fresh_platform_key(header.id, first, context.platform_keys, id);
  }
  VAULTFS_ASSIGN_OR_RETURN(const ExaminedKey key,
                           examine_key(context, *request.key, header.region, {header.id, request.identity}));
  return wrap_fresh_key(header.id, first, request.identity, *key.reached.key_vault, key.reached.key, key.version.id);
}

}  // namespace

std::vector<Error> unmet_preconditions(const KeyVaultProperties& properties, const std::string& key_vault,
                                       const std::string& region) {
  std::vector<Error> unmet;
  const bool local = properties.provider == "local";
  const auto how = [&](const char* option) {
    return local ? "turn it on with: vaultctl keyvault update " + key_vault + " " + option
                 : std::string("turn it on there");
  };
  if (properties.soft_delete == false) {
    unmet.push_back({ErrorCode::SoftDeleteRequired, "the key vault " + key_vault +
                                                        " has no soft delete, without which a key deleted by mistake "
                                                        "takes the vault with it; " +
                                                        how("--enable-soft-delete")});
  }
  if (properties.purge_protection == false) {
    unmet.push_back({ErrorCode::PurgeProtectionRequired, "the key vault " + key_vault +
                                                             " has no purge protection, without which a deleted key "
                                                             "can be destroyed at once; " +
                                                             how("--enable-purge-protection")});
  }
  const std::string its_region = properties.region.value_or("");
  if (!region.empty() && its_region.empty()) {
    unmet.push_back({ErrorCode::RegionMismatch, "the vault is in the region " + region + ", the key vault " +
                                                    key_vault +
                                                    " in none; use a key vault of the vault's region, or say where "
                                                    "this one is: vaultctl keyvault update " +
                                                    key_vault + " --region REGION"});
  } else if (!region.empty() && normal_region(its_region) != normal_region(region)) {
    unmet.push_back({ErrorCode::RegionMismatch, "the key vault " + key_vault + " is in the region " + its_region +
                                                    ", the vault in " + region +
                                                    "; use a key vault of the vault's region"});
  }
  return unmet;
}

Result<ExaminedKey> examine_key(const KeyCustody::Context& context, const KeyRef& key, const std::string& region,
                                const VaultIdentity& as) {
  ExaminedKey examined;
  VAULTFS_ASSIGN_OR_RETURN(examined.reached.key_vault, context.resolver.open(key.key_vault, as));
  examined.reached.key = key.key;
  VAULTFS_ASSIGN_OR_RETURN(const KeyVaultProperties properties, examined.reached.key_vault->properties());
  std::vector<Error> unmet = unmet_preconditions(properties, key.key_vault, region);
  if (!unmet.empty()) return std::move(unmet.front());
  VAULTFS_ASSIGN_OR_RETURN(examined.reached.versions, examined.reached.key_vault->list_versions(key.key));
  auto version = version_of_reference(examined.reached.versions, key.version, context.env.clock().now().seconds());
  if (!version.ok()) return with_context(std::move(version).error(), key.to_string());
  examined.version = std::move(version).value();
  return examined;
}

Result<std::unique_ptr<KeyCustody>> KeyCustody::create(
    const Context& context, VaultHeader& header, const CreateRequest& request,
    const std::function<Result<Digest>(const VaultHeader&)>& write_header) {
  const UnixNanos now = context.env.clock().now();
  NewPlatformKey platform(context.platform_keys);
  VAULTFS_ASSIGN_OR_RETURN(WrappedKey wrapped, first_wrap(context, header, request, platform));

  Keyring keyring;
  keyring.vault = header.id;
  keyring.generation = Generation(1);
  VAULTFS_ASSIGN_OR_RETURN(keyring.secrets, new_secrets(request, now));
  VersionRecord first;
  first.key_vault = wrapped.slot.key_vault;
  first.key = wrapped.slot.key;
  first.version = wrapped.slot.version;
  first.role_since = now;
  first.took_effect = now;
  first.first_epoch = EpochNumber(1);
  first.role_generation = keyring.generation;
  if (request.key) keyring.secrets.last_update = KeyUpdate{JobNumber(1), "vault.create", first.version, now};
  keyring.secrets.rule.start(std::move(first));
  keyring.slots.push_back(std::move(wrapped.slot));
  if (request.escrow_key) {
    keyring.secrets.escrow = EscrowRecipient{*request.escrow_key, now};
    InfrastructureKey infrastructure{PlatformKeyId(header.infrastructure_key_id), {}};
    if (header.suite == Suite::aes_gcm_in_xchacha) {
      VAULTFS_ASSIGN_OR_RETURN(infrastructure.key, context.platform_keys.load(infrastructure.id));
    }
    VAULTFS_ASSIGN_OR_RETURN(keyring.escrow, wrap_for_escrow(header.id, keyring.generation, *keyring.secrets.escrow,
                                                             wrapped.key, infrastructure));
  }

  VAULTFS_ASSIGN_OR_RETURN(header.root_fingerprint, root_fingerprint(keyring.secrets.root_key, header.id));
  VAULTFS_ASSIGN_OR_RETURN(keyring.header_digest, write_header(header));
  VAULTFS_ASSIGN_OR_RETURN(const Bytes file, keyring.seal(wrapped.key));
  VAULTFS_RETURN_IF_ERROR(context.blobs.put(keyring_blob_name(keyring.generation), file));

  // Through storage and the provider once more: what was made is what will be opened.
  VAULTFS_ASSIGN_OR_RETURN(auto opened, KeyringCustody::load_newest(context, header, keyring.header_digest));
  if (opened.active_trouble) return *opened.active_trouble;
  auto custody = std::make_unique<KeyringCustody>(context, header, keyring.header_digest, false);
  VAULTFS_RETURN_IF_ERROR(custody->adopt(std::move(opened)));
  platform.keep();
  return std::unique_ptr<KeyCustody>(std::move(custody));
}

}  // namespace vaultfs
