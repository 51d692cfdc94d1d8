#pragma once

#include <functional>
#include <string>

#include "base/files/env.h"
#include "store/blobs/blob_store.h"
#include "store/index/segment_format.h"
#include "store/record/epoch_keys.h"

namespace vaultfs {

// One thing found wrong by verify.
struct Damage {
  std::string file;  // relative to the vault
  Error error;
  // What is lost by it, if that is known: of a recovery point, or of the working tree where `point` is empty.
  std::string item{};
  std::string point{};  // its id
  std::string disk{};   // path inside the item
  std::uint64_t offset = 0;
  std::uint64_t bytes = 0;  // 0: not known
};

struct VerifyCounts {
  std::uint64_t files = 0;
  std::uint64_t bytes = 0;
  std::uint64_t records = 0;
};

// Called now and then with the bytes read so far; false stops the run (Interrupted).
using VerifyProgress = std::function<bool(const VerifyCounts&)>;

// Called with each record of a segment whose header and checksum are right, whether it opens or not.
using RecordSeen = std::function<void(const SegmentEntry&)>;

// Reads every byte of one container file (gaps and slack too) and reports each damage. With `keys` null only checksums,
// headers and form are checked (keyless: "not authenticated"); with keys every frame is opened and each ChunkId
// recomputed. `name` is the file's path in the vault; its number must be the header's.
// `may_have_gaps` for *.open and *.journal files, whose tail may be torn: bytes after the last valid record
// are counted, not reported. The returned Status is for failures of reading itself.
[[nodiscard]] Status verify_container(File& file, const std::string& name, const EpochKeys* keys, bool may_have_gaps,
                                      VerifyCounts& counts, std::vector<Damage>& damage, const RecordSeen& seen = {});

}  // namespace vaultfs
