#pragma once

#include <cstdint>
#include <string>

#include "base/result.h"
#include "crypto/keyvault/key_vault.h"
#include "crypto/keyvault/pkcs11/objects.h"

namespace vaultfs {

// A token's version as other key vaults tell of theirs, but for the time of creation. The type of one with a flaw is
// "AES (a public object)" for example, which wraps nothing (KeyVersionInfo::key_type).
[[nodiscard]] KeyVersionInfo pkcs11_version_info(const Pkcs11DatedKey& version);

// When a version was made, as well as it can be known: a start date tells the day, the first sighting the moment in it.
[[nodiscard]] std::int64_t pkcs11_created(const Pkcs11DatedKey& version, std::int64_t first_seen);

// KeyVersionDisabled, naming the version of the key `shown` and what enables it.
[[nodiscard]] Status pkcs11_check_enabled(const Pkcs11KeyObject& version, const std::string& shown);

}  // namespace vaultfs
