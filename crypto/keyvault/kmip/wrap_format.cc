#include "crypto/keyvault/kmip/wrap_format.h"

#include <algorithm>
#include <cstdint>
#include <utility>

#include "base/byte_codec.h"
#include "crypto/keyvault/key_vault.h"

namespace vaultfs {
namespace {

constexpr std::uint8_t kVersion = 1;

}  // namespace

Bytes encode_kmip_wrap(const KmipSealed& sealed) {
  ByteWriter out;
  out.u8(kVersion);
  out.raw(sealed.iv);
  out.raw(sealed.tag);
  out.raw(sealed.ciphertext);
  return std::move(out).take();
}

Result<KmipSealed> decode_kmip_wrap(ByteView wrapped) {
  const Error none{ErrorCode::AuthenticationFailed, "these bytes were not wrapped by a KMIP key vault, or are damaged"};
  ByteReader reader(wrapped);
  if (reader.u8() != kVersion) return none;
  const ByteView iv = reader.raw(kKmipIvBytes);
  const ByteView tag = reader.raw(kKmipTagBytes);
  if (reader.failed() || reader.remaining() > kWrapLimitBytes) return none;
  KmipSealed sealed;
  std::ranges::copy(iv, sealed.iv.begin());
  std::ranges::copy(tag, sealed.tag.begin());
  sealed.ciphertext = to_bytes(reader.raw(reader.remaining()));
  return sealed;
}

}  // namespace vaultfs
