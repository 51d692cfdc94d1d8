#include "tests/simulation/cheap_key_vault.h"

#include <algorithm>
#include <cstdlib>
#include <utility>

#include "crypto/hash.h"

namespace vaultfs::sim {
namespace {

constexpr std::string_view kKeyName = "kek";
constexpr std::size_t kWrapNonceBytes = 8;

// As long as the plaintext, which is at most 190 bytes.
Bytes key_stream(ByteView secret, ByteView nonce, std::size_t size) {
  Bytes stream;
  for (std::uint8_t block = 0; stream.size() < size; ++block) {
    const std::byte counter{block};
    append(stream, hmac_sha256(secret, {nonce, ByteView(&counter, 1)}).view());
  }
  stream.resize(size);
  return stream;
}

}  // namespace

std::string CheapKeyVault::add_version() {
  const std::lock_guard lock(mutex_);
  Version version;
  const std::string name = std::to_string(seed_) + "/" + std::to_string(versions_.size());
  version.info.id = to_hex(sha256(bytes_of(name)).view()).substr(0, 32);
  version.info.created_unix_seconds = clock_.now().seconds();
  version.info.key_type = "RSA";
  version.info.bits = 2048;
  version.secret = to_bytes(sha256(bytes_of("secret " + name)).view());
  versions_.push_back(version);
  return version.info.id;
}

void CheapKeyVault::set_enabled(const std::string& version, bool enabled) {
  const std::lock_guard lock(mutex_);
  for (Version& one : versions_) {
    if (one.info.id == version) one.info.enabled = enabled;
  }
}

bool CheapKeyVault::enabled(const std::string& version) const {
  const std::lock_guard lock(mutex_);
  return std::ranges::any_of(versions_, [&](const Version& one) { return one.info.id == version && one.info.enabled; });
}

std::vector<std::string> CheapKeyVault::versions() const {
  const std::lock_guard lock(mutex_);
  std::vector<std::string> ids;
  for (const Version& one : versions_) ids.push_back(one.info.id);
  return ids;
}

std::string CheapKeyVault::newest() const { return versions().back(); }

void CheapKeyVault::set_outage(bool outage) {
  const std::lock_guard lock(mutex_);
  outage_ = outage;
}

void CheapKeyVault::set_deny(bool deny) {
  const std::lock_guard lock(mutex_);
  deny_ = deny;
}

void CheapKeyVault::set_late(std::uint64_t calls) {
  const std::lock_guard lock(mutex_);
  calls_left_ = static_cast<std::int64_t>(calls);
}

void CheapKeyVault::answer_again() {
  const std::lock_guard lock(mutex_);
  outage_ = false;
  deny_ = false;
  calls_left_ = -1;
}

bool CheapKeyVault::answers() const {
  const std::lock_guard lock(mutex_);
  return !outage_ && !deny_ && calls_left_ < 0;
}

std::uint64_t CheapKeyVault::refused_calls() const {
  const std::lock_guard lock(mutex_);
  return refused_;
}

Status CheapKeyVault::begin() {
  if (outage_ || calls_left_ == 0) {
    ++refused_;
    return Error{ErrorCode::KeyVaultUnavailable, "it does not answer"};
  }
  if (deny_) {
    ++refused_;
    return Error{ErrorCode::KeyVaultDenied, "it denies"};
  }
  if (calls_left_ > 0) --calls_left_;
  return ok_status();
}

Result<const CheapKeyVault::Version*> CheapKeyVault::find(const std::string& key, const std::string& version) const {
  if (key != kKeyName) return Error{ErrorCode::KeyNotFound, "no key " + key};
  for (const Version& one : versions_) {
    if (one.info.id == version) return &one;
  }
  return Error{ErrorCode::KeyVersionNotFound, "no version " + version};
}

Result<KeyVaultProperties> CheapKeyVault::properties() {
  const std::lock_guard lock(mutex_);
  VAULTFS_RETURN_IF_ERROR(begin());
  return KeyVaultProperties{"simulated", std::nullopt, true, true, ""};
}

Result<std::vector<KeyVersionInfo>> CheapKeyVault::list_versions(const std::string& key) {
  const std::lock_guard lock(mutex_);
  VAULTFS_RETURN_IF_ERROR(begin());
  if (key != kKeyName) return Error{ErrorCode::KeyNotFound, "no key " + key};
  std::vector<KeyVersionInfo> infos;
  for (const Version& one : versions_) infos.push_back(one.info);
  return infos;
}

Result<Bytes> CheapKeyVault::wrap(const std::string& key, const std::string& version, ByteView plaintext) {
  const std::lock_guard lock(mutex_);
  VAULTFS_RETURN_IF_ERROR(begin());
  VAULTFS_ASSIGN_OR_RETURN(const Version* found, find(key, version));
  if (!found->info.enabled) {
    ++refused_;
    return Error{ErrorCode::KeyVersionDisabled, "disabled"};
  }
  if (plaintext.size() > kWrapLimitBytes) return Error{ErrorCode::InvalidArgument, "too long to wrap"};
  Bytes wrapped(kWrapNonceBytes);
  ++wraps_;
  std::memcpy(wrapped.data(), &wraps_, sizeof wraps_);
  const Bytes stream = key_stream(found->secret, wrapped, plaintext.size());
  for (std::size_t i = 0; i < plaintext.size(); ++i) wrapped.push_back(plaintext[i] ^ stream[i]);
  append(wrapped, hmac_sha256(found->secret, {wrapped, bytes_of("tag")}).view());
  return wrapped;
}

Result<SecretBuffer> CheapKeyVault::unwrap(const std::string& key, const std::string& version,
                                           std::string_view algorithm, ByteView wrapped) {
  const std::lock_guard lock(mutex_);
  VAULTFS_RETURN_IF_ERROR(begin());
  VAULTFS_ASSIGN_OR_RETURN(const Version* found, find(key, version));
  if (!found->info.enabled) {
    ++refused_;
    return Error{ErrorCode::KeyVersionDisabled, "disabled"};
  }
  if (algorithm != "RSA-OAEP-256") return Error{ErrorCode::InvalidArgument, "unknown algorithm"};
  const Error refused{ErrorCode::AuthenticationFailed, "the wrap does not open"};
  if (wrapped.size() < kWrapNonceBytes + Digest::kSize) return refused;
  const ByteView body = wrapped.first(wrapped.size() - Digest::kSize);
  const Digest tag = hmac_sha256(found->secret, {body, bytes_of("tag")});
  if (!bytes_equal(tag.view(), wrapped.last(Digest::kSize))) return refused;
  const ByteView sealed = body.subspan(kWrapNonceBytes);
  const Bytes stream = key_stream(found->secret, body.first(kWrapNonceBytes), sealed.size());
  VAULTFS_ASSIGN_OR_RETURN(SecretBuffer plain, SecretBuffer::allocate(sealed.size()));
  for (std::size_t i = 0; i < sealed.size(); ++i) plain.mutable_view()[i] = sealed[i] ^ stream[i];
  return plain;
}

Result<std::string> CheapKeyVault::wrap_algorithm(const std::string& key, const std::string& version) {
  const std::lock_guard lock(mutex_);
  VAULTFS_RETURN_IF_ERROR(begin());
  VAULTFS_RETURN_IF_ERROR(find(key, version));
  return std::string("RSA-OAEP-256");
}

Result<std::shared_ptr<KeyVault>> CheapResolver::open(const std::string& key_vault, const VaultIdentity& /*as*/) {
  if (key_vault != key_vault_->name()) return Error{ErrorCode::KeyVaultUnavailable, "no key vault " + key_vault};
  return std::shared_ptr<KeyVault>(key_vault_);
}

Result<KeyVaultResolver::Located> CheapResolver::locate(const std::string& version, const VaultIdentity& /*as*/,
                                                        Reach /*reach*/) {
  return Error{ErrorCode::KeyVersionNotFound, "no version " + version + " anywhere else"};
}

}  // namespace vaultfs::sim
