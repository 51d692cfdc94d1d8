// What new content may take, by what the disk, a quota and the reserve say.
#include "fs/content/space_guard.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/support/assert_ok.h"
#include "tests/support/env_wrapper.h"
#include "tests/support/sim_env.h"

namespace vaultfs {
namespace {

using ::testing::HasSubstr;

constexpr std::uint64_t kMebibyte = 1ULL << 20;

class SpaceGuardTest : public testing::Test {
 protected:
  SpaceGuardTest() {
    env.make_directories("/vault");
    reserve.attach(env, "/vault");
  }
  [[nodiscard]] Status check(std::uint64_t bytes) {
    env.sim_clock().advance_seconds(1);
    return guard.check(0, bytes);
  }
  [[nodiscard]] std::string refusal(std::uint64_t bytes) {
    const Status checked = check(bytes);
    return checked.ok() ? "none" : checked.error().message;
  }

  SimEnv env;
  SpaceReserve reserve;
  SpaceGuard guard{env, "/vault", &reserve};
};

TEST_F(SpaceGuardTest, WhatTheReserveHoldsIsPartOfThe64MiB) {
  env.set_free_bytes(100 * kMebibyte);
  ASSERT_OK(check(36 * kMebibyte));
  EXPECT_EQ(check(36 * kMebibyte + 1).code(), ErrorCode::NoSpace);
  reserve.fill(0);
  ASSERT_EQ(*env.free_bytes("/vault"), 84 * kMebibyte);
  ASSERT_OK(check(36 * kMebibyte));
  EXPECT_EQ(check(36 * kMebibyte + 1).code(), ErrorCode::NoSpace);
  EXPECT_EQ(usable_bytes(FreeSpace{84 * kMebibyte}, &reserve), 36 * kMebibyte);
  EXPECT_EQ(usable_bytes(FreeSpace{84 * kMebibyte}, nullptr), 20 * kMebibyte);
  EXPECT_EQ(usable_bytes(FreeSpace{3 * kMebibyte}, &reserve), 0U);
}

TEST_F(SpaceGuardTest, FromTheFirstFileThatWasGivenUpNewContentIsRefused) {
  reserve.fill(0);
  env.set_free_bytes(2 * kMebibyte);
  env.hide_limits(true);  // a quota that nobody tells of
  ASSERT_OK(check(kMebibyte));
  ASSERT_TRUE(reserve.give_up(SpaceReserve::For::durable_step));
  env.set_free_bytes(0);
  EXPECT_THAT(refusal(1), HasSubstr("what was kept"));
  EXPECT_EQ(guard.check_accepted(1).code(), ErrorCode::NoSpace);
  env.set_unlimited_space();
  // With room again the reserve is whole at the next look.
  ASSERT_OK(check(kMebibyte));
  EXPECT_TRUE(reserve.state().whole);
  ASSERT_OK(guard.check_accepted(1));
}

// Where there is plenty, not each write asks; all of them together do.
TEST_F(SpaceGuardTest, MuchInAShortTimeIsAskedForAgain) {
  env.set_free_bytes(4096 * kMebibyte);
  ASSERT_OK(guard.check(0, kMebibyte));
  env.set_free_bytes(0);
  ASSERT_OK(guard.check(0, 60 * kMebibyte));  // it is not asked for each
  const Status asked = guard.check(0, 10 * kMebibyte);
  ASSERT_FALSE(asked.ok());
  EXPECT_EQ(asked.code(), ErrorCode::NoSpace);
}

TEST_F(SpaceGuardTest, InodesAreKeptToo) {
  env.set_free_files(kFilesKept);
  ASSERT_OK(check(1));
  env.set_free_files(kFilesKept - 1);
  EXPECT_THAT(refusal(1), HasSubstr("no inodes"));
  // What was accepted wants no new file.
  ASSERT_OK(guard.check_accepted(1));
}

// A machine on which a quota leaves less than the disk.
class OverQuota final : public EnvWrapper {
 public:
  using EnvWrapper::EnvWrapper;
  Result<FreeSpace> free_space(const Path& /*path*/) override { return space; }
  FreeSpace space;
};

TEST_F(SpaceGuardTest, TheMessageNamesWhatIsShort) {
  OverQuota machine(env);
  SpaceGuard asked(machine, "/vault", nullptr);
  const auto told = [&](FreeSpace space) {
    env.sim_clock().advance_seconds(1);
    machine.space = space;
    const Status checked = asked.check(0, 1);
    return checked.ok() ? std::string("none") : checked.error().message;
  };
  EXPECT_THAT(told({.bytes = kMebibyte}), HasSubstr("is full"));
  EXPECT_THAT(told({.bytes = kMebibyte, .bytes_by_quota = true}), HasSubstr("the quota on the disk"));
  EXPECT_THAT(told({.bytes = 1ULL << 40, .files = 3}), HasSubstr("no inodes left"));
  EXPECT_THAT(told({.bytes = 1ULL << 40, .files = 3, .files_by_quota = true}), HasSubstr("the quota of files"));
  EXPECT_EQ(told({.bytes = 1ULL << 40, .files = 300, .bytes_by_quota = true}), "none");
}

}  // namespace
}  // namespace vaultfs
