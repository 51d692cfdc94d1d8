#include "crypto/envelope.h"

#include <cstring>

#include "crypto/aead.h"
#include "crypto/hash.h"

namespace vaultfs {
namespace {

constexpr std::byte kEnvelopeVersion{1};
constexpr std::size_t kKeyAt = 1;
constexpr std::size_t kContextAt = kKeyAt + kAeadKeyBytes;
static_assert(kContextAt + Digest::kSize == kEnvelopeBytes);

}  // namespace

Result<SecretBuffer> encode_envelope(const SecretBuffer& key, ByteView context) {
  if (key.size() != kAeadKeyBytes) return Error{ErrorCode::InvalidArgument, "an envelope holds a key of 32 bytes"};
  VAULTFS_ASSIGN_OR_RETURN(SecretBuffer envelope, SecretBuffer::allocate(kEnvelopeBytes));
  const MutableByteView out = envelope.mutable_view();
  out[0] = kEnvelopeVersion;
  std::memcpy(out.data() + kKeyAt, key.view().data(), kAeadKeyBytes);
  const Digest bound = sha256(context);
  std::memcpy(out.data() + kContextAt, bound.data(), Digest::kSize);
  return envelope;
}

Result<SecretBuffer> decode_envelope(const SecretBuffer& envelope, ByteView context) {
  const ByteView in = envelope.view();
  if (in.size() != kEnvelopeBytes || in[0] != kEnvelopeVersion) {
    return Error{ErrorCode::AuthenticationFailed, "an unwrapped key does not have the form of an envelope"};
  }
  const Digest bound = sha256(context);
  if (!constant_time_equal(in.subspan(kContextAt), bound.view())) {
    return Error{ErrorCode::AuthenticationFailed, "a wrapped key belongs elsewhere"};
  }
  return SecretBuffer::copy_of(in.subspan(kKeyAt, kAeadKeyBytes));
}

}  // namespace vaultfs
