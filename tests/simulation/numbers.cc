#include "tests/simulation/numbers.h"

#include <charconv>
#include <utility>

namespace vaultfs::sim {
namespace {

// Kind and number of "/vault/KIND/0000000000000012.EXTENSION"; nothing for other names.
std::optional<std::pair<std::string, std::uint64_t>> given_by(const std::filesystem::path& path) {
  constexpr std::size_t kDigits = 16;
  const std::string name = path.filename().string();
  if (name.size() < kDigits + 2 || name[kDigits] != '.') return std::nullopt;
  std::uint64_t number = 0;
  const auto [end, error] = std::from_chars(name.data(), name.data() + kDigits, number, 16);
  if (error != std::errc() || end != name.data() + kDigits) return std::nullopt;
  const std::string folder = path.parent_path().filename().string();
  if (folder == "index") return std::nullopt;
  return std::pair(folder, number);
}

}  // namespace

void Numbers::step(SimStep kind, const std::filesystem::path& path) {
  const std::lock_guard lock(mutex_);
  if (paused_) return;
  // What is written under another name first gets its number with its own name; a segment has it from the start.
  const bool is_given = kind == SimStep::rename ? path.parent_path().filename() != "segments"
                                                : kind == SimStep::create && path.extension() != ".tmp";
  if (!is_given) return;
  const auto number = given_by(path);
  if (!number || !given_.contains(*number) || repeated_) return;
  repeated_ = number->first + " " + std::to_string(number->second) + " was given again: " + path.string();
}

void Numbers::there(const std::vector<std::filesystem::path>& files) {
  const std::lock_guard lock(mutex_);
  for (const std::filesystem::path& path : files) {
    if (path.extension() == ".tmp") continue;
    if (const auto number = given_by(path)) given_.insert(*number);
  }
}

void Numbers::left(const std::vector<std::filesystem::path>& before, const std::vector<std::filesystem::path>& after) {
  const std::lock_guard lock(mutex_);
  std::set<Given> lost;
  for (const std::filesystem::path& path : before) {
    if (const auto number = given_by(path)) lost.insert(*number);
  }
  for (const std::filesystem::path& path : after) {
    if (const auto number = given_by(path)) lost.erase(*number);
  }
  for (const Given& number : lost) given_.erase(number);
}

void Numbers::pause(bool paused) {
  const std::lock_guard lock(mutex_);
  paused_ = paused;
}

void Numbers::begin_anew() {
  const std::lock_guard lock(mutex_);
  given_.clear();
}

std::optional<std::string> Numbers::take_repeated() {
  const std::lock_guard lock(mutex_);
  return std::exchange(repeated_, std::nullopt);
}

}  // namespace vaultfs::sim
