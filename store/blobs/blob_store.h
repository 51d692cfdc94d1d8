#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/bytes.h"
#include "base/files/env.h"
#include "base/result.h"

namespace vaultfs {

// Named, write-once byte strings: a blob is absent or whole, and never changes. Names are FOLDER/FILE as in format.md,
// section 1. Thread-safe.
class BlobStore {
 public:
  virtual ~BlobStore() = default;
  // Stores a new blob durably: on success it survives a power loss, after a failure or crash it is whole or absent.
  // AlreadyExists if the name is taken.
  [[nodiscard]] virtual Status put(const std::string& name, ByteView bytes) = 0;
  // The whole blob, at most `limit` bytes. NotFound if there is none.
  [[nodiscard]] virtual Result<Bytes> get(const std::string& name, std::uint64_t limit) = 0;
  // For reading ranges. NotFound if there is none.
  [[nodiscard]] virtual Result<std::unique_ptr<File>> open(const std::string& name) = 0;
  // File names (without the folder) in a folder, sorted; `.tmp` leftovers are not listed.
  [[nodiscard]] virtual Result<std::vector<std::string>> list(const std::string& folder) = 0;
  [[nodiscard]] virtual Status remove(const std::string& name) = 0;  // NotFound is success
  // Gives whatever has that name another one in its folder, NAME.strange or NAME.strange-N, so that the name is free.
  // Durable on return. For what somebody put where a blob of the vault's belongs. NotFound.
  [[nodiscard]] virtual Status set_aside(const std::string& name) = 0;
  // Turns a synced local file into the blob `name` (a rename on a local directory). Durable on return.
  [[nodiscard]] virtual Status adopt(const Env::Path& local_file, const std::string& name) = 0;
};

// Blobs as files below `root`; folders are made by the vault's creation. A name is FILE or FOLDER/FILE; one that could
// leave `root`, or that ends in `.tmp`, is InvalidName.
[[nodiscard]] std::unique_ptr<BlobStore> make_directory_blob_store(Env& env, Env::Path root);

// The file name of a numbered container: (42, "seg") gives "000000000000002a.seg".
[[nodiscard]] std::string numbered_name(std::uint64_t number, std::string_view extension);
// The number of such a name, or nothing if it has another form or extension.
[[nodiscard]] std::optional<std::uint64_t> number_of(std::string_view file_name, std::string_view extension);

}  // namespace vaultfs
