#include "tests/simulation/history.h"

#include <array>
#include <random>
#include <sstream>

#include "tests/support/units.h"

namespace vaultfs::sim {
namespace {

// What a history is mostly about.
enum class Theme : std::uint8_t { everything, files, crashes, keys, attacks, failing_disk };
constexpr std::size_t kThemes = 6;

struct Weight {
  Kind kind;
  std::array<unsigned, kThemes> of;  // by theme
};

constexpr std::array kWeights{
    Weight{Kind::write, {26, 40, 30, 12, 12, 26}},
    Weight{Kind::append, {4, 6, 5, 2, 2, 4}},
    Weight{Kind::truncate, {5, 9, 6, 2, 2, 5}},
    Weight{Kind::punch, {4, 8, 5, 1, 1, 4}},
    Weight{Kind::zero, {3, 5, 3, 1, 1, 3}},
    Weight{Kind::rename, {4, 6, 5, 1, 1, 4}},
    Weight{Kind::unlink, {3, 4, 3, 1, 1, 3}},
    Weight{Kind::copy, {3, 6, 3, 1, 1, 2}},
    Weight{Kind::read, {2, 4, 1, 1, 1, 2}},
    Weight{Kind::fsync, {12, 14, 16, 4, 4, 14}},
    Weight{Kind::sync_all, {2, 2, 2, 1, 1, 2}},
    Weight{Kind::commit, {10, 6, 8, 12, 10, 10}},
    Weight{Kind::backup, {3, 2, 2, 2, 3, 3}},
    Weight{Kind::restore, {1, 1, 0, 1, 1, 1}},
    Weight{Kind::checkpoint, {3, 4, 4, 1, 2, 3}},
    Weight{Kind::reencrypt, {2, 0, 1, 5, 1, 2}},
    Weight{Kind::verify, {1, 1, 1, 1, 1, 1}},
    Weight{Kind::beside, {4, 6, 5, 4, 1, 3}},
    Weight{Kind::close, {5, 3, 3, 5, 5, 4}},
    Weight{Kind::kill, {3, 1, 5, 3, 1, 3}},
    Weight{Kind::power_loss, {5, 2, 10, 4, 1, 4}},
    Weight{Kind::reader, {2, 1, 2, 1, 1, 1}},
    Weight{Kind::second_owner, {1, 0, 1, 0, 0, 0}},
    Weight{Kind::machine, {1, 0, 0, 2, 1, 0}},
    Weight{Kind::rotate, {3, 0, 1, 12, 3, 1}},
    Weight{Kind::refresh, {3, 0, 1, 12, 3, 1}},
    Weight{Kind::new_epoch, {1, 0, 1, 4, 2, 1}},
    Weight{Kind::rewrap, {1, 0, 1, 4, 1, 1}},
    Weight{Kind::disable_retired, {2, 0, 0, 6, 2, 0}},
    Weight{Kind::disable_early, {1, 0, 0, 3, 0, 0}},
    Weight{Kind::revoke, {1, 0, 0, 2, 0, 0}},
    Weight{Kind::allow, {2, 0, 0, 9, 1, 0}},
    Weight{Kind::outage, {1, 0, 0, 2, 0, 0}},
    Weight{Kind::deny, {1, 0, 0, 1, 0, 0}},
    Weight{Kind::late, {1, 0, 0, 3, 0, 0}},
    Weight{Kind::break_after, {5, 1, 14, 7, 0, 4}},
    Weight{Kind::fail_sync, {2, 0, 1, 1, 0, 10}},
    Weight{Kind::fail_write, {2, 0, 1, 1, 0, 8}},
    Weight{Kind::full_disk, {1, 0, 0, 0, 0, 6}},
    Weight{Kind::free_disk, {1, 0, 0, 0, 0, 6}},
    Weight{Kind::clock, {2, 1, 1, 3, 1, 1}},
    Weight{Kind::clock_back, {1, 0, 1, 1, 1, 0}},
    Weight{Kind::keep_copy, {2, 0, 0, 1, 8, 0}},
    Weight{Kind::old_copy, {1, 0, 0, 1, 5, 0}},
    Weight{Kind::old_file, {1, 0, 0, 1, 6, 0}},
    Weight{Kind::branch, {1, 0, 0, 0, 4, 0}},
    Weight{Kind::exchange, {1, 0, 0, 0, 4, 0}},
    Weight{Kind::rot, {1, 0, 0, 0, 6, 0}},
    Weight{Kind::lose, {1, 0, 0, 0, 5, 0}},
    Weight{Kind::cut, {1, 0, 0, 0, 4, 0}},
    Weight{Kind::plant, {1, 0, 0, 0, 4, 0}},
};

class Maker {
 public:
  explicit Maker(std::uint64_t seed)
      : random_(seed * 2 + 1), theme_(static_cast<Theme>(below(kThemes))), large_(below(12) == 0) {
    for (const Weight& weight : kWeights) sum_ += weight.of.at(static_cast<std::size_t>(theme_));
  }

  void choose_threads(History& history) {
    constexpr std::array<std::uint32_t, 5> kSwitches{0, 16, 128, 1024, 8192};
    history.switches = kSwitches.at(below(kSwitches.size()));
    history.timers = below(3) == 0;
  }

  Operation operation() {
    Operation made;
    made.kind = kind();
    const std::uint64_t item = below(4) == 0 ? 1 : 0;
    const std::uint64_t file = below(3);
    switch (made.kind) {
      case Kind::write:
        made = {made.kind, item, file, offset(), length(), below(10) == 0 ? 0 : content_seed()};
        break;
      case Kind::append:
        made = {made.kind, item, file, length(), seed()};
        break;
      case Kind::truncate:
        made = {made.kind, item, file, below(5) == 0 ? 0 : offset()};
        break;
      case Kind::punch:
      case Kind::zero:
        made = {made.kind, item, file, offset(), below(3) == 0 ? 1 + below(top()) : length()};
        break;
      case Kind::rename:
        made = {made.kind, item, file, below(3), below(2)};
        break;
      case Kind::copy:
        made = {made.kind, item, file, below(3), below(3) == 0 ? offset() : 0, 1 + below(top())};
        break;
      case Kind::backup:
        made = {made.kind, item, file, image_size(), 1 + below(3)};
        break;
      case Kind::read:
      case Kind::fsync:
      case Kind::unlink:
        made = {made.kind, item, file};
        break;
      case Kind::commit:
        made.a = item;
        break;
      case Kind::break_after:
        made = {made.kind, below(below(3) == 0 ? 150 : 30), below(3), seed()};
        break;
      case Kind::power_loss:
        made = {made.kind, below(3), seed()};
        break;
      case Kind::fail_sync:
      case Kind::fail_write:
        made.a = 1 + below(3);
        break;
      case Kind::full_disk:
        // Around the reserve that is kept for what gives space back.
        made.a = below(2) == 0 ? below(300'000) : 64 * kMiB + below(3 * kMiB);
        break;
      case Kind::clock:
        made.a = below(4) == 0 ? 86'400 + below(100'000) : below(1000);
        break;
      case Kind::clock_back:
        made.a = below(2) == 0 ? below(100) : below(10'000'000);
        break;
      case Kind::beside:
        made = {made.kind, below(6), item, 1 + below(6)};
        break;
      case Kind::reader:
      case Kind::machine:
      case Kind::reencrypt:
        made.a = below(2);
        break;
      case Kind::rewrap:
        made.a = below(4) == 0 ? 1 : 0;
        break;
      case Kind::late:
        made.a = below(6);
        break;
      case Kind::restore:
        made.a = below(8);
        break;
      default:
        made = {made.kind, seed(), 1 + below(3)};
        break;
    }
    return made;
  }

 private:
  std::uint64_t below(std::uint64_t bound) { return random_() % bound; }
  std::uint64_t content_seed() { return below(3) == 0 ? 1 + below(3) : seed(); }
  std::uint64_t seed() { return 1 + below(1'000'000'000); }
  Kind kind() {
    std::uint64_t at = below(sum_);
    for (const Weight& weight : kWeights) {
      const unsigned here = weight.of.at(static_cast<std::size_t>(theme_));
      if (at < here) return weight.kind;
      at -= here;
    }
    return Kind::read;
  }
  // Few, so that the same content comes again.
  std::uint64_t image_size() {
    constexpr std::array<std::uint64_t, 4> kSizes{1, 20'000, 60'000, kMiB + 9000};
    return below(8) == 0 ? 1 + below(top()) : kSizes.at(below(kSizes.size()));
  }
  // How far a file goes.
  std::uint64_t top() const { return large_ ? 9 * kMiB : kMiB + kMiB / 4; }
  std::uint64_t offset() {
    switch (below(large_ ? 4 : 6)) {
      case 0:
        return below(top());
      case 1:
        return kMiB - below(20'000);  // over the end of a chunk
      case 2:
        return below(30) * 4096;
      default:
        return below(below(2) == 0 ? 5000 : 120'000);
    }
  }
  std::uint64_t length() {
    switch (below(8)) {
      case 0:
        return 1 + below(100'000);
      case 1:
        return 1 + below(40);
      case 2:
        return 4096;
      case 3:
        return large_ && below(4) == 0 ? kMiB : 1 + below(30'000);
      default:
        return 1 + below(9000);
    }
  }

  std::mt19937_64 random_;
  const Theme theme_;
  const bool large_;
  unsigned sum_ = 0;
};

}  // namespace

std::string History::text() const {
  std::string out = "seed " + std::to_string(seed) + " switches " + std::to_string(switches) + " timers " +
                    std::to_string(timers ? 1 : 0) + "\n";
  for (const Operation& operation : operations) out += operation.text() + "\n";
  return out;
}

std::optional<History> History::parse(std::string_view text) {
  std::istringstream in{std::string(text)};
  History history;
  std::string line;
  while (std::getline(in, line)) {
    if (const auto comment = line.find('#'); comment != std::string::npos) line.resize(comment);
    if (line.find_first_not_of(" \t") == std::string::npos) continue;
    if (line.starts_with("seed ")) {
      std::istringstream words(line);
      std::string word;
      words >> word >> history.seed >> word >> history.switches >> word >> history.timers;
    } else if (const auto operation = Operation::parse(line)) {
      history.operations.push_back(*operation);
    } else {
      return std::nullopt;
    }
  }
  return history;
}

History make_history(std::uint64_t seed, std::size_t steps) {
  History history;
  history.seed = seed;
  Maker maker(seed);
  maker.choose_threads(history);
  history.operations.reserve(steps);
  for (std::size_t i = 0; i < steps; ++i) history.operations.push_back(maker.operation());
  return history;
}

}  // namespace vaultfs::sim
