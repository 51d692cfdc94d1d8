#include "crypto/keyvault/azure/azure_key_vault.h"

#include <algorithm>
#include <array>
#include <utility>

#include "crypto/keyvault/azure/connection.h"
#include "crypto/keyvault/azure/keys.h"
#include "crypto/keyvault/azure/options.h"
#include "crypto/keyvault/azure/rotation_policy.h"
#include "crypto/keyvault/http/curl.h"
#include "crypto/keyvault/key_ref.h"
#include "crypto/keyvault/wrap_times.h"
#include "crypto/memory/base64.h"

namespace vaultfs {
namespace {

constexpr std::string_view kAzureAlgorithm = "RSA-OAEP-256";
// What RSA-OAEP-256 holds under 2048 bits (RFC 8017 section 7.1.1).
constexpr std::array<unsigned, 3> kSizes{2048, 3072, 4096};

class AzureKeyVault final : public AdministeredKeyVault {
 public:
  AzureKeyVault(const ProviderContext& context, AzureOptions options, HttpMeans means)
      : env_(context.env),
        name_(context.name),
        connection_(context.env, context.name, std::move(options), std::move(means)),
        keys_(connection_, context.name) {}

  [[nodiscard]] const std::string& name() const override { return name_; }
  Result<KeyVaultProperties> properties() override;
  Result<KeyVaultPlace> place() override { return KeyVaultPlace{connection_.options().address.origin()}; }
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
  Status recover_key(const std::string& key) override;
  Status purge_key(const std::string& key) override;
  Result<std::optional<RotationPolicyText>> describe_rotation_policy(const std::string& key) override;
  Status set_rotation_policy(const std::string& key, const std::optional<RotationPolicy>& policy) override;

 private:
  [[nodiscard]] Result<AzureKey> find_usable(HttpCall& call, const std::string& key, const std::string& version);
  // wrapkey or unwrapkey of one version.
  [[nodiscard]] Result<SecretBuffer> transform(HttpCall& call, const std::string& verb, const std::string& key,
                                               const std::string& version, ByteView value);
  [[nodiscard]] Result<KeyVersionInfo> make_version(HttpCall& call, const std::string& key, const KeyOptions& options,
                                                    unsigned bits);
  // A change of a key as a whole; `missing` if there is none.
  [[nodiscard]] Status change_key(HttpCall& call, HttpRequest request, const std::string& key);
  [[nodiscard]] Result<AzureRotationPolicy> read_rotation_policy(HttpCall& call, const std::string& key);
  [[nodiscard]] std::string reference(const std::string& key, const std::string& version) const {
    return name_ + "/" + key + "/" + version;
  }

  Env& env_;
  const std::string name_;
  AzureConnection connection_;
  AzureKeys keys_;
};

Status check_new_version(const KeyOptions& options, unsigned bits) {
  if (std::ranges::find(kSizes, bits) == kSizes.end()) {
    return Error{ErrorCode::KeySizeUnsupported, "a key is RSA of 2048, 3072 or 4096 bits, not " + std::to_string(bits)};
  }
  if (options.not_before && options.expires && *options.expires <= *options.not_before) {
    return Error{ErrorCode::InvalidArgument, "the version would expire before it becomes valid; give an exp after nbf"};
  }
  return ok_status();
}

// --- reading ---

Result<KeyVaultProperties> AzureKeyVault::properties() {
  return without_bad_alloc([&]() -> Result<KeyVaultProperties> {
    HttpCall call = connection_.begin();
    VAULTFS_ASSIGN_OR_RETURN(const auto attributes, keys_.attributes_of_any(call));
    KeyVaultProperties properties;
    properties.provider = "azure";
    if (!connection_.options().region.empty()) properties.region = connection_.options().region;
    if (attributes) {
      properties.soft_delete = attributes->soft_delete();
      properties.purge_protection = attributes->purge_protection();
    }
    properties.location = connection_.options().address.origin();
    return properties;
  });
}

Result<std::vector<KeyVersionInfo>> AzureKeyVault::list_versions(const std::string& key) {
  return without_bad_alloc([&] {
    HttpCall call = connection_.begin();
    return keys_.versions(call, key);
  });
}

Result<std::vector<std::string>> AzureKeyVault::list_keys() {
  return without_bad_alloc([&] {
    HttpCall call = connection_.begin();
    return keys_.names(call);
  });
}

Result<AzureKey> AzureKeyVault::find_usable(HttpCall& call, const std::string& key, const std::string& version) {
  VAULTFS_ASSIGN_OR_RETURN(AzureKey found, keys_.version(call, key, version));
  if (found.type.ends_with(kAzureOfCertificate)) {
    return Error{ErrorCode::KeyOfCertificate,
                 "the key " + reference(key, version) +
                     " is part of a certificate, and comes and goes with it; create a key of its own"};
  }
  if (found.type != "RSA") {
    return Error{ErrorCode::KeyNotRsa,
                 "the key " + reference(key, version) + " is of type " + found.type + "; a key that wraps is RSA"};
  }
  if (!found.attributes.enabled) {
    return Error{ErrorCode::KeyVersionDisabled, "the key version " + reference(key, version) +
                                                    " is disabled; to enable it: vaultctl key enable " +
                                                    reference(key, version)};
  }
  return found;
}

Result<std::string> AzureKeyVault::wrap_algorithm(const std::string& key, const std::string& version) {
  return without_bad_alloc([&]() -> Result<std::string> {
    HttpCall call = connection_.begin();
    VAULTFS_RETURN_IF_ERROR(find_usable(call, key, version));
    return std::string(kAzureAlgorithm);
  });
}

// --- wrapping ---

Result<SecretBuffer> AzureKeyVault::transform(HttpCall& call, const std::string& verb, const std::string& key,
                                              const std::string& version, ByteView value) {
  HttpRequest request = connection_.request("POST", "keys", key, version, verb);
  request.body.append(R"({"alg":")").append(kAzureAlgorithm).append(R"(","value":")");
  request.body.append(locked_base64(value, Base64::url_unpadded)).append("\"}");
  VAULTFS_ASSIGN_OR_RETURN(const HttpAnswer answer,
                           connection_.send(call, std::move(request), kServiceRetries, verb == "unwrapkey"));
  auto result = parse_azure_value(answer.body, connection_.options().address, key, version);
  if (!result.ok()) return with_context(result.error(), "the key vault " + name_);
  return result;
}

Result<Bytes> AzureKeyVault::wrap(const std::string& key, const std::string& version, ByteView plaintext) {
  if (plaintext.size() > kWrapLimitBytes) {
    return Error{ErrorCode::InvalidArgument, "a wrap holds at most " + std::to_string(kWrapLimitBytes) +
                                                 " bytes, not " + std::to_string(plaintext.size())};
  }
  return without_bad_alloc([&]() -> Result<Bytes> {
    HttpCall call = connection_.begin();
    VAULTFS_ASSIGN_OR_RETURN(const AzureKey found, find_usable(call, key, version));
    VAULTFS_RETURN_IF_ERROR(
        check_wrap_times(name_ + "/" + key, AzureKeys::info_of(found), env_.clock().now().seconds()));
    VAULTFS_ASSIGN_OR_RETURN(const SecretBuffer wrapped, transform(call, "wrapkey", key, version, plaintext));
    if (wrapped.size() == (std::size_t{found.bits} + 7) / 8) return to_bytes(wrapped.view());
    return Error{ErrorCode::KeyVaultUnavailable, "the key vault " + name_ + " gave a wrap of a wrong length"};
  });
}

Result<SecretBuffer> AzureKeyVault::unwrap(const std::string& key, const std::string& version,
                                           std::string_view algorithm, ByteView wrapped) {
  if (algorithm != kAzureAlgorithm) {
    return Error{ErrorCode::NotSupportedByProvider, "the key vault " + name_ + " (azure) unwraps " +
                                                        std::string(kAzureAlgorithm) +
                                                        " only; this was wrapped by another key vault"};
  }
  return without_bad_alloc([&]() -> Result<SecretBuffer> {
    HttpCall call = connection_.begin();
    VAULTFS_ASSIGN_OR_RETURN(const AzureKey found, find_usable(call, key, version));
    const Error does_not_open{
        ErrorCode::AuthenticationFailed,
        "the wrapped bytes do not open under " + reference(key, version) + ": they are damaged, or of another key"};
    // An RSA ciphertext is as long as the modulus; the service need not see what isn't.
    if (wrapped.size() != (found.bits + 7) / 8) return does_not_open;
    auto plaintext = transform(call, "unwrapkey", key, version, wrapped);
    if (!plaintext.ok() && plaintext.code() == ErrorCode::AuthenticationFailed) return does_not_open;
    return plaintext;
  });
}

// --- administration ---

Result<KeyVersionInfo> AzureKeyVault::make_version(HttpCall& call, const std::string& key, const KeyOptions& options,
                                                   unsigned bits) {
  VAULTFS_RETURN_IF_ERROR(check_new_version(options, bits));
  HttpRequest request = connection_.request("POST", "keys", key, "create");
  request.body.append(R"({"kty":"RSA","key_size":)").append(std::to_string(bits));
  request.body.append(R"(,"key_ops":["wrapKey","unwrapKey"],"attributes":{"enabled":true)");
  if (options.not_before) request.body.append(",\"nbf\":").append(std::to_string(*options.not_before));
  if (options.expires) request.body.append(",\"exp\":").append(std::to_string(*options.expires));
  request.body.append("}}");
  auto answer = connection_.send(call, std::move(request), kUnrepeatable);
  if (!answer.ok()) {
    if (answer.code() != ErrorCode::KeyExists) return answer.error();
    return Error{ErrorCode::KeyExists,
                 "the name " + name_ + "/" + key + " belongs to a deleted key; recover that one, or purge it"};
  }
  VAULTFS_ASSIGN_OR_RETURN(const AzureKey made, parse_azure_key(answer->body, connection_.options().address));
  return AzureKeys::info_of(made);
}

Result<KeyVersionInfo> AzureKeyVault::create_key(const std::string& key, const KeyOptions& options) {
  VAULTFS_RETURN_IF_ERROR(check_new_version(options, options.bits));
  return without_bad_alloc([&]() -> Result<KeyVersionInfo> {
    HttpCall call = connection_.begin();
    const auto there = keys_.newest(call, key);
    if (there.ok()) {
      return Error{ErrorCode::KeyExists, "the key vault " + name_ + " has a key " + key + " already; rotate it"};
    }
    if (there.code() != ErrorCode::KeyNotFound) return there.error();
    return make_version(call, key, options, options.bits);
  });
}

Result<KeyVersionInfo> AzureKeyVault::rotate_key(const std::string& key, const KeyOptions& options, bool keep_bits) {
  return without_bad_alloc([&]() -> Result<KeyVersionInfo> {
    HttpCall call = connection_.begin();
    VAULTFS_ASSIGN_OR_RETURN(const AzureKey newest, keys_.newest(call, key));
    if (newest.type != "RSA") {
      return Error{ErrorCode::KeyNotRsa, "the key " + name_ + "/" + key + " is of type " + newest.type + ", not RSA"};
    }
    const unsigned bits = keep_bits ? newest.bits : options.bits;
    // The service's own rotation keeps type and size, and sets the dates of the key's rotation policy.
    if (bits != newest.bits || options.not_before || options.expires) return make_version(call, key, options, bits);
    VAULTFS_ASSIGN_OR_RETURN(const HttpAnswer answer,
                             connection_.send(call, connection_.request("POST", "keys", key, "rotate"), kUnrepeatable));
    VAULTFS_ASSIGN_OR_RETURN(const AzureKey made, parse_azure_key(answer.body, connection_.options().address));
    return AzureKeys::info_of(made);
  });
}

Status AzureKeyVault::set_enabled(const std::string& key, const std::string& version, bool enabled) {
  return without_bad_alloc([&]() -> Status {
    HttpCall call = connection_.begin();
    VAULTFS_ASSIGN_OR_RETURN(const AzureKey found, keys_.version(call, key, version));
    if (found.attributes.enabled == enabled) return ok_status();
    HttpRequest request = connection_.request("PATCH", "keys", key, version);
    request.body.append(R"({"attributes":{"enabled":)").append(enabled ? "true" : "false").append("}}");
    VAULTFS_ASSIGN_OR_RETURN(const HttpAnswer answer, connection_.send(call, std::move(request)));
    VAULTFS_ASSIGN_OR_RETURN(const AzureKey changed, parse_azure_key(answer.body, connection_.options().address));
    if (changed.id.version == found.id.version && changed.attributes.enabled == enabled) return ok_status();
    return Error{ErrorCode::KeyVaultUnavailable,
                 "the key vault " + name_ + " did not change " + reference(key, version) + " as it was asked to"};
  });
}

Status AzureKeyVault::change_key(HttpCall& call, HttpRequest request, const std::string& key) {
  VAULTFS_RETURN_IF_ERROR(check_key_name("key", key));
  const auto answer = connection_.send(call, std::move(request), kUnrepeatable);
  if (answer.ok()) return ok_status();
  if (answer.code() != ErrorCode::KeyExists) return answer.error();
  // While a deletion or a recovery is under way.
  return Error{ErrorCode::TryAgain, "the key " + name_ + "/" + key + " is being changed (" + answer.error().message +
                                        "); try again in some seconds"};
}

Status AzureKeyVault::delete_key(const std::string& key) {
  return without_bad_alloc([&] {
    HttpCall call = connection_.begin();
    return change_key(call, connection_.request("DELETE", "keys", key), key);
  });
}

Status AzureKeyVault::recover_key(const std::string& key) {
  return without_bad_alloc([&] {
    HttpCall call = connection_.begin();
    return change_key(call, connection_.request("POST", "deletedkeys", key, "recover"), key);
  });
}

Status AzureKeyVault::purge_key(const std::string& key) {
  return without_bad_alloc([&]() -> Status {
    VAULTFS_RETURN_IF_ERROR(check_key_name("key", key));
    HttpCall call = connection_.begin();
    VAULTFS_ASSIGN_OR_RETURN(const HttpAnswer answer,
                             connection_.send(call, connection_.request("GET", "deletedkeys", key)));
    VAULTFS_ASSIGN_OR_RETURN(const AzureKey deleted, parse_azure_key(answer.body, connection_.options().address));
    if (deleted.attributes.purge_protection().value_or(false)) {
      return Error{ErrorCode::PurgeProtected, "the key vault " + name_ + " has purge protection: the deleted key " +
                                                  key + " goes when its retention ends, not before"};
    }
    return change_key(call, connection_.request("DELETE", "deletedkeys", key), key);
  });
}

// --- rotation policies: the service runs them ---

Result<AzureRotationPolicy> AzureKeyVault::read_rotation_policy(HttpCall& call, const std::string& key) {
  VAULTFS_RETURN_IF_ERROR(check_key_name("key", key));
  const auto answer = connection_.send(call, connection_.request("GET", "keys", key, "rotationpolicy"));
  if (!answer.ok()) {
    if (answer.code() != ErrorCode::KeyNotFound) return answer.error();
    return Error{ErrorCode::KeyNotFound, "the key vault " + name_ + " has no key " + key};
  }
  auto policy = parse_azure_rotation_policy(answer->body);
  if (!policy.ok()) return with_context(policy.error(), "the key vault " + name_);
  return policy;
}

Result<std::optional<RotationPolicyText>> AzureKeyVault::describe_rotation_policy(const std::string& key) {
  return without_bad_alloc([&]() -> Result<std::optional<RotationPolicyText>> {
    HttpCall call = connection_.begin();
    VAULTFS_ASSIGN_OR_RETURN(const AzureRotationPolicy policy, read_rotation_policy(call, key));
    return policy.rotation();
  });
}

Status AzureKeyVault::set_rotation_policy(const std::string& key, const std::optional<RotationPolicy>& policy) {
  if (policy) VAULTFS_RETURN_IF_ERROR(policy->check());
  return without_bad_alloc([&]() -> Status {
    HttpCall call = connection_.begin();
    VAULTFS_ASSIGN_OR_RETURN(const AzureRotationPolicy before, read_rotation_policy(call, key));
    const AzureRotationPolicy wanted = before.with(policy);
    HttpRequest request = connection_.request("PUT", "keys", key, "rotationpolicy");
    request.body = wanted.to_json();
    VAULTFS_ASSIGN_OR_RETURN(const HttpAnswer answer, connection_.send(call, std::move(request)));
    VAULTFS_ASSIGN_OR_RETURN(const AzureRotationPolicy now, parse_azure_rotation_policy(answer.body));
    if (now.rotation() == wanted.rotation()) return ok_status();
    return Error{ErrorCode::KeyVaultUnavailable,
                 "the key vault " + name_ + " did not set the rotation policy of " + key + " as it was asked to"};
  });
}

}  // namespace

Status check_azure_options(const ProviderOptions& options) {
  VAULTFS_RETURN_IF_ERROR(AzureOptions::parse(options, {}));
  return ok_status();
}

Result<std::unique_ptr<AdministeredKeyVault>> open_azure_key_vault(const ProviderContext& context) {
  VAULTFS_ASSIGN_OR_RETURN(const AzureOptions options, AzureOptions::parse(context.options, context.identity));
  return open_azure_key_vault(context, {make_curl_transport(context.env, options.tls), sleep_for_real});
}

Result<std::unique_ptr<AdministeredKeyVault>> open_azure_key_vault(const ProviderContext& context, HttpMeans means) {
  VAULTFS_ASSIGN_OR_RETURN(AzureOptions options, AzureOptions::parse(context.options, context.identity));
  return std::unique_ptr<AdministeredKeyVault>(
      std::make_unique<AzureKeyVault>(context, std::move(options), std::move(means)));
}

}  // namespace vaultfs
