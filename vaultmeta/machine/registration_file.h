#pragma once

#include <string>

#include "base/bytes.h"
#include "base/result.h"
#include "vaultmeta/machine/machine_state.h"

namespace vaultfs {

inline constexpr std::uint64_t kMaxRegistrationBytes = std::uint64_t{64} * 1024;

// The stored form of a registration: a JSON object, read by people too.
// InvalidArgument if its path is not UTF-8.
[[nodiscard]] Result<std::string> encode_registration(const Registration& registration);
// DamagedMachineState naming `where`.
[[nodiscard]] Result<Registration> decode_registration(ByteView file, const std::string& where);

// What is kept of a vault at a place has both in its name: "<vault id>.<16 hex digits of SHA-256 of the
// path>EXTENSION". A vaultfs that kept one for all places named it "<vault id>EXTENSION".
[[nodiscard]] std::string state_file_name(const VaultId& vault, const std::filesystem::path& place,
                                          std::string_view extension);
[[nodiscard]] std::string placeless_file_name(const VaultId& vault, std::string_view extension);
// Whether the name has one of these forms, for that vault.
[[nodiscard]] bool is_state_file_of(const VaultId& vault, std::string_view name, std::string_view extension);

}  // namespace vaultfs
