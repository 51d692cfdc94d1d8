#pragma once

#include <p11-kit/pkcs11.h>

#include <optional>
#include <string_view>
#include <vector>

#include "base/bytes.h"
#include "base/result.h"

namespace vaultfs {

// One entry of a template, pointing at a value that must outlive the call.
template <typename T>
[[nodiscard]] CK_ATTRIBUTE pkcs11_attribute(CK_ATTRIBUTE_TYPE type, T& value) noexcept {
  return {type, &value, sizeof(T)};
}
[[nodiscard]] inline CK_ATTRIBUTE pkcs11_attribute(CK_ATTRIBUTE_TYPE type, ByteView value) noexcept {
  // NOLINTNEXTLINE(cppcoreguidelines-pro-type-const-cast): see pkcs11_bytes
  return {type, const_cast<std::byte*>(value.data()), value.size()};
}
[[nodiscard]] inline CK_ATTRIBUTE pkcs11_attribute(CK_ATTRIBUTE_TYPE type, std::string_view value) noexcept {
  return pkcs11_attribute(type, bytes_of(value));
}

// Bytes as PKCS#11 takes them: it has no const, but changes no input. Never null, which modules take for a question
// about lengths or for a mistake, also where there are no bytes.
[[nodiscard]] inline CK_BYTE_PTR pkcs11_bytes(ByteView bytes) noexcept {
  static CK_BYTE none = 0;
  // NOLINTNEXTLINE(cppcoreguidelines-pro-type-const-cast): as said above
  return bytes.empty() ? &none : reinterpret_cast<CK_BYTE_PTR>(const_cast<std::byte*>(bytes.data()));
}
[[nodiscard]] inline CK_BYTE_PTR pkcs11_bytes(MutableByteView bytes) noexcept {
  return reinterpret_cast<CK_BYTE_PTR>(bytes.data());
}

// A session with a token, open and logged in. Remembers whether any call said that it is lost. Used on the module's
// thread only.
class Pkcs11Session {
 public:
  Pkcs11Session(const CK_FUNCTION_LIST& functions, CK_SLOT_ID slot, CK_SESSION_HANDLE handle)
      : functions_(functions), slot_(slot), handle_(handle) {}

  [[nodiscard]] const CK_FUNCTION_LIST& functions() const noexcept { return functions_; }
  [[nodiscard]] CK_SESSION_HANDLE handle() const noexcept { return handle_; }
  [[nodiscard]] CK_SLOT_ID slot() const noexcept { return slot_; }

  // Success for CKR_OK, else pkcs11_error; notes a lost session.
  [[nodiscard]] Status check(const char* call, CK_RV answer);
  [[nodiscard]] bool lost() const noexcept { return lost_; }
  void note_loss() noexcept { lost_ = true; }
  // An answer shows that the session is of no use, though no code of the module said so.
  [[nodiscard]] Error lose(const char* call, CK_RV answer);

  // All objects that match; NotSupportedByProvider if they are more than 4096. "None" is believed only of a token that
  // still answers and in a session that is still logged in: SoftHSM finds nothing, without an error, when its directory
  // is gone, and nobody sees private objects after a logout.
  [[nodiscard]] Result<std::vector<CK_OBJECT_HANDLE>> find(std::vector<CK_ATTRIBUTE> wanted);

  // An attribute's value; empty if the object has no such attribute or does not reveal it.
  [[nodiscard]] Result<Bytes> bytes(CK_OBJECT_HANDLE object, CK_ATTRIBUTE_TYPE type);
  [[nodiscard]] Result<std::optional<CK_ULONG>> number(CK_OBJECT_HANDLE object, CK_ATTRIBUTE_TYPE type);
  // Absent is false, as the standard's default is for usage flags.
  [[nodiscard]] Result<bool> flag(CK_OBJECT_HANDLE object, CK_ATTRIBUTE_TYPE type);

 private:
  [[nodiscard]] Status check_logged_in(bool required);

  const CK_FUNCTION_LIST& functions_;
  const CK_SLOT_ID slot_;
  const CK_SESSION_HANDLE handle_;
  bool lost_ = false;
};

}  // namespace vaultfs
