#pragma once

#include <string>
#include <string_view>

#include "crypto/keyvault/key_vault.h"
#include "crypto/keyvault/kmip/messages.h"

namespace vaultfs {

// A version of a key: an object of a KMIP server with all that the server says of it.
struct KmipVersion {
  std::string id;
  KmipAttributes attributes;
};

// Oldest first: by initial date, then by identifier. Identifiers that are numbers are counted up by the servers that
// use them, so they are compared as such; others break ties only so that the order stays the same.
[[nodiscard]] bool kmip_comes_before(const KmipVersion& a, const KmipVersion& b);

// As the engine sees it; how states are told stands at kmip_key_vault.h.
[[nodiscard]] KeyVersionInfo kmip_version_info(const KmipVersion& version);

[[nodiscard]] bool is_kmip_destroyed(KmipState state) noexcept;
// "Pre-Active", for messages.
[[nodiscard]] std::string_view kmip_state_name(KmipState state) noexcept;

}  // namespace vaultfs
