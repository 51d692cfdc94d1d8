#pragma once

#include <gtest/gtest.h>

#include <cstdint>
#include <functional>
#include <string>
#include <utility>

#include "tests/support/assert_ok.h"
#include "tests/support/custody_world.h"

namespace vaultfs {

// Every refresh is expected to work unless the test says otherwise.
inline RefreshOutcome refresh(CustodyWorld& world) {
  auto outcome = world.custody->refresh();
  EXPECT_TRUE(outcome.ok()) << error_name(outcome.code()) << ": " << outcome.error().message;
  return outcome.ok() ? std::move(outcome).value() : RefreshOutcome{};
}

// A backup job begins and completes.
inline void complete_backup(CustodyWorld& world, std::uint64_t job = 1) {
  const Lsn begun = world.host->next_lsn();
  world.host->lsn = Lsn(begun.value + 10);
  ASSERT_TRUE(world.custody->job_completed(JobNumber(job), begun).ok());
}

// No slot of any keyring file of the vault opens for the version any more.
inline void expect_locked_out(CustodyWorld& world, const std::string& version) {
  const auto rsa = world.kv->rsa("kek", version);
  for (const Env::Path& file : world.keyring_files()) {
    const auto closed = ClosedKeyring::decode(world.env.read(file));
    ASSERT_TRUE(closed.ok());
    for (const KeyringSlot& slot : closed->slots) {
      EXPECT_NE(slot.version, version) << file;
      EXPECT_FALSE(rsa->decrypt(slot.wrapped).ok()) << file << " slot of " << slot.version;
    }
  }
}

// Power loss at each durable step of `change`, in a vault that `prepare` has made anew each time. `check` finds it
// closed. A change of fewer steps than `least_steps` is not what the test means to cut.
inline void crash_at_each_step(std::uint64_t least_steps, const std::function<void(CustodyWorld&)>& prepare,
                               const std::function<Status(CustodyWorld&)>& change,
                               const std::function<void(CustodyWorld&)>& check) {
  bool crashed = true;
  std::uint64_t steps = 0;
  for (; crashed; ++steps) {
    SCOPED_TRACE(steps);
    ASSERT_LT(steps, 400U);
    CustodyWorld world;
    ASSERT_NO_FATAL_FAILURE(prepare(world));
    world.env.fail_after(steps);
    const bool whole = change(world).ok();
    crashed = world.env.failure_reached();
    EXPECT_TRUE(whole || crashed);
    world.close();
    world.env.crash(steps + 1, CrashMode::random);
    ASSERT_NO_FATAL_FAILURE(check(world));
  }
  EXPECT_GE(steps, least_steps);
}

}  // namespace vaultfs
