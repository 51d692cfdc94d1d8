#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "tests/simulation/operation.h"

namespace vaultfs::sim {

// What is done to a vault in one life, from a seed; as data, so that it can be shrunk and played again.
struct History {
  std::uint64_t seed = 0;      // of the disk's and the keys' randomness, and of which thread goes on
  std::uint32_t switches = 0;  // of 65,536 places where another thread could go on, at so many one does
  bool timers = false;         // as in a mount: what is due is done by itself, as time goes on
  std::vector<Operation> operations;

  [[nodiscard]] std::string text() const;  // "seed N switches N timers N", then an operation a line
  [[nodiscard]] static std::optional<History> parse(std::string_view text);
};

// The same for the same arguments. Seeds choose what a history is mostly about.
[[nodiscard]] History make_history(std::uint64_t seed, std::size_t steps);

// What came of playing a history.
struct Outcome {
  std::optional<std::string> finding;
  std::string promise;  // that did not hold
  std::size_t steps = 0;
  std::map<std::string, std::string> files;  // of the disk at the end, with their digests
  std::string digest;                        // of these and of the log: the same for the same history
  std::vector<std::string> log;
};
[[nodiscard]] Outcome play(const History& history);

// A shorter history with a finding of the same promise: operations are taken away as long as it stays. `tries` bounds
// the work.
[[nodiscard]] History shrink(const History& history, const Outcome& found, std::size_t tries);

}  // namespace vaultfs::sim
