#pragma once

#include <vector>

#include "base/env.h"
#include "base/result.h"
#include "store/blob_store.h"
#include "store/epoch_keys.h"
#include "vaultmeta/catalogue.h"
#include "vaultmeta/manifest.h"

namespace vaultfs {

// The clear inventory of a manifest file, without any key: not authenticated. Reads only the file's start.
// DamagedManifest.
[[nodiscard]] Result<std::vector<Manifest::SegmentNeeded>> read_clear_inventory(File& file);

// The closed segments of an inventory that are not there (SegmentMissing) or have another length (DamagedSegment).
[[nodiscard]] Result<std::vector<Error>> missing_segments(Env& env, const Env::Path& vault,
                                                          const std::vector<Manifest::SegmentNeeded>& inventory);

// What a manifest's file tells of its point, for a vault whose catalogue is lost: its flags are not known and stay
// false. The file may have a later number than the point, see PointInfo::file.
// ManifestMissing, DamagedManifest, AuthenticationFailed.
[[nodiscard]] Result<PointInfo> describe_point(BlobStore& blobs, const EpochKeys& keys, PointNumber file_number);

}  // namespace vaultfs
