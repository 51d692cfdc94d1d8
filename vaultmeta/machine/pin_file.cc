#include "vaultmeta/machine/pin_file.h"

#include <utility>

#include "base/byte_codec.h"
#include "crypto/hash.h"

namespace vaultfs {
namespace {

constexpr std::string_view kPinMagic = "VAULTFSP";
constexpr std::uint16_t kPinVersion = 2;
constexpr std::uint16_t kPinVersionWithoutEpoch = 1;

Error damaged_pin(const std::string& where, const std::string& what) {
  return Error{ErrorCode::DamagedMachineState, where + " is damaged: " + what +
                                                   "; put it back from a copy, or compare the vault's fingerprint, "
                                                   "remove the file and run `vaultctl vault trust`"};
}

}  // namespace

Bytes encode_pin(const Pin& pin) {
  ByteWriter writer;
  writer.raw(bytes_of(kPinMagic));
  writer.u16(kPinVersion);
  writer.id(pin.vault);
  writer.id(pin.root_fingerprint);
  writer.u64(pin.head_generation.value);
  writer.id(pin.head_digest);
  writer.u64(pin.incarnation);
  writer.u64(pin.fingerprint.epoch.value);
  writer.id(pin.fingerprint.digest);
  writer.u64(pin.restart_above);
  const Digest digest = sha256(writer.view());
  writer.id(digest);
  return std::move(writer).take();
}

Result<Pin> decode_pin(ByteView file, const VaultId& vault, const std::string& where) {
  if (file.size() < kPinMagic.size() + 2 + Digest::kSize) return damaged_pin(where, "it is too short");
  const ByteView body = file.first(file.size() - Digest::kSize);
  if (text_of(file.first(kPinMagic.size())) != kPinMagic) return damaged_pin(where, "it does not begin like a pin");
  if (!bytes_equal(sha256(body).view(), file.last(Digest::kSize)))
    return damaged_pin(where, "its digest does not match");
  ByteReader reader(body.subspan(kPinMagic.size()));
  const std::uint16_t version = reader.u16();
  if (version != kPinVersion && version != kPinVersionWithoutEpoch) {
    return Error{ErrorCode::UnsupportedFormat, where + " was written by a newer vaultfs; use that one"};
  }
  Pin pin;
  pin.vault = reader.id<VaultId>();
  pin.root_fingerprint = reader.id<Digest>();
  pin.head_generation = Generation(reader.u64());
  pin.head_digest = reader.id<Digest>();
  pin.incarnation = reader.u64();
  if (version == kPinVersion) {
    pin.fingerprint.epoch = EpochNumber(reader.u64());
    pin.fingerprint.digest = reader.id<Digest>();
    pin.restart_above = reader.u64();
  }
  VAULTFS_RETURN_IF_ERROR(reader.finish(ErrorCode::DamagedMachineState, where));
  if (pin.vault != vault) return damaged_pin(where, "it is the pin of another vault");
  return pin;
}

}  // namespace vaultfs
