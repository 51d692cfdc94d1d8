#include "vaultmeta/layout/vault_header.h"

#include <cstring>
#include <utility>

#include "base/byte_codec.h"
#include "crypto/hash.h"

namespace vaultfs {
namespace {

constexpr std::string_view kHeaderMagic = "VAULTFSH";
constexpr std::uint16_t kHeaderVersion = 1;
constexpr std::size_t kMaxEncodedHeaderBytes = 4096;
constexpr std::string_view kFingerprintLabel = "vaultfs/1 root fingerprint";

Error damaged_header(const std::string& what) {
  return Error{ErrorCode::DamagedHeader, std::string(VaultHeader::kFileName) + " is damaged: " + what +
                                             "; put back a copy of it, every copy of the vault has the same"};
}

}  // namespace

Bytes VaultHeader::encode() const {
  ByteWriter writer;
  writer.raw(bytes_of(kHeaderMagic));
  writer.u16(kHeaderVersion);
  writer.id(id);
  writer.i64(created.value);
  writer.u8(static_cast<std::uint8_t>(suite));
  writer.text(region);
  writer.id(root_fingerprint);
  writer.raw(infrastructure_key_id);
  const Digest digest = sha256(writer.view());
  writer.id(digest);
  return std::move(writer).take();
}

Result<VaultHeader> VaultHeader::decode(ByteView bytes) {
  if (bytes.size() < kHeaderMagic.size() || text_of(bytes.first(kHeaderMagic.size())) != kHeaderMagic) {
    return Error{ErrorCode::NotAVault, std::string(kFileName) + " is no header of a vaultfs vault"};
  }
  if (bytes.size() < kHeaderMagic.size() + 2 + Digest::kSize || bytes.size() > kMaxEncodedHeaderBytes) {
    return damaged_header("it has a wrong length");
  }
  // Every format version ends with this digest, so that damage is never taken for a newer version.
  const ByteView body = bytes.first(bytes.size() - Digest::kSize);
  if (!bytes_equal(sha256(body).view(), bytes.last(Digest::kSize))) return damaged_header("its digest does not match");
  ByteReader reader(body.subspan(kHeaderMagic.size()));
  const std::uint16_t version = reader.u16();
  if (version != kHeaderVersion) {
    return Error{ErrorCode::UnsupportedFormat, "the vault has format version " + std::to_string(version) +
                                                   ", this program reads version " + std::to_string(kHeaderVersion) +
                                                   "; use a newer vaultfs"};
  }
  VaultHeader header;
  header.id = reader.id<VaultId>();
  header.created = UnixNanos{reader.i64()};
  const std::uint8_t suite = reader.u8();
  header.region = reader.text(VaultHeader::kMaxRegionBytes);
  header.root_fingerprint = reader.id<Digest>();
  const ByteView key_id = reader.raw(header.infrastructure_key_id.size());
  if (suite != static_cast<std::uint8_t>(Suite::aes_gcm) &&
      suite != static_cast<std::uint8_t>(Suite::aes_gcm_in_xchacha))
    reader.fail();
  VAULTFS_RETURN_IF_ERROR(reader.finish(ErrorCode::DamagedHeader, kFileName));
  header.suite = static_cast<Suite>(suite);
  std::memcpy(header.infrastructure_key_id.data(), key_id.data(), key_id.size());
  const bool has_second_layer = header.suite == Suite::aes_gcm_in_xchacha;
  if (header.id.is_zero() || is_all_zero(header.infrastructure_key_id) == has_second_layer) {
    return damaged_header("its fields contradict each other");
  }
  return header;
}

Result<Digest> root_fingerprint(const SecretBuffer& root_key, const VaultId& vault) {
  VAULTFS_ASSIGN_OR_RETURN(const SecretBuffer derived,
                           hkdf_sha256(root_key.view(), vault.view(), bytes_of(kFingerprintLabel), Digest::kSize));
  Digest fingerprint;
  std::memcpy(fingerprint.data(), derived.view().data(), Digest::kSize);
  return fingerprint;
}

}  // namespace vaultfs
