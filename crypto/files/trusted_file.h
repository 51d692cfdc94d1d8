#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include "base/bytes.h"
#include "base/files/env.h"
#include "base/result.h"

namespace vaultfs {

// PermissionDenied unless the owner of a file that is to be trusted is this process's effective user or root: anybody
// else could read or replace it, whatever its mode says.
[[nodiscard]] Status check_trusted_owner(const Env::Path& path, std::uint32_t owner);

// What a file must not be for anybody but its owner, and what to say of one that is.
struct FileDemand {
  std::uint32_t forbidden_mode;  // permission bits
  std::string complaint;         // "PATH COMPLAINT; look at it, …"
};

// Opens a file for reading and holds it to the demand and to check_trusted_owner(): the file that is open, not what has
// its name before or afterwards, since who may write the directory may swap one for another in between. NotFound if it
// is missing; DamagedMachineState if it is no regular file; PermissionDenied.
[[nodiscard]] Result<std::unique_ptr<File>> open_demanding(Env& env, const Env::Path& path, const FileDemand& demand);

// The content of a file of the machine's configuration, which holds no secret but is believed: at most `limit_bytes`.
// `power` says for a message what whoever may write it could do: "who could POWER". NotFound if it is missing;
// PermissionDenied if others than its owner may write it, or if the owner is neither this user nor root;
// DamagedMachineState if it is too long; else the errors of reading. Thread-safe.
[[nodiscard]] Result<Bytes> read_trusted_file(Env& env, const Env::Path& path, std::uint64_t limit_bytes,
                                              std::string_view power);

}  // namespace vaultfs
