#pragma once

#include <filesystem>
#include <vector>

#include "base/files/env.h"
#include "base/result.h"
#include "store/segment/segment_verifier.h"

namespace vaultfs {

// For verify without keys: damage of a segment becomes a note if other segments have intact records of all that it has
// lost, by the ids that the headers tell. Reads the segments once more if any is damaged. Errors are of listing them.
[[nodiscard]] Status note_what_has_copies(Env& env, const std::filesystem::path& vault, std::vector<Damage>& damage,
                                          std::vector<Damage>& notes);

}  // namespace vaultfs
