#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "base/ids.h"
#include "base/result.h"
#include "crypto/memory/secret_buffer.h"

namespace vaultfs {

class KeyCustody;
struct VaultHeader;

// What people keep of a vault, apart from it, and compare on a machine that does not know it (docs/format.md, section
// 7). It changes with every DEK epoch, so that whoever held a key version that is retired can't make a vault that has
// the newest one. Public: it opens nothing.
struct VaultFingerprint {
  EpochNumber epoch;  // 0: a root fingerprint, all that vaults had to show before there were these
  Digest digest;
  bool operator==(const VaultFingerprint&) const = default;
};

// HKDF(root key ‖ DEK of the epoch, salt = vault id, "vaultfs/2 fingerprint" ‖ u64 epoch), 32 bytes.
[[nodiscard]] Result<Digest> epoch_fingerprint(const SecretBuffer& root_key, const SecretBuffer& dek,
                                               const VaultId& vault, EpochNumber epoch);

// For people: "3:0123abcd-…", the epoch and 64 hexadecimal digits; of a root fingerprint the digits alone.
[[nodiscard]] std::string format_fingerprint(const VaultFingerprint& fingerprint);
[[nodiscard]] std::string format_fingerprint(const Digest& root_fingerprint);
// What was printed, in any case and with any blanks, dashes and colons between the digits. InvalidArgument.
[[nodiscard]] Result<VaultFingerprint> parse_fingerprint(std::string_view text);

// How far a fingerprint that somebody kept speaks for an opened vault.
enum class KeptAs : std::uint8_t {
  newest,     // of its newest epoch: the keys are those of whoever printed it
  older,      // of an older one: whoever held a key version of then could have made what follows
  root_only,  // a root fingerprint of a vault with several epochs: every version that ever opened it would do
};
// FingerprintMismatch if it is of no epoch of this vault's keys, or of another root key. KeyRevoked.
[[nodiscard]] Result<KeptAs> compare_fingerprint(KeyCustody& custody, const VaultHeader& header,
                                                 const VaultFingerprint& kept);
// Success for the newest one only. What else it is, is FingerprintMismatch, which says what to do.
[[nodiscard]] Status require_newest_fingerprint(KeyCustody& custody, const VaultHeader& header,
                                                const VaultFingerprint& kept);
// "genuine up to epoch N; …": what an older fingerprint, or an older pin, has to say.
[[nodiscard]] std::string genuine_up_to(EpochNumber epoch);

}  // namespace vaultfs
