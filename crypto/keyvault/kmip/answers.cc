#include <algorithm>
#include <utility>

#include "crypto/keyvault/kmip/messages.h"

namespace vaultfs {
namespace {

constexpr std::uint32_t kSuccess = 0;
constexpr std::uint32_t kOperationFailed = 1;
constexpr std::size_t kMessageLimit = 200;

// A server's words, made safe to print.
std::string printable_text(std::string_view text) {
  std::string out(text.substr(0, kMessageLimit));
  std::ranges::replace_if(
      out, [](char c) { return c < 0x20 || c > 0x7e; }, '?');
  return out;
}

Result<std::string> identifier(const TtlvItem& item) {
  VAULTFS_ASSIGN_OR_RETURN(const std::string_view text, item.text());
  if (is_kmip_identifier(text)) return std::string(text);
  return Error{ErrorCode::NotSupportedByProvider,
               "the KMIP server names an object \"" + printable_text(text) +
                   "\"; vaultfs takes identifiers of up to 128 letters, digits and . _ : - only"};
}

Status check_about(const TtlvStructure& payload, std::string_view id) {
  VAULTFS_ASSIGN_OR_RETURN(const std::string_view answered, payload.text(KmipTag::unique_identifier));
  if (answered == id) return ok_status();
  return malformed_kmip_answer("it is about another object than asked for");
}

Result<KmipRefusal> decode_refusal(const TtlvStructure& item) {
  KmipRefusal refusal;
  VAULTFS_ASSIGN_OR_RETURN(const std::uint32_t reason, item.enumeration(KmipTag::result_reason));
  refusal.reason = static_cast<KmipReason>(reason);
  if (item.has(KmipTag::result_message)) {
    VAULTFS_ASSIGN_OR_RETURN(const std::string_view message, item.text(KmipTag::result_message));
    refusal.message = printable_text(message);
  }
  return refusal;
}

Status check_version(const TtlvStructure& header) {
  VAULTFS_ASSIGN_OR_RETURN(const TtlvStructure version, header.structure(KmipTag::protocol_version));
  VAULTFS_ASSIGN_OR_RETURN(const std::int32_t major, version.integer(KmipTag::protocol_version_major));
  VAULTFS_ASSIGN_OR_RETURN(const std::int32_t minor, version.integer(KmipTag::protocol_version_minor));
  if (major == kKmipMajor && minor == kKmipMinor) return ok_status();
  return Error{ErrorCode::NotSupportedByProvider,
               "the KMIP server answers in KMIP " + std::to_string(major) + "." + std::to_string(minor) +
                   ", but vaultfs needs 1.4, because older ones lose the tag of what they encrypt; let the server "
                   "speak KMIP 1.4"};
}

Status add_name(const TtlvItem& value, KmipAttributes& out) {
  VAULTFS_ASSIGN_OR_RETURN(const TtlvStructure name, TtlvStructure::decode_items(value));
  VAULTFS_ASSIGN_OR_RETURN(const std::uint32_t type, name.enumeration(KmipTag::name_type));
  VAULTFS_ASSIGN_OR_RETURN(const std::string_view text, name.text(KmipTag::name_value));
  if (type == kKmipTextName) out.names.emplace_back(text);
  return ok_status();
}

template <typename T>
Status set_once(std::optional<T>& to, Result<T> value) {
  if (!value.ok()) return value.error();
  if (to) return malformed_kmip_answer("an attribute that has one value has two");
  to = *value;
  return ok_status();
}

// The attributes that a KmipAttributes always has.
struct Required {
  std::optional<std::uint32_t> state;
  std::optional<std::int64_t> initial_date;
};

Status add_attribute(const TtlvStructure& attribute, KmipAttributes& out, Required& required) {
  VAULTFS_ASSIGN_OR_RETURN(const std::string_view name, attribute.text(KmipTag::attribute_name));
  VAULTFS_ASSIGN_OR_RETURN(const TtlvItem value, attribute.one(KmipTag::attribute_value));
  if (name == "Name") return add_name(value, out);
  if (name == "Cryptographic Algorithm") return set_once(out.algorithm, value.enumeration());
  if (name == "Cryptographic Length") return set_once(out.bits, value.integer());
  if (name == "Cryptographic Usage Mask") return set_once(out.usage_mask, value.integer());
  if (name == "State") return set_once(required.state, value.enumeration());
  if (name == "Initial Date") return set_once(required.initial_date, value.date_time());
  if (name == "Activation Date") return set_once(out.activation_date, value.date_time());
  if (name == "Protect Stop Date") return set_once(out.protect_stop_date, value.date_time());
  if (name == "Deactivation Date") return set_once(out.deactivation_date, value.date_time());
  return ok_status();  // not asked for
}

}  // namespace

Result<KmipAnswer> decode_kmip_answer(ByteView message, KmipOperation operation) {
  VAULTFS_ASSIGN_OR_RETURN(const TtlvStructure response, TtlvStructure::decode(message, KmipTag::response_message));
  VAULTFS_ASSIGN_OR_RETURN(const TtlvStructure header, response.structure(KmipTag::response_header));
  const Status version = check_version(header);
  if (!version.ok() && version.code() != ErrorCode::NotSupportedByProvider) return version.error();
  VAULTFS_ASSIGN_OR_RETURN(const std::int32_t count, header.integer(KmipTag::batch_count));
  if (count != 1) return malformed_kmip_answer("it holds " + std::to_string(count) + " results instead of one");
  VAULTFS_ASSIGN_OR_RETURN(const TtlvStructure item, response.structure(KmipTag::batch_item));
  VAULTFS_ASSIGN_OR_RETURN(const std::uint32_t status, item.enumeration(KmipTag::result_status));

  KmipAnswer answer;
  if (status == kOperationFailed) {
    VAULTFS_ASSIGN_OR_RETURN(answer.refusal, decode_refusal(item));
    // Who we are is settled before the version is, and PyKMIP says so in KMIP 1.0.
    if (!version.ok() && answer.refusal->reason != KmipReason::authentication_not_successful) return version.error();
    return answer;
  }
  if (!version.ok()) return version.error();
  if (status != kSuccess) return malformed_kmip_answer("the result's status is " + std::to_string(status));
  VAULTFS_ASSIGN_OR_RETURN(const std::uint32_t answered, item.enumeration(KmipTag::operation));
  if (answered != static_cast<std::uint32_t>(operation)) {
    return malformed_kmip_answer("it is to another operation than " + std::string(kmip_operation_name(operation)));
  }
  VAULTFS_ASSIGN_OR_RETURN(answer.payload, item.structure(KmipTag::response_payload));
  return answer;
}

Result<std::vector<std::string>> decode_kmip_located(const TtlvStructure& payload) {
  std::vector<std::string> ids;
  for (const TtlvItem& item : payload.items()) {
    if (item.tag != KmipTag::unique_identifier) continue;
    if (ids.size() == kKmipObjectLimit) {
      return Error{ErrorCode::NotSupportedByProvider, "the KMIP server finds more than " +
                                                          std::to_string(kKmipObjectLimit) +
                                                          " objects; let this client certificate see fewer"};
    }
    VAULTFS_ASSIGN_OR_RETURN(std::string id, identifier(item));
    ids.push_back(std::move(id));
  }
  std::vector<std::string> sorted = ids;
  std::ranges::sort(sorted);
  if (std::ranges::adjacent_find(sorted) != sorted.end()) return malformed_kmip_answer("it names an object twice");
  return ids;
}

Result<KmipAttributes> decode_kmip_attributes(const TtlvStructure& payload, std::string_view id) {
  VAULTFS_RETURN_IF_ERROR(check_about(payload, id));
  KmipAttributes attributes;
  Required required;
  for (const TtlvItem& item : payload.items()) {
    if (item.tag != KmipTag::attribute) continue;
    VAULTFS_ASSIGN_OR_RETURN(const TtlvStructure attribute, TtlvStructure::decode_items(item));
    VAULTFS_RETURN_IF_ERROR(add_attribute(attribute, attributes, required));
  }
  if (!required.state || !required.initial_date) {
    return malformed_kmip_answer("the object " + std::string(id) + " has no state or no initial date");
  }
  if (*required.state < static_cast<std::uint32_t>(KmipState::pre_active) ||
      *required.state > static_cast<std::uint32_t>(KmipState::destroyed_compromised)) {
    return malformed_kmip_answer("the object " + std::string(id) + " is in an unknown state");
  }
  attributes.state = static_cast<KmipState>(*required.state);
  attributes.initial_date = *required.initial_date;
  return attributes;
}

Result<std::string> decode_kmip_created(const TtlvStructure& payload) {
  VAULTFS_ASSIGN_OR_RETURN(const TtlvItem item, payload.one(KmipTag::unique_identifier));
  return identifier(item);
}

Status decode_kmip_done(const TtlvStructure& payload, std::string_view id) { return check_about(payload, id); }

Result<KmipSealed> decode_kmip_encrypted(const TtlvStructure& payload, std::string_view id, const KmipIv& iv,
                                         std::size_t plaintext_size) {
  VAULTFS_RETURN_IF_ERROR(check_about(payload, id));
  const auto lost = [](const std::string& what) {
    return Error{ErrorCode::NotSupportedByProvider,
                 "the KMIP server encrypted " + what +
                     ", so that nobody could open it again safely; it does not do AES-GCM as KMIP 1.4 says"};
  };
  if (!payload.has(KmipTag::authentication_tag)) return lost("without giving the authentication tag");
  VAULTFS_ASSIGN_OR_RETURN(const ByteView tag, payload.bytes(KmipTag::authentication_tag));
  if (tag.size() != kKmipTagBytes) {
    return lost("with an authentication tag of " + std::to_string(tag.size()) + " bytes instead of 16");
  }
  if (payload.has(KmipTag::iv_counter_nonce)) {
    VAULTFS_ASSIGN_OR_RETURN(const ByteView used, payload.bytes(KmipTag::iv_counter_nonce));
    if (!bytes_equal(used, iv)) return lost("under another IV than it was given");
  }
  VAULTFS_ASSIGN_OR_RETURN(const ByteView data, payload.bytes(KmipTag::data));
  if (data.size() != plaintext_size)
    return malformed_kmip_answer("the ciphertext has another length than the plaintext");
  KmipSealed sealed;
  sealed.iv = iv;
  std::ranges::copy(tag, sealed.tag.begin());
  sealed.ciphertext = to_bytes(data);
  return sealed;
}

Result<SecretBuffer> decode_kmip_decrypted(const TtlvStructure& payload, std::string_view id,
                                           std::size_t plaintext_size) {
  VAULTFS_RETURN_IF_ERROR(check_about(payload, id));
  VAULTFS_ASSIGN_OR_RETURN(const ByteView data, payload.bytes(KmipTag::data));
  if (data.size() != plaintext_size)
    return malformed_kmip_answer("the plaintext has another length than the ciphertext");
  return SecretBuffer::copy_of(data);
}

}  // namespace vaultfs
