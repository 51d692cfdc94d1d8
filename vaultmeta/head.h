#pragma once

#include <optional>
#include <vector>

#include "base/bytes.h"
#include "base/clock.h"
#include "base/ids.h"
#include "base/result.h"

namespace vaultfs {

// VAULT/heads/G.head (docs/format.md, section 8): the newest state of the vault, chained to the head before it,
// authenticated under the root key. Its digest is pinned outside the vault, so that an older copy can't pass for the
// newest.
struct Head {
  VaultId vault;
  Generation generation;
  std::uint64_t incarnation = 1;
  Digest predecessor;  // SHA-256 of the head file before it; zero for the first
  UnixNanos written;
  Generation keyring_generation;
  Digest keyring;              // SHA-256 of that keyring file
  ContainerNumber checkpoint;  // newest checkpoint; 0 = none yet
  Digest checkpoint_digest;
  ContainerNumber journal;  // journal file and highest synced LSN when the head was written
  Lsn journal_lsn;
  std::uint64_t activity_entries = 0;
  Digest activity_chain;  // chain value of the last of them
  ContainerNumber highest_segment;
  EpochNumber epoch;  // newest DEK epoch of that keyring: its DEK takes part in the MAC

  static constexpr std::size_t kEncodedBytes = 234;  // without the MAC
  static constexpr std::size_t kFileBytes = kEncodedBytes + Digest::kSize;

  // Everything but the MAC, which follows as 32 bytes.
  [[nodiscard]] Bytes encode() const;
  // The body and its MAC; form only. DamagedHead, UnsupportedFormat.
  struct Signed;
  [[nodiscard]] static Result<Signed> decode(ByteView file);
};

struct Head::Signed {
  Head head;
  Digest mac;
  Digest file_digest;  // SHA-256 of the file
};

// Given all head files (newest first), whose MACs the caller has checked, and the pin: the newest head, if its chain of
// predecessors reaches the pinned one. RollbackDetected if the newest is older than the pin or the chain does not meet
// it. With pinned generation 0 (just created, or trusted by fingerprint) there is no chain to meet. DamagedHead if
// there is neither a head nor a pinned one.
[[nodiscard]] Result<Head::Signed> choose_head(const std::vector<Head::Signed>& newest_first,
                                               Generation pinned_generation, const Digest& pinned_digest);

// True if nothing speaks against the newest head but that the heads between it and the pinned one are no longer kept:
// it is newer than the pin and of the same incarnation, its chain reaches the oldest head there is, and none is left at
// or below the pinned one or right above it. A head in the midst of those that should be there is not.
[[nodiscard]] bool history_is_cut_off(const std::vector<Head::Signed>& newest_first, Generation pinned_generation,
                                      std::uint64_t pinned_incarnation);

}  // namespace vaultfs
