#include "crypto/keyvault/pkcs11/version.h"

#include <algorithm>

namespace vaultfs {
namespace {

std::string_view type_name(CK_KEY_TYPE type) {
  switch (type) {
    case CKK_RSA:
      return "RSA";
    case CKK_AES:
      return "AES";
    case CKK_EC:
      return "EC";
    default:
      return "other";
  }
}

// What is neither "RSA" nor "AES" wraps nothing (KeyVersionInfo::key_type).
std::string_view flaw_note(Pkcs11Flaw flaw) {
  switch (flaw) {
    case Pkcs11Flaw::none:
      return "";
    case Pkcs11Flaw::is_public:
      return " (a public object)";
    case Pkcs11Flaw::shares_its_id:
      return " (two objects of one CKA_ID)";
    case Pkcs11Flaw::dates_withheld:
      return " (its dates are withheld)";
  }
  return " (flawed)";
}

}  // namespace

KeyVersionInfo pkcs11_version_info(const Pkcs11DatedKey& version) {
  KeyVersionInfo info;
  info.id = version.key.id;
  info.enabled = version.key.may_decrypt;
  info.not_before = version.start;
  info.expires = version.end;
  info.key_type = std::string(type_name(version.key.type)).append(flaw_note(version.key.flaw));
  info.bits = version.key.bits;
  info.of_certificate = version.of_certificate;
  return info;
}

std::int64_t pkcs11_created(const Pkcs11DatedKey& version, std::int64_t first_seen) {
  if (!version.start) return first_seen;
  return std::clamp(first_seen, *version.start, *version.start + kPkcs11DaySeconds - 1);
}

Status pkcs11_check_enabled(const Pkcs11KeyObject& version, const std::string& shown) {
  if (version.may_decrypt) return ok_status();
  return Error{ErrorCode::KeyVersionDisabled, "key version " + version.id + " of " + shown +
                                                  " is disabled (CKA_DECRYPT is false); enable it with: vaultctl key "
                                                  "enable " +
                                                  shown + "/" + version.id};
}

}  // namespace vaultfs
