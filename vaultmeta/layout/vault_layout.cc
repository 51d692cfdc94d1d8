#include "vaultmeta/layout/vault_layout.h"

#include <algorithm>

namespace vaultfs {

Result<std::vector<std::uint64_t>> list_numbers(BlobStore& blobs, const VaultFolder& folder) {
  VAULTFS_ASSIGN_OR_RETURN(const auto names, blobs.list(folder.name));
  std::vector<std::uint64_t> numbers;
  for (const std::string& name : names) {
    if (const auto number = number_of(name, folder.extension)) numbers.push_back(*number);
  }
  std::sort(numbers.begin(), numbers.end());
  return numbers;
}

Error stored_file_error(Error error, ErrorCode missing, const std::string& file) {
  if (error.code == ErrorCode::NotFound) return {missing, file + " is missing"};
  return with_context(std::move(error), file);
}

}  // namespace vaultfs
