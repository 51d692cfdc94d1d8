#pragma once

#include <string>
#include <vector>

#include "base/bytes.h"
#include "base/result.h"
#include "vaultmeta/machine/machine_state.h"

namespace vaultfs {

inline constexpr std::uint64_t kMaxAttemptsBytes = std::uint64_t{1} << 20;

// The stored form of a vault's kept attempts: a JSON array of objects, oldest first.
[[nodiscard]] std::string encode_attempts(const std::vector<KeptAttempt>& attempts);
// DamagedMachineState naming `where`.
[[nodiscard]] Result<std::vector<KeptAttempt>> decode_attempts(ByteView file, const std::string& where);

}  // namespace vaultfs
