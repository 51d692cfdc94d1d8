#pragma once

#include <filesystem>
#include <string_view>

#include "base/result.h"

namespace vaultfs {

// The path of a regular file as it is without links, if nobody but root and this process's effective user can change
// the file or put another in its place: it and every folder in which a name of the path is looked up, those that links
// lead through included, belong to one of the two and can be written by nobody else. A folder with the sticky bit
// (/tmp) is no exception. After that the path means the same file for as long as those two leave it alone.
//
// `power` says for a message what whoever could change it might do: "who could POWER". NotFound if it is missing;
// PermissionDenied; InvalidArgument if the path is not absolute, goes in circles, or names no regular file. Asks the
// machine, not an Env: what it is for is loaded by the machine. Thread-safe.
[[nodiscard]] Result<std::filesystem::path> resolve_trusted_path(const std::filesystem::path& path,
                                                                 std::string_view power);

}  // namespace vaultfs
