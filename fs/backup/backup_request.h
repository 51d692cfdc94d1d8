#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "vaultmeta/vault/vault.h"

namespace vaultfs {

// What a commit and a backup run are asked for, and what comes of them.

struct CommitOutcome {
  JobInfo job;                       // as ended
  std::optional<PointInfo> point;    // none if nothing changed
  std::vector<std::string> retired;  // key versions that retired thereby
  HealedDamage healed;               // chunks that were known to be damaged and are stored anew
};

struct DiskSource {
  std::string name;            // file name of the disk inside the item
  std::filesystem::path path;  // image file or block device; with a descriptor a name for messages only
  // The source as an open file, read in place of opening `path`; the caller's, and open for the length of the call. It
  // is never opened anew: the process may not be allowed to open by itself what it was given.
  int descriptor = -1;
};

struct BackupRequest {
  std::string item;
  std::vector<DiskSource> disks;
};

struct BackupOutcome {
  CommitOutcome commit;
  // What speaks against the sources, for people: who else was writing, what is not in them. Never a reason to fail.
  std::vector<std::string> warnings;
  // One of them was written to while it was read, or is no whole image: the job ended with warnings.
  bool source_in_doubt = false;
  std::vector<std::string> carried;  // what the item holds besides the named disks, as it was
  std::uint64_t read_bytes = 0;      // of the sources, holes excluded
  std::uint64_t hole_bytes = 0;
  std::uint64_t new_chunks = 0;
  std::uint64_t known_chunks = 0;
  std::uint64_t stored_bytes = 0;
};

}  // namespace vaultfs
