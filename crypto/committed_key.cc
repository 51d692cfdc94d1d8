#include "crypto/committed_key.h"

#include <array>
#include <cstring>

#include "base/byte_codec.h"
#include "crypto/aead.h"
#include "crypto/hkdf_into.h"
#include "crypto/memory/locked_pool.h"

namespace vaultfs {
namespace {

constexpr std::size_t kCommittedSaltBytes = 32;
constexpr std::size_t kBoxHeadBytes = kCommittedSaltBytes + Digest::kSize;
constexpr std::array<std::byte, 12> kBoxNonce{};

// Key and commitment into `okm`, which is locked memory.
Status derive_okm(const SecretBuffer& input_key, ByteView salt, std::string_view label, ByteView context,
                  PooledSecret& okm) {
  if (!okm.ok()) return Error{ErrorCode::MemoryLockFailed, "no locked memory to derive a key"};
  if (input_key.size() != kAeadKeyBytes || salt.size() != kCommittedSaltBytes) {
    return Error{ErrorCode::InvalidArgument, "a key is derived from 32 bytes and a salt of 32 bytes"};
  }
  // A zero byte in the label would make it ambiguous where the context begins.
  if (label.empty() || label.find('\0') != std::string_view::npos) {
    return Error{ErrorCode::InvalidArgument, "the label of a derived key is empty or has a zero byte"};
  }
  ByteWriter info;
  info.raw(bytes_of(label));
  info.u8(0);
  info.raw(context);
  return hkdf_sha256_into(input_key.view(), salt, info.view(), okm.mutable_view());
}

}  // namespace

Result<CommittedKey> derive_committed_key(const SecretBuffer& input_key, ByteView salt, std::string_view label,
                                          ByteView context) {
  PooledSecret okm(kAeadKeyBytes + Digest::kSize);
  VAULTFS_RETURN_IF_ERROR(derive_okm(input_key, salt, label, context, okm));
  CommittedKey derived;
  VAULTFS_ASSIGN_OR_RETURN(derived.key, SecretBuffer::copy_of(okm.view().first(kAeadKeyBytes)));
  std::memcpy(derived.commitment.data(), okm.view().data() + kAeadKeyBytes, Digest::kSize);
  return derived;
}

Status derive_checked_key_into(const SecretBuffer& input_key, ByteView salt, std::string_view label, ByteView context,
                               const Digest& stored_commitment, MutableByteView out) {
  if (out.size() != kAeadKeyBytes) return Error{ErrorCode::InvalidArgument, "a derived key has 32 bytes"};
  PooledSecret okm(kAeadKeyBytes + Digest::kSize);
  VAULTFS_RETURN_IF_ERROR(derive_okm(input_key, salt, label, context, okm));
  if (!constant_time_equal(okm.view().subspan(kAeadKeyBytes), stored_commitment.view())) {
    return Error{ErrorCode::KeyCommitmentMismatch, "the key is not the one that this was sealed under"};
  }
  std::memcpy(out.data(), okm.view().data(), out.size());
  return ok_status();
}

Result<SecretBuffer> derive_checked_key(const SecretBuffer& input_key, ByteView salt, std::string_view label,
                                        ByteView context, const Digest& stored_commitment) {
  VAULTFS_ASSIGN_OR_RETURN(SecretBuffer key, SecretBuffer::allocate(kAeadKeyBytes));
  VAULTFS_RETURN_IF_ERROR(
      derive_checked_key_into(input_key, salt, label, context, stored_commitment, key.mutable_view()));
  return key;
}

Result<Bytes> seal_box(const SecretBuffer& input_key, std::string_view label, ByteView aad, ByteView secret) {
  VAULTFS_ASSIGN_OR_RETURN(const SecretBuffer salt, SecretBuffer::random(kCommittedSaltBytes));
  VAULTFS_ASSIGN_OR_RETURN(const CommittedKey derived, derive_committed_key(input_key, salt.view(), label, {}));
  VAULTFS_ASSIGN_OR_RETURN(const std::unique_ptr<Aead> aead, make_aes_256_gcm(derived.key));
  Bytes box(kBoxHeadBytes + secret.size() + kAeadTagBytes);
  std::memcpy(box.data(), salt.view().data(), kCommittedSaltBytes);
  std::memcpy(box.data() + kCommittedSaltBytes, derived.commitment.data(), Digest::kSize);
  VAULTFS_RETURN_IF_ERROR(aead->seal(kBoxNonce, aad, secret, MutableByteView(box).subspan(kBoxHeadBytes)));
  return box;
}

Result<SecretBuffer> open_box(const SecretBuffer& input_key, std::string_view label, ByteView aad, ByteView box) {
  if (box.size() < kBoxHeadBytes + kAeadTagBytes) {
    return Error{ErrorCode::AuthenticationFailed, "a sealed box is cut short"};
  }
  const ByteView salt = box.first(kCommittedSaltBytes);
  const ByteView sealed = box.subspan(kBoxHeadBytes);
  Digest commitment;
  std::memcpy(commitment.data(), box.data() + kCommittedSaltBytes, Digest::kSize);
  auto key = derive_checked_key(input_key, salt, label, {}, commitment);
  if (!key.ok()) {
    if (key.code() != ErrorCode::KeyCommitmentMismatch) return std::move(key).error();
    return Error{ErrorCode::WrongKey, "a sealed box was sealed under another key, or its head was changed"};
  }
  VAULTFS_ASSIGN_OR_RETURN(const std::unique_ptr<Aead> aead, make_aes_256_gcm(*key));
  VAULTFS_ASSIGN_OR_RETURN(SecretBuffer secret, SecretBuffer::allocate(sealed.size() - kAeadTagBytes));
  VAULTFS_RETURN_IF_ERROR(aead->open(kBoxNonce, aad, sealed, secret.mutable_view()));
  return secret;
}

}  // namespace vaultfs
