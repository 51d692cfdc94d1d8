#include "crypto/passphrase.h"

#include <sodium.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <string>

#include "base/byte_codec.h"
#include "base/thread/stop_request.h"
#include "crypto/aead.h"
#include "crypto/committed_key.h"

namespace vaultfs {
namespace {

constexpr std::uint32_t kMaxMemoryKib = 4U * 1024 * 1024;
constexpr std::uint32_t kMinMemoryKib = crypto_pwhash_argon2id_MEMLIMIT_MIN / 1024;
constexpr std::uint32_t kMaxPasses = 64;
constexpr std::size_t kPassphraseSaltBytes = 16;
constexpr std::size_t kMaxPassphraseBytes = 1024;
static_assert(kPassphraseSaltBytes == crypto_pwhash_argon2id_SALTBYTES);

bool within_limits(Argon2Cost cost) {
  return cost.memory_kib >= kMinMemoryKib && cost.memory_kib <= kMaxMemoryKib && cost.passes >= 1 &&
         cost.passes <= kMaxPasses;
}

}  // namespace

Result<SecretBuffer> stretch_passphrase(const SecretBuffer& passphrase, ByteView salt, Argon2Cost cost) {
  if (salt.size() != kPassphraseSaltBytes || !within_limits(cost)) {
    return Error{ErrorCode::InvalidArgument, "the salt or the cost of Argon2id is out of its limits"};
  }
  if (sodium_init() < 0) return Error{ErrorCode::Internal, "libsodium cannot start"};
  VAULTFS_ASSIGN_OR_RETURN(SecretBuffer key, SecretBuffer::allocate(kAeadKeyBytes));
  if (crypto_pwhash_argon2id(reinterpret_cast<unsigned char*>(key.mutable_view().data()), key.size(),
                             reinterpret_cast<const char*>(passphrase.view().data()), passphrase.size(),
                             reinterpret_cast<const unsigned char*>(salt.data()), cost.passes,
                             std::size_t{cost.memory_kib} * 1024, crypto_pwhash_argon2id_ALG_ARGON2ID13) != 0) {
    return Error{ErrorCode::Internal, "Argon2id needs " + std::to_string(cost.memory_kib / 1024) +
                                          " MiB of memory, which this machine cannot give now"};
  }
  return key;
}

Result<Bytes> seal_with_passphrase(const SecretBuffer& passphrase, std::string_view label, ByteView aad,
                                   ByteView secret, Argon2Cost cost) {
  if (passphrase.empty()) return Error{ErrorCode::PassphraseRequired, "the passphrase is empty"};
  VAULTFS_ASSIGN_OR_RETURN(const SecretBuffer salt, SecretBuffer::random(kPassphraseSaltBytes));
  VAULTFS_ASSIGN_OR_RETURN(const SecretBuffer key, stretch_passphrase(passphrase, salt.view(), cost));
  VAULTFS_ASSIGN_OR_RETURN(const Bytes sealed, seal_box(key, label, aad, secret));
  ByteWriter box;
  box.u32(cost.memory_kib);
  box.u32(cost.passes);
  box.raw(salt.view());
  box.raw(sealed);
  return std::move(box).take();
}

Result<SecretBuffer> open_with_passphrase(const SecretBuffer& passphrase, std::string_view label, ByteView aad,
                                          ByteView box) {
  if (passphrase.empty()) return Error{ErrorCode::PassphraseRequired, "the passphrase is empty"};
  ByteReader reader(box);
  Argon2Cost cost;
  cost.memory_kib = reader.u32();
  cost.passes = reader.u32();
  const ByteView salt = reader.raw(kPassphraseSaltBytes);
  const ByteView sealed = reader.raw(reader.remaining());
  // What can't be a sealed box is refused before the costly part, and so is a cost that only an attacker would store.
  if (reader.failed() || sealed.size() < kSealedBoxOverheadBytes) {
    return Error{ErrorCode::AuthenticationFailed, "a passphrase box is cut short"};
  }
  if (!within_limits(cost)) {
    return Error{ErrorCode::AuthenticationFailed, "a passphrase box asks for a cost out of the limits"};
  }
  VAULTFS_ASSIGN_OR_RETURN(const SecretBuffer key, stretch_passphrase(passphrase, salt, cost));
  auto secret = open_box(key, label, aad, sealed);
  if (!secret.ok() && secret.code() == ErrorCode::WrongKey) {
    return Error{ErrorCode::WrongPassphrase, "the passphrase is not the one that this was sealed under"};
  }
  return secret;
}

Result<SecretBuffer> read_passphrase(int descriptor) {
  // Room for the longest passphrase, its newline, and one byte that tells that there was more.
  VAULTFS_ASSIGN_OR_RETURN(SecretBuffer buffer, SecretBuffer::allocate(kMaxPassphraseBytes + 2));
  std::size_t size = 0;
  while (size < buffer.size()) {
    const ssize_t n = ::read(descriptor, buffer.mutable_view().data() + size, buffer.size() - size);
    if (n < 0) {
      if (errno == EINTR && !stop_requested()) continue;
      return Error{error_from_errno(errno), "cannot read the passphrase: " + std::string(std::strerror(errno))};
    }
    if (n == 0) break;
    size += static_cast<std::size_t>(n);
  }
  if (size > 0 && buffer.view()[size - 1] == std::byte{'\n'}) --size;
  if (size == 0) return Error{ErrorCode::PassphraseRequired, "the passphrase is empty"};
  if (size > kMaxPassphraseBytes) {
    return Error{ErrorCode::InvalidArgument, "the passphrase is longer than 1024 bytes"};
  }
  return SecretBuffer::copy_of(buffer.view().first(size));
}

Status check_new_passphrase(ByteView passphrase) {
  const auto has = [passphrase](char c) {
    return std::ranges::find(passphrase, static_cast<std::byte>(c)) != passphrase.end();
  };
  const auto refused = [](const char* what) {
    return Error{ErrorCode::InvalidArgument,
                 std::string("the passphrase ") + what +
                     "; it would count as part of the passphrase, and be missing when it is typed. "
                     "Write the passphrase alone into one line: printf '%s\\n' PASSPHRASE"};
  };
  constexpr std::array<std::byte, 3> kByteOrderMark{std::byte{0xef}, std::byte{0xbb}, std::byte{0xbf}};
  if (passphrase.size() >= kByteOrderMark.size() && std::ranges::equal(passphrase.first(3), kByteOrderMark))
    return refused("begins with a byte order mark (an editor put it into the file)");
  if (has('\r')) return refused("has a carriage return (a line end of Windows)");
  if (has('\n')) return refused("has more than one line");
  if (has('\0')) return refused("has a NUL byte");
  return ok_status();
}

}  // namespace vaultfs
