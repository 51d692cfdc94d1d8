#pragma once

#include <p11-kit/pkcs11.h>

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <utility>

#include "base/result.h"
#include "crypto/keyvault/pkcs11/module.h"
#include "crypto/keyvault/pkcs11/options.h"
#include "crypto/keyvault/pkcs11/pin.h"
#include "crypto/keyvault/pkcs11/session.h"
#include "crypto/keyvault/pkcs11/wrapping.h"
#include "crypto/memory/secret_buffer.h"

namespace vaultfs {

// What a call brings along for a login, should one be needed, and what came of it.
struct Pkcs11Login {
  std::optional<Result<SecretBuffer>> pin;  // nothing: no PIN is configured
  std::string pin_source;                   // for messages: the path of the PIN file
  // What earlier calls and other processes have learnt, or why it can't be read: then no PIN is sent.
  Result<std::optional<Pkcs11RefusedPin>> refused = std::optional<Pkcs11RefusedPin>();
  bool forgotten = false;  // `refused` was stored by this process, and is gone: deleted by the owner
  Bytes salt;              // random, for a new Pkcs11RefusedPin

  // Answers.
  bool accepted = false;                        // the PIN was sent, and is right
  std::optional<Pkcs11RefusedPin> refused_now;  // the PIN was sent, and is wrong: to be kept for other processes
};

// The token of one key vault, and the session that is kept with it. Used on the module's thread only.
class Pkcs11Token {
 public:
  explicit Pkcs11Token(Pkcs11TokenSelector selector) : selector_(std::move(selector)) {}

  // Runs `work` in a session that is logged in. If the session turns out to be lost, everything is opened anew once
  // (the module is started again if need be, which costs its other users their sessions) and `work` runs a second time.
  // KeyVaultUnavailable if the token is not there then; KeyVaultDenied if it refuses the PIN, or has refused it before;
  // InvalidArgument if two tokens fit, or a PIN is needed and none is configured.
  template <typename T>
  [[nodiscard]] Result<T> with_session(Pkcs11Library& library, Pkcs11Login& login,
                                       const std::function<Result<T>(Pkcs11Session&)>& work) {
    VAULTFS_RETURN_IF_ERROR(open(library, login));
    Result<T> first = work(*session_);
    if (first.ok() || !session_->lost()) return first;
    VAULTFS_RETURN_IF_ERROR(reopen(library, login));
    Result<T> second = work(*session_);
    if (second.ok() || !session_->lost()) return second;
    close(library);
    return Error{ErrorCode::KeyVaultUnavailable, second.error().message};
  }

  // Another session of the same token that may write, for the length of `work`. REQUIRES: inside with_session.
  template <typename T>
  [[nodiscard]] Result<T> with_writing_session(Pkcs11Session& reading,
                                               const std::function<Result<T>(Pkcs11Session&)>& work) {
    CK_SESSION_HANDLE handle = CK_INVALID_HANDLE;
    VAULTFS_RETURN_IF_ERROR(reading.check(
        "C_OpenSession", reading.functions().C_OpenSession(reading.slot(), CKF_SERIAL_SESSION | CKF_RW_SESSION, nullptr,
                                                           nullptr, &handle)));
    Pkcs11Session writing(reading.functions(), reading.slot(), handle);
    Result<T> result = work(writing);
    // What the token has lost, it has lost for both: with_session opens anew what it knows to be lost.
    if (writing.lost()) reading.note_loss();
    (void)reading.functions().C_CloseSession(handle);
    return result;
  }

  [[nodiscard]] Pkcs11Wrapping& wrapping() noexcept { return wrapping_; }
  // Ends the session, if it is one of the module as it runs now. REQUIRES: the module is started, or there is no
  // session of its generation.
  void close(Pkcs11Library& library) noexcept;

 private:
  [[nodiscard]] Status open(Pkcs11Library& library, Pkcs11Login& login);
  [[nodiscard]] Status reopen(Pkcs11Library& library, Pkcs11Login& login);
  [[nodiscard]] Result<CK_SLOT_ID> find_slot(const CK_FUNCTION_LIST& functions) const;
  [[nodiscard]] Status log_in(Pkcs11Session& session, Pkcs11Login& login);
  // True if the PIN was refused before, and nothing says that it would be taken now.
  [[nodiscard]] Result<bool> was_refused(const SecretBuffer& pin, const Pkcs11Login& login, CK_FLAGS token_flags) const;
  [[nodiscard]] Status send_pin(Pkcs11Session& session, const SecretBuffer& pin, Pkcs11Login& login);

  const Pkcs11TokenSelector selector_;
  std::unique_ptr<Pkcs11Session> session_;
  std::uint64_t generation_ = 0;  // of the module that session_ belongs to
  // The PIN that this object has seen refused, in locked memory like the one it is compared with.
  struct Refused {
    SecretBuffer pin;
    bool counted = false;  // as Pkcs11RefusedPin's
  };
  std::optional<Refused> refused_;
  Pkcs11Wrapping wrapping_;
};

}  // namespace vaultfs
