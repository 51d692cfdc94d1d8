#pragma once

#include <cstdint>
#include <string_view>

#include "base/bytes.h"
#include "base/env.h"
#include "base/result.h"

namespace vaultfs {

// The content of a file of the machine's configuration, which holds no secret but is believed: at most `limit_bytes`.
// `power` says for a message what whoever may write it could do: "who could POWER". NotFound if it is missing;
// PermissionDenied if others than its owner may write it, or if the owner is neither this user nor root;
// DamagedMachineState if it is too long; else the errors of reading. Thread-safe.
[[nodiscard]] Result<Bytes> read_trusted_file(Env& env, const Env::Path& path, std::uint64_t limit_bytes,
                                              std::string_view power);

}  // namespace vaultfs
