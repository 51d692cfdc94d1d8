#pragma once

#include <string>

#include "base/bytes.h"
#include "base/result.h"
#include "vaultmeta/machine/machine_state.h"

namespace vaultfs {

// The stored form of a pin:
//   magic "VAULTFSP" ‖ version u16 = 2 ‖ vault id 16 ‖ root fingerprint 32 ‖ head generation u64 ‖ head digest 32 ‖
//   incarnation u64 ‖ epoch u64 ‖ fingerprint of that epoch 32 ‖ restart above u64 ‖ SHA-256 of everything before
// Version 1 ends, before its SHA-256, with the incarnation: a pin without an epoch. It is read, and never written.
// The digest is against damage; whoever can write the file can pin what he likes.
inline constexpr std::size_t kMaxPinFileBytes = 8 + 2 + 16 + 32 + 8 + 32 + 8 + 8 + 32 + 8 + 32;

[[nodiscard]] Bytes encode_pin(const Pin& pin);
// DamagedMachineState or UnsupportedFormat, naming `where`; also if it is the pin of another vault.
[[nodiscard]] Result<Pin> decode_pin(ByteView file, const VaultId& vault, const std::string& where);

}  // namespace vaultfs
