#include "vaultmeta/head.h"

#include "base/byte_codec.h"
#include "crypto/hash.h"
#include "store/container.h"

namespace vaultfs {
namespace {

constexpr std::string_view kHeadMagic = "VAULTFHD";
constexpr std::uint16_t kHeadVersion = 1;

Error rollback(const std::string& what) {
  return {ErrorCode::RollbackDetected,
          what + "; if an older copy was put in place on purpose, accept it by 'vaultctl vault trust --accept-older'"};
}

}  // namespace

Bytes Head::encode() const {
  ByteWriter writer;
  writer.raw(bytes_of(kHeadMagic));
  writer.u16(kHeadVersion);
  writer.id(vault);
  writer.u64(generation.value);
  writer.u64(incarnation);
  writer.id(predecessor);
  writer.i64(written.value);
  writer.u64(keyring_generation.value);
  writer.id(keyring);
  writer.u64(checkpoint.value);
  writer.id(checkpoint_digest);
  writer.u64(journal.value);
  writer.u64(journal_lsn.value);
  writer.u64(activity_entries);
  writer.id(activity_chain);
  writer.u64(highest_segment.value);
  writer.u64(epoch.value);
  return std::move(writer).take();
}

Result<Head::Signed> Head::decode(ByteView file) {
  ByteReader reader(file);
  const ByteView magic = reader.raw(kHeadMagic.size());
  const std::uint16_t version = reader.u16();
  if (reader.failed() || !bytes_equal(magic, bytes_of(kHeadMagic))) {
    return Error{ErrorCode::DamagedHead, "a head file does not begin like one"};
  }
  if (version != kHeadVersion) {
    return Error{ErrorCode::UnsupportedFormat, "a head file has format version " + std::to_string(version) +
                                                   "; this program knows version " + std::to_string(kHeadVersion)};
  }
  Signed result;
  Head& head = result.head;
  head.vault = reader.id<VaultId>();
  head.generation = Generation(reader.u64());
  head.incarnation = reader.u64();
  head.predecessor = reader.id<Digest>();
  head.written.value = reader.i64();
  head.keyring_generation = Generation(reader.u64());
  head.keyring = reader.id<Digest>();
  head.checkpoint = ContainerNumber(reader.u64());
  head.checkpoint_digest = reader.id<Digest>();
  head.journal = ContainerNumber(reader.u64());
  head.journal_lsn = Lsn(reader.u64());
  head.activity_entries = reader.u64();
  head.activity_chain = reader.id<Digest>();
  head.highest_segment = ContainerNumber(reader.u64());
  head.epoch = EpochNumber(reader.u64());
  result.mac = reader.id<Digest>();
  if (head.generation.value == 0 || head.incarnation == 0 || head.keyring_generation.value == 0 ||
      head.epoch.value == 0) {
    reader.fail();
  }
  VAULTFS_RETURN_IF_ERROR(reader.finish(ErrorCode::DamagedHead, "a head file"));
  result.file_digest = sha256(file);
  return result;
}

Result<Head::Signed> choose_head(const std::vector<Head::Signed>& newest_first, Generation pinned_generation,
                                 const Digest& pinned_digest) {
  if (newest_first.empty()) {
    if (pinned_generation.value != 0) return rollback("the vault has no head, but this machine has seen one");
    return Error{ErrorCode::DamagedHead, "the vault has no readable head"};
  }
  const Head::Signed& newest = newest_first.front();
  if (pinned_generation.value == 0) return newest;
  if (newest.head.generation < pinned_generation) {
    return rollback("the vault's newest head is number " + std::to_string(newest.head.generation.value) +
                    ", but this machine has seen number " + std::to_string(pinned_generation.value));
  }
  Generation generation = newest.head.generation;
  Digest digest = newest.file_digest;
  for (const Head::Signed& at : newest_first) {
    if (generation == pinned_generation) break;
    if (at.head.generation != generation || at.file_digest != digest) break;
    generation = Generation(generation.value - 1);
    digest = at.head.predecessor;
  }
  if (generation != pinned_generation || digest != pinned_digest) {
    return rollback("the vault's heads do not continue the head that this machine has seen");
  }
  return newest;
}

bool history_is_cut_off(const std::vector<Head::Signed>& newest_first, Generation pinned_generation,
                        std::uint64_t pinned_incarnation) {
  if (newest_first.empty() || pinned_generation.value == 0) return false;
  if (newest_first.front().head.incarnation != pinned_incarnation) return false;
  if (newest_first.back().head.generation <= pinned_generation.next()) return false;
  for (std::size_t i = 1; i < newest_first.size(); ++i) {
    const Head& newer = newest_first[i - 1].head;
    const Head::Signed& older = newest_first[i];
    if (older.head.generation.next() != newer.generation || older.file_digest != newer.predecessor) return false;
  }
  return true;
}

}  // namespace vaultfs
