#include "crypto/keyvault/pkcs11/administration.h"

#include <array>
#include <vector>

#include "crypto/keyvault/pkcs11/error.h"

namespace vaultfs {
namespace {

constexpr CK_ULONG kAesBytes = 32;
constexpr std::array<std::byte, 3> kPublicExponent{std::byte{1}, std::byte{0}, std::byte{1}};  // 65537

bool template_refused(CK_RV answer) noexcept {
  switch (answer) {
    case CKR_ATTRIBUTE_TYPE_INVALID:
    case CKR_ATTRIBUTE_VALUE_INVALID:
    case CKR_ATTRIBUTE_READ_ONLY:
    case CKR_TEMPLATE_INCONSISTENT:
    case CKR_TEMPLATE_INCOMPLETE:
    case CKR_FUNCTION_REJECTED:
    case CKR_KEY_SIZE_RANGE:
      return true;
    default:
      return pkcs11_unsupported(answer);
  }
}

// The templates of one generation; the attributes point into it.
class Templates {
 public:
  Templates(const Pkcs11NewKey& wanted, bool with_dates) : wanted_(wanted), bits_(wanted.bits) {
    if (with_dates && wanted.start) start_ = *wanted.start;
    if (with_dates && wanted.end) end_ = *wanted.end;
  }
  Templates(const Templates&) = delete;
  Templates& operator=(const Templates&) = delete;

  std::vector<CK_ATTRIBUTE> public_half() {
    std::vector<CK_ATTRIBUTE> out = common();
    out.push_back(pkcs11_attribute(CKA_PRIVATE, no_));
    out.push_back(pkcs11_attribute(CKA_ENCRYPT, yes_));
    out.push_back(pkcs11_attribute(CKA_WRAP, yes_));
    out.push_back(pkcs11_attribute(CKA_MODULUS_BITS, bits_));
    out.push_back(pkcs11_attribute(CKA_PUBLIC_EXPONENT, ByteView(kPublicExponent)));
    return out;
  }
  std::vector<CK_ATTRIBUTE> private_half() {
    std::vector<CK_ATTRIBUTE> out = common();
    add_secrecy(out);
    return out;
  }
  std::vector<CK_ATTRIBUTE> secret_key() {
    std::vector<CK_ATTRIBUTE> out = common();
    add_secrecy(out);
    out.push_back(pkcs11_attribute(CKA_ENCRYPT, yes_));
    out.push_back(pkcs11_attribute(CKA_WRAP, yes_));
    out.push_back(pkcs11_attribute(CKA_VALUE_LEN, length_));
    return out;
  }

 private:
  std::vector<CK_ATTRIBUTE> common() {
    std::vector<CK_ATTRIBUTE> out{pkcs11_attribute(CKA_TOKEN, yes_),
                                  pkcs11_attribute(CKA_LABEL, std::string_view(wanted_.label)),
                                  pkcs11_attribute(CKA_ID, ByteView(wanted_.id))};
    if (start_) out.push_back(pkcs11_attribute(CKA_START_DATE, *start_));
    if (end_) out.push_back(pkcs11_attribute(CKA_END_DATE, *end_));
    return out;
  }
  void add_secrecy(std::vector<CK_ATTRIBUTE>& out) {
    out.push_back(pkcs11_attribute(CKA_PRIVATE, yes_));
    out.push_back(pkcs11_attribute(CKA_SENSITIVE, yes_));
    out.push_back(pkcs11_attribute(CKA_EXTRACTABLE, no_));
    out.push_back(pkcs11_attribute(CKA_DECRYPT, yes_));
    out.push_back(pkcs11_attribute(CKA_UNWRAP, yes_));
  }

  const Pkcs11NewKey& wanted_;
  CK_BBOOL yes_ = CK_TRUE;
  CK_BBOOL no_ = CK_FALSE;
  CK_ULONG bits_;
  CK_ULONG length_ = kAesBytes;
  std::optional<CK_DATE> start_;
  std::optional<CK_DATE> end_;
};

// The objects of one generation.
struct Made {
  CK_OBJECT_HANDLE public_half = CK_INVALID_HANDLE;  // of a pair
  CK_OBJECT_HANDLE secret_half = CK_INVALID_HANDLE;
};

CK_RV generate(Pkcs11Session& writing, const Pkcs11NewKey& wanted, bool with_dates, Made& made) {
  const CK_FUNCTION_LIST& functions = writing.functions();
  Templates templates(wanted, with_dates);
  if (wanted.type == CKK_AES) {
    std::vector<CK_ATTRIBUTE> secret = templates.secret_key();
    CK_MECHANISM mechanism{CKM_AES_KEY_GEN, nullptr, 0};
    return functions.C_GenerateKey(writing.handle(), &mechanism, secret.data(), secret.size(), &made.secret_half);
  }
  std::vector<CK_ATTRIBUTE> public_half = templates.public_half();
  std::vector<CK_ATTRIBUTE> private_half = templates.private_half();
  CK_MECHANISM mechanism{CKM_RSA_PKCS_KEY_PAIR_GEN, nullptr, 0};
  return functions.C_GenerateKeyPair(writing.handle(), &mechanism, public_half.data(), public_half.size(),
                                     private_half.data(), private_half.size(), &made.public_half, &made.secret_half);
}

// The new version with the dates that were asked for, and no others.
Status check_dates(Pkcs11Session& writing, const Pkcs11NewKey& wanted) {
  const auto seconds = [](const std::optional<CK_DATE>& date) {
    return date ? pkcs11_date_seconds(std::as_bytes(std::span(&*date, 1))) : std::nullopt;
  };
  std::optional<std::int64_t> end = seconds(wanted.end);
  if (end) *end += kPkcs11DaySeconds;
  VAULTFS_ASSIGN_OR_RETURN(const auto versions, pkcs11_list_versions(writing, wanted.label));
  for (const Pkcs11DatedKey& version : versions) {
    if (version.key.id == to_hex(wanted.id) && version.start == seconds(wanted.start) && version.end == end) {
      return ok_status();
    }
  }
  return Error{ErrorCode::NotSupportedByProvider, "the token keeps no start and end dates for such keys"};
}

}  // namespace

Status pkcs11_generate(Pkcs11Session& writing, const Pkcs11NewKey& wanted) {
  const char* const call = wanted.type == CKK_AES ? "C_GenerateKey" : "C_GenerateKeyPair";
  const bool dated = wanted.start || wanted.end;
  Made made;
  CK_RV answer = generate(writing, wanted, dated, made);
  if (dated && !wanted.dates_matter && template_refused(answer)) answer = generate(writing, wanted, false, made);
  if (answer != CKR_OK && template_refused(answer)) {
    return Error{ErrorCode::NotSupportedByProvider,
                 "the token does not make such a key: " + pkcs11_answer_text(call, answer)};
  }
  VAULTFS_RETURN_IF_ERROR(writing.check(call, answer));
  if (!wanted.dates_matter) return ok_status();
  Status kept = check_dates(writing, wanted);
  if (!kept.ok()) {
    for (const CK_OBJECT_HANDLE object : {made.public_half, made.secret_half}) {
      if (object != CK_INVALID_HANDLE) (void)writing.functions().C_DestroyObject(writing.handle(), object);
    }
  }
  return kept;
}

Status pkcs11_set_enabled(Pkcs11Session& writing, const Pkcs11KeyObject& key, bool enabled) {
  CK_BBOOL value = enabled ? CK_TRUE : CK_FALSE;
  std::vector<CK_ATTRIBUTE> wanted{pkcs11_attribute(CKA_DECRYPT, value)};
  VAULTFS_ASSIGN_OR_RETURN(const bool wraps, writing.flag(key.handle, CKA_WRAP));
  if (key.is_aes() && wraps) wanted.push_back(pkcs11_attribute(CKA_UNWRAP, value));
  const CK_RV answer =
      writing.functions().C_SetAttributeValue(writing.handle(), key.handle, wanted.data(), wanted.size());
  if (answer == CKR_ACTION_PROHIBITED || template_refused(answer)) {
    return Error{ErrorCode::NotSupportedByProvider,
                 "the token does not let the use of key version " + key.id +
                     " be changed: " + pkcs11_answer_text("C_SetAttributeValue", answer)};
  }
  VAULTFS_RETURN_IF_ERROR(writing.check("C_SetAttributeValue", answer));
  VAULTFS_ASSIGN_OR_RETURN(const bool now, writing.flag(key.handle, CKA_DECRYPT));
  if (now == enabled) return ok_status();
  return Error{ErrorCode::NotSupportedByProvider,
               "the token took a change of CKA_DECRYPT of key version " + key.id + " and did not make it"};
}

}  // namespace vaultfs
