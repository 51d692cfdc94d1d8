// A whole vault directory, changed: the input is a list of edits of a small vault's files. Then a reader and the owner
// open it, read everything and verify: each byte that they are shown is one that was written there, or an error with a
// name of damage tells of it.
//
//   byte 0   which vault: one that was closed, or one whose owner was killed
// Then each edit: a byte that chooses it, a byte for the file, and what it needs. Offsets are two bytes: from the start
// of the file, or (highest bit) from its end.
#include <algorithm>
#include <array>
#include <cstdio>
#include <cstdlib>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "tests/fuzz/fuzz_bytes.h"
#include "tests/simulation/player.h"

namespace {

using namespace vaultfs;
using sim::Kind;
using sim::Player;
using sim::World;
using Files = std::map<Env::Path, Bytes>;  // of its own: edits change the bytes

constexpr std::size_t kMostEdits = 24;
constexpr std::size_t kMostBytes = 64;

// What the vault went through: two items, points, a rotation with its retirement, an epoch, a re-encryption, a patch, a
// hole, files that several points share.
constexpr std::string_view kLife = R"(seed 7 switches 0 timers 0
write 0 0 0 90000 1
write 0 1 0 5000 2
write 1 0 1040000 20000 3
commit 0
commit 1
close
write 0 0 8192 4096 4
commit 0
rotate
refresh
write 0 1 100 300 5
commit 0
refresh
punch 0 0 16384 8192
copy 0 0 2 0 50000
fsync 0 0
checkpoint
new_epoch
commit 0
write 1 0 0 3000 6
fsync 1 0
commit 1
close
)";
// The last engine: nothing of it is durable for the model, so that any part of it may be missing.
constexpr std::string_view kTail = R"(seed 7
write 0 0 40000 3000 7
write 1 0 500 200 8
write 0 1 0 4096 9
)";

class EditedVault {
 public:
  EditedVault() : history_(life(kLife)), player_(history_) {
    const std::size_t half = history_.operations.size() / 2;
    for (std::size_t i = 0; i < history_.operations.size(); ++i) {
      player_.play(history_.operations[i]);
      if (i == half) older_ = player_.take_copy();
    }
    closed_ = player_.take_copy();
    const sim::History tail = life(kTail);
    for (const sim::Operation& operation : tail.operations) player_.play(operation);
    player_.die();
    killed_ = player_.take_copy();
  }

  void examine(FuzzBytes& input) {
    const Player::Copy& copy = input.below(2) == 0 ? closed_ : killed_;
    Files vault;
    for (const auto& [path, bytes] : copy.vault) vault[path] = *bytes;
    std::string what;
    for (std::size_t i = 0; i < kMostEdits && !input.empty() && !vault.empty(); ++i) what += edit(input, vault) + "; ";
    try {
      World::Files edited;
      for (auto& [path, bytes] : vault) edited[path] = std::make_shared<const Bytes>(std::move(bytes));
      player_.examine_copy(what, copy, edited);
    } catch (const sim::Finding& finding) {
      std::fprintf(stderr, "FINDING %s\n", finding.what());
      std::abort();
    }
  }

 private:
  static sim::History life(std::string_view text) {
    auto history = sim::History::parse(text);
    if (!history) std::abort();
    return *std::move(history);
  }

  static std::size_t offset(FuzzBytes& input, std::size_t size) {
    constexpr std::uint64_t kFromEnd = 1U << 15U;
    const std::uint64_t number = input.number(2);
    if (number < kFromEnd) return std::min<std::size_t>(number, size);
    return size - std::min<std::size_t>(number - kFromEnd, size);
  }

  // Gives what was done, for who reads a finding.
  std::string edit(FuzzBytes& input, Files& vault) {
    enum class Edit : std::uint8_t {
      flip,
      put,
      cut,
      insert,
      erase,
      zero,
      append,
      splice,
      exchange,
      drop,
      twice,
      old,
      kinds
    };
    const auto which = static_cast<Edit>(input.below(static_cast<std::uint64_t>(Edit::kinds)));
    const auto any = [&] { return std::next(vault.begin(), static_cast<std::ptrdiff_t>(input.below(vault.size()))); };
    const auto chosen = any();
    Bytes& file = chosen->second;
    const std::string name = chosen->first.string();
    const std::size_t at = offset(input, file.size());
    const auto here = [&](std::size_t place) { return file.begin() + static_cast<std::ptrdiff_t>(place); };
    const auto told = [&](const char* verb) { return std::string(verb) + " " + name + " at " + std::to_string(at); };
    switch (which) {
      case Edit::flip: {
        const std::uint64_t bit = input.below(8);
        if (at < file.size()) file[at] ^= std::byte{1} << bit;
        return told("flip");
      }
      case Edit::put: {
        const Bytes bytes = input.bytes(std::min<std::size_t>(1 + input.below(kMostBytes), file.size() - at));
        std::copy(bytes.begin(), bytes.end(), here(at));
        return told("put");
      }
      case Edit::cut:
        file.resize(at);
        return told("cut");
      case Edit::insert: {
        const Bytes bytes = input.bytes(1 + input.below(kMostBytes));
        file.insert(here(at), bytes.begin(), bytes.end());
        return told("insert");
      }
      case Edit::erase: {
        const std::size_t end = std::min<std::size_t>(file.size(), at + 1 + input.number(2));
        file.erase(here(at), here(end));
        return told("erase");
      }
      case Edit::zero: {
        const std::size_t end = std::min<std::size_t>(file.size(), at + 1 + input.number(2));
        std::fill(here(at), here(end), std::byte{0});
        return told("zero");
      }
      case Edit::append: {
        const Bytes bytes = input.bytes(1 + input.below(kMostBytes));
        file.insert(file.end(), bytes.begin(), bytes.end());
        return told("append");
      }
      case Edit::splice: {
        const Bytes from = any()->second;
        const std::size_t begin = offset(input, from.size());
        const std::size_t count = std::min<std::size_t>(1 + input.number(2), from.size() - begin);
        if (file.size() < at + count) file.resize(at + count);
        std::copy_n(from.begin() + static_cast<std::ptrdiff_t>(begin), count, here(at));
        return told("splice");
      }
      case Edit::exchange: {
        const auto other = any();
        std::swap(file, other->second);
        return "exchange " + name + " and " + other->first.string();
      }
      case Edit::drop:
        vault.erase(chosen);
        return "drop " + name;
      case Edit::twice: {
        // Under the name of any other file with another last digit: a number that may be free.
        std::filesystem::path to = any()->first;
        std::string stem = to.stem().string();
        if (stem.size() == 16) stem.back() = "0123456789abcdef"[input.below(16)];
        to.replace_filename(stem + to.extension().string());
        const Bytes bytes = file;
        vault[to] = bytes;
        return "copy " + name + " to " + to.string();
      }
      default: {
        const auto of_old =
            std::next(older_.vault.begin(), static_cast<std::ptrdiff_t>(input.below(older_.vault.size())));
        vault[of_old->first] = *of_old->second;
        return "old " + of_old->first.string();
      }
    }
  }

  const sim::History history_;
  Player player_;
  Player::Copy older_, closed_, killed_;
};

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  static auto* const vault = new EditedVault();  // lives as long as the program: its stepper is the threads'
  FuzzBytes input(data, size);
  vault->examine(input);
  return 0;
}
