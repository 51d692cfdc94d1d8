#include "crypto/keyvault/pkcs11/session.h"

#include <array>
#include <cstring>

#include "crypto/keyvault/pkcs11/error.h"

namespace vaultfs {
namespace {

constexpr std::size_t kObjectLimit = 4096;
constexpr CK_ULONG kUnavailable = ~CK_ULONG{0};  // CK_UNAVAILABLE_INFORMATION
constexpr CK_ULONG kAttributeLimitBytes = CK_ULONG{16} * 1024;

bool is_absent(CK_RV answer) noexcept {
  return answer == CKR_ATTRIBUTE_TYPE_INVALID || answer == CKR_ATTRIBUTE_SENSITIVE;
}

}  // namespace

Status Pkcs11Session::check(const char* call, CK_RV answer) {
  if (answer == CKR_OK) return ok_status();
  if (pkcs11_session_lost(answer)) lost_ = true;
  return pkcs11_error(call, answer);
}

Error Pkcs11Session::lose(const char* call, CK_RV answer) {
  lost_ = true;
  return {ErrorCode::KeyVaultUnavailable, "the token does not work: " + pkcs11_answer_text(call, answer)};
}

Status Pkcs11Session::check_logged_in(bool required) {
  CK_SESSION_INFO info{};
  VAULTFS_RETURN_IF_ERROR(check("C_GetSessionInfo", functions_.C_GetSessionInfo(handle_, &info)));
  const bool user = info.state == CKS_RO_USER_FUNCTIONS || info.state == CKS_RW_USER_FUNCTIONS;
  if (required && !user) return lose("C_GetSessionInfo", CKR_USER_NOT_LOGGED_IN);
  return ok_status();
}

Result<std::vector<CK_OBJECT_HANDLE>> Pkcs11Session::find(std::vector<CK_ATTRIBUTE> wanted) {
  VAULTFS_RETURN_IF_ERROR(
      check("C_FindObjectsInit", functions_.C_FindObjectsInit(handle_, wanted.data(), wanted.size())));
  std::vector<CK_OBJECT_HANDLE> objects;
  Status status = ok_status();
  for (;;) {
    std::array<CK_OBJECT_HANDLE, 64> found{};
    CK_ULONG count = 0;
    status = check("C_FindObjects", functions_.C_FindObjects(handle_, found.data(), found.size(), &count));
    // More than there is room for is no answer: what was found may be only a part.
    if (status.ok() && count > found.size()) status = lose("C_FindObjects", CKR_BUFFER_TOO_SMALL);
    if (!status.ok() || count == 0) break;
    objects.insert(objects.end(), found.begin(), found.begin() + static_cast<std::ptrdiff_t>(count));
    if (objects.size() > kObjectLimit) {
      // Never a part of them, in which the newest version may be missing.
      status =
          Error{ErrorCode::NotSupportedByProvider,
                "the token has more than 4096 objects that fit a search for keys, and a part of them is no answer; "
                "delete those that nobody needs (see pkcs11-tool --list-objects), or use a token that others put "
                "nothing on"};
      break;
    }
  }
  const Status ended = check("C_FindObjectsFinal", functions_.C_FindObjectsFinal(handle_));
  VAULTFS_RETURN_IF_ERROR(status);
  VAULTFS_RETURN_IF_ERROR(ended);
  if (objects.empty()) {
    CK_TOKEN_INFO token{};
    const CK_RV answer = functions_.C_GetTokenInfo(slot_, &token);
    if (answer != CKR_OK) return lose("C_GetTokenInfo", answer);
    VAULTFS_RETURN_IF_ERROR(check_logged_in((token.flags & CKF_LOGIN_REQUIRED) != 0));
  }
  return objects;
}

Result<Bytes> Pkcs11Session::bytes(CK_OBJECT_HANDLE object, CK_ATTRIBUTE_TYPE type) {
  CK_ATTRIBUTE attribute{type, nullptr, 0};
  CK_RV answer = functions_.C_GetAttributeValue(handle_, object, &attribute, 1);
  if (is_absent(answer)) return Bytes();
  VAULTFS_RETURN_IF_ERROR(check("C_GetAttributeValue", answer));
  if (attribute.ulValueLen == kUnavailable) return Bytes();
  if (attribute.ulValueLen > kAttributeLimitBytes) {
    return Error{ErrorCode::NotSupportedByProvider, "the token has an object with an attribute of more than 16 KiB"};
  }
  Bytes value(attribute.ulValueLen);
  if (value.empty()) return value;
  attribute.pValue = value.data();
  answer = functions_.C_GetAttributeValue(handle_, object, &attribute, 1);
  if (is_absent(answer)) return Bytes();
  VAULTFS_RETURN_IF_ERROR(check("C_GetAttributeValue", answer));
  if (attribute.ulValueLen > value.size()) return lose("C_GetAttributeValue", CKR_BUFFER_TOO_SMALL);
  value.resize(attribute.ulValueLen);
  return value;
}

Result<std::optional<CK_ULONG>> Pkcs11Session::number(CK_OBJECT_HANDLE object, CK_ATTRIBUTE_TYPE type) {
  VAULTFS_ASSIGN_OR_RETURN(const Bytes value, bytes(object, type));
  CK_ULONG number = 0;
  if (value.size() != sizeof(number)) return std::optional<CK_ULONG>();
  std::memcpy(&number, value.data(), sizeof(number));
  return std::optional(number);
}

Result<bool> Pkcs11Session::flag(CK_OBJECT_HANDLE object, CK_ATTRIBUTE_TYPE type) {
  VAULTFS_ASSIGN_OR_RETURN(const Bytes value, bytes(object, type));
  return value.size() == 1 && value.front() != std::byte{CK_FALSE};
}

}  // namespace vaultfs
