#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "base/bytes.h"
#include "base/clock.h"
#include "base/ids.h"
#include "base/result.h"

namespace vaultfs {

// What a reader has to know to work with a vault, as masks that are readable without keys. A bit that a program does
// not know means: compatible, nothing; read-only compatible, it may read and must not write; incompatible, it must not
// read either.
struct HeadFeatures {
  std::uint64_t compatible = 0;
  std::uint64_t read_only_compatible = 0;
  std::uint64_t incompatible = 0;

  friend bool operator==(const HeadFeatures&, const HeadFeatures&) = default;
};

// The newest of the packs that hold the digests of heads which are no longer kept (head_pack.h).
struct PackedHeads {
  Generation last;  // the last head in it; 0 = there is none
  Digest digest;    // SHA-256 of the pack's file

  friend bool operator==(const PackedHeads&, const PackedHeads&) = default;
};

// VAULT/heads/G.head (docs/format.md, section 8): the newest state of the vault, chained to the head before it,
// authenticated under the root key and the newest DEK epoch. Its digest is pinned outside the vault, so that an older
// copy can't pass for the newest.
struct Head {
  static constexpr std::uint16_t kFormat1 = 1;  // read only; names a journal by its number alone
  static constexpr std::uint16_t kFormat2 = 2;

  std::uint16_t format = kFormat2;
  HeadFeatures features;
  VaultId vault;
  Generation generation;
  std::uint64_t incarnation = 1;
  Digest predecessor;  // SHA-256 of the head file before it; zero for the first
  UnixNanos written;
  std::uint64_t writer = 0;  // which of several writers; there is one
  Generation keyring_generation;
  Digest keyring;              // SHA-256 of that keyring file
  EpochNumber epoch;           // newest DEK epoch of that keyring: its DEK takes part in the MAC
  ContainerNumber checkpoint;  // newest checkpoint; 0 = none yet
  std::uint64_t checkpoint_bytes = 0;
  Digest checkpoint_digest;
  // The journal that is written to; 0 = none yet. Nothing in a journal is acknowledged before a head names it.
  ContainerNumber journal;
  Digest journal_header;            // SHA-256 of the container header
  std::uint64_t journal_bytes = 0;  // durable when the head was written, and their SHA-256
  Digest journal_digest;
  Lsn journal_lsn;  // highest LSN in them
  // SHA-256 over all recovery points (Catalogue::points_digest) as the entries up to this LSN make them.
  Lsn points_lsn;
  Digest points;
  std::uint64_t activity_entries = 0;
  Digest activity_chain;          // chain value of the last of them
  ContainerNumber activity_file;  // that holds it; files above it hold later entries only; 0 if there is none
  ContainerNumber highest_segment;
  PackedHeads packs;  // an optional field

  // Bytes of a file without optional fields.
  static constexpr std::size_t kFormat1Bytes = 266;
  static constexpr std::size_t kFormat2Bytes = 462;

  // Everything but the MAC (and, in format 2, the digest) that end the file.
  [[nodiscard]] Bytes encode() const;
  // The file: `body` as encode() gives it, its MAC, and what else ends it.
  [[nodiscard]] static Bytes file_of(ByteView body, std::uint16_t format, const Digest& mac);
  // Form only. DamagedHead; UnsupportedFormat for an intact head of a newer version, or with a feature that this
  // program does not know, named by its number.
  struct Signed;
  [[nodiscard]] static Result<Signed> decode(ByteView file);
};

struct Head::Signed {
  Head head;
  Bytes body;  // what the MAC is over
  Digest mac;
  Digest file_digest;  // SHA-256 of the file
};

// Given all head files (newest first), whose MACs the caller has checked, and the pin: the newest head, if its chain of
// predecessors reaches the pinned one. RollbackDetected if the newest is older than the pin or the chain does not meet
// it. With pinned generation 0 (just created, or trusted by fingerprint) there is no chain to meet. DamagedHead if
// there is neither a head nor a pinned one, or if along the chain format, epoch or incarnation fall: whoever lost
// access could have made such a head.
[[nodiscard]] Result<Head::Signed> choose_head(const std::vector<Head::Signed>& newest_first,
                                               Generation pinned_generation, const Digest& pinned_digest);

// True if nothing speaks against the newest head but that the heads between it and the pinned one are no longer kept:
// it is newer than the pin and of the same incarnation, its chain reaches the oldest head there is, and none is left at
// or below the pinned one or right above it. A head in the midst of those that should be there is not.
[[nodiscard]] bool history_is_cut_off(const std::vector<Head::Signed>& newest_first, Generation pinned_generation,
                                      std::uint64_t pinned_incarnation);

}  // namespace vaultfs
