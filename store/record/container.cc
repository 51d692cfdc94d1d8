#include "store/record/container.h"

#include <algorithm>
#include <atomic>
#include <cstdlib>
#include <limits>
#include <optional>
#include <utility>

#include "base/byte_codec.h"
#include "base/files/env.h"
#include "crypto/committed_key.h"
#include "crypto/hash.h"
#include "crypto/memory/locked_pool.h"
#include "store/record/checksum.h"

namespace vaultfs {
namespace {

constexpr std::string_view kContainerMagic = "VAULTFSC";
constexpr std::size_t kHeaderChecksumOffset = 144;
constexpr std::string_view kContainerKeyLabel = "vaultfs/1 container key";
constexpr std::string_view kInfrastructureKeyLabel = "vaultfs/1 infrastructure key";
constexpr std::string_view kRecordKeyLabel = "vaultfs/2 record key";
constexpr std::array<std::byte, 1> kLabelEnd{};
// The longest AAD tail of the format: record bytes 0–71, frame number, frame table entry.
constexpr std::size_t kMaxAadTailBytes = 80;

Error damaged_container(std::string what) { return Error{ErrorCode::DamagedHeader, std::move(what)}; }

template <std::size_t N>
void put_u64(std::array<std::byte, N>& out, std::size_t at, std::uint64_t value) {
  for (unsigned i = 0; i < 8; ++i) out.at(at + i) = static_cast<std::byte>((value >> (8U * i)) & 0xffU);
}

// A closed epoch has a highest segment; a segment above it was not made by an owner of this vault.
Status check_epoch_open_for(const EpochKeys::Epoch& epoch, ContainerKind kind, ContainerNumber number) {
  if (kind == ContainerKind::segment && epoch.last_segment && number > *epoch.last_segment) {
    return Error{ErrorCode::EpochClosed, "the segment's DEK epoch was closed before the segment's number was reached"};
  }
  return ok_status();
}

}  // namespace

Bytes ContainerHeader::encode() const {
  ByteWriter writer;
  writer.raw(bytes_of(kContainerMagic));
  writer.u16(version);
  writer.u8(static_cast<std::uint8_t>(kind));
  writer.u8(static_cast<std::uint8_t>(suite));
  writer.u32(static_cast<std::uint32_t>(epoch.value));
  writer.id(vault);
  writer.u64(number.value);
  writer.raw(salt);
  writer.id(commitment);
  writer.id(outer_commitment);
  writer.u64(0);
  writer.raw(checksum128(writer.view()));
  return std::move(writer).take();
}

std::array<std::byte, ContainerHeader::kContextBytes> ContainerHeader::context() const {
  const Bytes encoded = encode();
  std::array<std::byte, kContextBytes> out{};
  std::copy_n(encoded.begin(), out.size(), out.begin());
  return out;
}

Result<ContainerHeader> ContainerHeader::decode(ByteView bytes) {
  if (bytes.size() < kEncodedBytes) return damaged_container("the file is too short for a container header");
  bytes = bytes.first(kEncodedBytes);
  if (!bytes_equal(bytes.first(kContainerMagic.size()), bytes_of(kContainerMagic)))
    return damaged_container("the file is not a vaultfs container");
  // The checksum keeps its place in every version, so that a newer format can be told from damage.
  if (!checksum128_matches(bytes.first(kHeaderChecksumOffset), bytes.subspan(kHeaderChecksumOffset))) {
    return damaged_container("the container header's checksum does not match");
  }
  ByteReader reader(bytes.subspan(kContainerMagic.size(), kHeaderChecksumOffset - kContainerMagic.size()));
  const std::uint16_t version = reader.u16();
  if (version > kContainerVersion) {
    return Error{ErrorCode::UnsupportedFormat, "the file has format version " + std::to_string(version) +
                                                   ", this program reads up to " + std::to_string(kContainerVersion)};
  }
  ContainerHeader header;
  header.version = version;
  const std::uint8_t kind = reader.u8();
  const std::uint8_t suite = reader.u8();
  header.kind = static_cast<ContainerKind>(kind);
  header.suite = static_cast<Suite>(suite);
  header.epoch = EpochNumber(reader.u32());
  header.vault = reader.id<VaultId>();
  header.number = ContainerNumber(reader.u64());
  const ByteView salt = reader.raw(header.salt.size());
  std::copy(salt.begin(), salt.end(), header.salt.begin());
  header.commitment = reader.id<Digest>();
  header.outer_commitment = reader.id<Digest>();
  const std::uint64_t zero = reader.u64();
  VAULTFS_RETURN_IF_ERROR(reader.finish(ErrorCode::DamagedHeader, "container header"));
  const bool known = version >= 1 && kind >= 1 && kind <= 6 && suite >= 1 && suite <= 2;
  const bool outer_fits = header.suite != Suite::aes_gcm || header.outer_commitment.is_zero();
  if (!known || !outer_fits || zero != 0 || header.epoch.value == 0 || header.number.value == 0) {
    return damaged_container("a field of the container header has a value that it can't have");
  }
  return header;
}

Result<ContainerHeader> ContainerHeader::read(File& file) {
  std::array<std::byte, kEncodedBytes> bytes{};
  VAULTFS_ASSIGN_OR_RETURN(const std::size_t read, file.read_at(0, bytes));
  return decode(ByteView(bytes).first(read));
}

struct ContainerCipher::State {
  explicit State(const ContainerHeader& header, Env& salts)
      : version(header.version), context(header.context()), env(salts) {}

  const std::uint16_t version;
  const std::array<std::byte, ContainerHeader::kContextBytes> context;
  Env& env;
  std::unique_ptr<Aead> inner;            // version 1: seals the records
  std::optional<PooledSecret> container;  // version 2: the container key, which the records' keys come from
  std::unique_ptr<Aead> outer;            // suite 2 only

  [[nodiscard]] Status take_key(ByteView key) {
    if (version == 1) {
      VAULTFS_ASSIGN_OR_RETURN(inner, make_aes_256_gcm(key));
      return ok_status();
    }
    container.emplace(key.size());
    if (!container->ok()) return Error{ErrorCode::MemoryLockFailed, "no locked memory for a container's key"};
    std::copy(key.begin(), key.end(), container->mutable_view().begin());
    return ok_status();
  }
};

namespace {

std::atomic<std::size_t> ciphers_alive{0};

struct CipherInput {
  std::array<std::byte, ContainerHeader::kContextBytes + kMaxAadTailBytes> aad{};
  std::size_t aad_bytes = 0;
  std::array<std::byte, 12> inner_nonce{};
  std::array<std::byte, 24> outer_nonce{};

  CipherInput(ByteView context, ByteView tail, const RecordSalt& salt, std::uint64_t counter) {
    if (tail.size() > kMaxAadTailBytes) std::abort();
    std::copy(tail.begin(), tail.end(), std::copy(context.begin(), context.end(), aad.begin()));
    aad_bytes = context.size() + tail.size();
    put_u64(inner_nonce, 4, counter);
    std::copy(salt.begin(), salt.end(), outer_nonce.begin());
    put_u64(outer_nonce, 16, counter);
  }
  [[nodiscard]] ByteView aad_view() const { return ByteView(aad).first(aad_bytes); }
};

// The inner ciphertext of suite 2 on its way through. Kept per thread: it holds ciphertext only.
MutableByteView inner_scratch(std::size_t size) {
  thread_local Bytes scratch;
  if (scratch.size() < size) scratch.resize(size);
  return MutableByteView(scratch).first(size);
}

}  // namespace

ContainerCipher::ContainerCipher(std::unique_ptr<State> state) : state_(std::move(state)) { ++ciphers_alive; }
ContainerCipher::~ContainerCipher() { --ciphers_alive; }
std::size_t ContainerCipher::alive() noexcept { return ciphers_alive.load(); }

Result<std::unique_ptr<ContainerCipher>> ContainerCipher::create(Env& env, const EpochKeys& keys, ContainerKind kind,
                                                                 ContainerNumber number, ContainerHeader& header) {
  VAULTFS_ASSIGN_OR_RETURN(const EpochNumber epoch, keys.current());
  if (number.value == 0 || epoch.value > std::numeric_limits<std::uint32_t>::max()) {
    return Error{ErrorCode::InvalidArgument, "container and epoch numbers start at 1 and have 64 and 32 bits"};
  }
  header = ContainerHeader{};
  header.kind = kind;
  header.suite = keys.suite();
  header.epoch = epoch;
  header.vault = keys.vault();
  header.number = number;
  env.fill_random(header.salt);
  auto state = std::make_unique<State>(header, env);
  VAULTFS_ASSIGN_OR_RETURN(const CommittedKey inner,
                           keys.with_dek(epoch, [&](const EpochKeys::Epoch& e) -> Result<CommittedKey> {
                             VAULTFS_RETURN_IF_ERROR(check_epoch_open_for(e, kind, number));
                             return derive_committed_key(e.dek, header.salt, kContainerKeyLabel, state->context);
                           }));
  header.commitment = inner.commitment;
  VAULTFS_RETURN_IF_ERROR(state->take_key(inner.key.view()));
  if (header.suite == Suite::aes_gcm_in_xchacha) {
    VAULTFS_ASSIGN_OR_RETURN(const CommittedKey outer,
                             keys.with_infrastructure_key([&](const SecretBuffer& key) -> Result<CommittedKey> {
                               return derive_committed_key(key, header.salt, kInfrastructureKeyLabel, state->context);
                             }));
    header.outer_commitment = outer.commitment;
    VAULTFS_ASSIGN_OR_RETURN(state->outer, make_xchacha20_poly1305(outer.key));
  }
  return std::unique_ptr<ContainerCipher>(new ContainerCipher(std::move(state)));
}

Result<std::unique_ptr<ContainerCipher>> ContainerCipher::open(const EpochKeys& keys, const ContainerHeader& header,
                                                               ContainerKind expected_kind,
                                                               ContainerNumber expected_number, Env& env) {
  if (header.vault != keys.vault()) return damaged_container("the file belongs to another vault");
  if (header.kind != expected_kind)
    return damaged_container("the file is another kind of container than its name says");
  if (header.number != expected_number) return damaged_container("the file carries another number than its name");
  if (header.suite != keys.suite()) return damaged_container("the file has another cipher suite than the vault");
  auto state = std::make_unique<State>(header, env);
  PooledSecret inner(kAeadKeyBytes);
  if (!inner.ok()) return Error{ErrorCode::MemoryLockFailed, "no locked memory for a container's key"};
  const Status derived = keys.with_dek(header.epoch, [&](const EpochKeys::Epoch& e) -> Status {
    VAULTFS_RETURN_IF_ERROR(check_epoch_open_for(e, header.kind, header.number));
    return derive_checked_key_into(e.dek, header.salt, kContainerKeyLabel, state->context, header.commitment,
                                   inner.mutable_view());
  });
  if (!derived.ok()) return derived.error();
  VAULTFS_RETURN_IF_ERROR(state->take_key(inner.view()));
  if (header.suite == Suite::aes_gcm_in_xchacha) {
    VAULTFS_ASSIGN_OR_RETURN(
        const SecretBuffer outer, keys.with_infrastructure_key([&](const SecretBuffer& key) -> Result<SecretBuffer> {
          return derive_checked_key(key, header.salt, kInfrastructureKeyLabel, state->context, header.outer_commitment);
        }));
    VAULTFS_ASSIGN_OR_RETURN(state->outer, make_xchacha20_poly1305(outer));
  }
  return std::unique_ptr<ContainerCipher>(new ContainerCipher(std::move(state)));
}

std::size_t ContainerCipher::overhead_bytes() const noexcept {
  return state_->outer ? 2 * kAeadTagBytes : kAeadTagBytes;
}

std::uint16_t ContainerCipher::version() const noexcept { return state_->version; }

RecordSalt ContainerCipher::fresh_salt() const {
  RecordSalt salt{};
  if (state_->version == 1) return salt;
  do state_->env.fill_random(salt);
  while (is_all_zero(salt));
  return salt;
}

Result<ContainerCipher::Record> ContainerCipher::record(const RecordSalt& salt) const {
  if (is_all_zero(salt) != (state_->version == 1)) {
    return Error{ErrorCode::DamagedRecord, "a record's salt is not one of its container's format version"};
  }
  Record record(*this);
  if (state_->version == 1) return record;
  record.salt_ = salt;
  PooledSecret key(kAeadKeyBytes);
  if (!key.ok()) return Error{ErrorCode::MemoryLockFailed, "no locked memory for a record's key"};
  hkdf_expand_sha256(state_->container->view(), {bytes_of(kRecordKeyLabel), kLabelEnd, salt}, key.mutable_view());
  VAULTFS_ASSIGN_OR_RETURN(record.own_, make_aes_256_gcm(key.view()));
  return record;
}

Status ContainerCipher::Record::seal(std::uint64_t nonce_counter, ByteView aad_tail, ByteView content,
                                     MutableByteView out) const {
  if (out.size() != content.size() + container_->overhead_bytes()) std::abort();
  const State& state = *container_->state_;
  const CipherInput input(state.context, aad_tail, salt_, nonce_counter);
  const Aead& innermost = own_ ? *own_ : *state.inner;
  if (!state.outer) return innermost.seal(input.inner_nonce, input.aad_view(), content, out);
  const MutableByteView inner = inner_scratch(content.size() + kAeadTagBytes);
  VAULTFS_RETURN_IF_ERROR(innermost.seal(input.inner_nonce, input.aad_view(), content, inner));
  return state.outer->seal(input.outer_nonce, input.aad_view(), inner, out);
}

Status ContainerCipher::Record::open_frame(std::uint64_t nonce_counter, ByteView aad_tail, ByteView sealed,
                                           MutableByteView out) const {
  if (sealed.size() != out.size() + container_->overhead_bytes()) std::abort();
  const State& state = *container_->state_;
  const CipherInput input(state.context, aad_tail, salt_, nonce_counter);
  const Aead& innermost = own_ ? *own_ : *state.inner;
  if (!state.outer) return innermost.open(input.inner_nonce, input.aad_view(), sealed, out);
  const MutableByteView inner = inner_scratch(out.size() + kAeadTagBytes);
  VAULTFS_RETURN_IF_ERROR(state.outer->open(input.outer_nonce, input.aad_view(), sealed, inner));
  return innermost.open(input.inner_nonce, input.aad_view(), inner, out);
}

}  // namespace vaultfs
