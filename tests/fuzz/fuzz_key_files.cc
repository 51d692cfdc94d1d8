#include <cstdlib>
#include <utility>

#include "base/byte_codec.h"
#include "crypto/files/private_file.h"
#include "crypto/hash.h"
#include "crypto/passphrase.h"
#include "tests/fuzz/fuzz_keys.h"
#include "tests/support/sim_env.h"
#include "vaultmeta/machine/recovery_file.h"

// Files that hold keys, all with SHA-256 at their end. The first byte says what the rest is:
//   0  a key file           1  one without its digest, which is put there
//   2  a recovery file      3  one without its digest
namespace {

using namespace vaultfs;

constexpr KeyFileMagic kMagic{'V', 'P', 'L', 'K'};
constexpr const char* kPath = "/file";
// magic ‖ version ‖ vault ‖ fingerprint ‖ length of the passphrase box, which begins with Argon2's cost.
constexpr std::size_t kCostAt = 8 + 2 + VaultId::kSize + Digest::kSize + 4;

const SecretBuffer& passphrase() {
  static const SecretBuffer text = [] {
    auto made = SecretBuffer::copy_of(bytes_of("protects nothing"));
    if (!made.ok()) std::abort();
    return std::move(made).value();
  }();
  return text;
}

void read_key(ByteView file) {
  SimEnv env;
  env.write(kPath, file);
  const auto key = read_key_file(env, kPath, kMagic, std::nullopt);
  if (!key.ok()) {
    if (key.code() != ErrorCode::DamagedMachineState && key.code() != ErrorCode::UnsupportedFormat) std::abort();
    return;
  }
  const auto again = encode_key_file(kMagic, file.subspan(6, kKeyFileIdBytes), *key);
  if (!again.ok() || !bytes_equal(again->view(), file)) std::abort();
}

void read_recovery(ByteView file) {
  SimEnv env;
  env.write(kPath, file);
  const auto keys = read_recovery_file(env, kPath, passphrase());
  if (keys.ok() || is_integrity_error(keys.code())) return;
  switch (keys.code()) {
    case ErrorCode::DamagedMachineState:
    case ErrorCode::UnsupportedFormat:
    case ErrorCode::WrongPassphrase:
      return;
    default:
      std::abort();
  }
}

// A cost within the limits may be 4 GiB: the least is asked for instead. One beyond them stays, to be refused.
void cheapen(Bytes& file) {
  if (file.size() < kCostAt + 8) return;
  ByteReader cost(ByteView(file).subspan(kCostAt));
  const std::uint32_t memory_kib = cost.u32();
  const std::uint32_t passes = cost.u32();
  if (memory_kib < 8 || memory_kib > 4U * 1024 * 1024 || passes == 0 || passes > 64) return;
  ByteWriter least;
  least.u32(8);
  least.u32(1);
  std::copy(least.view().begin(), least.view().end(), file.begin() + static_cast<std::ptrdiff_t>(kCostAt));
}

Bytes with_digest(Bytes file) {
  const Digest digest = sha256(file);
  file.insert(file.end(), digest.view().begin(), digest.view().end());
  return file;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size == 0) return 0;
  Bytes input = to_bytes(fuzz_input(data, size).subspan(1));
  switch (data[0]) {
    case 0:
      read_key(input);
      break;
    case 1:
      read_key(with_digest(std::move(input)));
      break;
    case 2:
      // With a digest that holds, the cost could be any.
      cheapen(input);
      read_recovery(input);
      break;
    case 3:
      cheapen(input);
      read_recovery(with_digest(std::move(input)));
      break;
    default:
      break;
  }
  return 0;
}
