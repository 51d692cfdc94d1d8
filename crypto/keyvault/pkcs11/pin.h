#pragma once

#include <filesystem>
#include <optional>
#include <string>

#include "base/bytes.h"
#include "base/files/env.h"
#include "base/result.h"
#include "crypto/memory/secret_buffer.h"

namespace vaultfs {

// The PIN in a file: all of it but one trailing newline, 1 to 255 bytes. PermissionDenied if anyone but its owner may
// use the file, or if the owner is neither this user nor root; KeyVaultUnavailable if the file is missing (a credential
// that is not mounted: an outage); InvalidArgument for a content that is no PIN.
[[nodiscard]] Result<SecretBuffer> read_pkcs11_pin(Env& env, const std::filesystem::path& path);

// The memory of a PIN that a token has refused. Tokens lock after a few wrong PINs, and refreshes come every few
// minutes, from several processes: so a refused PIN is not sent again until the file says another one, or the token
// says that somebody has logged in since.
struct Pkcs11RefusedPin {
  static constexpr std::size_t kSaltBytes = 16;

  Bytes salt;  // 16 random bytes
  // Argon2id of the PIN (passphrase.h; 64 MiB, 3 passes). A PIN of few digits is found by trying all the same, only not
  // at once: what protects the file is its mode. The PIN file itself may be on no disk at all.
  Bytes stretched;
  // The token counted the failure (CKF_USER_PIN_COUNT_LOW, …), so that its flags will tell of a login since.
  bool counted = false;

  // Takes some tenths of a second each. Internal if there is no memory for it.
  [[nodiscard]] static Result<Pkcs11RefusedPin> of(const SecretBuffer& pin, ByteView salt, bool counted);
  [[nodiscard]] Result<bool> is(const SecretBuffer& pin) const;

  // As stored: {"format":1,"salt","argon2id","counted"}. DamagedMachineState naming `path`, UnsupportedFormat.
  [[nodiscard]] std::string encode() const;
  [[nodiscard]] static Result<Pkcs11RefusedPin> decode(std::string_view json, const std::string& path);
};

// DIRECTORY/pkcs11-refused-pin.json, mode 0600, so that other processes know as well. An owner may delete it.
[[nodiscard]] std::filesystem::path pkcs11_refused_pin_path(const std::filesystem::path& directory);
[[nodiscard]] Result<std::optional<Pkcs11RefusedPin>> read_pkcs11_refused_pin(Env& env,
                                                                              const std::filesystem::path& directory);
[[nodiscard]] Status write_pkcs11_refused_pin(Env& env, const std::filesystem::path& directory,
                                              const Pkcs11RefusedPin& refused);
[[nodiscard]] Status forget_pkcs11_refused_pin(Env& env, const std::filesystem::path& directory);

}  // namespace vaultfs
