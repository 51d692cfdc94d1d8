#include "vaultmeta/heads/head_choice.h"

#include <algorithm>

namespace vaultfs {
namespace {

bool continues(const Head::Signed& newer, const Head::Signed& older) {
  return older.head.generation.next() == newer.head.generation && older.file_digest == newer.head.predecessor;
}

// Heads that lead from one to the next: [begin, end) of all.
struct Run {
  std::size_t begin = 0;
  std::size_t end = 0;
};

std::vector<Run> runs_of(const std::vector<Head::Signed>& heads) {
  std::vector<Run> runs;
  for (std::size_t i = 0; i < heads.size(); ++i) {
    if (i == 0 || !continues(heads[i - 1], heads[i])) runs.push_back({i, i});
    ++runs.back().end;
  }
  return runs;
}

bool leads_to_pin(const std::vector<Head::Signed>& heads, const Run& run, const HeadChoiceRules& rules) {
  const Head& oldest = heads[run.end - 1].head;
  // The pinned file itself is not needed.
  if (oldest.generation == rules.pinned.next() && oldest.predecessor == rules.pinned_digest) return true;
  return std::any_of(heads.begin() + static_cast<std::ptrdiff_t>(run.begin),
                     heads.begin() + static_cast<std::ptrdiff_t>(run.end), [&](const Head::Signed& head) {
                       return head.head.generation == rules.pinned && head.file_digest == rules.pinned_digest;
                     });
}

// Of the head that the run's oldest continues there is another one: it can't be of the same history.
bool is_contradicted(const std::vector<Head::Signed>& heads, const Run& run, const HeadChoiceRules& rules) {
  if (run.end == heads.size()) return false;
  const Head& below = heads[run.end].head;
  return below.generation.next() == heads[run.end - 1].head.generation && !rules.is_closed(below.epoch);
}

// From the run that has the pinned head upwards, or from the lowest: a higher one counts if its newest head names more
// of what is there; or as much, and no more speaks against it than that heads between are missing.
const Run* choose_run(const std::vector<Head::Signed>& heads, const std::vector<Run>& runs,
                      const HeadChoiceRules& rules) {
  if (runs.size() == 1) return runs.data();
  std::size_t from = runs.size() - 1;
  for (std::size_t i = 0; i < runs.size() && rules.pinned.value != 0; ++i) {
    if (leads_to_pin(heads, runs[i], rules)) from = i;
  }
  const auto rank = [&](const Run& run) { return rules.files_there ? rules.files_there(heads[run.begin].head) : 0; };
  const Run* best = &runs[from];
  int best_rank = rank(*best);
  for (std::size_t i = from; i-- > 0;) {
    const int here = rank(runs[i]);
    if (here < best_rank || (here == best_rank && is_contradicted(heads, runs[i], rules))) continue;
    best = &runs[i];
    best_rank = here;
  }
  return best;
}

}  // namespace

HeadChoice choose_heads(const std::vector<Head::Signed>& newest_first, const HeadChoiceRules& rules) {
  HeadChoice choice;
  std::vector<Run> runs;
  std::vector<std::size_t> closed;
  for (Run run : runs_of(newest_first)) {
    // What precedes a head of the current epoch in its chain may be of any.
    while (run.begin < run.end && rules.is_closed(newest_first[run.begin].head.epoch)) closed.push_back(run.begin++);
    if (run.begin < run.end) runs.push_back(run);
  }
  if (runs.empty() && rules.take_closed_epochs && !closed.empty()) {
    choice.newest_first = newest_first;
    choice.closed_epochs_only = true;
    return choice;
  }
  const Run* chosen = runs.empty() ? nullptr : choose_run(newest_first, runs, rules);
  const std::size_t newest = chosen == nullptr ? newest_first.size() : chosen->begin;
  for (std::size_t i = 0; i < newest_first.size(); ++i) {
    const Head::Signed& head = newest_first[i];
    if (i >= newest) {
      choice.newest_first.push_back(head);
      // Its number is that of another head, whose digest the one above it has.
      const bool contradicted = i > newest && head.head.generation.next() == newest_first[i - 1].head.generation &&
                                !continues(newest_first[i - 1], head);
      if (contradicted) {
        choice.passed_over.emplace_back(head.head.generation, "it is not the one that the head after it continues");
      }
      continue;
    }
    const bool is_closed = std::find(closed.begin(), closed.end(), i) != closed.end();
    choice.passed_over.emplace_back(
        head.head.generation,
        is_closed ? "it was made with the data key of an epoch that is closed, which somebody has who once held a key "
                    "version"
                  : "it does not continue the heads of this vault: it is of another branch");
  }
  return choice;
}

std::vector<Head::Signed> chain_of_heads(const std::vector<Head::Signed>& newest_first, const Head::Signed& newest) {
  std::vector<Head::Signed> chain;
  for (const Head::Signed& head : newest_first) {
    if (chain.empty() ? head.file_digest != newest.file_digest : head.head.generation >= chain.back().head.generation) {
      continue;
    }
    if (!chain.empty() && !continues(chain.back(), head)) break;
    chain.push_back(head);
  }
  return chain;
}

}  // namespace vaultfs
