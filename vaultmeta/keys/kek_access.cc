#include "vaultmeta/keys/kek_access.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "crypto/committed_key.h"
#include "crypto/envelope.h"
#include "crypto/keyvault/region.h"

namespace vaultfs {
namespace {

constexpr std::string_view kPlatformLabel = "vaultfs/1 platform slot";
constexpr std::string_view kPlatformAlgorithm = "platform";

Result<ReachedKey> reach_in(std::shared_ptr<KeyVault> key_vault, const std::string& key, const std::string& version) {
  ReachedKey reached{std::move(key_vault), key, {}};
  VAULTFS_ASSIGN_OR_RETURN(reached.versions, reached.key_vault->list_versions(key));
  if (reached.find(version) == nullptr) {
    return Error{ErrorCode::KeyVersionNotFound,
                 "the key " + reached.key_vault->name() + "/" + key + " has no version " + version};
  }
  return reached;
}

// The answers after which the version may still be elsewhere on this machine under other names.
bool worth_looking_elsewhere(ErrorCode code) noexcept {
  return code == ErrorCode::KeyVaultUnavailable || code == ErrorCode::KeyNotFound ||
         code == ErrorCode::KeyVersionNotFound || code == ErrorCode::InvalidName;
}

Result<PlatformKeyId> platform_key_id(const std::string& version) {
  Bytes bytes;
  if (!from_hex(version, bytes) || bytes.size() != PlatformKeyId::kSize) {
    return Error{ErrorCode::DamagedKeyring, "a keyring's slot names no platform key"};
  }
  PlatformKeyId id;
  std::memcpy(id.data(), bytes.data(), bytes.size());
  return id;
}

Result<SecretBuffer> open_platform_slot(PlatformKeys& platform_keys, const VaultId& vault, const KeyringSlot& slot) {
  VAULTFS_ASSIGN_OR_RETURN(const PlatformKeyId id, platform_key_id(slot.version));
  VAULTFS_ASSIGN_OR_RETURN(const SecretBuffer platform_key, platform_keys.load(id));
  return open_box(platform_key, kPlatformLabel, slot_context(vault, slot), slot.wrapped);
}

// A proof that compares: the key that came back is the key that went in.
Status check_round_trip(const Result<SecretBuffer>& unwrapped, const SecretBuffer& key, const std::string& version) {
  if (!unwrapped.ok()) {
    return with_context(unwrapped.error(), "version " + version + " does not unwrap what it wrapped");
  }
  if (constant_time_equal(unwrapped->view(), key.view())) return ok_status();
  return Error{ErrorCode::AuthenticationFailed, "version " + version + " unwraps another key than it wrapped"};
}

// Of a type and size that wraps; check_may_wrap tells the reason else.
bool can_be_kek(const KeyVersionInfo& version) noexcept {
  if (version.key_type == "AES") return version.bits == 256;
  return version.key_type == "RSA" && (version.bits == 2048 || version.bits == 3072 || version.bits == 4096);
}

Status check_no_certificate(const KeyVersionInfo& version) {
  if (!version.of_certificate) return ok_status();
  return Error{ErrorCode::KeyOfCertificate,
               "the key version " + version.id +
                   " is part of a certificate, and comes and goes with it; create a key of its own"};
}

std::string name_of(const KeyringSlot& slot) {
  if (slot.kind == SlotKind::platform) return "the platform key " + slot.version;
  return slot.key_vault + "/" + slot.key + "/" + slot.version;
}

// A refusal as a person needs it: which version, and what brings the vault back.
std::string revocation_text(const Error& error, const KeyringSlot& active) {
  const std::string name = name_of(active);
  switch (error.code) {
    case ErrorCode::KeyVersionDisabled:
      // What helps is the key vault's to say: KMIP, for one, never takes a revocation back.
      return "the Active key version " + name + " may not be used: " + error.message +
             ". Once it may, the vault comes back by itself";
    case ErrorCode::KeyNotFound:
    case ErrorCode::KeyVersionNotFound:
      return "the Active key version " + name +
             " is in no key vault of this machine; recover or import it and the vault comes back by itself";
    case ErrorCode::KeyVaultDenied:
      return "the key vault denies the use of " + name + " (" + error.message +
             "); allow the vault's identity again and the vault comes back by itself";
    default:
      return error.message;
  }
}

}  // namespace

Error describe_trouble(const Error& error, const KeyringSlot& active) {
  if (error.code == ErrorCode::KeyRevoked) return error;
  if (error.code == ErrorCode::IdentityNotFound || error.code == ErrorCode::IdentityDisabled) {
    return {error.code, error.message + "; the vault comes back by itself"};
  }
  if (is_revocation(error.code)) return {ErrorCode::KeyRevoked, revocation_text(error, active)};
  return {error.code, "the Active key version " + name_of(active) + " can't be used: " + error.message};
}

bool is_revocation(ErrorCode code) noexcept {
  switch (code) {
    case ErrorCode::KeyNotFound:
    case ErrorCode::KeyVersionNotFound:
    case ErrorCode::KeyVersionDisabled:
    case ErrorCode::KeyVaultDenied:
    case ErrorCode::IdentityNotFound:
    case ErrorCode::IdentityDisabled:
    case ErrorCode::KeyRevoked:
      return true;
    default:
      return false;
  }
}

bool is_outage(ErrorCode code) noexcept {
  return !is_revocation(code) && !(is_integrity_error(code) && code != ErrorCode::DamagedMachineState) &&
         code != ErrorCode::WrongKey;
}

const KeyVersionInfo* ReachedKey::find(const std::string& version) const noexcept {
  const auto found =
      std::find_if(versions.begin(), versions.end(), [&](const KeyVersionInfo& info) { return info.id == version; });
  return found == versions.end() ? nullptr : &*found;
}

Result<ReachedKey> reach_version(KeyVaultResolver& resolver, const VaultIdentity& as, const std::string& key_vault,
                                 const std::string& key, const std::string& version) {
  auto named = resolver.open(key_vault, as);
  const bool registered = named.ok();
  Result<ReachedKey> reached =
      named.ok() ? reach_in(std::move(named).value(), key, version) : Result<ReachedKey>(std::move(named).error());
  if (reached.ok() || !worth_looking_elsewhere(reached.code())) return reached;
  const bool away = registered && reached.code() == ErrorCode::KeyVaultUnavailable;
  const auto reach = away ? KeyVaultResolver::Reach::machine : KeyVaultResolver::Reach::everywhere;
  auto located = resolver.locate(version, as, reach);
  if (!located.ok()) {
    // A refusal elsewhere is no authority for the named place, but it is what there is to do.
    if (located.code() == ErrorCode::KeyVersionNotFound) return reached;
    return Error{reached.code(), reached.error().message + "; elsewhere on this machine: " + located.error().message};
  }
  auto elsewhere = reach_in(std::move(located->key_vault), located->key, version);
  if (!elsewhere.ok()) return reached;
  elsewhere->instead_of = std::move(reached).error();
  return elsewhere;
}

Result<SecretBuffer> unwrap_slot(KeyVaultResolver& resolver, PlatformKeys& platform_keys, const VaultId& vault,
                                 const KeyringSlot& slot, ReachedKey& reached) {
  if (slot.kind == SlotKind::platform) return open_platform_slot(platform_keys, vault, slot);
  VAULTFS_ASSIGN_OR_RETURN(reached,
                           reach_version(resolver, {vault, slot.identity}, slot.key_vault, slot.key, slot.version));
  auto key = unwrap_slot_at(vault, slot, reached);
  // A copy elsewhere can help through an outage of the vault's own key vault, but its refusal says nothing of that; and
  // what does not open there may be another key under the same name.
  if (!key.ok() && reached.instead_of &&
      (is_outage(reached.instead_of->code) || key.code() == ErrorCode::AuthenticationFailed)) {
    return *reached.instead_of;
  }
  return key;
}

Result<SecretBuffer> unwrap_slot_at(const VaultId& vault, const KeyringSlot& slot, const ReachedKey& reached) {
  const KeyVersionInfo* version = reached.find(slot.version);
  if (version == nullptr) return Error{ErrorCode::KeyVersionNotFound, "the key has no version " + slot.version};
  // What a key vault lists as disabled it can enable.
  if (!version->enabled)
    return Error{ErrorCode::KeyVersionDisabled, "version " + slot.version + " is disabled; enable it again"};
  VAULTFS_ASSIGN_OR_RETURN(const SecretBuffer envelope,
                           reached.key_vault->unwrap(reached.key, slot.version, slot.algorithm, slot.wrapped));
  return decode_envelope(envelope, slot_context(vault, slot));
}

Result<WrappedKey> wrap_fresh_key(const VaultId& vault, Generation generation, const std::string& identity,
                                  KeyVault& key_vault, const std::string& key, const std::string& version) {
  WrappedKey fresh;
  VAULTFS_ASSIGN_OR_RETURN(fresh.key, SecretBuffer::random(kKeyringKeyBytes));
  KeyringSlot& slot = fresh.slot;
  slot.kind = SlotKind::key_vault;
  slot.role = VersionRole::active;
  slot.key_vault = key_vault.name();
  slot.key = key;
  slot.version = version;
  slot.identity = identity;
  slot.wrapped_in = generation;
  VAULTFS_ASSIGN_OR_RETURN(slot.algorithm, key_vault.wrap_algorithm(key, version));
  const Bytes context = slot_context(vault, slot);
  VAULTFS_ASSIGN_OR_RETURN(const SecretBuffer envelope, encode_envelope(fresh.key, context));
  VAULTFS_ASSIGN_OR_RETURN(slot.wrapped, key_vault.wrap(key, version, envelope.view()));
  const auto prove = [&]() -> Result<SecretBuffer> {
    VAULTFS_ASSIGN_OR_RETURN(const SecretBuffer opened, key_vault.unwrap(key, version, slot.algorithm, slot.wrapped));
    return decode_envelope(opened, context);
  };
  VAULTFS_RETURN_IF_ERROR(check_round_trip(prove(), fresh.key, version));
  return fresh;
}

Result<WrappedKey> wrap_fresh_platform_key(const VaultId& vault, Generation generation, PlatformKeys& platform_keys,
                                           const PlatformKeyId& id) {
  WrappedKey fresh;
  VAULTFS_ASSIGN_OR_RETURN(fresh.key, SecretBuffer::random(kKeyringKeyBytes));
  KeyringSlot& slot = fresh.slot;
  slot.kind = SlotKind::platform;
  slot.role = VersionRole::active;
  slot.version = to_hex(id.view());
  slot.algorithm = kPlatformAlgorithm;
  slot.identity = "system";
  slot.wrapped_in = generation;
  VAULTFS_ASSIGN_OR_RETURN(const SecretBuffer platform_key, platform_keys.load(id));
  VAULTFS_ASSIGN_OR_RETURN(slot.wrapped,
                           seal_box(platform_key, kPlatformLabel, slot_context(vault, slot), fresh.key.view()));
  VAULTFS_RETURN_IF_ERROR(check_round_trip(open_platform_slot(platform_keys, vault, slot), fresh.key, slot.version));
  return fresh;
}

Status check_may_wrap(const KeyVersionInfo& version, std::int64_t now_unix_seconds) {
  const std::string name = "the key version " + version.id;
  if (version.of_certificate && !can_be_kek(version)) return check_no_certificate(version);
  if (version.key_type != "RSA" && version.key_type != "AES") {
    return Error{ErrorCode::KeyNotRsa, name + " is of type " + version.key_type + "; create a key of type RSA"};
  }
  if (version.key_type == "AES" && version.bits != 256) {
    return Error{ErrorCode::KeySizeUnsupported, name + " is AES-" + std::to_string(version.bits) + "; use AES-256"};
  }
  if (version.key_type == "RSA" && version.bits != 2048 && version.bits != 3072 && version.bits != 4096) {
    return Error{ErrorCode::KeySizeUnsupported,
                 name + " has " + std::to_string(version.bits) + " bits; use 2048, 3072 or 4096"};
  }
  if (!version.enabled) {
    return Error{ErrorCode::KeyVersionDisabled, name + " is disabled; enable it or use another"};
  }
  if (version.not_before && now_unix_seconds < *version.not_before) {
    return Error{ErrorCode::KeyVersionNotYetValid, name + " is not valid yet"};
  }
  if (version.expires && now_unix_seconds >= *version.expires) {
    return Error{ErrorCode::KeyVersionExpired, name + " has expired; rotate the key"};
  }
  return ok_status();
}

Result<KeyVersionInfo> version_of_reference(const std::vector<KeyVersionInfo>& versions,
                                            const std::optional<std::string>& pinned, std::int64_t now_unix_seconds) {
  if (versions.empty()) return Error{ErrorCode::KeyNotFound, "the key has no versions"};
  if (pinned) {
    const auto found =
        std::find_if(versions.begin(), versions.end(), [&](const KeyVersionInfo& info) { return info.id == *pinned; });
    if (found == versions.end()) return Error{ErrorCode::KeyVersionNotFound, "the key has no version " + *pinned};
    VAULTFS_RETURN_IF_ERROR(check_may_wrap(*found, now_unix_seconds));
    VAULTFS_RETURN_IF_ERROR(check_no_certificate(*found));
    return *found;
  }
  const auto newest = std::find_if(versions.rbegin(), versions.rend(), [&](const KeyVersionInfo& info) {
    return can_be_kek(info) && info.may_wrap(now_unix_seconds);
  });
  const KeyVersionInfo& chosen = newest == versions.rend() ? versions.back() : *newest;
  VAULTFS_RETURN_IF_ERROR(check_may_wrap(chosen, now_unix_seconds));
  VAULTFS_RETURN_IF_ERROR(check_no_certificate(chosen));
  return chosen;
}

const KeyVersionInfo* newer_version(const std::vector<KeyVersionInfo>& versions, const std::string& active,
                                    std::int64_t now_unix_seconds) noexcept {
  // What can be no KEK stands in nobody's way: anybody may be able to put it there.
  const KeyVersionInfo* unfit = nullptr;
  for (auto at = versions.rbegin(); at != versions.rend() && at->id != active; ++at) {
    if (!at->may_wrap(now_unix_seconds)) continue;
    if (can_be_kek(*at)) return &*at;
    if (unfit == nullptr) unfit = &*at;
  }
  return unfit;
}

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

Result<ExaminedKey> examine_key(KeyVaultResolver& resolver, const Clock& clock, const KeyRef& key,
                                const std::string& region, const VaultIdentity& as) {
  ExaminedKey examined;
  VAULTFS_ASSIGN_OR_RETURN(examined.reached.key_vault, resolver.open(key.key_vault, as));
  examined.reached.key = key.key;
  VAULTFS_ASSIGN_OR_RETURN(const KeyVaultProperties properties, examined.reached.key_vault->properties());
  std::vector<Error> unmet = unmet_preconditions(properties, key.key_vault, region);
  if (!unmet.empty()) return std::move(unmet.front());
  VAULTFS_ASSIGN_OR_RETURN(examined.reached.versions, examined.reached.key_vault->list_versions(key.key));
  auto version = version_of_reference(examined.reached.versions, key.version, clock.now().seconds());
  if (!version.ok()) return with_context(std::move(version).error(), key.to_string());
  examined.version = std::move(version).value();
  return examined;
}

}  // namespace vaultfs
