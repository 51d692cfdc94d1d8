#include "crypto/keyvault/pkcs11_pin.h"

#include <algorithm>

#include "crypto/hash.h"
#include "crypto/keyvault/json_members.h"
#include "crypto/keyvault/private_file.h"

namespace vaultfs {
namespace {

constexpr std::size_t kPinLimitBytes = 255;
constexpr std::uint64_t kRefusedLimitBytes = 4096;
constexpr std::uint32_t kGroupAndWorld = 077;
constexpr std::int64_t kFormat = 1;

Status check_pin_file(Env& env, const std::filesystem::path& path) {
  VAULTFS_ASSIGN_OR_RETURN(const FileInfo info, env.info(path));
  if (info.kind == FileKind::missing) {
    return Error{ErrorCode::KeyVaultUnavailable, "the PIN file " + path.string() + " is missing; put it back"};
  }
  if (info.kind != FileKind::file) {
    return Error{ErrorCode::InvalidArgument, "the PIN file " + path.string() + " is not a regular file"};
  }
  if ((info.mode & kGroupAndWorld) != 0) {
    return Error{ErrorCode::PermissionDenied, "others than its owner may use the PIN file " + path.string() +
                                                  "; change the PIN, then: chmod 600 " + path.string()};
  }
  return check_trusted_owner(path, info.owner);
}

}  // namespace

Result<SecretBuffer> read_pkcs11_pin(Env& env, const std::filesystem::path& path) {
  VAULTFS_RETURN_IF_ERROR(check_pin_file(env, path));
  VAULTFS_ASSIGN_OR_RETURN(const auto file, env.open(path, OpenMode::read_only));
  // One byte for the newline, one to see that there is more.
  VAULTFS_ASSIGN_OR_RETURN(SecretBuffer content, SecretBuffer::allocate(kPinLimitBytes + 2));
  VAULTFS_ASSIGN_OR_RETURN(std::size_t size, file->read_at(0, content.mutable_view()));
  if (size > 0 && content.view()[size - 1] == std::byte{'\n'}) --size;
  const ByteView pin = content.view().first(size);
  if (pin.empty() || pin.size() > kPinLimitBytes ||
      std::ranges::any_of(pin, [](std::byte b) { return b == std::byte{'\n'} || b == std::byte{0}; })) {
    return Error{ErrorCode::InvalidArgument,
                 "the PIN file " + path.string() + " holds no PIN: write it there as one line of 1 to 255 bytes"};
  }
  return SecretBuffer::copy_of(pin);
}

Pkcs11RefusedPin Pkcs11RefusedPin::of(const SecretBuffer& pin, ByteView salt, bool counted) {
  return {to_bytes(salt), to_bytes(hmac_sha256(salt, {pin.view()}).view()), counted};
}

bool Pkcs11RefusedPin::is(const SecretBuffer& pin) const {
  return constant_time_equal(hmac_sha256(salt, {pin.view()}).view(), mac);
}

std::string Pkcs11RefusedPin::encode() const {
  return json_state_text(
      {{"format", kFormat}, {"salt", to_base64(salt)}, {"mac", to_base64(mac)}, {"counted", counted}});
}

Result<Pkcs11RefusedPin> Pkcs11RefusedPin::decode(std::string_view json, const std::string& path) {
  VAULTFS_ASSIGN_OR_RETURN(const nlohmann::json parsed, parse_json_state(json, kFormat, path));
  JsonMembers members(parsed, path);
  Pkcs11RefusedPin refused;
  refused.salt = members.base64("salt");
  refused.mac = members.base64("mac");
  refused.counted = members.boolean("counted");
  if (refused.salt.size() != kSaltBytes) members.fail("its salt has not 16 bytes");
  if (refused.mac.size() != Digest::kSize) members.fail("its mac has not 32 bytes");
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
