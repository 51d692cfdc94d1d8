#include <algorithm>
#include <utility>

#include "crypto/keyvault/kmip/messages.h"

namespace vaultfs {
namespace {

constexpr std::uint32_t kGcm = 9;  // block cipher mode

// A request message around the payload that `body` writes.
template <typename Body>
Result<TtlvWriter> request(KmipOperation operation, Body&& body) {
  VAULTFS_ASSIGN_OR_RETURN(TtlvWriter out, TtlvWriter::create());
  out.structure(KmipTag::request_message, [&] {
    out.structure(KmipTag::request_header, [&] {
      out.structure(KmipTag::protocol_version, [&] {
        out.integer(KmipTag::protocol_version_major, kKmipMajor);
        out.integer(KmipTag::protocol_version_minor, kKmipMinor);
      });
      out.integer(KmipTag::batch_count, 1);
    });
    out.structure(KmipTag::batch_item, [&] {
      out.enumeration(KmipTag::operation, static_cast<std::uint32_t>(operation));
      out.structure(KmipTag::request_payload, [&] { body(out); });
    });
  });
  return out;
}

template <typename Value>
void attribute(TtlvWriter& out, std::string_view name, Value&& write_value) {
  out.structure(KmipTag::attribute, [&] {
    out.text(KmipTag::attribute_name, name);
    write_value();
  });
}

void name_attribute(TtlvWriter& out, std::string_view name) {
  attribute(out, "Name", [&] {
    out.structure(KmipTag::attribute_value, [&] {
      out.text(KmipTag::name_value, name);
      out.enumeration(KmipTag::name_type, kKmipTextName);
    });
  });
}

void kmip_gcm_parameters(TtlvWriter& out) {
  out.structure(KmipTag::cryptographic_parameters, [&] {
    out.enumeration(KmipTag::block_cipher_mode, kGcm);
    out.enumeration(KmipTag::cryptographic_algorithm, kKmipAes);
    out.integer(KmipTag::tag_length, static_cast<std::int32_t>(kKmipTagBytes));
  });
}

Result<TtlvWriter> request_about(KmipOperation operation, std::string_view id) {
  return request(operation, [&](TtlvWriter& out) { out.text(KmipTag::unique_identifier, id); });
}

}  // namespace

std::string_view kmip_operation_name(KmipOperation operation) noexcept {
  switch (operation) {
    case KmipOperation::create:
      return "Create";
    case KmipOperation::locate:
      return "Locate";
    case KmipOperation::get_attributes:
      return "Get Attributes";
    case KmipOperation::activate:
      return "Activate";
    case KmipOperation::destroy:
      return "Destroy";
    case KmipOperation::encrypt:
      return "Encrypt";
    case KmipOperation::decrypt:
      return "Decrypt";
  }
  return "?";
}

bool is_kmip_identifier(std::string_view text) noexcept {
  const auto allowed = [](char c) {
    return (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || c == '.' || c == '_' ||
           c == ':' || c == '-';
  };
  return !text.empty() && text.size() <= kKmipIdLimit && std::ranges::all_of(text, allowed);
}

Result<TtlvWriter> kmip_locate_request(const std::optional<std::string>& name) {
  return request(KmipOperation::locate, [&](TtlvWriter& out) {
    attribute(out, "Object Type", [&] { out.enumeration(KmipTag::attribute_value, kKmipSymmetricKey); });
    if (name) name_attribute(out, *name);
  });
}

Result<TtlvWriter> kmip_get_attributes_request(std::string_view id) {
  return request(KmipOperation::get_attributes, [&](TtlvWriter& out) {
    out.text(KmipTag::unique_identifier, id);
    for (const std::string_view name :
         {"Name", "Cryptographic Algorithm", "Cryptographic Length", "Cryptographic Usage Mask", "State",
          "Initial Date", "Activation Date", "Protect Stop Date", "Deactivation Date"}) {
      out.text(KmipTag::attribute_name, name);
    }
  });
}

Result<TtlvWriter> kmip_create_request(std::string_view name) {
  return request(KmipOperation::create, [&](TtlvWriter& out) {
    out.enumeration(KmipTag::object_type, kKmipSymmetricKey);
    out.structure(KmipTag::template_attribute, [&] {
      attribute(out, "Cryptographic Algorithm", [&] { out.enumeration(KmipTag::attribute_value, kKmipAes); });
      attribute(out, "Cryptographic Length", [&] { out.integer(KmipTag::attribute_value, kKmipKeyBits); });
      attribute(out, "Cryptographic Usage Mask",
                [&] { out.integer(KmipTag::attribute_value, kKmipEncrypt | kKmipDecrypt); });
      name_attribute(out, name);
    });
  });
}

Result<TtlvWriter> kmip_activate_request(std::string_view id) { return request_about(KmipOperation::activate, id); }

Result<TtlvWriter> kmip_destroy_request(std::string_view id) { return request_about(KmipOperation::destroy, id); }

Result<TtlvWriter> kmip_encrypt_request(std::string_view id, const KmipIv& iv, ByteView additional_data,
                                        ByteView plaintext) {
  return request(KmipOperation::encrypt, [&](TtlvWriter& out) {
    out.text(KmipTag::unique_identifier, id);
    kmip_gcm_parameters(out);
    out.bytes(KmipTag::data, plaintext);
    out.bytes(KmipTag::iv_counter_nonce, iv);
    out.bytes(KmipTag::additional_data, additional_data);
  });
}

Result<TtlvWriter> kmip_decrypt_request(std::string_view id, const KmipSealed& sealed, ByteView additional_data) {
  return request(KmipOperation::decrypt, [&](TtlvWriter& out) {
    out.text(KmipTag::unique_identifier, id);
    kmip_gcm_parameters(out);
    out.bytes(KmipTag::data, sealed.ciphertext);
    out.bytes(KmipTag::iv_counter_nonce, sealed.iv);
    out.bytes(KmipTag::additional_data, additional_data);
    out.bytes(KmipTag::authentication_tag, sealed.tag);
  });
}

}  // namespace vaultfs
