#include "crypto/keyvault/pkcs11/error.h"

#include <p11-kit/p11-kit.h>

#include <array>
#include <cstdio>

namespace vaultfs {
namespace {

// PKCS#11 v3.0, not in p11-kit's header.
constexpr CK_RV kAeadDecryptFailed = 0x35;

}  // namespace

bool pkcs11_session_lost(CK_RV answer) noexcept {
  switch (answer) {
    case CKR_SESSION_HANDLE_INVALID:
    case CKR_SESSION_CLOSED:
    case CKR_DEVICE_REMOVED:
    case CKR_TOKEN_NOT_PRESENT:
    case CKR_TOKEN_NOT_RECOGNIZED:
    case CKR_SLOT_ID_INVALID:
    case CKR_USER_NOT_LOGGED_IN:
    case CKR_CRYPTOKI_NOT_INITIALIZED:
    case CKR_OBJECT_HANDLE_INVALID:
    case CKR_KEY_HANDLE_INVALID:
    case CKR_OPERATION_ACTIVE:  // left by a call that was given up
      return true;
    default:
      return false;
  }
}

bool pkcs11_data_refused(CK_RV answer) noexcept {
  switch (answer) {
    case CKR_ENCRYPTED_DATA_INVALID:
    case CKR_ENCRYPTED_DATA_LEN_RANGE:
    case CKR_WRAPPED_KEY_INVALID:
    case CKR_WRAPPED_KEY_LEN_RANGE:
    case CKR_DATA_INVALID:
    case CKR_DATA_LEN_RANGE:
    case kAeadDecryptFailed:
      return true;
    default:
      return false;
  }
}

bool pkcs11_ambiguous(CK_RV answer) noexcept {
  switch (answer) {
    case CKR_GENERAL_ERROR:
    case CKR_FUNCTION_FAILED:
    case CKR_DEVICE_ERROR:
    case CKR_ARGUMENTS_BAD:
    case CKR_KEY_SIZE_RANGE:  // a key wrap whose header was changed
    case CKR_BUFFER_TOO_SMALL:
      return true;
    default:
      return false;
  }
}

bool pkcs11_unsupported(CK_RV answer) noexcept {
  switch (answer) {
    case CKR_MECHANISM_INVALID:
    case CKR_MECHANISM_PARAM_INVALID:
    case CKR_ARGUMENTS_BAD:
    case CKR_FUNCTION_NOT_SUPPORTED:
      return true;
    default:
      return false;
  }
}

std::string pkcs11_answer_text(const char* call, CK_RV answer) {
  std::array<char, 32> number{};
  static_cast<void>(std::snprintf(number.data(), number.size(), "0x%02lX", answer));
  const char* meaning = p11_kit_strerror(answer);
  return std::string(call) + " answered CKR " + number.data() + " (" + (meaning == nullptr ? "?" : meaning) + ")";
}

Error pkcs11_error(const char* call, CK_RV answer) {
  switch (answer) {
    case CKR_KEY_FUNCTION_NOT_PERMITTED:
      return {ErrorCode::KeyVersionDisabled,
              "the token does not permit this use of the key: " + pkcs11_answer_text(call, answer)};
    case CKR_PIN_INCORRECT:
    case CKR_PIN_INVALID:
    case CKR_PIN_LEN_RANGE:
    case CKR_PIN_EXPIRED:
    case CKR_PIN_LOCKED:
    case CKR_USER_PIN_NOT_INITIALIZED:
      return {ErrorCode::KeyVaultDenied, "the token refuses the login: " + pkcs11_answer_text(call, answer)};
    default:
      return {ErrorCode::KeyVaultUnavailable, "the token does not work: " + pkcs11_answer_text(call, answer)};
  }
}

}  // namespace vaultfs
