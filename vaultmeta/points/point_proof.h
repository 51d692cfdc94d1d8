#pragma once

#include <set>
#include <vector>

#include "base/ids.h"
#include "base/result.h"
#include "vaultmeta/catalogue/catalogue.h"

namespace vaultfs {

// A recovery point as its file, or a catalogue that could be read in part, tells of it.
struct FoundPoint {
  PointInfo info;
  bool current_epoch = false;  // its file is sealed under the newest data key
  bool known = false;          // by a catalogue that a head names by its digest
};

// Which of them the vault's heads vouch for. A head has a digest over all points there were when it was written: files
// that give it together are just those points, whoever brought them.
struct ProvenPoints {
  std::set<PointNumber> points;  // those that are known, too
  bool complete = false;         // they are just those that the newest head vouches for
};

// `found` ascends by number. `older` are the words of heads that lead to the newest one. A file too many, or points too
// few at the end, do not keep the others from being proven; above 4,096 points only the whole is looked at.
[[nodiscard]] ProvenPoints prove_points(const std::vector<FoundPoint>& found, const Digest& newest,
                                        const std::set<Digest>& older);

// What is told of an unproven point.
[[nodiscard]] Error nobody_vouches_for(const PointInfo& point);

}  // namespace vaultfs
