#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "base/ids.h"
#include "base/result.h"
#include "store/blobs/blob_store.h"
#include "vaultmeta/heads/head.h"

namespace vaultfs {

inline constexpr std::uint64_t kHeadsInPack = 1024;
inline constexpr const char* kHeadPackExtension = "pack";

// VAULT/heads/G.pack (docs/format.md, section 8): the SHA-256 of 1,024 heads that follow one another, G the last of
// them, and of the pack before. A head names the newest one, so that the heads themselves may go while a machine that
// has pinned one of them still finds its chain.
struct HeadPack {
  VaultId vault;
  Generation last;              // a multiple of kHeadsInPack
  Digest predecessor;           // SHA-256 of the pack of the 1,024 heads before; zero for the first there is
  std::vector<Digest> digests;  // kHeadsInPack, ascending; zero: not known any more

  static constexpr std::size_t kFileBytes = 8 + 2 + 16 + 8 + 32 + 4 + kHeadsInPack * Digest::kSize + 32;

  [[nodiscard]] Generation first() const { return Generation(last.value - kHeadsInPack + 1); }
  [[nodiscard]] Bytes encode() const;
  // DamagedHead, UnsupportedFormat; also if it is of another vault or of other heads than `last` says.
  [[nodiscard]] static Result<HeadPack> decode(ByteView file, const VaultId& vault, Generation last);
};

// "heads/0000000000000400.pack".
[[nodiscard]] std::string head_pack_name(Generation last);
// The pack that ends with that head. NotFound; DamagedHead if it is not the one with that digest.
[[nodiscard]] Result<HeadPack> read_head_pack(BlobStore& blobs, const VaultId& vault, const PackedHeads& named);

// What the packs that `newest` names say of a head that was pinned. One pack is in memory at a time.
enum class PackedHistory : std::uint8_t {
  continues,  // it is one of those that lead to `newest`
  differs,    // another one is
  unknown,    // they do not reach so far back, or one of them is not there
};
// DamagedHead: a pack is not the one that a head or the pack after it names.
[[nodiscard]] Result<PackedHistory> look_up_packed(BlobStore& blobs, const Head& newest, Generation pinned,
                                                   const Digest& pinned_digest);

// Makes the next pack, and stores it, if the heads for it are there up to `newest`: the block of 1,024 heads after the
// packs that `newest` names, or that of `oldest_kept` if there is none. Nothing: it is not full yet. Of heads that are
// missing or damaged, and of those before them, the pack knows nothing. Durable on return; a head has to name it before
// any of its heads may be removed. REQUIRES: the vault's owner; no other call meanwhile.
[[nodiscard]] Result<std::optional<PackedHeads>> make_next_pack(BlobStore& blobs, const Head::Signed& newest,
                                                                Generation oldest_kept);

}  // namespace vaultfs
