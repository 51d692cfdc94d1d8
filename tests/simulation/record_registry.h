#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <unordered_map>

#include "tests/support/sim_env.h"

namespace vaultfs::sim {

// Every sealed record that was ever seen on the disk, by key and nonce: no two of them may have both in common.
class RecordRegistry {
 public:
  // Looks at all containers below `directory`. What was sealed with a nonce that its key had used for something else,
  // if anything.
  [[nodiscard]] std::optional<std::string> look(const SimEnv& env, const Env::Path& directory);
  [[nodiscard]] std::size_t records() const { return seen_.size(); }

 private:
  [[nodiscard]] std::optional<std::string> look_at(const Env::Path& path, ByteView file);

  std::unordered_map<std::string, std::uint64_t> seen_;  // epoch, salts, nonce → hash of what was sealed
  std::unordered_map<std::string, std::shared_ptr<const Bytes>> looked_at_;  // path → the file as it was then
};

}  // namespace vaultfs::sim
