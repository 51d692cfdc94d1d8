#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "base/files/env.h"
#include "base/result.h"
#include "crypto/keyvault/provider.h"

namespace vaultfs {

inline constexpr std::int64_t kProviderFileFormat = 1;

// HOME/keyvaults/NAME/provider.json, the registration of a key vault that is not a local one:
//   {"format":1,"name","created","provider","options":{NAME:VALUE,…}}
// It holds no secret, but says which module is loaded and which server is asked: nobody else may write it.
struct ProviderFile {
  std::string name;  // of the key vault on this machine
  std::int64_t created_unix_seconds = 0;
  std::string provider;
  ProviderOptions options;
  bool operator==(const ProviderFile&) const = default;

  // InvalidArgument if the file would not read back as it is: an option that is no valid UTF-8, or too long.
  [[nodiscard]] Result<std::string> encode() const;
  // DamagedMachineState naming `path`, also if the file belongs to a key vault of another name; UnsupportedFormat.
  [[nodiscard]] static Result<ProviderFile> decode(std::string_view json, const std::string& name,
                                                   const std::string& path);
};

[[nodiscard]] Env::Path provider_file_path(const Env::Path& directory);

// Reads and decodes. KeyVaultUnavailable if the directory or the file is missing; PermissionDenied if others may write
// the file, or if its owner is neither this user nor root.
[[nodiscard]] Result<ProviderFile> read_provider_file(Env& env, const Env::Path& directory, const std::string& name);

}  // namespace vaultfs
