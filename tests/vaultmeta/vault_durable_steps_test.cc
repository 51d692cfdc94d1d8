// The order in which a vault makes its parts durable, step by step: what a head or a checkpoint names is there first.
#include "tests/vaultmeta/vault_world.h"

namespace vaultfs {
namespace {

class VaultDurableSteps : public testing::Test {
 protected:
  void SetUp() override {
    ASSERT_OK(world.create());
    ASSERT_OK(world.open());
  }
  // Power goes; what was not synced is lost.
  Status crash_and_open() {
    world.close_without_a_word();
    world.env.crash(1, CrashMode::drop_all_unsynced);
    world.start_machine("/home");
    return world.open();
  }

  VaultWorld world;
};

TEST_F(VaultDurableSteps, ACheckpointNamesWhatIsDurable) {
  ChunkId id;
  ASSERT_OK(world.vault->checkpoint([&](const std::function<void()>& cut) -> Result<Bytes> {
    cut();
    // As a tree that seals what the cut has found in memory.
    VAULTFS_ASSIGN_OR_RETURN(const PutOutcome put,
                             world.vault->segments().put(RecordType::chunk, bytes_of("sealed for the checkpoint")));
    id = put.id;
    return world.tree.encode();
  }));
  ASSERT_OK(crash_and_open());
  EXPECT_TRUE(world.vault->segments().contains(id));
  const auto content = world.vault->segments().read_verified(RecordType::chunk, id);
  ASSERT_OK(content);
  EXPECT_EQ(text_of(*content), "sealed for the checkpoint");
}

TEST_F(VaultDurableSteps, ACheckpointThatCouldNotBeReadBackTakesNoPlace) {
  ASSERT_OK(world.back_up("vm1", "first"));
  ASSERT_OK(world.checkpoint());
  const std::vector<Env::Path> before = world.env.files("/vault/checkpoints");
  ASSERT_OK(world.write("later"));
  // As a bug would leave it: no such name is read again.
  static_cast<void>(world.vault->catalogue().put(ItemInfo{std::string(300, 'x'), UnixNanos{1}, false}));
  EXPECT_EQ(code_of(world.checkpoint()), ErrorCode::DamagedCheckpoint);
  EXPECT_EQ(world.env.files("/vault/checkpoints"), before);
  ASSERT_OK(world.vault->journal().commit());
  ASSERT_OK(crash_and_open());
  EXPECT_EQ(world.points(), Texts{"vm1=first"});
  EXPECT_EQ(world.tree.texts, (Texts{"vm1=first", "later"}));
}

TEST_F(VaultDurableSteps, AHeadSpeaksOfPointsThatAreInTheJournal) {
  const auto point = world.back_up("vm1", "first");
  ASSERT_OK(point);
  ASSERT_OK(world.back_up("vm1", "second"));
  // The journal has it in memory only.
  ASSERT_OK(world.vault->log_catalogue(world.vault->catalogue().remove_point(point->number)));
  ASSERT_OK(world.vault->write_head());
  ASSERT_OK(crash_and_open());
  EXPECT_EQ(world.points(), Texts{"vm1=second"});
}

// The journals that a checkpoint holds go when the head that names it is durable, and not before.
TEST_F(VaultDurableSteps, NothingThatTheNewestHeadNeedsIsRemoved) {
  ASSERT_OK(world.back_up("vm1", "first"));
  ASSERT_OK(world.checkpoint());
  ASSERT_OK(world.write("later"));
  ASSERT_OK(world.vault->journal().commit());
  bool named = false;
  std::size_t removals = 0;
  world.env.set_observer([&](SimStep step, const Env::Path& path) {
    const Env::Path folder = path.parent_path().filename();
    if (step == SimStep::sync_directory && path.filename() == "heads") named = true;
    if (step == SimStep::rename && folder == "checkpoints") named = false;
    if (step != SimStep::remove || (folder != "journal" && folder != "checkpoints")) return;
    if (path.extension() == ".tmp") return;
    ++removals;
    EXPECT_TRUE(named) << path;
  });
  ASSERT_OK(world.checkpoint());
  world.env.set_observer({});
  EXPECT_GE(removals, 2U);
}

}  // namespace
}  // namespace vaultfs
