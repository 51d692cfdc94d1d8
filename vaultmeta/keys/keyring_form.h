#pragma once

#include "base/byte_codec.h"
#include "base/result.h"
#include "vaultmeta/keys/keyring.h"

namespace vaultfs {

// The parts of a keyring file and the encoding of the sealed part (docs/format.md, section 7). An implementation header
// of keyring.cc.

inline constexpr std::string_view kKeyringMagic = "VAULTFSK";
inline constexpr std::uint16_t kOldestKeyringFormat = 1;              // 1, 2, 3: as 4, 5, 6 without what these add
inline constexpr std::uint16_t kKeyringFormatVersion = 4;             // without an escrow recipient
inline constexpr std::uint16_t kKeyringFormatWithEscrow = 5;          // with one
inline constexpr std::uint16_t kKeyringFormatWithInfrastructure = 6;  // with one whose slot has the infrastructure key
inline constexpr std::uint16_t kOldKeyringFormats = 3;                // how far an older one lies below its newer form
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

// The version of a keyring with that escrow slot, as it is written now.
[[nodiscard]] std::uint16_t keyring_format(const std::optional<EscrowSlot>& escrow);

// With `escrow` its slot follows the others: format versions 2, 3, 5 and 6.
void encode_slots(ByteWriter& writer, const std::vector<KeyringSlot>& slots, const std::optional<EscrowSlot>& escrow);

// The sealed part, in locked memory, of a keyring of that format version. `slots` is the digest of the encoded slots.
[[nodiscard]] Result<SecretBuffer> encode_secrets(const KeyringSecrets& secrets, const Digest& slots,
                                                  std::uint16_t format);
// DamagedKeyring; also if the rule and the slots, or the escrow recipient and its slot, tell different stories.
[[nodiscard]] Result<KeyringSecrets> decode_secrets(const SecretBuffer& plain, const Digest& slots_digest,
                                                    const ClosedKeyring& closed);

}  // namespace vaultfs
