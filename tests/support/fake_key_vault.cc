#include "tests/support/fake_key_vault.h"

#include <algorithm>
#include <cstdlib>
#include <utility>

#include "crypto/hash.h"

namespace vaultfs {
namespace {

constexpr std::size_t kSharedKeys = 8;

std::shared_ptr<RsaKey> shared_rsa(std::size_t index) {
  static std::mutex mutex;
  static std::map<std::size_t, std::shared_ptr<RsaKey>> keys;
  const std::lock_guard lock(mutex);
  auto& key = keys[index % kSharedKeys];
  if (key == nullptr) {
    auto made = RsaKey::generate(2048);
    if (!made.ok()) std::abort();
    key = std::move(made).value();
  }
  return key;
}

}  // namespace

std::string FakeKeyVault::add_version(const std::string& key) {
  const std::lock_guard lock(mutex_);
  std::size_t index = 0;
  for (const auto& [name, versions] : keys_) index += versions.size();
  index += std::hash<std::string>{}(name_) % 5;  // key vaults of one test rarely share a key, and may
  Version version;
  version.rsa = shared_rsa(index);
  // Distinct from every other version, also where the RSA key is the same.
  const std::string seed = name_ + "/" + key + "/" + std::to_string(keys_[key].size());
  version.info.id = to_hex(sha256(bytes_of(seed)).view()).substr(0, 32);
  version.info.created_unix_seconds = clock_.now().seconds();
  version.info.key_type = "RSA";
  version.info.bits = 2048;
  keys_[key].push_back(version);
  return version.info.id;
}

void FakeKeyVault::import_version(const std::string& key, const FakeKeyVault& from, const std::string& from_key,
                                  const std::string& version) {
  auto found = from.version_of(from_key, version);
  if (!found.ok()) std::abort();
  const std::lock_guard lock(mutex_);
  keys_[key].push_back(std::move(found).value());
}

KeyVersionInfo& FakeKeyVault::info(const std::string& key, const std::string& version) {
  const std::lock_guard lock(mutex_);
  for (Version& candidate : keys_[key]) {
    if (candidate.info.id == version) return candidate.info;
  }
  std::abort();
}

void FakeKeyVault::remove_version(const std::string& key, const std::string& version) {
  const std::lock_guard lock(mutex_);
  std::erase_if(keys_[key], [&](const Version& candidate) { return candidate.info.id == version; });
}

void FakeKeyVault::remove_key(const std::string& key) {
  const std::lock_guard lock(mutex_);
  keys_.erase(key);
}

std::shared_ptr<RsaKey> FakeKeyVault::rsa(const std::string& key, const std::string& version) const {
  auto found = version_of(key, version);
  if (!found.ok()) std::abort();
  return found->rsa;
}

Status FakeKeyVault::begin() {
  if (on_call) on_call();
  if (outage) return Error{ErrorCode::KeyVaultUnavailable, name_ + " does not answer"};
  if (deny) return Error{ErrorCode::KeyVaultDenied, name_ + " denies"};
  if (fail_after_calls == 0) return Error{ErrorCode::KeyVaultUnavailable, name_ + " went away"};
  if (fail_after_calls > 0) --fail_after_calls;
  return ok_status();
}

Result<FakeKeyVault::Version> FakeKeyVault::version_of(const std::string& key, const std::string& version) const {
  const std::lock_guard lock(mutex_);
  const auto found = keys_.find(key);
  if (found == keys_.end()) return Error{ErrorCode::KeyNotFound, "no key " + key};
  for (const Version& candidate : found->second) {
    if (candidate.info.id == version) return candidate;
  }
  return Error{ErrorCode::KeyVersionNotFound, "no version " + version};
}

Result<KeyVaultProperties> FakeKeyVault::properties() {
  VAULTFS_RETURN_IF_ERROR(begin());
  return answer;
}

Result<std::vector<KeyVersionInfo>> FakeKeyVault::list_versions(const std::string& key) {
  VAULTFS_RETURN_IF_ERROR(begin());
  const std::lock_guard lock(mutex_);
  const auto found = keys_.find(key);
  if (found == keys_.end()) return Error{ErrorCode::KeyNotFound, "no key " + key};
  std::vector<KeyVersionInfo> infos;
  for (const Version& version : found->second) infos.push_back(version.info);
  return infos;
}

Result<Bytes> FakeKeyVault::wrap(const std::string& key, const std::string& version, ByteView plaintext) {
  VAULTFS_RETURN_IF_ERROR(begin());
  ++wraps;
  VAULTFS_ASSIGN_OR_RETURN(const Version found, version_of(key, version));
  const std::int64_t now = clock_.now().seconds();
  if (!found.info.enabled) return Error{ErrorCode::KeyVersionDisabled, "disabled"};
  if (found.info.expires && *found.info.expires <= now) return Error{ErrorCode::KeyVersionExpired, "expired"};
  if (found.info.not_before && now < *found.info.not_before) return Error{ErrorCode::KeyVersionNotYetValid, "nbf"};
  if (wrap_garbage) return Bytes(256, std::byte{0x5a});
  return found.rsa->encrypt(plaintext);
}

Result<SecretBuffer> FakeKeyVault::unwrap(const std::string& key, const std::string& version,
                                          std::string_view algorithm, ByteView wrapped) {
  VAULTFS_RETURN_IF_ERROR(begin());
  ++unwraps;
  VAULTFS_ASSIGN_OR_RETURN(const Version found, version_of(key, version));
  if (!found.info.enabled) return Error{ErrorCode::KeyVersionDisabled, "disabled"};
  if (algorithm != "RSA-OAEP-256") return Error{ErrorCode::InvalidArgument, "unknown algorithm"};
  VAULTFS_ASSIGN_OR_RETURN(SecretBuffer plain, found.rsa->decrypt(wrapped));
  if (unwrap_other) plain.mutable_view()[1] ^= std::byte{1};
  return plain;
}

Result<std::string> FakeKeyVault::wrap_algorithm(const std::string& key, const std::string& version) {
  VAULTFS_RETURN_IF_ERROR(begin());
  VAULTFS_RETURN_IF_ERROR(version_of(key, version));
  return std::string("RSA-OAEP-256");
}

Status FakeResolver::check_identity(const VaultIdentity& as) {
  if (!unknown_identities.contains(as.name)) return ok_status();
  return Error{ErrorCode::IdentityNotFound, "no identity " + as.name};
}

Result<std::shared_ptr<KeyVault>> FakeResolver::open(const std::string& key_vault, const VaultIdentity& as) {
  VAULTFS_RETURN_IF_ERROR(check_identity(as));
  const auto found = vaults_.find(key_vault);
  if (found == vaults_.end()) return Error{ErrorCode::KeyVaultUnavailable, "no key vault " + key_vault};
  return std::shared_ptr<KeyVault>(found->second);
}

Result<KeyVaultResolver::Located> FakeResolver::locate(const std::string& version, const VaultIdentity& as,
                                                       Reach /*reach*/) {
  const auto place = places.find(version);
  if (place == places.end()) return Error{ErrorCode::KeyVersionNotFound, "nowhere"};
  VAULTFS_ASSIGN_OR_RETURN(auto key_vault, open(place->second.first, as));
  return Located{std::move(key_vault), place->second.second};
}

}  // namespace vaultfs
