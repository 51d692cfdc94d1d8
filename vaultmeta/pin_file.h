#pragma once

#include <string>

#include "base/bytes.h"
#include "base/result.h"
#include "vaultmeta/machine_state.h"

namespace vaultfs {

// The stored form of a pin:
//   magic "VAULTFSP" ‖ version u16 = 1 ‖ vault id 16 ‖ root fingerprint 32 ‖ head generation u64 ‖ head digest 32 ‖
//   incarnation u64 ‖ SHA-256 of everything before
// The digest is against damage; whoever can write the file can pin what he likes.
inline constexpr std::size_t kPinFileBytes = 8 + 2 + 16 + 32 + 8 + 32 + 8 + 32;

[[nodiscard]] Bytes encode_pin(const Pin& pin);
// DamagedMachineState or UnsupportedFormat, naming `where`; also if it is the pin of another vault.
[[nodiscard]] Result<Pin> decode_pin(ByteView file, const VaultId& vault, const std::string& where);

}  // namespace vaultfs
