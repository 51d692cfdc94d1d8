#include <algorithm>
#include <cstdlib>
#include <utility>

#include "base/byte_codec.h"
#include "crypto/committed_key.h"
#include "crypto/envelope.h"
#include "crypto/passphrase.h"
#include "tests/fuzz/fuzz_keys.h"

// Sealed boxes, passphrase boxes and envelopes: the input as each of them, and as the secret in one that was sealed
// here, which must give it back, and must not once a bit of it was turned over.
namespace {

using namespace vaultfs;

constexpr std::string_view kLabel = "vaultfs/1 fuzz";
constexpr Argon2Cost kLeastCost{8, 1};

SecretBuffer secret_of(ByteView bytes) {
  auto copy = SecretBuffer::copy_of(bytes);
  if (!copy.ok()) std::abort();
  return std::move(copy).value();
}

const SecretBuffer& key() {
  static const SecretBuffer made = secret_of(Bytes(32, std::byte{7}));
  return made;
}

bool refusal(ErrorCode code) {
  return code == ErrorCode::WrongKey || code == ErrorCode::WrongPassphrase || code == ErrorCode::AuthenticationFailed;
}

template <typename Open>
void as_it_is(ByteView box, const Open& open) {
  const auto opened = open(box);
  if (opened.ok() || !refusal(opened.code())) std::abort();
}

template <typename Open>
void as_sealed(Bytes box, ByteView secret, const Open& open) {
  const auto opened = open(ByteView(box));
  if (!opened.ok() || !bytes_equal(opened->view(), secret)) std::abort();
  // A place that depends on the input, so that all are tried in the course of time.
  const std::size_t place = secret.empty() ? 0 : std::to_integer<std::size_t>(secret.front()) * 8191;
  box[place % box.size()] ^= std::byte{1};
  as_it_is(box, open);
}

// A cost within the limits may be 4 GiB: the least is asked for instead. One beyond them stays, to be refused.
Bytes cheap(ByteView input) {
  Bytes box = to_bytes(input);
  if (box.size() < 8) return box;
  ByteReader reader(input);
  const std::uint32_t memory_kib = reader.u32();
  const std::uint32_t passes = reader.u32();
  if (memory_kib < kLeastCost.memory_kib || memory_kib > 4U * 1024 * 1024 || passes == 0 || passes > 64) return box;
  ByteWriter least;
  least.u32(kLeastCost.memory_kib);
  least.u32(kLeastCost.passes);
  std::copy(least.view().begin(), least.view().end(), box.begin());
  return box;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const ByteView input = fuzz_input(data, size);
  const ByteView aad = bytes_of("aad");
  const auto open = [&](ByteView box) { return open_box(key(), kLabel, aad, box); };
  as_it_is(input, open);
  auto box = seal_box(key(), kLabel, aad, input);
  if (!box.ok()) std::abort();
  as_sealed(std::move(box).value(), input, open);

  const auto open_passphrase = [&](ByteView sealed) { return open_with_passphrase(key(), kLabel, aad, cheap(sealed)); };
  as_it_is(input, open_passphrase);
  auto passphrase_box = seal_with_passphrase(key(), kLabel, aad, input, kLeastCost);
  if (!passphrase_box.ok()) std::abort();
  const auto opened = open_passphrase(*passphrase_box);
  if (!opened.ok() || !bytes_equal(opened->view(), input)) std::abort();

  const auto envelope = decode_envelope(secret_of(input), aad);
  if (!envelope.ok()) {
    if (envelope.code() != ErrorCode::AuthenticationFailed) std::abort();
  } else {
    const auto again = encode_envelope(*envelope, aad);
    if (!again.ok() || !bytes_equal(again->view(), input)) std::abort();
  }
  return 0;
}
