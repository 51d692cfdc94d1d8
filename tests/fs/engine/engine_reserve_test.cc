// A engine whose disk has no room left: what was accepted is committed, what failed gives back what it took.
#include <gtest/gtest.h>

#include <algorithm>
#include <memory>

#include "fs/engine/vault_engine.h"
#include "tests/fs/engine/engine_fixture.h"
#include "tests/support/scratch_directory.h"
#include "tests/vaultmeta/vault/vault_world.h"

namespace vaultfs {
namespace {

class EngineReserveTest : public testing::Test {
 protected:
  void SetUp() override {
    ASSERT_OK(world.create());
    ASSERT_OK(open());
    ASSERT_TRUE(engine->vault().space_reserve()->state().whole);
    tree_write(engine->tree(), tree_file(engine->tree(), "vm", "disk"), 0, random_bytes(1, 300'000));
    ASSERT_OK(engine->commit("vm"));
  }
  Status open() {
    VaultEngine::Options options;
    options.vault.path = "/vault";
    options.background = false;
    options.tree.flush_seconds = 0;
    options.tree.write_buffer_bytes = 16U << 20;
    VAULTFS_ASSIGN_OR_RETURN(engine, VaultEngine::open(world.machine(), options));
    return ok_status();
  }
  [[nodiscard]] std::uint64_t used_bytes() const {
    std::uint64_t bytes = 0;
    for (const Env::Path& path : world.env.files("/vault")) bytes += world.env.read(path).size();
    return bytes;
  }

  VaultWorld world;
  std::unique_ptr<VaultEngine> engine;
};

TEST_F(EngineReserveTest, ACommitStoresTheLastOfWhatWasAccepted) {
  const Bytes last = random_bytes(2, 100'000);
  const InodeNumber disk = tree_file(engine->tree(), "vm", "disk");
  tree_write(engine->tree(), disk, 50'000, last);
  world.env.set_free_bytes(0);
  const auto committed = engine->commit("vm");
  ASSERT_OK(committed);
  EXPECT_EQ(committed->job.state, JobState::completed);
  ASSERT_TRUE(committed->point.has_value());
  EXPECT_EQ(engine->tree().write(disk, 0, 0, random_bytes(3, 10)).code(), ErrorCode::NoSpace) << "nothing new";
  ASSERT_OK(engine->close());
  engine.reset();
  ASSERT_OK(open());
  const Bytes content = tree_bytes(engine->tree(), tree_file(engine->tree(), "vm", "disk"));
  EXPECT_TRUE(std::equal(last.begin(), last.end(), content.begin() + 50'000));
}

TEST_F(EngineReserveTest, AnUnmountCommitsTheLastOfWhatWasAccepted) {
  tree_write(engine->tree(), tree_file(engine->tree(), "vm", "disk"), 0, random_bytes(2, 100'000));
  world.env.set_free_bytes(0);
  ASSERT_OK(engine->close());
  engine.reset();
  ASSERT_OK(open());
  EXPECT_EQ(engine->vault().catalogue().points().size(), 2U);
}

TEST_F(EngineReserveTest, AJobThatMeetsAnUnknownQuotaGivesBackWhatItTook) {
  ScratchDirectory scratch;
  write_file(scratch / "new.img", random_bytes(5, 12U << 20));
  const std::uint64_t before = used_bytes();
  world.env.set_free_bytes(5U << 20);
  world.env.hide_limits(true);
  const auto refused = engine->backup({"other", {{"d", scratch / "new.img"}}}, nullptr);
  ASSERT_EQ(refused.code(), ErrorCode::NoSpace);
  EXPECT_NE(refused.error().message.find("given back"), std::string::npos) << refused.error().message;
  EXPECT_LT(used_bytes(), before + (1U << 20));
  EXPECT_GE(engine->vault().space_reserve()->state().files, SpaceReserve::kFiles / 2);
  world.env.hide_limits(false);
  world.env.set_unlimited_space();
  world.env.sim_clock().advance_seconds(1);
  ASSERT_OK(engine->backup({"other", {{"d", scratch / "new.img"}}}, nullptr));
  EXPECT_TRUE(engine->vault().space_reserve()->state().whole);
}

}  // namespace
}  // namespace vaultfs
