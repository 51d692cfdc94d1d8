#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <mutex>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "tests/support/sim_env.h"

namespace vaultfs::sim {

// The numbers that files of the vault got (docs/format.md, section 1: numbers are never used twice within a kind). A
// number counts as given once its file is there when an operation has ended: what a power loss took away, or a next
// owner found begun and named by nothing, was given to nobody. Indexes do not count: they are derived, and may be
// deleted at any time. Thread-safe.
class Numbers {
 public:
  // Called before each step of the disk.
  void step(SimStep kind, const std::filesystem::path& path);
  // An operation has ended, and these files are there.
  void there(const std::vector<std::filesystem::path>& files);
  // A power loss, or the next owner at its opening, has left these of the files that were there before: what is gone
  // was given to nobody.
  void left(const std::vector<std::filesystem::path>& before, const std::vector<std::filesystem::path>& after);
  // Another history of the vault begins from here (an older copy was accepted): its numbers are its own.
  void begin_anew();
  // Between, nothing counts: what is done to the disk will be put back.
  void pause(bool paused);
  // What was given twice, once.
  [[nodiscard]] std::optional<std::string> take_repeated();

 private:
  using Given = std::pair<std::string, std::uint64_t>;  // kind of file, number

  std::mutex mutex_;  // guards all below; a leaf
  std::set<Given> given_;
  std::optional<std::string> repeated_;
  bool paused_ = false;
};

}  // namespace vaultfs::sim
