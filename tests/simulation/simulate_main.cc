// simulate: plays many histories of a vault, each from its seed, and shrinks what it finds. docs/testing.md tells how
// to read it.
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <ctime>
#include <fstream>
#include <iostream>
#include <iterator>
#include <map>
#include <string>

#include "tests/simulation/history.h"

namespace {

using vaultfs::sim::History;
using vaultfs::sim::Outcome;

constexpr const char* kUsage =
    "usage: simulate [--histories N] [--seed S] [--steps N] [--seconds N] [--twice] [--keep-going] [--no-shrink]\n"
    "                [--record FILE --tree NAME]\n"
    "       simulate --replay FILE|-   plays a history from its text\n"
    "       simulate --show SEED       prints the history of a seed, with what came of each step\n";

struct Arguments {
  std::uint64_t histories = 100;
  std::uint64_t seed = 1;
  std::size_t steps = 200;
  std::uint64_t seconds = 0;  // 0: no limit
  bool twice = false;
  bool keep_going = false;
  bool shrink = true;
  std::string replay;
  bool show = false;
  std::string record;
  std::string tree = "-";
};

bool read_arguments(int argc, char** argv, Arguments& arguments) {
  for (int i = 1; i < argc; ++i) {
    const std::string option = argv[i];
    if (option == "--twice") {
      arguments.twice = true;
      continue;
    }
    if (option == "--keep-going") {
      arguments.keep_going = true;
      continue;
    }
    if (option == "--no-shrink") {
      arguments.shrink = false;
      continue;
    }
    if (++i == argc) return false;
    const std::string value = argv[i];
    if (option == "--replay") {
      arguments.replay = value;
    } else if (option == "--record") {
      arguments.record = value;
    } else if (option == "--tree") {
      arguments.tree = value;
    } else {
      char* end = nullptr;
      const std::uint64_t number = std::strtoull(value.c_str(), &end, 10);
      if (value.empty() || *end != '\0') return false;
      if (option == "--histories") {
        arguments.histories = number;
      } else if (option == "--seed") {
        arguments.seed = number;
      } else if (option == "--steps") {
        arguments.steps = number;
      } else if (option == "--seconds") {
        arguments.seconds = number;
      } else if (option == "--show") {
        arguments.seed = number;
        arguments.show = true;
      } else {
        return false;
      }
    }
  }
  return true;
}

void print_log(const Outcome& outcome) {
  for (const std::string& line : outcome.log) std::printf("  %s\n", line.c_str());
}

void report(const History& history, const Outcome& outcome, bool shrinks) {
  std::printf("FINDING seed %llu, step %zu: %s\n", static_cast<unsigned long long>(history.seed), outcome.steps,
              outcome.finding->c_str());
  if (!shrinks) return;
  constexpr std::size_t kTries = 600;
  const History shrunk = vaultfs::sim::shrink(history, outcome, kTries);
  const Outcome again = vaultfs::sim::play(shrunk);
  std::printf("shrunk to %zu steps (play it with: simulate --replay FILE):\nseed %llu\n", shrunk.operations.size(),
              static_cast<unsigned long long>(shrunk.seed));
  print_log(again);
  if (!again.finding) std::printf("  # played once more it found nothing: the history depends on threads\n");
  std::fflush(stdout);
}

// Plays it once more.
bool is_the_same(const History& history, const Outcome& outcome) {
  const Outcome again = vaultfs::sim::play(history);
  if (again.digest == outcome.digest) return true;
  std::string where = "the log";
  for (const auto& [path, digest] : outcome.files) {
    const auto other = again.files.find(path);
    if (other == again.files.end() || other->second != digest) where = path;
  }
  std::printf("FINDING seed %llu: determinism: played twice it was not the same: %s\n",
              static_cast<unsigned long long>(history.seed), where.c_str());
  return false;
}

int replay(const Arguments& arguments) {
  std::string text;
  if (arguments.replay == "-") {
    text.assign(std::istreambuf_iterator<char>(std::cin), std::istreambuf_iterator<char>());
  } else {
    std::ifstream file(arguments.replay);
    text.assign(std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>());
  }
  const auto history = History::parse(text);
  if (!history) {
    std::fprintf(stderr, "simulate: %s is no history\n", arguments.replay.c_str());
    return 2;
  }
  const Outcome outcome = vaultfs::sim::play(*history);
  print_log(outcome);
  return outcome.finding ? 1 : 0;
}

}  // namespace

int main(int argc, char** argv) {
  Arguments arguments;
  if (!read_arguments(argc, argv, arguments)) {
    std::fputs(kUsage, stderr);
    return 2;
  }
  // No harden_process(): OpenSSL would take its memory from the engine's pool while it holds locks of its own, which
  // the stepper does not see.
  if (!arguments.replay.empty()) return replay(arguments);
  if (arguments.show) {
    const Outcome outcome = vaultfs::sim::play(vaultfs::sim::make_history(arguments.seed, arguments.steps));
    print_log(outcome);
    for (const auto& [path, digest] : outcome.files) std::printf("  %s %s\n", digest.c_str(), path.c_str());
    std::printf("digest %s\n", outcome.digest.c_str());
    return outcome.finding ? 1 : 0;
  }
  using Clock = std::chrono::steady_clock;
  const auto began = Clock::now();
  const auto seconds = [&] { return std::chrono::duration<double>(Clock::now() - began).count(); };
  std::uint64_t played = 0;
  std::uint64_t steps = 0;
  std::uint64_t findings = 0;
  std::map<std::string, std::uint64_t> by_promise;
  double told = 0;
  for (; played < arguments.histories; ++played) {
    if (arguments.seconds != 0 && seconds() > static_cast<double>(arguments.seconds)) break;
    const History history = vaultfs::sim::make_history(arguments.seed + played, arguments.steps);
    const Outcome outcome = vaultfs::sim::play(history);
    steps += outcome.steps;
    if (outcome.finding) {
      ++findings;
      ++by_promise[outcome.promise];
      report(history, outcome, arguments.shrink);
      if (!arguments.keep_going) break;
    } else if (arguments.twice && !is_the_same(history, outcome)) {
      ++findings;
      ++by_promise["determinism"];
      if (!arguments.keep_going) break;
    }
    if (seconds() - told >= 1) {
      told = seconds();
      std::printf("%.0f s: %llu histories, %llu steps, %llu findings, %.1f ms a history\n", told,
                  static_cast<unsigned long long>(played + 1), static_cast<unsigned long long>(steps),
                  static_cast<unsigned long long>(findings), told * 1000 / static_cast<double>(played + 1));
      std::fflush(stdout);
    }
  }
  std::printf("%llu histories from seed %llu, %llu steps, %llu findings, %.1f s\n",
              static_cast<unsigned long long>(played), static_cast<unsigned long long>(arguments.seed),
              static_cast<unsigned long long>(steps), static_cast<unsigned long long>(findings), seconds());
  for (const auto& [promise, count] : by_promise) {
    std::printf("  %s: %llu\n", promise.c_str(), static_cast<unsigned long long>(count));
  }
  if (!arguments.record.empty()) {
    const std::time_t now = std::time(nullptr);
    char date[16];
    std::strftime(date, sizeof date, "%Y-%m-%d", std::gmtime(&now));
    std::ofstream file(arguments.record, std::ios::app);
    file << arguments.tree << '\t' << date << '\t' << arguments.seed << '\t' << arguments.seed + played - 1 << '\t'
         << steps << '\t' << seconds() / 3600 << '\t' << findings << '\n';
  }
  return findings == 0 ? 0 : 1;
}
