#pragma once

#include <cstdint>
#include <cstdio>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/bytes.h"
#include "crypto/keyvault/kmip/messages.h"
#include "tests/crypto/keyvault/kmip/kmip_server_process.h"

namespace vaultfs::kmip_script {

// Answers of a KMIP server in hexadecimal, written by hand rather than by the encoder under test.

inline std::string hex_number(std::uint64_t value, int digits) {
  std::string text(static_cast<std::size_t>(digits) + 1, '0');
  std::snprintf(text.data(), text.size(), "%0*llx", digits, static_cast<unsigned long long>(value));
  text.resize(static_cast<std::size_t>(digits));
  return text;
}

inline std::string item(std::uint32_t tag, int type, std::string_view value_hex) {
  const std::size_t length = value_hex.size() / 2;
  return hex_number(tag, 6) + hex_number(static_cast<std::uint64_t>(type), 2) + hex_number(length, 8) +
         std::string(value_hex) + std::string((8 - length % 8) % 8 * 2, '0');
}
inline std::string structure(std::uint32_t tag, std::string_view items) { return item(tag, 1, items); }
inline std::string integer(std::uint32_t tag, std::uint64_t value) { return item(tag, 2, hex_number(value, 8)); }
inline std::string enumeration(std::uint32_t tag, std::uint64_t value) { return item(tag, 5, hex_number(value, 8)); }
inline std::string text(std::uint32_t tag, std::string_view value) { return item(tag, 7, to_hex(bytes_of(value))); }
inline std::string octets(std::uint32_t tag, std::string_view hex) { return item(tag, 8, hex); }
inline std::string date(std::uint32_t tag, std::int64_t value) {
  return item(tag, 9, hex_number(static_cast<std::uint64_t>(value), 16));
}

inline std::string message(std::string_view batch_item, unsigned minor = 4) {
  return structure(0x42007b, structure(0x42007a, structure(0x420069, integer(0x42006a, 1) + integer(0x42006b, minor)) +
                                                     date(0x420092, 1'800'000'000) + integer(0x42000d, 1)) +
                                 structure(0x42000f, batch_item));
}
inline std::string success(KmipOperation operation, std::string_view payload, unsigned minor = 4) {
  return message(enumeration(0x42005c, static_cast<std::uint32_t>(operation)) + enumeration(0x42007f, 0) +
                     structure(0x42007c, payload),
                 minor);
}
inline std::string refusal(std::uint32_t reason, std::string_view words = "no", unsigned minor = 4) {
  return message(enumeration(0x42007f, 1) + enumeration(0x42007e, reason) + text(0x42007d, words), minor);
}

inline std::string located(const std::vector<std::string>& ids) {
  std::string payload;
  for (const std::string& id : ids) payload += text(0x420094, id);
  return success(KmipOperation::locate, payload);
}

inline std::string attribute(std::string_view name, std::string_view value_item) {
  return structure(0x420008, text(0x42000a, name) + std::string(value_item));
}

// Of an AES-256 key; `more` are further attributes.
inline std::string attributes(std::string_view id, KmipState state, std::int64_t initial_date,
                              std::string_view more = {}, int usage_mask = kKmipEncrypt | kKmipDecrypt) {
  constexpr std::uint32_t kValue = 0x42000b;
  return success(KmipOperation::get_attributes,
                 text(0x420094, id) + attribute("Cryptographic Algorithm", enumeration(kValue, 3)) +
                     attribute("Cryptographic Length", integer(kValue, 256)) +
                     attribute("Cryptographic Usage Mask", integer(kValue, static_cast<std::uint64_t>(usage_mask))) +
                     attribute("State", enumeration(kValue, static_cast<std::uint32_t>(state))) +
                     attribute("Initial Date", date(kValue, initial_date)) + std::string(more));
}
inline std::string date_attribute(std::string_view name, std::int64_t value) {
  return attribute(name, date(0x42000b, value));
}

inline std::string encrypted(std::string_view id, std::string_view data_hex, std::string_view more_items) {
  return success(KmipOperation::encrypt, text(0x420094, id) + octets(0x4200c2, data_hex) + std::string(more_items));
}
inline std::string tag_item(std::string_view hex) { return octets(0x4200ff, hex); }
inline std::string iv_item(std::string_view hex) { return octets(0x42003d, hex); }
inline std::string decrypted(std::string_view id, std::string_view plaintext) {
  return success(KmipOperation::decrypt, text(0x420094, id) + octets(0x4200c2, to_hex(bytes_of(plaintext))));
}
// Create, Activate, Destroy.
inline std::string done(KmipOperation operation, std::string_view id) { return success(operation, text(0x420094, id)); }

// Actions of tests/doubles/kmip_scripted_server.py.
inline std::string answer(const std::string& hex) { return " answer:" + hex; }
inline std::string cut(const std::string& hex) { return " cut:" + hex; }

// That server, shared by the tests of this program.
inline KmipServerProcess& server() {
  static KmipServerProcess process("kmip_scripted_server.py");
  static const bool started = (process.start(), true);
  (void)started;
  return process;
}

}  // namespace vaultfs::kmip_script
