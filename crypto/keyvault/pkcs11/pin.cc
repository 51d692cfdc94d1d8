#include "crypto/keyvault/pkcs11/pin.h"

#include <algorithm>

#include "crypto/files/json_members.h"
#include "crypto/files/private_file.h"
#include "crypto/memory/base64.h"
#include "crypto/passphrase.h"

namespace vaultfs {
namespace {

constexpr std::size_t kPinLimitBytes = 255;
constexpr std::uint64_t kRefusedLimitBytes = 4096;
constexpr std::int64_t kRefusedPinFormat = 1;
constexpr std::size_t kStretchedBytes = 32;
constexpr Argon2Cost kStretch{.memory_kib = 64 * 1024, .passes = 3};  // RFC 9106 section 4, but for the lanes

}  // namespace

Result<SecretBuffer> read_pkcs11_pin(Env& env, const std::filesystem::path& path) {
  // One byte more for the newline.
  const auto content = read_private_file(env, path, kPinLimitBytes + 1);
  if (!content.ok()) {
    if (content.code() != ErrorCode::NotFound) return with_context(content.error(), "the PIN file");
    return Error{ErrorCode::KeyVaultUnavailable, "the PIN file " + path.string() + " is missing; put it back"};
  }
  std::size_t size = content->size();
  if (size > 0 && content->view()[size - 1] == std::byte{'\n'}) --size;
  const ByteView pin = content->view().first(size);
  if (pin.empty() || pin.size() > kPinLimitBytes ||
      std::ranges::any_of(pin, [](std::byte b) { return b == std::byte{'\n'} || b == std::byte{0}; })) {
    return Error{ErrorCode::InvalidArgument,
                 "the PIN file " + path.string() + " holds no PIN: write it there as one line of 1 to 255 bytes"};
  }
  return SecretBuffer::copy_of(pin);
}

Result<Pkcs11RefusedPin> Pkcs11RefusedPin::of(const SecretBuffer& pin, ByteView salt, bool counted) {
  VAULTFS_ASSIGN_OR_RETURN(const SecretBuffer stretched, stretch_passphrase(pin, salt, kStretch));
  return Pkcs11RefusedPin{to_bytes(salt), to_bytes(stretched.view()), counted};
}

Result<bool> Pkcs11RefusedPin::is(const SecretBuffer& pin) const {
  VAULTFS_ASSIGN_OR_RETURN(const SecretBuffer other, stretch_passphrase(pin, salt, kStretch));
  return constant_time_equal(other.view(), stretched);
}

std::string Pkcs11RefusedPin::encode() const {
  return json_state_text({{"format", kRefusedPinFormat},
                          {"salt", to_base64(salt)},
                          {"argon2id", to_base64(stretched)},
                          {"counted", counted}});
}

Result<Pkcs11RefusedPin> Pkcs11RefusedPin::decode(std::string_view json, const std::string& path) {
  VAULTFS_ASSIGN_OR_RETURN(const nlohmann::json parsed, parse_json_state(json, kRefusedPinFormat, path));
  JsonMembers members(parsed, path);
  Pkcs11RefusedPin refused;
  refused.salt = members.base64("salt");
  refused.stretched = members.base64("argon2id");
  refused.counted = members.boolean("counted");
  if (refused.salt.size() != kSaltBytes) members.fail("its salt has not 16 bytes");
  if (refused.stretched.size() != kStretchedBytes) members.fail("its argon2id has not 32 bytes");
  VAULTFS_RETURN_IF_ERROR(members.finish());
  return refused;
}

std::filesystem::path pkcs11_refused_pin_path(const std::filesystem::path& directory) {
  return directory / "pkcs11-refused-pin.json";
}

Result<std::optional<Pkcs11RefusedPin>> read_pkcs11_refused_pin(Env& env, const std::filesystem::path& directory) {
  const std::filesystem::path path = pkcs11_refused_pin_path(directory);
  const auto content = read_file(env, path, kRefusedLimitBytes);
  if (!content.ok()) {
    if (content.code() == ErrorCode::NotFound) return std::optional<Pkcs11RefusedPin>();
    return content.error();
  }
  VAULTFS_ASSIGN_OR_RETURN(Pkcs11RefusedPin refused, Pkcs11RefusedPin::decode(text_of(*content), path.string()));
  return std::optional(std::move(refused));
}

Status write_pkcs11_refused_pin(Env& env, const std::filesystem::path& directory, const Pkcs11RefusedPin& refused) {
  VAULTFS_RETURN_IF_ERROR(ensure_private_directory(env, directory));
  return write_file_durably(env, pkcs11_refused_pin_path(directory), bytes_of(refused.encode()));
}

Status forget_pkcs11_refused_pin(Env& env, const std::filesystem::path& directory) {
  const Status removed = env.remove_file(pkcs11_refused_pin_path(directory));
  return removed.ok() || removed.code() == ErrorCode::NotFound ? ok_status() : removed;
}

}  // namespace vaultfs
