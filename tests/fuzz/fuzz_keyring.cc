#include <cstdlib>
#include <utility>

#include "base/byte_codec.h"
#include "crypto/hash.h"
#include "tests/fuzz/fuzz_keys.h"
#include "vaultmeta/keys/keyring_form.h"

// A keyring. The first byte says what the rest is:
//   0  a file
//   1  a file without the digest at its end, which is put there, so that its fields are read
//   2  u32 length of the slots, the encoded slots, the sealed part's plaintext without the digest of the slots at its
//   end
//   3  the same of a keyring with an escrow recipient: its slot belongs to the slots
//   4  the same with the infrastructure key in that slot
//   5, 6, 7  as 2, 3, 4, in the form that is written now
namespace {

using namespace vaultfs;

constexpr std::size_t kAeadTag = 16;

void read_file(ByteView file) {
  const auto parts = split_keyring(file);
  const auto closed = ClosedKeyring::decode(file);
  if (parts.ok() != closed.ok()) std::abort();
  if (!parts.ok()) {
    if (parts.code() != ErrorCode::DamagedKeyring && parts.code() != ErrorCode::UnsupportedFormat) std::abort();
    return;
  }
  ByteWriter slots;
  encode_slots(slots, parts->closed.slots, parts->closed.escrow);
  if (!bytes_equal(slots.view(), parts->slots)) std::abort();
  if (closed->active_slot().role != VersionRole::active) std::abort();
  static const SecretBuffer key = [] {
    auto zeros = SecretBuffer::allocate(32);
    if (!zeros.ok()) std::abort();
    return std::move(zeros).value();
  }();
  // Nobody knows a keyring file that these zeros open.
  const auto opened = open_keyring(file, key);
  if (opened.ok() || opened.code() != ErrorCode::WrongKey) std::abort();
}

// The slots in a file that is in order otherwise.
Bytes file_around(std::uint16_t version, ByteView slots) {
  ByteWriter file;
  file.raw(bytes_of(kKeyringMagic));
  file.u16(version);
  VaultId vault;
  vault.data()[0] = std::byte{1};
  file.id(vault);
  file.u64(1);
  file.id(Digest());
  file.id(Digest());
  file.raw(slots);
  file.raw(Bytes(kKeyringSaltBytes + Digest::kSize + kAeadTag + Digest::kSize));
  const Digest digest = sha256(file.view());
  file.id(digest);
  return std::move(file).take();
}

void read_secrets(std::uint16_t version, ByteView input) {
  ByteReader reader(input);
  const ByteView slots = reader.blob(input.size());
  const Bytes file = file_around(version, slots);
  const auto parts = split_keyring(file);
  if (reader.failed() || !parts.ok() || !bytes_equal(parts->slots, slots)) return;
  const Digest slots_digest = sha256(slots);
  ByteWriter whole;
  whole.raw(reader.raw(reader.remaining()));
  whole.id(slots_digest);
  const auto plain = SecretBuffer::copy_of(whole.view());
  if (!plain.ok()) std::abort();
  const auto secrets = decode_secrets(*plain, slots_digest, parts->closed);
  if (!secrets.ok()) {
    if (secrets.code() != ErrorCode::DamagedKeyring) std::abort();
    return;
  }
  const auto again = encode_secrets(*secrets, slots_digest, version);
  if (!again.ok()) std::abort();
  if (bytes_equal(again->view(), plain->view())) return;
  // A version's record takes the names of its slot, where an older vaultfs left those of before. Nothing else changes,
  // and what was written is then read as it stands.
  const auto settled = decode_secrets(*again, slots_digest, parts->closed);
  if (!settled.ok()) std::abort();
  const auto same = encode_secrets(*settled, slots_digest, version);
  if (!same.ok() || !bytes_equal(same->view(), again->view())) std::abort();
  for (std::size_t at = 0; at < secrets->rule.versions().size(); ++at) {
    const VersionRecord &one = secrets->rule.versions()[at], &other = settled->rule.versions()[at];
    if (one.version != other.version || one.role != other.role) std::abort();
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size == 0) return 0;
  const ByteView input = fuzz_input(data, size).subspan(1);
  switch (data[0]) {
    case 0:
      read_file(input);
      break;
    case 1: {
      Bytes file = to_bytes(input);
      const Digest digest = sha256(input);
      file.insert(file.end(), digest.view().begin(), digest.view().end());
      read_file(file);
      break;
    }
    case 2:
    case 3:
    case 4:
      read_secrets(static_cast<std::uint16_t>(kOldestKeyringFormat + data[0] - 2), input);
      break;
    case 5:
    case 6:
    case 7:
      read_secrets(static_cast<std::uint16_t>(kKeyringFormatVersion + data[0] - 5), input);
      break;
    default:
      break;
  }
  return 0;
}
