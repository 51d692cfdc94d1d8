// Some histories of the simulator; `simulate` plays as many as one has time for.
#include <gtest/gtest.h>

#include "tests/simulation/history.h"

namespace vaultfs::sim {
namespace {

constexpr std::size_t kSteps = 200;

class Simulation : public testing::TestWithParam<std::uint64_t> {};
INSTANTIATE_TEST_SUITE_P(Seeds, Simulation, testing::Range<std::uint64_t>(1, 61));

TEST_P(Simulation, KeepsItsPromises) {
  const Outcome outcome = play(make_history(GetParam(), kSteps));
  EXPECT_FALSE(outcome.finding.has_value())
      << *outcome.finding << "\nshrink it with: simulate --seed " << GetParam() << " --histories 1";
}

TEST(History, IsItsText) {
  const History history = make_history(7, kSteps);
  const auto parsed = History::parse(history.text());
  ASSERT_TRUE(parsed.has_value());
  EXPECT_EQ(parsed->seed, history.seed);
  EXPECT_EQ(parsed->operations, history.operations);
}

}  // namespace
}  // namespace vaultfs::sim
