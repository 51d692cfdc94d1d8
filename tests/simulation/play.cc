#include <algorithm>
#include <utility>

#include "crypto/hash.h"
#include "tests/simulation/finding.h"
#include "tests/simulation/history.h"
#include "tests/simulation/player.h"

namespace vaultfs::sim {

namespace {

Outcome play_once(const History& history) {
  Outcome outcome;
  try {
    Player player(history);
    const auto keep_log = [&] { outcome.log = player.log(); };
    try {
      for (const Operation& operation : history.operations) {
        player.play(operation);
        ++outcome.steps;
      }
      player.finish();
    } catch (...) {
      keep_log();
      throw;
    }
    keep_log();
    outcome.files = player.files();
    Sha256Stream all;
    for (const std::string& line : outcome.log) all.add(bytes_of(line + "\n"));
    for (const auto& [path, digest] : outcome.files) all.add(bytes_of(path + " " + digest + "\n"));
    outcome.digest = to_hex(all.digest().view()).substr(0, 16);
  } catch (const Finding& finding) {
    outcome.finding = finding.what();
    outcome.promise = finding.promise();
    const bool in_finish = outcome.steps == history.operations.size();
    outcome.log.push_back((in_finish ? "finish" : history.operations[outcome.steps].text()) + "   # " +
                          *outcome.finding);
  }
  return outcome;
}

}  // namespace

Outcome play(const History& history) {
  // What libraries take from the kernel's generator when they are first used would be missing in the first history.
  [[maybe_unused]] static const Outcome warm = play_once({});
  return play_once(history);
}

History shrink(const History& history, const Outcome& found, std::size_t tries) {
  History best = history;
  // What came after it had no part in it.
  best.operations.resize(std::min(found.steps + 1, best.operations.size()));
  for (std::size_t size = std::max<std::size_t>(best.operations.size() / 2, 1); size > 0 && tries > 0;) {
    bool shorter = false;
    for (std::size_t at = 0; at < best.operations.size() && tries > 0;) {
      History candidate = best;
      const auto begin = candidate.operations.begin() + static_cast<std::ptrdiff_t>(at);
      const auto length = static_cast<std::ptrdiff_t>(std::min(size, candidate.operations.size() - at));
      candidate.operations.erase(begin, begin + length);
      --tries;
      const Outcome outcome = play(candidate);
      if (outcome.finding && outcome.promise == found.promise) {
        candidate.operations.resize(std::min(outcome.steps + 1, candidate.operations.size()));
        best = std::move(candidate);
        shorter = true;
      } else {
        at += size;
      }
    }
    if (size == 1 && !shorter) break;
    size = shorter ? size : size / 2;
    size = std::min(size, std::max<std::size_t>(best.operations.size() / 2, 1));
  }
  return best;
}

}  // namespace vaultfs::sim
