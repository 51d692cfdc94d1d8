#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <set>

#include "base/byte_codec.h"
#include "base/files/env.h"
#include "store/record/record.h"
#include "vaultmeta/activity/activity_log.h"

namespace vaultfs {

// The stored form of the activity log (docs/format.md, section 11), and the check of a whole log that `activity
// --verify` and the log itself share.

inline constexpr std::size_t kMaxActivityShortText = 128;
inline constexpr std::size_t kMaxActivitySubject = 512;
inline constexpr std::size_t kMaxActivityDetail = 4096;

// An entry without its chain value, and the chain value that follows `before` by it.
[[nodiscard]] Bytes encode_activity_entry(const ActivityEntry& entry);
[[nodiscard]] Digest activity_chain_after(const Digest& before, const ActivityEntry& entry);
// DamagedActivityLog.
[[nodiscard]] Result<ActivityEntry> decode_activity_entry(ByteView bytes);

// Whether the epoch is closed in the keyring that the keys come from.
[[nodiscard]] bool is_closed_epoch(const EpochKeys& keys, EpochNumber epoch);

// What is known of a log beside its files.
struct ActivityExpectation {
  std::uint64_t entries = 0;    // that many were acknowledged
  std::optional<Digest> chain;  // chain value of the last of them
  ContainerNumber file;         // that holds the last of them; 0: not known
  // Entries above this number in files of closed epochs, but for those that are made since, come from an old key.
  std::optional<std::uint64_t> closed_epochs_end_above;
  std::set<ContainerNumber> made_since;
};

// Checks every file of `directory`, reading on behind damage. Without keys: checksums, places, and that no number is
// missing; nothing of that is authenticated. With them: that every entry is genuine and continues the chain.
[[nodiscard]] Result<ActivityReport> verify_activity_files(Env& env, const std::filesystem::path& directory,
                                                           const EpochKeys* keys, const ActivityExpectation& expected);

// The same without keys, of the vault at `path`: against the number of entries that its newest head names, itself not
// authenticated. VaultNotFound, NotAVault, and errors of reading.
[[nodiscard]] Result<ActivityReport> verify_activity_keyless(Env& env, const std::filesystem::path& path);

}  // namespace vaultfs
