#include "crypto/keyvault/transit/answers.h"

#include <algorithm>
#include <charconv>
#include <utility>

#include "base/rfc3339.h"
#include "crypto/keyvault/http/json_answer.h"
#include "crypto/keyvault/http/url.h"
#include "crypto/memory/base64.h"

namespace vaultfs {
namespace {

constexpr std::string_view kCiphertextPrefix = "vault:v";
constexpr std::size_t kTransitVersionDigits = 9;
constexpr std::size_t kNamesLimit = 10'000;
constexpr std::size_t kErrorsLimit = 8;

Error no_transit_answer(const std::string& what) {
  return {ErrorCode::KeyVaultUnavailable, "the answer is not a Transit engine's: " + what};
}

// The object under "data", which every answer about keys has.
Result<AnswerJson> parse_data(std::string_view body) {
  VAULTFS_ASSIGN_OR_RETURN(AnswerJson answer, parse_answer(body));
  const auto data = answer.find("data");
  if (data == answer.end() || !data->is_object()) return no_transit_answer("it has no data");
  return AnswerJson(std::move(*data));
}

std::optional<std::int64_t> creation_time(const AnswerJson& entry) {
  // Symmetric keys give Unix seconds, others an object.
  if (const auto seconds = integer_value(entry)) return seconds;
  const LockedText* const text = text_member(entry, "creation_time");
  return text == nullptr ? std::nullopt : parse_rfc3339(*text);
}

Result<std::int64_t> version_member(const AnswerJson& data, const char* name, std::optional<std::int64_t> otherwise) {
  if (member(data, name) == nullptr && otherwise) return *otherwise;
  const auto value = integer_member(data, name);
  if (value && *value >= 0 && *value <= 999'999'999) return *value;
  return no_transit_answer(std::string(name) + " is no version number");
}

Status check_versions(const TransitKey& key) {
  if (key.latest_version < 1 || key.min_decryption_version > key.latest_version ||
      key.min_encryption_version > key.latest_version || key.min_available_version > key.latest_version) {
    return no_transit_answer("its version numbers contradict each other");
  }
  if (key.latest_version - key.oldest_version() >= kTransitVersionLimit)
    return no_transit_answer("it has too many versions");
  for (std::int64_t version = std::max(key.oldest_version(), key.min_decryption_version); version <= key.latest_version;
       ++version) {
    if (!key.created.contains(version)) return no_transit_answer("an enabled version is not listed");
  }
  return ok_status();
}

}  // namespace

std::int64_t TransitKey::oldest_version() const noexcept { return std::max<std::int64_t>(1, min_available_version); }

std::vector<KeyVersionInfo> TransitKey::versions() const {
  KeyVersionInfo info;
  info.key_type = derived ? type + " (derived)" : type;
  if (!derived && type == "aes256-gcm96") {
    info.key_type = "AES";
    info.bits = 256;
  } else if (type == "rsa-2048" || type == "rsa-3072" || type == "rsa-4096") {
    info.key_type = "RSA";
    info.bits =
        static_cast<unsigned>((type[4] - '0') * 1000 + (type[5] - '0') * 100 + (type[6] - '0') * 10 + type[7] - '0');
  }
  std::vector<KeyVersionInfo> versions;
  // A clock that was set back must not bring versions out of their order.
  std::int64_t made = created.empty() ? 0 : created.begin()->second;
  for (std::int64_t version = oldest_version(); version <= latest_version; ++version) {
    const auto it = created.find(version);
    if (it != created.end()) made = std::max(made, it->second);
    info.id = std::to_string(version);
    info.created_unix_seconds = made;
    info.enabled = is_enabled(version);
    versions.push_back(info);
  }
  return versions;
}

Result<TransitKey> parse_transit_key(std::string_view body) {
  VAULTFS_ASSIGN_OR_RETURN(const AnswerJson data, parse_data(body));
  TransitKey key;
  const LockedText* const type = text_member(data, "type");
  if (type == nullptr || type->empty() || type->size() > 64) return no_transit_answer("the key has no type");
  key.type = printable(*type);
  key.derived = bool_member(data, "derived").value_or(false);
  VAULTFS_ASSIGN_OR_RETURN(key.latest_version, version_member(data, "latest_version", std::nullopt));
  VAULTFS_ASSIGN_OR_RETURN(key.min_available_version, version_member(data, "min_available_version", 0));
  VAULTFS_ASSIGN_OR_RETURN(key.min_decryption_version, version_member(data, "min_decryption_version", std::nullopt));
  VAULTFS_ASSIGN_OR_RETURN(key.min_encryption_version, version_member(data, "min_encryption_version", 0));
  const AnswerJson* const keys = member(data, "keys");
  if (keys == nullptr || !keys->is_object()) return no_transit_answer("the key has no versions");
  for (auto it = keys->begin(); it != keys->end(); ++it) {
    const auto version = transit_version(it.key());
    const auto created = creation_time(it.value());
    if (!version || !created || *created < 0) return no_transit_answer("a version of the key has no number or time");
    key.created[*version] = *created;
  }
  VAULTFS_RETURN_IF_ERROR(check_versions(key));
  return key;
}

Result<std::vector<std::string>> parse_transit_key_names(std::string_view body) {
  VAULTFS_ASSIGN_OR_RETURN(const AnswerJson data, parse_data(body));
  const AnswerJson* const keys = member(data, "keys");
  if (keys == nullptr || !keys->is_array() || keys->size() > kNamesLimit) return no_transit_answer("it lists no keys");
  std::vector<std::string> names;
  for (const AnswerJson& name : *keys) {
    if (!name.is_string()) return no_transit_answer("a key's name is no text");
    const LockedText& text = name.get_ref<const LockedText&>();
    // A name with a slash at its end is a folder of names.
    if (!text.ends_with('/')) names.push_back(printable(text));
  }
  std::ranges::sort(names);
  return names;
}

Result<std::string> parse_transit_ciphertext(std::string_view body, std::int64_t version) {
  VAULTFS_ASSIGN_OR_RETURN(const AnswerJson data, parse_data(body));
  const LockedText* const ciphertext = text_member(data, "ciphertext");
  if (ciphertext == nullptr) return no_transit_answer("it has no ciphertext");
  const auto named = transit_ciphertext_version(*ciphertext);
  // Older servers do not repeat the version beside the ciphertext.
  const auto answered = integer_member(data, "key_version");
  if (named != version || answered.value_or(version) != version) {
    return no_transit_answer("it did not wrap with version " + std::to_string(version));
  }
  return plain(*ciphertext);
}

Result<SecretBuffer> parse_transit_plaintext(std::string_view body) {
  VAULTFS_ASSIGN_OR_RETURN(const AnswerJson data, parse_data(body));
  const LockedText* const plaintext = text_member(data, "plaintext");
  if (plaintext == nullptr) return no_transit_answer("it has no plaintext");
  auto bytes = from_locked_base64(*plaintext, Base64::standard_padded);
  if (!bytes.ok() && bytes.code() == ErrorCode::InvalidArgument)
    return no_transit_answer("its plaintext is not base64");
  return bytes;
}

Result<TransitLogin> parse_transit_login(std::string_view body) {
  VAULTFS_ASSIGN_OR_RETURN(const AnswerJson answer, parse_answer(body));
  const AnswerJson* const auth = member(answer, "auth");
  if (auth == nullptr || !auth->is_object()) return no_transit_answer("the login gave no token");
  const LockedText* const token = text_member(*auth, "client_token");
  const auto lease = integer_member(*auth, "lease_duration");
  const auto is_header_text = [](char c) { return c > 0x20 && c < 0x7f; };
  if (token == nullptr || token->empty() || !std::ranges::all_of(*token, is_header_text) || !lease || *lease < 0) {
    return no_transit_answer("the login gave no token that can be used");
  }
  TransitLogin login;
  VAULTFS_ASSIGN_OR_RETURN(login.token, SecretBuffer::copy_of(bytes_of(*token)));
  login.lease_seconds = *lease;
  return login;
}

std::optional<std::vector<std::string>> parse_transit_errors(std::string_view body) {
  const auto answer = parse_answer(body);
  const AnswerJson* const errors = answer.ok() ? member(*answer, "errors") : nullptr;
  if (errors == nullptr || !errors->is_array() || errors->size() > kErrorsLimit) return std::nullopt;
  std::vector<std::string> texts;
  for (const AnswerJson& error : *errors) {
    if (!error.is_string()) return std::nullopt;
    texts.push_back(printable(error.get_ref<const LockedText&>()));
  }
  return texts;
}

std::optional<std::int64_t> transit_version(std::string_view id) noexcept {
  if (id.empty() || id.size() > kTransitVersionDigits || id.front() < '1' || id.front() > '9') return std::nullopt;
  std::int64_t version = 0;
  const auto [end, error] = std::from_chars(id.data(), id.data() + id.size(), version);
  if (error != std::errc() || end != id.data() + id.size()) return std::nullopt;
  return version;
}

std::optional<std::int64_t> transit_ciphertext_version(std::string_view ciphertext) {
  if (!ciphertext.starts_with(kCiphertextPrefix)) return std::nullopt;
  ciphertext.remove_prefix(kCiphertextPrefix.size());
  const std::size_t colon = ciphertext.find(':');
  if (colon == std::string_view::npos) return std::nullopt;
  if (!is_base64(ciphertext.substr(colon + 1), Base64::standard_padded)) return std::nullopt;
  return transit_version(ciphertext.substr(0, colon));
}

}  // namespace vaultfs
