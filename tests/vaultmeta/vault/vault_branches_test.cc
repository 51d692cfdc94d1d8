// Files of the same vault, the same number and the same length from another branch of its history: only the digests
// that heads and catalogue have of them tell them apart.
#include "tests/vaultmeta/vault/vault_world.h"

namespace vaultfs {
namespace {

class VaultBranches : public testing::Test {
 protected:
  void SetUp() override {
    ASSERT_OK(world.create());
    ASSERT_OK(world.open());
    ASSERT_OK(world.write("base"));
    ASSERT_OK(world.close());
    fork_ = std::make_unique<SimEnv::Snapshot>(world.env.snapshot());
    ASSERT_OK(world.open());
  }
  // Back to where the branches part.
  Status other_branch() {
    world.close_without_a_word();
    world.env.restore(*fork_);
    world.start_machine("/home");
    return world.open();
  }
  [[nodiscard]] Env::Path newest(const char* folder) const { return world.env.files(folder).back(); }

  VaultWorld world;

 private:
  std::unique_ptr<SimEnv::Snapshot> fork_;
};

TEST_F(VaultBranches, ACheckpointOfTheOtherIsNotTaken) {
  ASSERT_OK(world.write("one"));
  ASSERT_OK(world.checkpoint());
  const Env::Path path = newest("/vault/checkpoints");
  const Bytes theirs = world.env.read(path);
  ASSERT_OK(other_branch());
  ASSERT_OK(world.write("two"));
  ASSERT_OK(world.checkpoint());
  ASSERT_EQ(newest("/vault/checkpoints"), path);
  ASSERT_EQ(world.env.read(path).size(), theirs.size());
  world.close_without_a_word();
  world.env.write(path, theirs);
  EXPECT_TRUE(is_integrity_error(code_of(world.open())));
}

TEST_F(VaultBranches, AJournalOfTheOtherIsNotReplayed) {
  ASSERT_OK(world.write("one"));
  ASSERT_OK(world.vault->journal().commit());
  ASSERT_OK(world.vault->write_head());
  const Env::Path path = newest("/vault/journal");
  const Bytes theirs = world.env.read(path);
  ASSERT_OK(other_branch());
  ASSERT_OK(world.write("two"));
  ASSERT_OK(world.vault->journal().commit());
  ASSERT_OK(world.vault->write_head());
  ASSERT_EQ(newest("/vault/journal"), path);
  world.close_without_a_word();
  world.env.write(path, theirs);
  EXPECT_TRUE(is_integrity_error(code_of(world.open())));
}

TEST_F(VaultBranches, AManifestOfTheOtherIsNotRead) {
  const auto one = world.back_up("vm", "one");
  ASSERT_OK(one);
  const Env::Path path = newest("/vault/points");
  const Bytes theirs = world.env.read(path);
  ASSERT_OK(other_branch());
  const auto two = world.back_up("vm", "two");
  ASSERT_OK(two);
  ASSERT_EQ(newest("/vault/points"), path);
  ASSERT_EQ(world.env.read(path).size(), theirs.size());
  EXPECT_EQ(one->number, two->number);
  EXPECT_EQ(one->cut, two->cut);
  world.env.write(path, theirs);
  const auto manifest = world.vault->load_manifest(*two);
  ASSERT_FALSE(manifest.ok());
  EXPECT_TRUE(is_integrity_error(manifest.code()));
}

TEST_F(VaultBranches, NumbersOfSegmentsThatWereLostAreNotGivenAgain) {
  ASSERT_OK(world.back_up("vm", "one"));
  ASSERT_OK(world.close());
  ASSERT_OK(world.open());
  const ContainerNumber next = world.vault->segments().next_segment();
  ASSERT_OK(world.close());
  for (const char* folder : {"/vault/segments", "/vault/index"}) {
    for (const Env::Path& path : world.env.files(folder)) world.env.remove(path);
  }
  ASSERT_OK(world.open());
  EXPECT_GE(world.vault->segments().next_segment(), next);
}

TEST_F(VaultBranches, APointThatTheJournalDoesNotTakeIsNone) {
  bool armed = false;
  world.env.set_observer([&](SimStep step, const Env::Path& path) {
    const Env::Path folder = path.parent_path().filename();
    if (step == SimStep::create && folder == "points") armed = true;
    if (step == SimStep::sync && armed && folder == "journal") world.env.fail_next_sync(1);
  });
  EXPECT_FALSE(world.back_up("vm", "one").ok());
  world.env.set_observer({});
  EXPECT_TRUE(armed);
  EXPECT_TRUE(world.vault->catalogue().points().empty());
  world.close_without_a_word();
  world.env.crash(1, CrashMode::drop_all_unsynced);
  world.start_machine("/home");
  ASSERT_OK(world.open());
  EXPECT_TRUE(world.vault->catalogue().points().empty());
}

TEST_F(VaultBranches, AFileInThePlaceOfTheNextPointIsSetAside) {
  ASSERT_OK(world.back_up("vm", "one"));
  const Env::Path first = newest("/vault/points");
  std::string next = std::to_string(std::stoull(first.stem().string()) + 1);
  next.insert(0, first.stem().string().size() - next.size(), '0');
  const Bytes planted = to_bytes(bytes_of("somebody's"));
  world.env.write(first.parent_path() / (next + first.extension().string()), planted);
  ASSERT_OK(world.back_up("vm", "two"));
  EXPECT_EQ(world.points(), (Texts{"vm=one", "vm=two"}));
  bool kept = false;
  for (const auto& [path, bytes] : world.files()) kept = kept || bytes == planted;
  EXPECT_TRUE(kept);
}

// Neither a restore nor a backup that failed shows that anything is safe under the new version.
TEST(VaultRotation, OnlyACompletedBackupRetiresAVersion) {
  VaultWorld world;
  const std::string first = world.kv->add_version("kek");
  ASSERT_OK(world.create(VaultWorld::customer_managed_options()));
  ASSERT_OK(world.open());
  const auto role = [&] {
    for (const VersionRecord& record : world.vault->custody().status().versions) {
      if (record.version == first) return record.role;
    }
    return VersionRole::active;
  };
  ASSERT_OK(world.back_up("vm", "one"));
  world.kv->add_version("kek");
  ASSERT_OK(world.vault->custody().refresh());
  ASSERT_EQ(role(), VersionRole::retiring);
  for (const auto& [kind, state] :
       {std::pair(JobKind::restore, JobState::completed), std::pair(JobKind::backup, JobState::failed)}) {
    auto job = world.vault->begin_job(kind, "vm");
    ASSERT_OK(job);
    job->state = state;
    ASSERT_OK(world.vault->finish_job(*job, std::nullopt));
    EXPECT_EQ(role(), VersionRole::retiring);
  }
  ASSERT_OK(world.back_up("vm", "two"));
  EXPECT_EQ(role(), VersionRole::retired);
}

}  // namespace
}  // namespace vaultfs
