#include "crypto/keyvault/pkcs11/options.h"

#include <p11-kit/pkcs11.h>
#include <p11-kit/uri.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <memory>
#include <span>

#include "crypto/keyvault/pkcs11/pkcs11_key_vault.h"
#include "crypto/keyvault/region.h"

namespace vaultfs {
namespace {

constexpr std::size_t kUriLimitBytes = 4096;
constexpr std::size_t kLabelLimitBytes = 32;   // CK_TOKEN_INFO.label
constexpr std::size_t kSerialLimitBytes = 16;  // CK_TOKEN_INFO.serialNumber
constexpr std::size_t kOptionQuoteLimit = 80;
constexpr int kPkcs11TimeoutLimitSeconds = 600;
constexpr std::array<std::string_view, 1> kPinOptions{"pin-file"};
constexpr std::array<std::string_view, 6> kKnownOptions{"module", "token", "uri", "pin-file", "timeout", "region"};

struct UriFree {
  void operator()(P11KitUri* uri) const noexcept { p11_kit_uri_free(uri); }
};
using UriHandle = std::unique_ptr<P11KitUri, UriFree>;

Error invalid_option(const std::string& what) {
  return Error{ErrorCode::InvalidArgument, what +
                                               "; the options of a pkcs11 key vault are module=PATH, token=LABEL or "
                                               "uri=pkcs11:..., pin-file=PATH, timeout=SECONDS, region=LABEL"};
}

std::string shown_text(std::string_view text) {
  std::string out = "\"";
  for (const char c : text.substr(0, kOptionQuoteLimit)) out += (c >= 0x20 && c < 0x7f && c != '"') ? c : '?';
  return out + (text.size() > kOptionQuoteLimit ? "...\"" : "\"");
}

// p11-kit leaves a field that the URI does not name all zero, and pads the others with blanks.
template <std::size_t N>
std::string field_text(const unsigned char (&field)[N]) {
  std::string text(reinterpret_cast<const char*>(field), N);
  text.resize(std::min(text.find('\0'), text.size()));
  text.resize(text.find_last_not_of(' ') + 1);
  return text;
}

template <std::size_t N>
bool is_named(const unsigned char (&field)[N]) {
  return field[0] != 0;
}

Status refuse_what_is_no_token(P11KitUri* uri) {
  const auto refuse = [](const std::string& what) { return Status(invalid_option("option uri: " + what)); };
  if (p11_kit_uri_any_unrecognized(uri) != 0) return refuse("it has an attribute that is not known here");
  if (p11_kit_uri_get_pin_value(uri) != nullptr || p11_kit_uri_get_pin_source(uri) != nullptr) {
    return refuse("a PIN does not belong into it, give pin-file");
  }
  CK_ULONG count = 0;
  if (p11_kit_uri_get_attributes(uri, &count); count != 0) {
    return refuse("it names an object; which key is used says the key reference");
  }
  const CK_SLOT_INFO& slot = *p11_kit_uri_get_slot_info(uri);
  if (p11_kit_uri_get_slot_id(uri) != static_cast<CK_SLOT_ID>(-1) || is_named(slot.slotDescription) ||
      is_named(slot.manufacturerID)) {
    return refuse("it names a slot, and slots change; name the token by label or serial");
  }
  const CK_INFO& library = *p11_kit_uri_get_module_info(uri);
  if (is_named(library.libraryDescription) || is_named(library.manufacturerID) ||
      p11_kit_uri_get_module_name(uri) != nullptr) {
    return refuse("it names a module by its description; give module-path in it, or the option module");
  }
  return ok_status();
}

Status check_absolute(std::string_view option, const std::filesystem::path& path) {
  if (path.is_absolute() && path.native().find('\0') == std::string::npos) return ok_status();
  return invalid_option("option " + std::string(option) + ": " + shown_text(path.native()) +
                        " is not an absolute path");
}

Result<std::chrono::seconds> parse_timeout(std::string_view text) {
  int seconds = 0;
  const std::string_view digits = text.ends_with('s') ? text.substr(0, text.size() - 1) : text;
  const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), seconds);
  if (error != std::errc{} || end != digits.data() + digits.size() || seconds < 1 ||
      seconds > kPkcs11TimeoutLimitSeconds) {
    return invalid_option("option timeout: " + shown_text(text) + " is not a number of seconds from 1 to 600");
  }
  return std::chrono::seconds(seconds);
}

const std::string* find_option(const ProviderOptions& options, const char* name) {
  const auto found = options.find(name);
  return found == options.end() ? nullptr : &found->second;
}

}  // namespace

std::string Pkcs11TokenSelector::to_string() const {
  std::string out = "token";
  if (!label.empty()) out += " " + shown_text(label);
  if (!serial.empty()) out += " with serial " + shown_text(serial);
  return out;
}

Result<Pkcs11Uri> parse_pkcs11_uri(std::string_view text) {
  if (text.size() > kUriLimitBytes) return invalid_option("option uri: it is longer than 4096 bytes");
  if (text.find('\0') != std::string_view::npos) return invalid_option("option uri: it holds a zero byte");
  const UriHandle uri(p11_kit_uri_new());
  if (uri == nullptr) return Error{ErrorCode::Internal, "no memory to parse a URI"};
  if (p11_kit_uri_parse(std::string(text).c_str(), P11_KIT_URI_FOR_ANY, uri.get()) != P11_KIT_URI_OK) {
    return invalid_option("option uri: it is no PKCS#11 URI (RFC 7512)");
  }
  VAULTFS_RETURN_IF_ERROR(refuse_what_is_no_token(uri.get()));
  Pkcs11Uri parsed;
  const CK_TOKEN_INFO& token = *p11_kit_uri_get_token_info(uri.get());
  parsed.token.label = field_text(token.label);
  parsed.token.serial = field_text(token.serialNumber);
  parsed.token.manufacturer = field_text(token.manufacturerID);
  parsed.token.model = field_text(token.model);
  if (parsed.token.label.empty() && parsed.token.serial.empty()) {
    return invalid_option("option uri: it names no token; give token=LABEL or serial=NUMBER in it");
  }
  if (const char* path = p11_kit_uri_get_module_path(uri.get()); path != nullptr) parsed.module_path = path;
  return parsed;
}

Result<Pkcs11Options> Pkcs11Options::parse(const ProviderOptions& options) {
  for (const auto& [name, value] : options) {
    if (std::ranges::find(kKnownOptions, name) == kKnownOptions.end()) {
      return invalid_option("option " + shown_text(name) + " is unknown");
    }
    if (value.empty()) return invalid_option("option " + name + " is empty");
  }
  Pkcs11Options parsed;
  const std::string* label = find_option(options, "token");
  const std::string* uri = find_option(options, "uri");
  if ((label == nullptr) == (uri == nullptr)) return invalid_option("one of the options token and uri is needed");
  std::string module_path;
  if (uri != nullptr) {
    VAULTFS_ASSIGN_OR_RETURN(Pkcs11Uri named, parse_pkcs11_uri(*uri));
    parsed.token = std::move(named.token);
    module_path = std::move(named.module_path);
  } else {
    if (label->size() > kLabelLimitBytes) return invalid_option("option token: a token's label has at most 32 bytes");
    parsed.token.label = *label;
  }
  if (const std::string* module = find_option(options, "module"); module != nullptr) {
    if (!module_path.empty()) return invalid_option("option module: the uri names a module as well");
    module_path = *module;
  }
  if (module_path.empty()) return invalid_option("option module is missing");
  parsed.module = module_path;
  VAULTFS_RETURN_IF_ERROR(check_absolute("module", parsed.module));
  if (const std::string* pin_file = find_option(options, "pin-file"); pin_file != nullptr) {
    parsed.pin_file = *pin_file;
    VAULTFS_RETURN_IF_ERROR(check_absolute("pin-file", *parsed.pin_file));
  }
  if (const std::string* timeout = find_option(options, "timeout"); timeout != nullptr) {
    VAULTFS_ASSIGN_OR_RETURN(parsed.timeout, parse_timeout(*timeout));
  }
  if (const std::string* region = find_option(options, "region"); region != nullptr) {
    if (!is_region_label(*region)) {
      return invalid_option("option region: it is no label of up to 64 printable ASCII characters");
    }
    parsed.region = *region;
  }
  static_assert(sizeof(CK_TOKEN_INFO::label) == kLabelLimitBytes);
  static_assert(sizeof(CK_TOKEN_INFO::serialNumber) == kSerialLimitBytes);
  return parsed;
}

Status check_pkcs11_options(const ProviderOptions& options) {
  VAULTFS_RETURN_IF_ERROR(Pkcs11Options::parse(options));
  return ok_status();
}

std::span<const std::string_view> pkcs11_identity_options() noexcept { return kPinOptions; }

}  // namespace vaultfs
