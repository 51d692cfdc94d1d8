#pragma once

#include <p11-kit/pkcs11.h>

#include <string>

#include "base/result.h"

namespace vaultfs {

// What a module's answer means for the session it was given in.
// True for answers after which everything should be opened anew once: the session, the login, the token or the module
// is not what it was.
[[nodiscard]] bool pkcs11_session_lost(CK_RV answer) noexcept;

// True for answers that say that wrapped bytes do not open.
[[nodiscard]] bool pkcs11_data_refused(CK_RV answer) noexcept;

// True for answers that may mean a fault as well as bytes that do not open: modules differ (SoftHSM says
// CKR_GENERAL_ERROR to every failed decryption).
[[nodiscard]] bool pkcs11_ambiguous(CK_RV answer) noexcept;

// True for answers that say that the token has no such mechanism, parameter or function.
[[nodiscard]] bool pkcs11_unsupported(CK_RV answer) noexcept;

// The error of a call: KeyVersionDisabled for CKR_KEY_FUNCTION_NOT_PERMITTED, KeyVaultDenied for refused PINs, else
// KeyVaultUnavailable. Names the call and the answer.
[[nodiscard]] Error pkcs11_error(const char* call, CK_RV answer);

// "C_Login answered CKR 0xA0 (The password or PIN is incorrect)".
[[nodiscard]] std::string pkcs11_answer_text(const char* call, CK_RV answer);

}  // namespace vaultfs
