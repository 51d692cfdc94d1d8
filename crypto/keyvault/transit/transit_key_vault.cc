#include "crypto/keyvault/transit/transit_key_vault.h"

#include <algorithm>
#include <atomic>
#include <utility>

#include "crypto/keyvault/http/curl.h"
#include "crypto/keyvault/http/json_answer.h"
#include "crypto/keyvault/key_ref.h"
#include "crypto/keyvault/transit/answers.h"
#include "crypto/keyvault/transit/connection.h"
#include "crypto/keyvault/transit/options.h"
#include "crypto/memory/base64.h"

namespace vaultfs {
namespace {

// The length of what the engine makes of 190 bytes under RSA-4096, and much more.
constexpr std::size_t kWrappedLimitBytes = 4096;
constexpr std::string_view kAesAlgorithm = "transit-aes256-gcm96";
constexpr std::string_view kRsaAlgorithm = "transit-rsa-oaep-256";
constexpr std::string_view kNewKeyType = "aes256-gcm96";

class TransitKeyVault final : public AdministeredKeyVault {
 public:
  TransitKeyVault(const ProviderContext& context, TransitOptions options, HttpMeans means)
      : name_(context.name), connection_(context.env, context.name, std::move(options), std::move(means)) {}

  [[nodiscard]] const std::string& name() const override { return name_; }
  Result<KeyVaultProperties> properties() override;
  Result<KeyVaultPlace> place() override;
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

 private:
  // A version that exists, with what the engine says of its key.
  struct Found {
    TransitKey key;
    std::int64_t version = 0;
    std::string_view algorithm;  // empty if the key cannot wrap
  };

  [[nodiscard]] Result<TransitKey> read_key(HttpCall& call, const std::string& key);
  [[nodiscard]] Result<Found> find(HttpCall& call, const std::string& key, const std::string& version);
  [[nodiscard]] Result<Found> find_usable(HttpCall& call, const std::string& key, const std::string& version);
  [[nodiscard]] Status check_may_wrap(const Found& found, const std::string& key) const;
  [[nodiscard]] Status set_floor(HttpCall& call, const std::string& key, const TransitKey& state, std::int64_t floor);
  [[nodiscard]] Status check_no_dates(const KeyOptions& options);
  [[nodiscard]] Error version_not_found(const std::string& key, std::string_view version) const;
  [[nodiscard]] Error does_not_open(const std::string& key, const std::string& version) const;
  [[nodiscard]] std::string reference(const std::string& key, std::string_view version) const {
    return name_ + "/" + key + "/" + std::string(version);
  }

  // NotSupportedByProvider unless the ciphertext, which was made with associated data, opens with them only.
  [[nodiscard]] Status check_authenticates(HttpCall& call, const std::string& key, std::string_view ciphertext);

  const std::string name_;
  TransitConnection connection_;
  std::atomic<bool> authenticates_{false};  // the server was seen to heed associated data
};

std::string_view algorithm_of(const TransitKey& key) noexcept {
  if (key.derived) return {};
  if (key.type == "aes256-gcm96") return kAesAlgorithm;
  if (key.type == "rsa-2048" || key.type == "rsa-3072" || key.type == "rsa-4096") return kRsaAlgorithm;
  return {};
}

// Without it an AES key's answers could be used for another purpose of the same key. RSA keys take none.
void append_associated_data(LockedText& body, std::string_view algorithm) {
  if (algorithm != kAesAlgorithm) return;
  body.append(R"(,"associated_data":")")
      .append(locked_base64(bytes_of(kKekWrapAssociatedData), Base64::standard_padded));
  body += '"';
}

// --- reading ---

Error TransitKeyVault::version_not_found(const std::string& key, std::string_view version) const {
  return {ErrorCode::KeyVersionNotFound,
          "the key " + name_ + "/" + key + " has no version " + printable(version) + " (or it was trimmed)"};
}

Error TransitKeyVault::does_not_open(const std::string& key, const std::string& version) const {
  return {ErrorCode::AuthenticationFailed,
          "the wrapped bytes do not open under " + reference(key, version) + ": they are damaged, or of another key"};
}

Result<TransitKey> TransitKeyVault::read_key(HttpCall& call, const std::string& key) {
  VAULTFS_RETURN_IF_ERROR(check_key_name("key", key));
  auto answer = connection_.send(call, connection_.request("GET", "keys", key));
  if (!answer.ok()) {
    if (answer.code() != ErrorCode::KeyNotFound) return answer.error();
    return Error{ErrorCode::KeyNotFound,
                 "the key vault " + name_ + " has no key " + key + " under its mount " + connection_.options().mount};
  }
  auto parsed = parse_transit_key(answer->body);
  if (!parsed.ok()) return with_context(parsed.error(), "the key vault " + name_);
  return parsed;
}

Result<TransitKeyVault::Found> TransitKeyVault::find(HttpCall& call, const std::string& key,
                                                     const std::string& version) {
  Found found;
  VAULTFS_ASSIGN_OR_RETURN(found.key, read_key(call, key));
  const auto number = transit_version(version);
  if (!number || !found.key.exists(*number)) return version_not_found(key, version);
  found.version = *number;
  found.algorithm = algorithm_of(found.key);
  return found;
}

Result<TransitKeyVault::Found> TransitKeyVault::find_usable(HttpCall& call, const std::string& key,
                                                            const std::string& version) {
  VAULTFS_ASSIGN_OR_RETURN(Found found, find(call, key, version));
  if (found.algorithm.empty()) {
    return not_supported(
        "wrap with the key " + key + " of type " + found.key.type + (found.key.derived ? ", derived" : ""),
        "use a key of type aes256-gcm96 (not derived), rsa-2048, rsa-3072 or rsa-4096");
  }
  if (!found.key.is_enabled(found.version)) {
    return Error{ErrorCode::KeyVersionDisabled, "the key version " + reference(key, version) +
                                                    " is disabled: it is below the key's " + "min_decryption_version " +
                                                    std::to_string(found.key.min_decryption_version)};
  }
  return found;
}

Result<KeyVaultProperties> TransitKeyVault::properties() {
  KeyVaultProperties properties;
  properties.provider = "transit";
  // The engine has neither regions nor soft delete: where it is says its registration.
  if (!connection_.options().region.empty()) properties.region = connection_.options().region;
  properties.location = connection_.options().address.origin();
  return properties;
}

// A namespace may be written into the mount's path as well.
Result<KeyVaultPlace> TransitKeyVault::place() {
  const TransitOptions& options = connection_.options();
  const std::string name_space = options.name_space.empty() ? "" : options.name_space + "/";
  return KeyVaultPlace{options.address.origin() + "/" + name_space + options.mount};
}

Result<std::vector<KeyVersionInfo>> TransitKeyVault::list_versions(const std::string& key) {
  return without_bad_alloc([&]() -> Result<std::vector<KeyVersionInfo>> {
    HttpCall call = connection_.begin();
    VAULTFS_ASSIGN_OR_RETURN(const TransitKey state, read_key(call, key));
    return state.versions();
  });
}

Result<std::string> TransitKeyVault::wrap_algorithm(const std::string& key, const std::string& version) {
  return without_bad_alloc([&]() -> Result<std::string> {
    HttpCall call = connection_.begin();
    VAULTFS_ASSIGN_OR_RETURN(const Found found, find_usable(call, key, version));
    return std::string(found.algorithm);
  });
}

Result<std::vector<std::string>> TransitKeyVault::list_keys() {
  return without_bad_alloc([&]() -> Result<std::vector<std::string>> {
    HttpCall call = connection_.begin();
    HttpRequest request = connection_.request("GET", "keys");
    request.url = request.url.with("list", "true");
    const auto answer = connection_.send(call, std::move(request));
    if (!answer.ok()) {
      // So the engine says that there are none.
      if (answer.code() == ErrorCode::KeyNotFound) return std::vector<std::string>();
      return answer.error();
    }
    return parse_transit_key_names(answer->body);
  });
}

// --- wrapping ---

Status TransitKeyVault::check_may_wrap(const Found& found, const std::string& key) const {
  if (found.version >= found.key.min_encryption_version) return ok_status();
  return Error{ErrorCode::KeyVersionExpired, "the key version " + reference(key, std::to_string(found.version)) +
                                                 " wraps no more: it is below the key's min_encryption_version " +
                                                 std::to_string(found.key.min_encryption_version) +
                                                 "; it still unwraps"};
}

Result<Bytes> TransitKeyVault::wrap(const std::string& key, const std::string& version, ByteView plaintext) {
  if (plaintext.size() > kWrapLimitBytes) {
    return Error{ErrorCode::InvalidArgument, "a wrap holds at most " + std::to_string(kWrapLimitBytes) +
                                                 " bytes, not " + std::to_string(plaintext.size())};
  }
  return without_bad_alloc([&]() -> Result<Bytes> {
    HttpCall call = connection_.begin();
    // Also because encrypting under a key that is missing would create it.
    VAULTFS_ASSIGN_OR_RETURN(const Found found, find_usable(call, key, version));
    VAULTFS_RETURN_IF_ERROR(check_may_wrap(found, key));
    HttpRequest request = connection_.request("POST", "encrypt", key);
    request.body = R"({"plaintext":")";
    request.body.append(locked_base64(plaintext, Base64::standard_padded)).append(R"(","key_version":)");
    request.body.append(std::to_string(found.version));
    append_associated_data(request.body, found.algorithm);
    request.body += '}';
    VAULTFS_ASSIGN_OR_RETURN(const HttpAnswer answer, connection_.send(call, std::move(request)));
    const auto ciphertext = parse_transit_ciphertext(answer.body, found.version);
    if (!ciphertext.ok()) return with_context(ciphertext.error(), "the key vault " + name_);
    if (found.algorithm == kAesAlgorithm) VAULTFS_RETURN_IF_ERROR(check_authenticates(call, key, *ciphertext));
    return to_bytes(bytes_of(*ciphertext));
  });
}

// Servers before Vault 1.13 ignore the field that they do not know, when they encrypt and when they decrypt. Such a
// wrap would open until the server is updated, and never again.
Status TransitKeyVault::check_authenticates(HttpCall& call, const std::string& key, std::string_view ciphertext) {
  if (authenticates_) return ok_status();
  HttpRequest request = connection_.request("POST", "decrypt", key);
  request.body = R"({"ciphertext":")";
  request.body.append(ciphertext).append("\"}");
  const auto opened = connection_.send(call, std::move(request));
  if (opened.ok()) {
    return not_supported("wrap with associated data: the server takes no notice of them",
                         "update it to Vault 1.13 or later, or to OpenBao");
  }
  if (opened.code() != ErrorCode::AuthenticationFailed) return opened.error();
  authenticates_ = true;
  return ok_status();
}

Result<SecretBuffer> TransitKeyVault::unwrap(const std::string& key, const std::string& version,
                                             std::string_view algorithm, ByteView wrapped) {
  return without_bad_alloc([&]() -> Result<SecretBuffer> {
    HttpCall call = connection_.begin();
    VAULTFS_ASSIGN_OR_RETURN(const Found found, find_usable(call, key, version));
    if (algorithm != found.algorithm) {
      return not_supported("unwrap by \"" + printable(algorithm) + "\" with the key " + key,
                           "this was wrapped by another key, or by another key vault");
    }
    // The engine skips line breaks and spare bits in base64; what is not exactly what it gave does not open here.
    const std::string_view ciphertext = text_of(wrapped);
    if (wrapped.size() > kWrappedLimitBytes || transit_ciphertext_version(ciphertext) != found.version) {
      return does_not_open(key, version);
    }
    HttpRequest request = connection_.request("POST", "decrypt", key);
    request.body = R"({"ciphertext":")";
    request.body.append(ciphertext) += '"';
    append_associated_data(request.body, found.algorithm);
    request.body += '}';
    const auto answer = connection_.send(call, std::move(request));
    if (!answer.ok()) {
      if (answer.code() == ErrorCode::AuthenticationFailed) return does_not_open(key, version);
      return answer.error();
    }
    auto plaintext = parse_transit_plaintext(answer->body);
    if (!plaintext.ok()) return with_context(plaintext.error(), "the key vault " + name_);
    return plaintext;
  });
}

// --- administration ---

Status TransitKeyVault::check_no_dates(const KeyOptions& options) {
  if (!options.not_before && !options.expires) return ok_status();
  return not_supported("give a key version dates of validity", "leave them out, and rotate in time");
}

Result<KeyVersionInfo> TransitKeyVault::create_key(const std::string& key, const KeyOptions& options) {
  VAULTFS_RETURN_IF_ERROR(check_no_dates(options));
  return without_bad_alloc([&]() -> Result<KeyVersionInfo> {
    HttpCall call = connection_.begin();
    const auto there = read_key(call, key);
    if (there.ok()) {
      return Error{ErrorCode::KeyExists, "the key vault " + name_ + " has a key " + key + " already; rotate it"};
    }
    if (there.code() != ErrorCode::KeyNotFound) return there.error();
    HttpRequest request = connection_.request("POST", "keys", key);
    request.body.append(R"({"type":")").append(kNewKeyType).append("\"}");
    VAULTFS_RETURN_IF_ERROR(connection_.send(call, std::move(request)));
    VAULTFS_ASSIGN_OR_RETURN(const TransitKey made, read_key(call, key));
    return made.versions().back();
  });
}

Result<KeyVersionInfo> TransitKeyVault::rotate_key(const std::string& key, const KeyOptions& options, bool keep_bits) {
  VAULTFS_RETURN_IF_ERROR(check_no_dates(options));
  return without_bad_alloc([&]() -> Result<KeyVersionInfo> {
    HttpCall call = connection_.begin();
    VAULTFS_ASSIGN_OR_RETURN(const TransitKey state, read_key(call, key));
    const KeyVersionInfo newest = state.versions().back();
    if (!keep_bits && newest.key_type == "RSA" && options.bits != newest.bits) {
      return not_supported("change the size of a key by a rotation", "make another key of that size");
    }
    VAULTFS_RETURN_IF_ERROR(connection_.send(call, connection_.request("POST", "keys", key, "rotate"), kUnrepeatable));
    VAULTFS_ASSIGN_OR_RETURN(const TransitKey rotated, read_key(call, key));
    return rotated.versions().back();
  });
}

Status TransitKeyVault::set_floor(HttpCall& call, const std::string& key, const TransitKey& state, std::int64_t floor) {
  HttpRequest request = connection_.request("POST", "keys", key, "config");
  request.body.append("{\"min_decryption_version\":").append(std::to_string(floor));
  // The engine wants no version that wraps what it would not unwrap.
  if (state.min_encryption_version != 0 && state.min_encryption_version < floor) {
    request.body.append(",\"min_encryption_version\":").append(std::to_string(floor));
  }
  request.body += '}';
  VAULTFS_RETURN_IF_ERROR(connection_.send(call, std::move(request)));
  VAULTFS_ASSIGN_OR_RETURN(const TransitKey changed, read_key(call, key));
  if (changed.min_decryption_version == floor) return ok_status();
  return Error{ErrorCode::TryAgain, "somebody else changed the key " + name_ + "/" + key +
                                        " meanwhile; look at it with " + "key list, then try again"};
}

Status TransitKeyVault::set_enabled(const std::string& key, const std::string& version, bool enabled) {
  return without_bad_alloc([&]() -> Status {
    HttpCall call = connection_.begin();
    VAULTFS_ASSIGN_OR_RETURN(const Found found, find(call, key, version));
    const std::int64_t floor = found.key.min_decryption_version;
    if (found.key.is_enabled(found.version) == enabled) return ok_status();
    const std::string floor_text = "its one means is the key's min_decryption_version, now " + std::to_string(floor) +
                                   ", below which all versions are disabled";
    if (enabled) {
      if (found.version == floor - 1) return set_floor(call, key, found.key, found.version);
      return not_supported("enable version " + version + " of the key " + key + " alone",
                           floor_text + "; enable the newer ones first");
    }
    if (found.version == found.key.latest_version) {
      return not_supported("disable version " + version + " of the key " + key + " reversibly: it is the latest",
                           floor_text + "; rotate the key first");
    }
    if (found.version == std::max(floor, found.key.oldest_version())) {
      return set_floor(call, key, found.key, found.version + 1);
    }
    return not_supported("disable version " + version + " of the key " + key + " alone",
                         floor_text + "; disable the older ones first");
  });
}

Status TransitKeyVault::delete_key(const std::string&) {
  return not_supported("delete a key so that it can be recovered",
                       "to destroy it for good, set deletion_allowed and delete it with the engine's own tools");
}

Status TransitKeyVault::recover_key(const std::string&) {
  return not_supported("recover a deleted key", "restore it from a backup of the engine");
}

Status TransitKeyVault::purge_key(const std::string&) {
  return not_supported("purge a key", "it keeps no deleted keys");
}

}  // namespace

Status check_transit_options(const ProviderOptions& options) {
  VAULTFS_RETURN_IF_ERROR(TransitOptions::parse(options));
  return ok_status();
}

Result<std::unique_ptr<AdministeredKeyVault>> open_transit_key_vault(const ProviderContext& context) {
  VAULTFS_ASSIGN_OR_RETURN(const TransitOptions options, TransitOptions::parse(transit_options_of(context)));
  return open_transit_key_vault(context, {make_curl_transport(context.env, options.tls), sleep_for_real});
}

Result<std::unique_ptr<AdministeredKeyVault>> open_transit_key_vault(const ProviderContext& context, HttpMeans means) {
  VAULTFS_ASSIGN_OR_RETURN(TransitOptions options, TransitOptions::parse(transit_options_of(context)));
  return std::unique_ptr<AdministeredKeyVault>(
      std::make_unique<TransitKeyVault>(context, std::move(options), std::move(means)));
}

}  // namespace vaultfs
