#include "vaultmeta/heads/head_pack.h"

#include <utility>

#include "base/byte_codec.h"
#include "crypto/hash.h"
#include "vaultmeta/layout/vault_layout.h"

namespace vaultfs {
namespace {

constexpr std::string_view kPackMagic = "VAULTFHP";
constexpr std::uint16_t kPackVersion = 1;

Error damaged_pack(Generation last, const std::string& what) {
  return {ErrorCode::DamagedHead, head_pack_name(last) + ": " + what};
}

// The digests of the heads of a block, from the newest down: each head tells that of the one before it.
Result<std::vector<Digest>> digests_of_block(BlobStore& blobs, const Head::Signed& newest, Generation first,
                                             Generation last) {
  std::vector<Digest> digests(kHeadsInPack);
  Generation at = newest.head.generation;
  Digest digest = newest.file_digest;
  Digest before = newest.head.predecessor;
  for (;;) {
    if (at <= last) digests[at.value - first.value] = digest;
    if (at == first) break;
    at = Generation(at.value - 1);
    digest = before;
    const auto file = blobs.get(kHeadFiles.file(at.value), kMaxHeadBytes);
    // Nothing is given up for a disk that does not answer.
    const bool gone = !file.ok() && (file.code() == ErrorCode::NotFound || file.code() == ErrorCode::ForeignFile);
    if (!file.ok() && !gone) return file.error();
    const bool sound = file.ok() && sha256(*file) == digest;
    const auto stored = sound ? Head::decode(*file) : Result<Head::Signed>(damaged_pack(last, "a head is missing"));
    if (!stored.ok()) {
      // Its own digest is known yet, by the head after it.
      if (at <= last) digests[at.value - first.value] = digest;
      break;
    }
    before = stored->head.predecessor;
  }
  return digests;
}

}  // namespace

std::string head_pack_name(Generation last) {
  return std::string(kHeadFiles.name) + '/' + numbered_name(last.value, kHeadPackExtension);
}

Bytes HeadPack::encode() const {
  ByteWriter writer;
  writer.raw(bytes_of(kPackMagic));
  writer.u16(kPackVersion);
  writer.id(vault);
  writer.u64(last.value);
  writer.id(predecessor);
  writer.u32(static_cast<std::uint32_t>(digests.size()));
  for (const Digest& digest : digests) writer.id(digest);
  const Digest digest = sha256(writer.view());
  writer.id(digest);
  return std::move(writer).take();
}

Result<HeadPack> HeadPack::decode(ByteView file, const VaultId& vault, Generation last) {
  if (file.size() < kPackMagic.size() + 2 + Digest::kSize || text_of(file.first(kPackMagic.size())) != kPackMagic ||
      !bytes_equal(sha256(file.first(file.size() - Digest::kSize)).view(), file.last(Digest::kSize))) {
    return damaged_pack(last, "it is not a sound pack of heads");
  }
  ByteReader reader(file.subspan(kPackMagic.size()));
  if (const std::uint16_t version = reader.u16(); version != kPackVersion) {
    return Error{ErrorCode::UnsupportedFormat, head_pack_name(last) + " has format version " + std::to_string(version) +
                                                   ", this program knows version 1"};
  }
  HeadPack pack;
  pack.vault = reader.id<VaultId>();
  pack.last = Generation(reader.u64());
  pack.predecessor = reader.id<Digest>();
  if (reader.u32() != kHeadsInPack) reader.fail();
  for (std::uint64_t i = 0; i < kHeadsInPack && !reader.failed(); ++i) pack.digests.push_back(reader.id<Digest>());
  static_cast<void>(reader.id<Digest>());
  VAULTFS_RETURN_IF_ERROR(reader.finish(ErrorCode::DamagedHead, head_pack_name(last)));
  if (pack.vault != vault || pack.last != last || last.value == 0 || last.value % kHeadsInPack != 0) {
    return damaged_pack(last, "it belongs elsewhere");
  }
  return pack;
}

Result<HeadPack> read_head_pack(BlobStore& blobs, const VaultId& vault, const PackedHeads& named) {
  auto file = blobs.get(head_pack_name(named.last), HeadPack::kFileBytes);
  if (!file.ok()) {
    if (file.code() != ErrorCode::ForeignFile) return std::move(file).error();
    return damaged_pack(named.last, "it is too large");
  }
  if (sha256(*file) != named.digest) return damaged_pack(named.last, "it is not the pack that was named");
  return HeadPack::decode(*file, vault, named.last);
}

Result<PackedHistory> look_up_packed(BlobStore& blobs, const Head& newest, Generation pinned,
                                     const Digest& pinned_digest) {
  PackedHeads at = newest.packs;
  if (pinned.value == 0 || pinned > at.last) return PackedHistory::unknown;
  while (at.last.value != 0 && !at.digest.is_zero()) {
    const auto pack = read_head_pack(blobs, newest.vault, at);
    if (!pack.ok() && pack.code() == ErrorCode::NotFound) return PackedHistory::unknown;
    if (!pack.ok()) return pack.error();
    if (pinned >= pack->first()) {
      const Digest& known = pack->digests[pinned.value - pack->first().value];
      if (known.is_zero()) return PackedHistory::unknown;
      return known == pinned_digest ? PackedHistory::continues : PackedHistory::differs;
    }
    at = PackedHeads{Generation(at.last.value - kHeadsInPack), pack->predecessor};
  }
  return PackedHistory::unknown;
}

Result<std::optional<PackedHeads>> make_next_pack(BlobStore& blobs, const Head::Signed& newest,
                                                  Generation oldest_kept) {
  const PackedHeads& named = newest.head.packs;
  HeadPack pack;
  pack.vault = newest.head.vault;
  pack.predecessor = named.digest;
  const std::uint64_t before =
      named.last.value != 0 ? named.last.value : (oldest_kept.value - 1) / kHeadsInPack * kHeadsInPack;
  pack.last = Generation(before + kHeadsInPack);
  if (newest.head.generation < pack.last) return std::optional<PackedHeads>();
  VAULTFS_ASSIGN_OR_RETURN(pack.digests, digests_of_block(blobs, newest, pack.first(), pack.last));
  const Bytes file = pack.encode();
  const std::string name = head_pack_name(pack.last);
  Status stored = blobs.put(name, file);
  if (!stored.ok() && stored.code() == ErrorCode::AlreadyExists) {
    // A leftover of a crash before a head named it, or of a history that was given up.
    VAULTFS_RETURN_IF_ERROR(blobs.remove(name));
    stored = blobs.put(name, file);
  }
  if (!stored.ok()) return stored.error();
  return std::optional<PackedHeads>(PackedHeads{pack.last, sha256(file)});
}

}  // namespace vaultfs
