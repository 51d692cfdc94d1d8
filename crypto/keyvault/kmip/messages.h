#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/bytes.h"
#include "base/result.h"
#include "crypto/keyvault/kmip/ttlv.h"
#include "crypto/memory/secret_buffer.h"

namespace vaultfs {

// The requests of KMIP 1.4 that vaultfs makes, and the answers to them, without I/O. Each request is one message with
// one batch item: a batch's items may be refused one by one, and servers differ in what then becomes of the rest.

inline constexpr std::int32_t kKmipMajor = 1;
inline constexpr std::int32_t kKmipMinor = 4;
inline constexpr std::uint32_t kKmipTextName = 1;  // name type: uninterpreted text string
inline constexpr std::int32_t kKmipKeyBits = 256;

enum class KmipOperation : std::uint32_t {
  create = 0x01,
  locate = 0x08,
  get_attributes = 0x0b,
  activate = 0x12,
  destroy = 0x14,
  encrypt = 0x1f,
  decrypt = 0x20,
};

// "Get Attributes", for messages.
[[nodiscard]] std::string_view kmip_operation_name(KmipOperation operation) noexcept;

// Section 9.1.3.2.18.
enum class KmipState : std::uint32_t {
  pre_active = 1,
  active = 2,
  deactivated = 3,
  compromised = 4,
  destroyed = 5,
  destroyed_compromised = 6,
};

// Section 9.1.3.2.29, those that are told apart.
enum class KmipReason : std::uint32_t {
  item_not_found = 0x01,
  authentication_not_successful = 0x03,
  invalid_message = 0x04,
  operation_not_supported = 0x05,
  invalid_field = 0x07,
  feature_not_supported = 0x08,
  cryptographic_failure = 0x0a,
  illegal_operation = 0x0b,
  permission_denied = 0x0c,
  object_archived = 0x0d,
  attestation_required = 0x14,
  attestation_failed = 0x15,
  object_already_exists = 0x18,
  general_failure = 0x100,
};

inline constexpr std::uint32_t kKmipSymmetricKey = 2;  // object type
inline constexpr std::uint32_t kKmipAes = 3;           // cryptographic algorithm
inline constexpr std::int32_t kKmipEncrypt = 4;        // cryptographic usage mask
inline constexpr std::int32_t kKmipDecrypt = 8;

// AES-256-GCM as vaultfs asks for it. A server may take a shorter tag on Decrypt, and one that speaks an older KMIP
// drops it on Encrypt without a word: so the IV is always ours, and the tag is there and of full length both ways.
inline constexpr std::size_t kKmipIvBytes = 12;
inline constexpr std::size_t kKmipTagBytes = 16;
using KmipIv = std::array<std::byte, kKmipIvBytes>;
using KmipGcmTag = std::array<std::byte, kKmipTagBytes>;

inline constexpr std::size_t kKmipIdLimit = 128;

// The unique identifiers that vaultfs works with: 1 to 128 of [A-Za-z0-9._:-]. They go into key references and
// messages.
[[nodiscard]] bool is_kmip_identifier(std::string_view text) noexcept;

// What is sealed: the IV, and what comes of it.
struct KmipSealed {
  KmipIv iv{};
  KmipGcmTag tag{};
  Bytes ciphertext;
};

// --- requests --- MemoryLockFailed. REQUIRES: ids are identifiers as above, names and data within KeyVault's bounds.

// Symmetric keys, of that name if one is given.
[[nodiscard]] Result<TtlvWriter> kmip_locate_request(const std::optional<std::string>& name);
// What KmipAttributes holds.
[[nodiscard]] Result<TtlvWriter> kmip_get_attributes_request(std::string_view id);
// An AES-256 key of that name that may encrypt and decrypt.
[[nodiscard]] Result<TtlvWriter> kmip_create_request(std::string_view name);
[[nodiscard]] Result<TtlvWriter> kmip_activate_request(std::string_view id);
[[nodiscard]] Result<TtlvWriter> kmip_destroy_request(std::string_view id);
[[nodiscard]] Result<TtlvWriter> kmip_encrypt_request(std::string_view id, const KmipIv& iv, ByteView additional_data,
                                                      ByteView plaintext);
[[nodiscard]] Result<TtlvWriter> kmip_decrypt_request(std::string_view id, const KmipSealed& sealed,
                                                      ByteView additional_data);

// --- answers ---

// Why a server refused. The message is its own, cut to 200 printable ASCII characters.
struct KmipRefusal {
  KmipReason reason = KmipReason::general_failure;
  std::string message;
};

// The one answer in a message. Points into the message.
struct KmipAnswer {
  std::optional<KmipRefusal> refusal;
  TtlvStructure payload;  // empty if refused
};

// Checks the frame: KMIP 1.4, one batch item, for that operation. NotSupportedByProvider if the server answered in
// another version (a refusal of our certificate may come in any); KeyVaultUnavailable if the message is malformed.
[[nodiscard]] Result<KmipAnswer> decode_kmip_answer(ByteView message, KmipOperation operation);

// What a server says of an object.
struct KmipAttributes {
  std::vector<std::string> names;  // those of uninterpreted text
  std::optional<std::uint32_t> algorithm;
  std::optional<std::int32_t> bits;
  std::optional<std::int32_t> usage_mask;
  KmipState state = KmipState::pre_active;
  std::int64_t initial_date = 0;  // Unix seconds, as the dates below; a server may keep none of those
  std::optional<std::int64_t> activation_date;
  std::optional<std::int64_t> protect_stop_date;
  std::optional<std::int64_t> deactivation_date;
};

// Bounds what a server can make us ask it about.
inline constexpr std::size_t kKmipObjectLimit = 1024;

// The payloads of answers that are no refusal. KeyVaultUnavailable if one is malformed, or about another object than
// `id`; NotSupportedByProvider for an object whose identifier vaultfs doesn't take, and beyond kKmipObjectLimit.
[[nodiscard]] Result<std::vector<std::string>> decode_kmip_located(const TtlvStructure& payload);
[[nodiscard]] Result<KmipAttributes> decode_kmip_attributes(const TtlvStructure& payload, std::string_view id);
[[nodiscard]] Result<std::string> decode_kmip_created(const TtlvStructure& payload);
// Activate and Destroy.
[[nodiscard]] Status decode_kmip_done(const TtlvStructure& payload, std::string_view id);
// NotSupportedByProvider without a tag of 16 bytes, or with another IV than ours: nobody could open that again.
[[nodiscard]] Result<KmipSealed> decode_kmip_encrypted(const TtlvStructure& payload, std::string_view id,
                                                       const KmipIv& iv, std::size_t plaintext_size);
[[nodiscard]] Result<SecretBuffer> decode_kmip_decrypted(const TtlvStructure& payload, std::string_view id,
                                                         std::size_t plaintext_size);

}  // namespace vaultfs
