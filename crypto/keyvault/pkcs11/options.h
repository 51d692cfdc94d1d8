#pragma once

#include <chrono>
#include <filesystem>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "base/result.h"
#include "crypto/keyvault/provider.h"

namespace vaultfs {

// Which token of a module is meant. Empty fields are not compared; at least one of label and serial is set.
struct Pkcs11TokenSelector {
  std::string label;
  std::string serial;
  std::string manufacturer;
  std::string model;
  bool operator==(const Pkcs11TokenSelector&) const = default;

  // As it stands in messages: `token "t1"`.
  [[nodiscard]] std::string to_string() const;
};

// What a URI of RFC 7512 may say here.
struct Pkcs11Uri {
  Pkcs11TokenSelector token;
  std::string module_path;  // empty if it names none
};

// Parses `pkcs11:token=LABEL;serial=NUMBER;manufacturer=…;model=…?module-path=PATH`, at most 4096 bytes.
// InvalidArgument for any other attribute: the key is named by the key reference, slot numbers change, and a PIN
// belongs into a file.
[[nodiscard]] Result<Pkcs11Uri> parse_pkcs11_uri(std::string_view text);

// The options of a PKCS#11 key vault:
//   module=PATH    the module's shared library, an absolute path (or module-path in the URI)
//   token=LABEL    the token's label (or uri)
//   uri=pkcs11:…   instead of token: RFC 7512
//   pin-file=PATH  file with the user PIN, readable by its owner only; an identity may bring its own
//   region=LABEL   where the token is, to be compared with a vault's region
//   timeout=N      seconds that one call may take, 1 to 600 (30)
struct Pkcs11Options {
  std::filesystem::path module;
  Pkcs11TokenSelector token;
  std::optional<std::filesystem::path> pin_file;
  std::chrono::seconds timeout{30};
  std::string region;

  // InvalidArgument naming the option and the known ones.
  [[nodiscard]] static Result<Pkcs11Options> parse(const ProviderOptions& options);
};

// The options that a user-assigned identity may bring itself, in the order in which they are shown.
[[nodiscard]] std::span<const std::string_view> pkcs11_identity_options() noexcept;

}  // namespace vaultfs
