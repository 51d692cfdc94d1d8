#pragma once

#include <cstdint>
#include <vector>

#include "base/files/env.h"
#include "base/result.h"
#include "store/blobs/blob_store.h"
#include "store/record/epoch_keys.h"
#include "store/record/stream.h"
#include "vaultmeta/catalogue/catalogue.h"
#include "vaultmeta/points/manifest.h"
#include "vaultmeta/points/point_proof.h"

namespace vaultfs {

// The clear inventory of a manifest file, without any key: not authenticated. Reads only the file's start.
// DamagedManifest.
[[nodiscard]] Result<std::vector<Manifest::SegmentNeeded>> read_clear_inventory(File& file);

// The closed segments of an inventory that are not there (SegmentMissing) or have another length (DamagedSegment): the
// first hundred of them, since without keys an inventory is anybody's.
[[nodiscard]] Result<std::vector<Error>> missing_segments(Env& env, const Env::Path& vault,
                                                          const std::vector<Manifest::SegmentNeeded>& inventory);

// A manifest as it was opened.
struct StoredManifest {
  Manifest manifest;
  std::uint64_t file_bytes = 0;
  Digest file_digest;  // SHA-256
  EpochNumber epoch;   // that it is sealed under
};
// The manifest file of that number, read record by record: of a file that is not authentic, or not the expected one, no
// more is held than one record, whatever its length. ManifestMissing, DamagedManifest, AuthenticationFailed,
// EpochClosed, KeyRevoked, and errors of reading.
[[nodiscard]] Result<StoredManifest> read_manifest_file(BlobStore& blobs, const EpochKeys& keys, PointNumber file,
                                                        const ExpectedFile& expected = {});
// The one that the catalogue names for a point, which must be just that file and of that point.
[[nodiscard]] Result<Manifest> read_manifest_of(BlobStore& blobs, const EpochKeys& keys, const PointInfo& point);

// What a manifest's file tells of its point, for a vault whose catalogue is lost: its flags are not known and stay
// false. It is unproven. The file may have a later number than the point, see PointInfo::file.
// ManifestMissing, DamagedManifest, AuthenticationFailed.
[[nodiscard]] Result<FoundPoint> describe_point(BlobStore& blobs, const EpochKeys& keys, PointNumber file_number);

}  // namespace vaultfs
