#include "crypto/keyvault/kmip/kmip_key_vault.h"

#include <algorithm>
#include <cstdint>
#include <optional>
#include <utility>

#include "base/ascii.h"
#include "crypto/keyvault/key_ref.h"
#include "crypto/keyvault/kmip/version.h"
#include "crypto/keyvault/kmip/wrap_format.h"

namespace vaultfs {
namespace {

constexpr std::string_view kKmipAlgorithm = "A256GCM";
constexpr std::size_t kProbeBytes = 32;
// For taking back what a call began: the call's own time may be over.
constexpr std::chrono::seconds kCleanupTime{5};

class KmipKeyVault final : public AdministeredKeyVault {
 public:
  KmipKeyVault(Env& env, std::string name, KmipSettings settings, const KmipRetryPlan& retry)
      : env_(env), name_(std::move(name)), client_(env, std::move(settings), retry) {}

  [[nodiscard]] const std::string& name() const override { return name_; }
  Result<KeyVaultProperties> properties() override;
  Result<KeyVaultPlace> place() override { return KeyVaultPlace{ascii_lower(client_.settings().location())}; }
  [[nodiscard]] bool versions_name_keys() const noexcept override { return true; }  // unique identifiers of the server
  Result<std::vector<KeyVersionInfo>> list_versions(const std::string& key) override;
  Result<Bytes> wrap(const std::string& key, const std::string& version, ByteView plaintext) override;
  Result<SecretBuffer> unwrap(const std::string& key, const std::string& version, std::string_view algorithm,
                              ByteView wrapped) override;
  Result<std::string> wrap_algorithm(const std::string& key, const std::string& version) override;
  Result<std::vector<std::string>> list_keys() override;
  Result<KeyVersionInfo> create_key(const std::string& key, const KeyOptions& options) override;
  Result<KeyVersionInfo> rotate_key(const std::string& key, const KeyOptions& options, bool keep_bits) override;
  Status set_enabled(const std::string& key, const std::string& version, bool enabled) override;
  Status delete_key(const std::string& key) override;

 private:
  // All versions that are not destroyed, oldest first. KeyNotFound if there is none.
  [[nodiscard]] Result<std::vector<KmipVersion>> versions_of(const std::string& key, const KmipDeadline& deadline);
  [[nodiscard]] Result<KmipVersion> find(const std::string& key, const std::string& version,
                                         const KmipDeadline& deadline);
  [[nodiscard]] Status check_may_wrap(const std::string& key, const KmipVersion& version) const;
  [[nodiscard]] Result<SecretBuffer> decrypt(const std::string& key, const KmipVersion& version,
                                             const KmipSealed& sealed, const KmipDeadline& deadline);
  [[nodiscard]] Error refused_to_decrypt(const std::string& key, const KmipVersion& version, const KmipRefusal& refusal,
                                         const KmipDeadline& deadline);
  [[nodiscard]] bool decrypts_what_it_encrypts(const std::string& id, const KmipDeadline& deadline);
  [[nodiscard]] Result<KeyVersionInfo> make_version(const std::string& key, bool first, const KmipDeadline& deadline);
  [[nodiscard]] Result<KmipVersion> check_newest(const std::string& key, const std::string& id, bool first,
                                                 const KmipDeadline& deadline);
  [[nodiscard]] Status check_activated(const std::string& id, Error error);
  [[nodiscard]] Error undo(const std::string& id, Error error);

  [[nodiscard]] Error key_not_found(const std::string& key) const;
  [[nodiscard]] Error version_not_found(const std::string& key, const std::string& version) const;
  [[nodiscard]] std::string named(const std::string& key, const std::string& version) const {
    return "key version " + version + " of " + name_ + "/" + key;
  }

  Env& env_;
  const std::string name_;
  KmipClient client_;
};

// --- reading ---

Error KmipKeyVault::key_not_found(const std::string& key) const {
  return {ErrorCode::KeyNotFound, "the KMIP server has no symmetric key " + key + " that the client certificate of " +
                                      name_ + " may see; check the key's name, its owner and the certificate"};
}

Error KmipKeyVault::version_not_found(const std::string& key, const std::string& version) const {
  const std::string shown = is_kmip_identifier(version) ? version : "of that id";
  return {ErrorCode::KeyVersionNotFound, "key " + name_ + "/" + key + " has no version " + shown +
                                             "; see which it has with: vaultctl key list " + name_ + "/" + key};
}

Result<std::vector<KmipVersion>> KmipKeyVault::versions_of(const std::string& key, const KmipDeadline& deadline) {
  VAULTFS_ASSIGN_OR_RETURN(const std::vector<std::string> ids, client_.locate(key, deadline));
  std::vector<KmipVersion> versions;
  for (const std::string& id : ids) {
    auto attributes = client_.attributes(id, deadline);
    if (!attributes.ok()) {
      if (attributes.code() == ErrorCode::KeyVersionNotFound) continue;  // destroyed since it was located
      return attributes.error();
    }
    if (is_kmip_destroyed(attributes->state)) continue;
    versions.push_back({id, *std::move(attributes)});
  }
  if (versions.empty()) return key_not_found(key);
  std::ranges::sort(versions, kmip_comes_before);
  return versions;
}

// By its name, as the list does it: the version must be one of this key, whatever else the identifier may lead to (some
// servers take "09" for 9).
Result<KmipVersion> KmipKeyVault::find(const std::string& key, const std::string& version,
                                       const KmipDeadline& deadline) {
  VAULTFS_RETURN_IF_ERROR(check_key_name("key", key));
  VAULTFS_ASSIGN_OR_RETURN(const std::vector<std::string> ids, client_.locate(key, deadline));
  if (ids.empty()) return key_not_found(key);
  if (std::ranges::find(ids, version) == ids.end()) return version_not_found(key, version);
  auto attributes = client_.attributes(version, deadline);
  if (!attributes.ok()) {
    if (attributes.code() == ErrorCode::KeyVersionNotFound) return version_not_found(key, version);
    return attributes.error();
  }
  if (is_kmip_destroyed(attributes->state)) return version_not_found(key, version);
  return KmipVersion{version, *std::move(attributes)};
}

Result<KeyVaultProperties> KmipKeyVault::properties() {
  KeyVaultProperties properties;
  properties.provider = "kmip";
  properties.location = client_.settings().location();
  if (!client_.settings().region.empty()) properties.region = client_.settings().region;
  return properties;
}

Result<std::vector<KeyVersionInfo>> KmipKeyVault::list_versions(const std::string& key) {
  VAULTFS_RETURN_IF_ERROR(check_key_name("key", key));
  VAULTFS_ASSIGN_OR_RETURN(const auto versions, versions_of(key, client_.deadline()));
  std::vector<KeyVersionInfo> infos;
  std::ranges::transform(versions, std::back_inserter(infos), kmip_version_info);
  return infos;
}

Result<std::vector<std::string>> KmipKeyVault::list_keys() {
  const KmipDeadline deadline = client_.deadline();
  VAULTFS_ASSIGN_OR_RETURN(const std::vector<std::string> ids, client_.locate(std::nullopt, deadline));
  std::vector<std::string> keys;
  for (const std::string& id : ids) {
    const auto attributes = client_.attributes(id, deadline);
    if (!attributes.ok()) {
      // Gone meanwhile, or not for this client to look at.
      if (attributes.code() == ErrorCode::KeyVersionNotFound || attributes.code() == ErrorCode::KeyVaultDenied)
        continue;
      return attributes.error();
    }
    if (is_kmip_destroyed(attributes->state)) continue;
    std::ranges::copy_if(attributes->names, std::back_inserter(keys), is_key_name);
  }
  std::ranges::sort(keys);
  keys.erase(std::unique(keys.begin(), keys.end()), keys.end());  // clang 14 can't compile std::ranges::unique
  return keys;
}

// --- wrapping ---

Result<std::string> KmipKeyVault::wrap_algorithm(const std::string& key, const std::string& version) {
  VAULTFS_RETURN_IF_ERROR(find(key, version, client_.deadline()));
  return std::string(kKmipAlgorithm);
}

Status KmipKeyVault::check_may_wrap(const std::string& key, const KmipVersion& version) const {
  const KmipAttributes& attributes = version.attributes;
  const std::string what = named(key, version.id);
  const std::string rotate = "; make a new version with: vaultctl key rotate " + name_ + "/" + key;
  if (attributes.algorithm != kKmipAes || attributes.bits != kKmipKeyBits) {
    return Error{ErrorCode::KeySizeUnsupported, what + " is no AES-256 key" + rotate};
  }
  if (attributes.state == KmipState::pre_active) {
    return Error{ErrorCode::KeyVersionNotYetValid, what + " is Pre-Active; activate it at the KMIP server"};
  }
  if (attributes.state != KmipState::active) {
    return Error{ErrorCode::KeyVersionExpired, what + " is " + std::string(kmip_state_name(attributes.state)) +
                                                   ", which KMIP never takes back: it wraps no more" + rotate};
  }
  const KeyVersionInfo info = kmip_version_info(version);
  const std::int64_t now = env_.clock().now().seconds();
  if (info.expires && *info.expires <= now) {
    return Error{ErrorCode::KeyVersionExpired, what + " has expired: it wraps no more" + rotate};
  }
  if (!info.may_wrap(now)) {
    return Error{ErrorCode::KeyVersionNotYetValid, what + " is not yet valid: it wraps nothing before its nbf"};
  }
  constexpr std::int32_t kNeeded = kKmipEncrypt | kKmipDecrypt;
  if (attributes.usage_mask && (*attributes.usage_mask & kNeeded) != kNeeded) {
    return Error{ErrorCode::NotSupportedByProvider,
                 what + " may not both encrypt and decrypt by its usage mask: it is no KEK" + rotate};
  }
  return ok_status();
}

Result<Bytes> KmipKeyVault::wrap(const std::string& key, const std::string& version, ByteView plaintext) {
  if (plaintext.size() > kWrapLimitBytes) {
    return Error{ErrorCode::InvalidArgument, "a wrap holds at most " + std::to_string(kWrapLimitBytes) +
                                                 " bytes, not " + std::to_string(plaintext.size())};
  }
  const KmipDeadline deadline = client_.deadline();
  VAULTFS_ASSIGN_OR_RETURN(const KmipVersion found, find(key, version, deadline));
  VAULTFS_RETURN_IF_ERROR(check_may_wrap(key, found));
  VAULTFS_ASSIGN_OR_RETURN(const KmipSealed sealed,
                           client_.encrypt(version, bytes_of(kKekWrapAssociatedData), plaintext, deadline));
  return encode_kmip_wrap(sealed);
}

Result<SecretBuffer> KmipKeyVault::unwrap(const std::string& key, const std::string& version,
                                          std::string_view algorithm, ByteView wrapped) {
  if (algorithm != kKmipAlgorithm) {
    return Error{ErrorCode::NotSupportedByProvider, "a KMIP key vault unwraps " + std::string(kKmipAlgorithm) +
                                                        " only; this was wrapped by another key vault"};
  }
  const KmipDeadline deadline = client_.deadline();
  VAULTFS_ASSIGN_OR_RETURN(const KmipVersion found, find(key, version, deadline));
  VAULTFS_ASSIGN_OR_RETURN(const KmipSealed sealed, decode_kmip_wrap(wrapped));
  return decrypt(key, found, sealed, deadline);
}

Result<SecretBuffer> KmipKeyVault::decrypt(const std::string& key, const KmipVersion& version, const KmipSealed& sealed,
                                           const KmipDeadline& deadline) {
  VAULTFS_ASSIGN_OR_RETURN(KmipDecrypted answer,
                           client_.decrypt(version.id, bytes_of(kKekWrapAssociatedData), sealed, deadline));
  if (!answer.refusal) return std::move(answer.plaintext);
  const Error refused = refused_to_decrypt(key, version, *answer.refusal, deadline);
  if (refused.code != ErrorCode::AuthenticationFailed) return refused;
  // The server works, so it is the bytes, unless it has only just begun to work again: once more, to be certain.
  VAULTFS_ASSIGN_OR_RETURN(answer, client_.decrypt(version.id, bytes_of(kKekWrapAssociatedData), sealed, deadline));
  if (!answer.refusal) return std::move(answer.plaintext);
  return refused_to_decrypt(key, version, *answer.refusal, deadline);
}

// What a refused Decrypt means. Bytes that do not open have no reason of their own: PyKMIP gives "general failure",
// which is also what it says when its database fails. Only a server that opens something else under the same version
// proves that it is about the bytes.
Error KmipKeyVault::refused_to_decrypt(const std::string& key, const KmipVersion& version, const KmipRefusal& refusal,
                                       const KmipDeadline& deadline) {
  Error plain = KmipClient::refusal_error(KmipOperation::decrypt, refusal);
  if (refusal.reason == KmipReason::item_not_found) return version_not_found(key, version.id);
  if (refusal.reason == KmipReason::authentication_not_successful) return plain;

  // The state may have changed since it was read.
  KmipState state = version.attributes.state;
  if (state == KmipState::active) {
    const auto now = client_.attributes(version.id, deadline);
    if (!now.ok()) return now.error();
    state = now->state;
  }
  const std::string what = named(key, version.id) + " is " + std::string(kmip_state_name(state));
  if (state == KmipState::pre_active) {
    return {ErrorCode::KeyVersionDisabled, what + "; activate it at the KMIP server"};
  }
  if (is_kmip_destroyed(state)) return version_not_found(key, version.id);
  if (state != KmipState::active) {
    return {ErrorCode::KeyVersionDisabled,
            what +
                " and the KMIP server opens nothing with it any more. KMIP takes that "
                "never back: only a server that lets such a key decrypt opens this again (" +
                plain.message + ")"};
  }
  switch (plain.code) {
    case ErrorCode::KeyVaultUnavailable:     // general failure, cryptographic failure, …
    case ErrorCode::NotSupportedByProvider:  // invalid field, …
      if (!decrypts_what_it_encrypts(version.id, deadline)) return plain;
      return {ErrorCode::AuthenticationFailed, "the wrapped bytes do not open under " + named(key, version.id) +
                                                   ": they are damaged or were wrapped by another one"};
    default:
      return plain;
  }
}

bool KmipKeyVault::decrypts_what_it_encrypts(const std::string& id, const KmipDeadline& deadline) {
  Bytes probe(kProbeBytes);
  env_.fill_random(probe);
  const auto sealed = client_.encrypt(id, bytes_of(kKekWrapAssociatedData), probe, deadline);
  if (!sealed.ok()) return false;
  const auto opened = client_.decrypt(id, bytes_of(kKekWrapAssociatedData), *sealed, deadline);
  return opened.ok() && !opened->refusal && constant_time_equal(opened->plaintext.view(), probe);
}

// --- administration ---

// Takes back a version that was made but can't be used, and gives the error to go on with.
Error KmipKeyVault::undo(const std::string& id, Error error) {
  const Status gone = client_.destroy(id, KmipDeadline(env_.clock(), kCleanupTime));
  if (!gone.ok()) {
    error.message += "; the object " + id + " was left at the KMIP server (" + gone.error().message + "): destroy it";
  }
  return error;
}

// The new object as its server has it. It is not active yet, so nobody uses it and it can still be destroyed.
Result<KmipVersion> KmipKeyVault::check_newest(const std::string& key, const std::string& id, bool first,
                                               const KmipDeadline& deadline) {
  VAULTFS_ASSIGN_OR_RETURN(const auto versions, versions_of(key, deadline));
  if (first && versions.size() > 1) {
    return Error{ErrorCode::KeyExists, "somebody else has made the key " + name_ + "/" + key + " at the same time"};
  }
  if (versions.back().id == id) return versions.back();
  return Error{ErrorCode::TryAgain, "the new version of " + name_ + "/" + key +
                                        " would not be the newest: somebody rotates it at the same time, or the KMIP "
                                        "server's clock went back; try again in some seconds"};
}

// An Activate that failed may have been done: an answer that is lost is asked for again, and the second time a server
// refuses. What is Active is in use from then on and must not be destroyed.
Status KmipKeyVault::check_activated(const std::string& id, Error error) {
  const auto now = client_.attributes(id, KmipDeadline(env_.clock(), kCleanupTime));
  if (now.ok() && now->state == KmipState::active) return ok_status();
  if (now.ok() && now->state == KmipState::pre_active) return undo(id, std::move(error));
  error.message += "; whether the new version " + id +
                   " is active is not known (see vaultctl key list): destroy it only if it is not";
  return error;
}

Result<KeyVersionInfo> KmipKeyVault::make_version(const std::string& key, bool first, const KmipDeadline& deadline) {
  const auto made = client_.create(key, deadline);
  if (!made.ok()) {
    if (made.code() == ErrorCode::KeyVaultUnavailable) {
      return with_context(made.error(), "whether a version was made is not known (see vaultctl key list)");
    }
    if (first || made.code() != ErrorCode::NotSupportedByProvider) return made.error();
    return with_context(made.error(), "the KMIP server may not take a second object named " + key);
  }
  auto version = check_newest(key, *made, first, deadline);
  if (!version.ok()) return undo(*made, version.error());
  const Status active = client_.activate(*made, deadline);
  if (!active.ok()) VAULTFS_RETURN_IF_ERROR(check_activated(*made, active.error()));
  version->attributes.state = KmipState::active;
  return kmip_version_info(*version);
}

Result<KeyVersionInfo> KmipKeyVault::create_key(const std::string& key, const KeyOptions& options) {
  VAULTFS_RETURN_IF_ERROR(check_key_name("key", key));
  if (options.not_before || options.expires) {
    return not_supported("give a key version dates", "set them at the KMIP server");
  }
  const KmipDeadline deadline = client_.deadline();
  const auto there = versions_of(key, deadline);
  if (there.ok()) {
    return Error{ErrorCode::KeyExists, "key " + name_ + "/" + key +
                                           " exists already; for a new version of it: vaultctl key rotate " + name_ +
                                           "/" + key};
  }
  if (there.code() != ErrorCode::KeyNotFound) return there.error();
  return make_version(key, true, deadline);
}

Result<KeyVersionInfo> KmipKeyVault::rotate_key(const std::string& key, const KeyOptions& options, bool) {
  VAULTFS_RETURN_IF_ERROR(check_key_name("key", key));
  if (options.not_before || options.expires) {
    return not_supported("give a key version dates", "set them at the KMIP server");
  }
  const KmipDeadline deadline = client_.deadline();
  VAULTFS_RETURN_IF_ERROR(versions_of(key, deadline));
  return make_version(key, false, deadline);
}

Status KmipKeyVault::set_enabled(const std::string&, const std::string&, bool enabled) {
  return not_supported(enabled ? "enable a key version" : "disable a key version reversibly",
                       "KMIP's Revoke is for good; to stop its use for a while, take the permission of the client "
                       "certificate away at the KMIP server");
}

Status KmipKeyVault::delete_key(const std::string&) {
  return not_supported(
      "delete a key in a way that can be taken back",
      "KMIP's Destroy is for good; do it with the KMIP server's own tools once no vault needs the key");
}

}  // namespace

Result<std::unique_ptr<AdministeredKeyVault>> open_kmip_key_vault(const ProviderContext& context,
                                                                  const KmipRetryPlan& retry) {
  VAULTFS_ASSIGN_OR_RETURN(KmipSettings settings, kmip_settings(context.options, context.identity));
  return std::unique_ptr<AdministeredKeyVault>(
      std::make_unique<KmipKeyVault>(context.env, context.name, std::move(settings), retry));
}

Result<std::unique_ptr<AdministeredKeyVault>> open_kmip_key_vault(const ProviderContext& context) {
  return open_kmip_key_vault(context, KmipRetryPlan{});
}

}  // namespace vaultfs
