#pragma once

#include "base/byte_codec.h"
#include "base/result.h"
#include "vaultmeta/keyring.h"

namespace vaultfs {

// The parts of a keyring file and the encoding of the sealed part (docs/format.md, section 7). An implementation header
// of keyring.cc.

inline constexpr std::string_view kKeyringMagic = "VAULTFSK";
inline constexpr std::uint16_t kKeyringFormatVersion = 1;             // without an escrow recipient
inline constexpr std::uint16_t kKeyringFormatWithEscrow = 2;          // with one
inline constexpr std::uint16_t kKeyringFormatWithInfrastructure = 3;  // with one whose slot has the infrastructure key
inline constexpr std::size_t kKeyringSaltBytes = 32;

struct KeyringFileParts {
  ClosedKeyring closed;
  ByteView clear;  // everything before the salt
  ByteView slots;  // the encoded slots, count and escrow slot included
  ByteView salt;
  Digest commitment;
  ByteView sealed;
  ByteView before_mac;
  Digest mac;
};

// DamagedKeyring, UnsupportedFormat. The views point into `file`.
[[nodiscard]] Result<KeyringFileParts> split_keyring(ByteView file);

// The version of a keyring with that escrow slot.
[[nodiscard]] std::uint16_t keyring_format(const std::optional<EscrowSlot>& escrow);

// With `escrow` its slot follows the others: format versions 2 and 3.
void encode_slots(ByteWriter& writer, const std::vector<KeyringSlot>& slots, const std::optional<EscrowSlot>& escrow);

// The sealed part, in locked memory. `slots` is the digest of the encoded slots.
[[nodiscard]] Result<SecretBuffer> encode_secrets(const KeyringSecrets& secrets, const Digest& slots);
// DamagedKeyring; also if the rule and the slots, or the escrow recipient and its slot, tell different stories.
[[nodiscard]] Result<KeyringSecrets> decode_secrets(const SecretBuffer& plain, const Digest& slots_digest,
                                                    const ClosedKeyring& closed);

}  // namespace vaultfs
