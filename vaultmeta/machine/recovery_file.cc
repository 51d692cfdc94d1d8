#include "vaultmeta/machine/recovery_file.h"

#include <cstring>
#include <utility>

#include "base/byte_codec.h"
#include "crypto/hash.h"
#include "crypto/passphrase.h"

namespace vaultfs {
namespace {

constexpr std::string_view kRecoveryFileMagic = "VAULTFSR";
constexpr std::uint16_t kRecoveryFileVersion = 1;
constexpr std::string_view kLabel = "vaultfs/1 recovery file";
constexpr std::size_t kIdBytes = 16;
constexpr std::size_t kPlatformKeyBytes = 32;
constexpr std::size_t kMaxKeys = 64;
constexpr std::size_t kMaxRecoveryFileBytes = std::size_t{64} * 1024;

Error damaged_recovery_file(const std::filesystem::path& path, const std::string& what) {
  return Error{ErrorCode::DamagedMachineState, path.string() + " is no intact recovery file: " + what};
}

Result<SecretBuffer> encode_keys(const RecoveryKeys& keys) {
  VAULTFS_ASSIGN_OR_RETURN(SecretBuffer plain,
                           SecretBuffer::allocate(keys.platform_keys.size() * (kIdBytes + kPlatformKeyBytes)));
  std::byte* at = plain.mutable_view().data();
  for (const RecoveryKeys::Key& key : keys.platform_keys) {
    std::memcpy(at, key.id.data(), kIdBytes);
    std::memcpy(at + kIdBytes, key.key.view().data(), kPlatformKeyBytes);
    at += kIdBytes + kPlatformKeyBytes;
  }
  return plain;
}

Result<Bytes> encode(const RecoveryKeys& keys, const SecretBuffer& passphrase) {
  ByteWriter writer;
  writer.raw(bytes_of(kRecoveryFileMagic));
  writer.u16(kRecoveryFileVersion);
  writer.id(keys.vault);
  writer.id(keys.root_fingerprint);
  VAULTFS_ASSIGN_OR_RETURN(const SecretBuffer plain, encode_keys(keys));
  // The box is bound to the clear part, which names the vault.
  VAULTFS_ASSIGN_OR_RETURN(const Bytes box, seal_with_passphrase(passphrase, kLabel, writer.view(), plain.view()));
  writer.blob(box);
  const Digest digest = sha256(writer.view());
  writer.id(digest);
  return std::move(writer).take();
}

Result<RecoveryKeys> decode(const std::filesystem::path& path, ByteView file, const SecretBuffer& passphrase) {
  if (file.size() < kRecoveryFileMagic.size() + Digest::kSize ||
      text_of(file.first(kRecoveryFileMagic.size())) != kRecoveryFileMagic) {
    return damaged_recovery_file(path, "it does not begin like one");
  }
  const ByteView body = file.first(file.size() - Digest::kSize);
  // The digest tells a damaged file from a wrong passphrase.
  if (!bytes_equal(sha256(body).view(), file.last(Digest::kSize)))
    return damaged_recovery_file(path, "its digest does not match");
  ByteReader reader(body.subspan(kRecoveryFileMagic.size()));
  const std::uint16_t version = reader.u16();
  if (version != kRecoveryFileVersion) {
    return Error{ErrorCode::UnsupportedFormat, path.string() + " has format version " + std::to_string(version) +
                                                   ", this program reads version " +
                                                   std::to_string(kRecoveryFileVersion)};
  }
  RecoveryKeys keys;
  keys.vault = reader.id<VaultId>();
  keys.root_fingerprint = reader.id<Digest>();
  const std::size_t clear_bytes = body.size() - reader.remaining();
  const ByteView box = reader.blob(kMaxRecoveryFileBytes);
  VAULTFS_RETURN_IF_ERROR(reader.finish(ErrorCode::DamagedMachineState, path.string()));
  auto plain = open_with_passphrase(passphrase, kLabel, body.first(clear_bytes), box);
  if (!plain.ok()) {
    if (plain.code() == ErrorCode::AuthenticationFailed) return damaged_recovery_file(path, "its keys were changed");
    return std::move(plain).error();
  }
  constexpr std::size_t kKeyBytes = kIdBytes + kPlatformKeyBytes;
  if (plain->empty() || plain->size() % kKeyBytes != 0 || plain->size() / kKeyBytes > kMaxKeys)
    return damaged_recovery_file(path, "its keys have a wrong length");
  for (std::size_t at = 0; at < plain->size(); at += kKeyBytes) {
    RecoveryKeys::Key key;
    std::memcpy(key.id.data(), plain->view().data() + at, kIdBytes);
    VAULTFS_ASSIGN_OR_RETURN(key.key, SecretBuffer::copy_of(plain->view().subspan(at + kIdBytes, kPlatformKeyBytes)));
    keys.platform_keys.push_back(std::move(key));
  }
  return keys;
}

bool same_keys(const RecoveryKeys& a, const RecoveryKeys& b) {
  if (a.vault != b.vault || a.root_fingerprint != b.root_fingerprint) return false;
  if (a.platform_keys.size() != b.platform_keys.size()) return false;
  for (std::size_t i = 0; i < a.platform_keys.size(); ++i) {
    if (a.platform_keys[i].id != b.platform_keys[i].id) return false;
    if (!constant_time_equal(a.platform_keys[i].key.view(), b.platform_keys[i].key.view())) return false;
  }
  return true;
}

Status write_and_prove(Env& env, File& file, const std::filesystem::path& path, const RecoveryKeys& keys,
                       const SecretBuffer& passphrase) {
  VAULTFS_ASSIGN_OR_RETURN(const Bytes bytes, encode(keys, passphrase));
  VAULTFS_RETURN_IF_ERROR(file.write_at(0, bytes));
  VAULTFS_RETURN_IF_ERROR(file.sync());
  VAULTFS_RETURN_IF_ERROR(env.sync_directory(path.has_parent_path() ? path.parent_path() : Env::Path(".")));
  VAULTFS_ASSIGN_OR_RETURN(const RecoveryKeys proven, read_recovery_file(env, path, passphrase));
  if (same_keys(keys, proven)) return ok_status();
  return damaged_recovery_file(path, "storage gives back other keys than were written");
}

}  // namespace

Status write_recovery_file(Env& env, const std::filesystem::path& path, const RecoveryKeys& keys,
                           const SecretBuffer& passphrase) {
  if (passphrase.empty()) return Error{ErrorCode::PassphraseRequired, "a recovery file wants a passphrase"};
  if (keys.platform_keys.empty() || keys.platform_keys.size() > kMaxKeys) {
    return Error{ErrorCode::InvalidArgument, "a recovery file holds 1 to 64 keys"};
  }
  for (const RecoveryKeys::Key& key : keys.platform_keys) {
    if (key.key.size() != kPlatformKeyBytes) return Error{ErrorCode::InvalidArgument, "a platform key has 32 bytes"};
  }
  auto file = env.open(path, OpenMode::create_exclusive);
  if (!file.ok()) return with_context(std::move(file).error(), "the recovery file " + path.string());
  Status written = write_and_prove(env, **file, path, keys, passphrase);
  if (written.ok()) return written;
  file->reset();
  const Status ignored = env.remove_file(path);  // the first error is the one to tell
  static_cast<void>(ignored);
  return written;
}

Result<RecoveryKeys> read_recovery_file(Env& env, const std::filesystem::path& path, const SecretBuffer& passphrase) {
  const auto bytes = read_file(env, path, kMaxRecoveryFileBytes);
  if (!bytes.ok()) {
    if (bytes.code() == ErrorCode::NotFound) {
      return Error{ErrorCode::RecoveryFileNotFound, "there is no recovery file " + path.string()};
    }
    if (bytes.code() == ErrorCode::InvalidArgument) return damaged_recovery_file(path, "it is too large");
    return bytes.error();
  }
  return decode(path, *bytes, passphrase);
}

}  // namespace vaultfs
