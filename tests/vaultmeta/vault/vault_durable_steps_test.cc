// The order in which a vault makes its parts durable, step by step: what a head or a checkpoint names is there first.
#include "tests/vaultmeta/vault/vault_world.h"

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

TEST_F(VaultDurableSteps, AHeadSpeaksOfNoPointsThatTheJournalCouldNotTake) {
  const auto point = world.back_up("vm1", "first");
  ASSERT_OK(point);
  ASSERT_OK(world.vault->log_catalogue(world.vault->catalogue().remove_point(point->number)));
  world.env.fail_next_sync(1);
  ASSERT_OK(world.vault->write_head());
  ASSERT_OK(crash_and_open());
  EXPECT_EQ(world.points(), Texts{"vm1=first"});
}

TEST_F(VaultDurableSteps, ACheckpointIsNotNamedWhereItsJournalCouldNotBeWritten) {
  ASSERT_OK(world.write("before"));
  bool armed = false;
  world.env.set_observer([&](SimStep step, const Env::Path& path) {
    if (step == SimStep::sync && armed && path.parent_path().filename() == "journal") world.env.fail_next_sync(1);
  });
  const Status made = world.vault->checkpoint([&](const std::function<void()>& cut) -> Result<Bytes> {
    cut();
    Bytes encoded = world.tree.encode();
    VAULTFS_RETURN_IF_ERROR(world.write("after the cut"));
    armed = true;
    return encoded;
  });
  world.env.set_observer({});
  EXPECT_FALSE(made.ok());
  ASSERT_OK(crash_and_open());
  ASSERT_FALSE(world.tree.texts.empty());
  EXPECT_EQ(world.tree.texts.front(), "before");
}

TEST_F(VaultDurableSteps, ACheckpointTakesANumberThatNoFileHas) {
  ASSERT_OK(world.checkpoint());
  const Env::Path newest = world.env.files("/vault/checkpoints").back();
  const std::uint64_t number = std::stoull(newest.stem().string());
  std::string next = std::to_string(number + 1);
  next.insert(0, newest.stem().string().size() - next.size(), '0');
  world.env.copy(newest, newest.parent_path() / (next + newest.extension().string()));
  ASSERT_OK(world.write("later"));
  ASSERT_OK(world.checkpoint());
  ASSERT_OK(crash_and_open());
  EXPECT_EQ(world.tree.texts, Texts{"later"});
}

TEST_F(VaultDurableSteps, ACheckpointLeavesTheFilesOfOthers) {
  VaultWorld stranger(7);
  ASSERT_OK(stranger.create());
  ASSERT_OK(stranger.open());
  ASSERT_OK(stranger.write("theirs"));
  ASSERT_OK(stranger.vault->journal().commit());
  const Bytes theirs = stranger.env.read(stranger.env.files("/vault/journal").back());
  ASSERT_OK(world.checkpoint());
  const Env::Path first = world.env.files("/vault/journal").front();
  const Env::Path planted = first.parent_path() / (std::string(first.stem().string().size() - 1, '0') + "1.journal");
  ASSERT_NE(planted, first);
  world.env.write(planted, theirs);
  ASSERT_OK(world.checkpoint());
  EXPECT_TRUE(world.env.exists(planted));
}

// What came since the last head can be taken back by nobody once the vault is closed.
TEST_F(VaultDurableSteps, AClosedVaultHasAHeadOfItsEndAndNoOpenSegment) {
  ASSERT_OK(world.write("a"));
  ASSERT_OK(world.vault->journal().commit());
  const VaultWorld::Files before = world.files("/vault/journal");
  ASSERT_OK(world.write("b"));
  ASSERT_OK(world.vault->segments().put(RecordType::chunk, bytes_of("content")));
  ASSERT_OK(world.vault->close());
  world.close_without_a_word();
  for (const Env::Path& path : world.env.files("/vault/segments")) EXPECT_NE(path.extension(), ".open") << path;
  world.put_back(before, "/vault/journal");
  EXPECT_TRUE(is_integrity_error(code_of(world.open())));
}

}  // namespace
}  // namespace vaultfs
