#include <algorithm>
#include <cstdlib>
#include <string>

#include "crypto/hash.h"
#include "tests/fuzz/fuzz_keys.h"
#include "vaultmeta/machine/identity_store.h"
#include "vaultmeta/machine/pin_file.h"
#include "vaultmeta/machine/registration_file.h"

// What a machine keeps of vaults. The first byte says what the rest is:
//   p  a pin, with the digest at its end that its bytes should have    r  a registration    i  an identity
// What is taken must be written as something that reads back the same.
namespace {

using namespace vaultfs;

void expect_damage(ErrorCode code) {
  if (code != ErrorCode::DamagedMachineState && code != ErrorCode::UnsupportedFormat) std::abort();
}

void read_pin(Bytes file) {
  constexpr std::size_t kVaultAt = 8 + 2;
  if (file.size() < kVaultAt + VaultId::kSize + Digest::kSize) return;
  VaultId vault;
  std::copy_n(file.begin() + kVaultAt, VaultId::kSize, vault.mutable_view().begin());
  const Digest digest = sha256(ByteView(file).first(file.size() - Digest::kSize));
  std::copy(digest.view().begin(), digest.view().end(), file.end() - static_cast<std::ptrdiff_t>(Digest::kSize));
  const auto pin = decode_pin(file, vault, "it");
  if (!pin.ok()) return expect_damage(pin.code());
  if (decode_pin(file, fuzz_keys().vault(), "it").ok() && vault != fuzz_keys().vault()) std::abort();
  const Bytes again = encode_pin(*pin);
  const auto back = decode_pin(again, vault, "it");
  if (!back.ok() || !bytes_equal(encode_pin(*back), again)) std::abort();
}

void read_registration(ByteView file) {
  const auto registration = decode_registration(file, "it");
  if (!registration.ok()) return expect_damage(registration.code());
  const auto again = encode_registration(*registration);
  if (!again.ok()) std::abort();
  const auto back = decode_registration(bytes_of(*again), "it");
  if (!back.ok()) std::abort();
  const auto once_more = encode_registration(*back);
  if (!once_more.ok() || *once_more != *again) std::abort();
}

void read_identity(ByteView file) {
  const auto identity = Identity::decode(text_of(file), "it");
  if (!identity.ok()) return expect_damage(identity.code());
  const auto again = identity->encode();
  if (!again.ok()) return;  // options that are longer written than read
  const auto back = Identity::decode(*again, "it");
  if (!back.ok() || !back->encode().ok() || *back->encode() != *again) std::abort();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size == 0) return 0;
  const ByteView rest = fuzz_input(data, size).subspan(1);
  switch (data[0]) {
    case 'p':
      read_pin(to_bytes(rest));
      break;
    case 'r':
      read_registration(rest);
      break;
    case 'i':
      read_identity(rest);
      break;
    default:
      break;
  }
  return 0;
}
