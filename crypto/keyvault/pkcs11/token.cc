#include "crypto/keyvault/pkcs11/token.h"

#include <algorithm>
#include <string_view>
#include <vector>

#include "crypto/keyvault/pkcs11/error.h"

namespace vaultfs {
namespace {

constexpr CK_FLAGS kFailureCounted = CKF_USER_PIN_COUNT_LOW | CKF_USER_PIN_FINAL_TRY | CKF_USER_PIN_LOCKED;
constexpr CK_ULONG kSlotLimit = 4096;
constexpr int kSlotListAttempts = 3;

// Fields are padded with blanks; some modules end them by a zero byte.
template <std::size_t N>
std::string_view field(const CK_UTF8CHAR (&text)[N]) {
  std::string_view view(reinterpret_cast<const char*>(text), N);
  view = view.substr(0, view.find('\0'));
  return view.substr(0, view.find_last_not_of(' ') + 1);
}

bool fits(const Pkcs11TokenSelector& selector, const CK_TOKEN_INFO& token) {
  const auto same = [](const std::string& wanted, std::string_view given) { return wanted.empty() || wanted == given; };
  return same(selector.label, field(token.label)) && same(selector.serial, field(token.serialNumber)) &&
         same(selector.manufacturer, field(token.manufacturerID)) && same(selector.model, field(token.model));
}

Result<std::vector<CK_SLOT_ID>> slots_with_token(const CK_FUNCTION_LIST& functions) {
  std::vector<CK_SLOT_ID> slots;
  CK_RV answer = CKR_OK;
  // A token that is inserted in between makes the second call fail.
  for (int attempt = 0; attempt < kSlotListAttempts; ++attempt) {
    CK_ULONG count = 0;
    // Asking for the number makes modules look for new tokens (PKCS#11 v2.40 section 5.5).
    answer = functions.C_GetSlotList(CK_TRUE, nullptr, &count);
    if (answer != CKR_OK) break;
    // Not a part of them: a second token of the same label must not go unseen.
    if (count > kSlotLimit) {
      return Error{ErrorCode::NotSupportedByProvider, "the PKCS#11 module has " + std::to_string(count) +
                                                          " slots with a token; 4096 are the most: give it fewer in "
                                                          "its own configuration"};
    }
    slots.resize(count);
    if (slots.empty()) return slots;
    count = slots.size();
    answer = functions.C_GetSlotList(CK_TRUE, slots.data(), &count);
    if (answer == CKR_OK) {
      slots.resize(std::min<std::size_t>(count, slots.size()));
      return slots;
    }
    if (answer != CKR_BUFFER_TOO_SMALL) break;
  }
  return pkcs11_error("C_GetSlotList", answer);
}

bool has_refusal(const Pkcs11Login& login) { return login.refused.ok() && login.refused->has_value(); }

// The answers that are about this PIN. An expired or locked one may be the right one, and is not to be kept in any
// form; the token's flags tell of both.
bool is_wrong_pin(CK_RV answer) noexcept {
  return answer == CKR_PIN_INCORRECT || answer == CKR_PIN_INVALID || answer == CKR_PIN_LEN_RANGE;
}

}  // namespace

void Pkcs11Token::close(Pkcs11Library& library) noexcept {
  if (session_ != nullptr && generation_ == library.generation()) {
    (void)library.functions().C_CloseSession(session_->handle());
  }
  session_.reset();
}

Result<CK_SLOT_ID> Pkcs11Token::find_slot(const CK_FUNCTION_LIST& functions) const {
  VAULTFS_ASSIGN_OR_RETURN(const std::vector<CK_SLOT_ID> slots, slots_with_token(functions));
  std::optional<CK_SLOT_ID> found;
  for (const CK_SLOT_ID slot : slots) {
    CK_TOKEN_INFO token{};
    // A token that has just gone, or another one that does not work, is not the one that is looked for.
    if (functions.C_GetTokenInfo(slot, &token) != CKR_OK || !fits(selector_, token)) continue;
    if (found) {
      return Error{ErrorCode::InvalidArgument, "the PKCS#11 module has more than one " + selector_.to_string() +
                                                   "; register the key vault with uri=pkcs11:token=...;serial=..."};
    }
    found = slot;
  }
  if (found) return *found;
  return Error{ErrorCode::KeyVaultUnavailable,
               "the PKCS#11 module has no " + selector_.to_string() + " now; insert it"};
}

Status Pkcs11Token::open(Pkcs11Library& library, Pkcs11Login& login) {
  if (session_ != nullptr && generation_ == library.generation() && !session_->lost()) return ok_status();
  close(library);
  VAULTFS_RETURN_IF_ERROR(library.start());
  // Modules may hold on to what they saw when they were started: SoftHSM never finds a token again that was away, and
  // never learns of a PIN that another process has set.
  const auto start_again = [&] {
    library.stop();
    return library.start();
  };
  if (!library.started_now() && (refused_ || has_refusal(login))) VAULTFS_RETURN_IF_ERROR(start_again());
  const auto attempt = [&]() -> Status {
    const CK_FUNCTION_LIST& functions = library.functions();
    VAULTFS_ASSIGN_OR_RETURN(const CK_SLOT_ID slot, find_slot(functions));
    CK_SESSION_HANDLE handle = CK_INVALID_HANDLE;
    const CK_RV answer = functions.C_OpenSession(slot, CKF_SERIAL_SESSION, nullptr, nullptr, &handle);
    if (answer != CKR_OK) {
      return Error{ErrorCode::KeyVaultUnavailable,
                   "the token does not work: " + pkcs11_answer_text("C_OpenSession", answer)};
    }
    session_ = std::make_unique<Pkcs11Session>(functions, slot, handle);
    generation_ = library.generation();
    Status logged_in = log_in(*session_, login);
    if (!logged_in.ok()) close(library);
    return logged_in;
  };
  Status opened = attempt();
  if (opened.ok() || opened.code() != ErrorCode::KeyVaultUnavailable || library.started_now()) return opened;
  VAULTFS_RETURN_IF_ERROR(start_again());
  return attempt();
}

Status Pkcs11Token::reopen(Pkcs11Library& library, Pkcs11Login& login) {
  close(library);
  return open(library, login);
}

Status Pkcs11Token::log_in(Pkcs11Session& session, Pkcs11Login& login) {
  CK_TOKEN_INFO token{};
  VAULTFS_RETURN_IF_ERROR(session.check("C_GetTokenInfo", session.functions().C_GetTokenInfo(session.slot(), &token)));
  if ((token.flags & CKF_LOGIN_REQUIRED) == 0) return ok_status();
  CK_SESSION_INFO info{};
  VAULTFS_RETURN_IF_ERROR(
      session.check("C_GetSessionInfo", session.functions().C_GetSessionInfo(session.handle(), &info)));
  // A login holds for all sessions of this process with the token.
  if (info.state == CKS_RO_USER_FUNCTIONS || info.state == CKS_RW_USER_FUNCTIONS) return ok_status();
  if (!login.pin) {
    return Error{ErrorCode::InvalidArgument,
                 selector_.to_string() + " wants a PIN; register the key vault with pin-file"};
  }
  if (!login.pin->ok()) return login.pin->error();
  const SecretBuffer& pin = **login.pin;

  const std::string name = selector_.to_string();
  if ((token.flags & CKF_USER_PIN_LOCKED) != 0) {
    return Error{ErrorCode::KeyVaultDenied, name + " has locked its PIN; let its security officer set a new one"};
  }
  if (login.forgotten) refused_.reset();
  VAULTFS_ASSIGN_OR_RETURN(const bool known, was_refused(pin, login, token.flags));
  if (known) {
    return Error{
        ErrorCode::KeyVaultDenied,
        name + " has refused the PIN in " + login.pin_source +
            ", which is not tried again, because tokens lock after a few failures; correct the file (or, if the "
            "PIN was put right at the token, delete pkcs11-refused-pin.json beside the key vault's provider.json)"};
  }
  if ((token.flags & CKF_USER_PIN_FINAL_TRY) != 0) {
    // Nobody has refused this PIN: the failures may be another program's. So it is no denial.
    return Error{ErrorCode::KeyVaultUnavailable,
                 name +
                     " locks its PIN at the next failure, so none is sent; log in once by other means, with "
                     "pkcs11-tool --login --test for example"};
  }
  return send_pin(session, pin, login);
}

Result<bool> Pkcs11Token::was_refused(const SecretBuffer& pin, const Pkcs11Login& login, CK_FLAGS token_flags) const {
  // A token that counted our failure and counts none any more has seen a right PIN since, or got a new one.
  const auto outdated = [&](bool counted) { return counted && (token_flags & kFailureCounted) == 0; };
  if (refused_ && !outdated(refused_->counted) && constant_time_equal(refused_->pin.view(), pin.view())) return true;
  if (!login.refused.ok()) return login.refused.error();
  const std::optional<Pkcs11RefusedPin>& stored = *login.refused;
  if (!stored || outdated(stored->counted)) return false;
  return stored->is(pin);
}

Status Pkcs11Token::send_pin(Pkcs11Session& session, const SecretBuffer& pin, Pkcs11Login& login) {
  const CK_FUNCTION_LIST& functions = session.functions();
  const CK_RV answer = functions.C_Login(session.handle(), CKU_USER, pkcs11_bytes(pin.view()), pin.size());
  if (answer == CKR_USER_ALREADY_LOGGED_IN) return ok_status();
  if (answer == CKR_OK) {
    login.accepted = true;
    refused_.reset();
    return ok_status();
  }
  Status failed = session.check("C_Login", answer);
  if (failed.code() != ErrorCode::KeyVaultDenied) return failed;
  if (is_wrong_pin(answer)) {
    CK_TOKEN_INFO token{};
    const bool counted =
        functions.C_GetTokenInfo(session.slot(), &token) == CKR_OK && (token.flags & kFailureCounted) != 0;
    VAULTFS_ASSIGN_OR_RETURN(SecretBuffer copy, SecretBuffer::copy_of(pin.view()));
    refused_ = Refused{std::move(copy), counted};
    auto stored = Pkcs11RefusedPin::of(pin, login.salt, counted);
    if (stored.ok()) login.refused_now = *std::move(stored);
  }
  return with_context(failed.error(), selector_.to_string() + ", PIN file " + login.pin_source);
}

}  // namespace vaultfs
