#pragma once

#include <algorithm>
#include <filesystem>
#include <system_error>

namespace vaultfs {

// True if `path` (its last parts may not exist yet) is `directory` or lies below it, symbolic links resolved.
[[nodiscard]] inline bool lies_within_directory(const std::filesystem::path& path,
                                                const std::filesystem::path& directory) {
  std::error_code error;
  const std::filesystem::path inner = std::filesystem::weakly_canonical(std::filesystem::absolute(path, error), error);
  if (error) return false;
  const std::filesystem::path outer = std::filesystem::canonical(directory, error);
  if (error) return false;
  return std::mismatch(outer.begin(), outer.end(), inner.begin(), inner.end()).first == outer.end();
}

}  // namespace vaultfs
