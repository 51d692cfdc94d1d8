#include "fs/engine/vault_engine.h"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <thread>

#include "base/thread/background_timers.h"
#include "crypto/memory/plaintext_memory.h"
#include "fs/restore/restore.h"
#include "store/record/container.h"
#include "tests/fs/engine/engine_fixture.h"
#include "tests/support/units.h"

namespace vaultfs {
namespace {

class OpenEngineTest : public VaultEngineTest {
 protected:
  void change(VaultEngine& engine, const std::string& item, std::uint64_t seed, std::size_t size = 5000) {
    tree_write(engine.tree(), tree_file(engine.tree(), item, "disk"), 0, random_bytes(seed, size));
  }
  // The key vault takes the key away, and the grace is over.
  void revoke(VaultEngine& engine) {
    ASSERT_OK(key_vault_->set_enabled("backup", first_version_, false));
    EXPECT_FALSE(engine.refresh().ok());
    env_.sim_clock().advance_seconds(301);
    ASSERT_TRUE(eventually([&] { return engine.vault().custody().status().access == KeyAccess::sealed; }));
  }
  // Waits for what timers do, in real time.
  static bool eventually(const std::function<bool()>& condition) {
    for (int i = 0; i < 400; ++i) {
      if (condition()) return true;
      std::this_thread::sleep_for(std::chrono::milliseconds(25));
    }
    return false;
  }
};

TEST_F(OpenEngineTest, WorkSurvivesACleanCloseWithItsPoint) {
  {
    const auto engine = open_session();
    ASSERT_NE(engine, nullptr);
    change(*engine, "vm", 1, 3 * kMiB);
    ASSERT_OK(engine->close());
  }
  const auto engine = open_session();
  ASSERT_NE(engine, nullptr);
  ASSERT_EQ(engine->vault().catalogue().points_of("vm").size(), 1U);
  EXPECT_EQ(tree_bytes(engine->tree(), tree_file(engine->tree(), "vm", "disk")), random_bytes(1, 3 * kMiB));
  InodeNumber root;
  const auto point = engine->open_point(engine->vault().catalogue().points_of("vm").front(), root);
  ASSERT_OK(point);
  const auto disk = (*point)->lookup(root, "disk");
  ASSERT_OK(disk);
  EXPECT_EQ(tree_bytes(**point, disk->number), random_bytes(1, 3 * kMiB));
  ASSERT_OK(engine->close());
}

TEST_F(OpenEngineTest, AReadOnlyEngineChangesNothing) {
  {
    const auto engine = open_session();
    ASSERT_NE(engine, nullptr);
    change(*engine, "vm", 1);
    ASSERT_OK(engine->close());
  }
  VaultEngine::Options options = session_options();
  options.vault.read_only = true;
  const auto engine = open_session(options);
  ASSERT_NE(engine, nullptr);
  EXPECT_EQ(tree_bytes(engine->tree(), tree_file(engine->tree(), "vm", "disk")), random_bytes(1, 5000));
  EXPECT_EQ(engine->commit("vm").code(), ErrorCode::ReadOnly);
  EXPECT_EQ(engine->refresh().code(), ErrorCode::ReadOnly);
  EXPECT_EQ(engine->backup({"vm", {{"disk", "/dev/null"}}}, nullptr).code(), ErrorCode::ReadOnly);
  EXPECT_FALSE(engine->tree().make_directory(kRootInode, "other", 0755, {}).ok());
  ASSERT_OK(engine->close());
}

TEST_F(OpenEngineTest, AVersionRetiresWithTheFirstBackupAfterItsSuccessor) {
  const auto engine = open_session();
  ASSERT_NE(engine, nullptr);
  write_file(scratch_ / "disk.img", random_bytes(1, 2 * kMiB));
  ASSERT_OK(engine->backup({"vm", {{"sda", scratch_ / "disk.img"}}}, nullptr));
  const std::string second = rotate_key();
  patch_file(scratch_ / "disk.img", 5, random_bytes(2, 5));
  // The backup refreshes before its job starts, so that the job counts.
  const auto outcome = engine->backup({"vm", {{"sda", scratch_ / "disk.img"}}}, nullptr);
  ASSERT_OK(outcome);
  EXPECT_EQ(outcome->commit.retired, std::vector<std::string>{first_version_});
  EXPECT_EQ(role_of(*engine, second), VersionRole::active);
  EXPECT_EQ(role_of(*engine, first_version_), VersionRole::retired);
  ASSERT_OK(engine->close());
}

TEST_F(OpenEngineTest, AJobBegunBeforeTheRotationDoesNotCountAnUnchangedCommitDoes) {
  const auto engine = open_session();
  ASSERT_NE(engine, nullptr);
  change(*engine, "vm", 1);  // begins a job under the first version
  const std::string second = rotate_key();
  const auto refreshed = engine->refresh();
  ASSERT_OK(refreshed);
  EXPECT_TRUE(refreshed->version_changed);
  EXPECT_EQ(role_of(*engine, first_version_), VersionRole::retiring);
  const auto early = engine->commit("vm");
  ASSERT_OK(early);
  EXPECT_TRUE(early->point.has_value());
  EXPECT_TRUE(early->retired.empty());
  EXPECT_EQ(role_of(*engine, first_version_), VersionRole::retiring);

  const auto unchanged = engine->commit("vm");
  ASSERT_OK(unchanged);
  EXPECT_EQ(unchanged->job.state, JobState::completed_no_change);
  EXPECT_EQ(unchanged->retired, std::vector<std::string>{first_version_});
  EXPECT_EQ(role_of(*engine, first_version_), VersionRole::retired);
  EXPECT_EQ(role_of(*engine, second), VersionRole::active);
  ASSERT_OK(engine->close());
}

TEST_F(OpenEngineTest, SeveralRotationsRetireTogether) {
  const auto engine = open_session();
  ASSERT_NE(engine, nullptr);
  std::vector<std::string> old = {first_version_};
  for (int i = 0; i < 2; ++i) {
    old.push_back(rotate_key());
    ASSERT_OK(engine->refresh());
  }
  const std::string active = old.back();
  old.pop_back();
  change(*engine, "vm", 1);
  auto outcome = engine->commit("vm");
  ASSERT_OK(outcome);
  std::ranges::sort(outcome->retired);
  std::ranges::sort(old);
  EXPECT_EQ(outcome->retired, old);
  EXPECT_EQ(role_of(*engine, active), VersionRole::active);
  ASSERT_OK(engine->close());
}

TEST_F(OpenEngineTest, EverythingStaysReadableThroughRotationsAndRestarts) {
  std::vector<Bytes> states;
  for (std::uint64_t round = 0; round < 3; ++round) {
    const auto engine = open_session();
    ASSERT_NE(engine, nullptr);
    if (round == 0) {
      write_file(scratch_ / "disk.img", random_bytes(1, 6 * kMiB));
    } else {
      patch_file(scratch_ / "disk.img", round * kMiB, random_bytes(round, 1000));
    }
    ASSERT_OK(engine->backup({"vm", {{"sda", scratch_ / "disk.img"}}}, nullptr));
    states.push_back(file_bytes(scratch_ / "disk.img"));
    rotate_key();
    ASSERT_OK(engine->refresh());
    ASSERT_OK(engine->close());
  }
  const auto engine = open_session();
  ASSERT_NE(engine, nullptr);
  const auto points = engine->vault().catalogue().points_of("vm");
  ASSERT_EQ(points.size(), states.size());
  for (std::size_t i = 0; i < points.size(); ++i) {
    const std::filesystem::path to = scratch_ / ("restored" + std::to_string(i));
    ASSERT_OK(restore(engine->vault(), {.item = "vm", .point = points[i].id(), .disk = "sda", .to = to}, nullptr));
    EXPECT_EQ(file_bytes(to), states[i]);
  }
  ASSERT_OK(engine->close());
}

TEST_F(OpenEngineTest, ADeniedKeySealsAndHealsWithoutReopening) {
  VaultEngine::Options options = session_options();
  options.background = true;
  const auto engine = open_session(options);
  ASSERT_NE(engine, nullptr);
  change(*engine, "vm", 1);
  ASSERT_OK(engine->commit("vm"));
  change(*engine, "vm", 2);
  ASSERT_OK(key_vault_->set_enabled("backup", first_version_, false));
  EXPECT_FALSE(engine->refresh().ok());
  EXPECT_EQ(engine->vault().custody().status().access, KeyAccess::denied);
  change(*engine, "vm", 3);  // within the grace everything goes on
  env_.sim_clock().advance_seconds(301);
  ASSERT_TRUE(eventually([&] { return engine->vault().custody().status().access == KeyAccess::sealed; }));
  const InodeNumber disk = tree_file(engine->tree(), "vm", "disk");
  EXPECT_TRUE(eventually([&] {
    Bytes out(100);
    const auto read = engine->tree().read(disk, 0, out);
    return !read.ok() && error_errno(read.code()) == EKEYREVOKED;
  }));
  EXPECT_FALSE(engine->tree().write(disk, 0, 0, random_bytes(9, 10)).ok());
  EXPECT_FALSE(engine->commit("vm").ok());

  ASSERT_OK(key_vault_->set_enabled("backup", first_version_, true));
  ASSERT_OK(engine->refresh());
  EXPECT_TRUE(eventually([&] { return engine->tree().write(disk, 0, 5000, random_bytes(4, 10)).ok(); }));
  Bytes out(5000);
  ASSERT_OK(engine->tree().read(disk, 0, out));
  EXPECT_EQ(out, random_bytes(3, 5000)) << "acknowledged before the keys went";
  const auto outcome = engine->commit("vm");
  ASSERT_OK(outcome);
  EXPECT_TRUE(outcome->point.has_value());
  ASSERT_OK(engine->close());
}

TEST_F(OpenEngineTest, ClosingASealedVaultTellsOfWorkThatNoPointHas) {
  for (const bool manual : {false, true}) {
    VaultEngine::Options options = session_options();
    options.background = true;
    options.manual_commit = manual;
    const auto engine = open_session(options);
    ASSERT_NE(engine, nullptr);
    for (const bool committed : {true, false}) {
      change(*engine, "vm", manual ? 1 : 2);
      ASSERT_OK(engine->commit("vm"));
      if (!committed) change(*engine, "vm", manual ? 3 : 4);
    }
    change(*engine, "other", manual ? 5 : 6);
    ASSERT_OK(engine->commit("other"));
    ASSERT_NO_FATAL_FAILURE(revoke(*engine));
    const Status closed = engine->close();
    EXPECT_EQ(closed.ok(), manual);
    if (!manual) {
      EXPECT_EQ(closed.code(), ErrorCode::KeyRevoked);
      EXPECT_NE(closed.error().message.find("1 item (job "), std::string::npos) << closed.error().message;
    }
    ASSERT_OK(key_vault_->set_enabled("backup", first_version_, true));
  }
  const auto engine = open_session();
  ASSERT_NE(engine, nullptr);
  Bytes out(5000);
  ASSERT_OK(engine->tree().read(tree_file(engine->tree(), "vm", "disk"), 0, out));
  EXPECT_EQ(out, random_bytes(3, 5000)) << "acknowledged before the keys went";
  ASSERT_OK(engine->close());
}

TEST_F(OpenEngineTest, ClosingASealedVaultWithNothingLeftIsFine) {
  VaultEngine::Options options = session_options();
  options.background = true;
  const auto engine = open_session(options);
  ASSERT_NE(engine, nullptr);
  change(*engine, "vm", 1);
  ASSERT_OK(engine->commit("vm"));
  ASSERT_NO_FATAL_FAILURE(revoke(*engine));
  ASSERT_OK(engine->close());
}

TEST_F(OpenEngineTest, TimersCommitSettledItems) {
  VaultEngine::Options options = session_options();
  options.background = true;
  const auto engine = open_session(options);
  ASSERT_NE(engine, nullptr);
  change(*engine, "vm", 1);
  EXPECT_TRUE(eventually([&] {
    env_.sim_clock().advance_seconds(2);
    return engine->vault().catalogue().points_of("vm").size() == 1;
  }));
  ASSERT_OK(engine->close());
}

TEST_F(OpenEngineTest, ALongJournalIsCheckpointed) {
  VaultEngine::Options options = session_options();
  options.background = true;
  options.manual_commit = true;
  options.checkpoint_journal_bytes = 256 * 1024;
  const auto engine = open_session(options);
  ASSERT_NE(engine, nullptr);
  const InodeNumber disk = tree_file(engine->tree(), "vm", "disk");
  const ContainerNumber first = engine->vault().journal().number();
  for (std::uint64_t i = 0; i < 200; ++i) {
    tree_write(engine->tree(), disk, i * 4096 * 3, random_bytes(i, 4096));
    ASSERT_OK(engine->tree().fsync(disk, 0));
  }
  EXPECT_TRUE(eventually([&] { return engine->vault().journal().number() > first; }));
  EXPECT_TRUE(eventually([&] { return engine->vault().journal().file_bytes() < 256 * 1024; }));
  ASSERT_OK(engine->close());
}

TEST_F(OpenEngineTest, ClosedTwiceIsClosed) {
  const auto engine = open_session();
  ASSERT_NE(engine, nullptr);
  ASSERT_OK(engine->close());
  ASSERT_OK(engine->close());
}

TEST(PeriodicTask, RunsUntilItIsDestroyed) {
  std::atomic<int> runs{0};
  {
    const PeriodicTask task(std::chrono::milliseconds(1), [&] { ++runs; });
    while (runs.load() < 3) std::this_thread::yield();
  }
  const int after = runs.load();
  std::this_thread::sleep_for(std::chrono::milliseconds(20));
  EXPECT_EQ(runs.load(), after);
}

TEST(PeriodicTask, EndsAtOnceAlsoWithALongPeriod) {
  const auto before = std::chrono::steady_clock::now();
  {
    const PeriodicTask task(std::chrono::hours(1), [] {});
  }
  EXPECT_LT(std::chrono::steady_clock::now() - before, std::chrono::seconds(10));
}

TEST_F(OpenEngineTest, ASealedVaultHasNoCipherLeftAndGoesOnInANewJournal) {
  for (const bool read_only : {false, true}) {
    VaultEngine::Options options = session_options();
    options.background = true;
    options.manual_commit = true;
    options.vault.read_only = read_only;
    const auto engine = open_session(options);
    ASSERT_NE(engine, nullptr);
    if (!read_only) {
      change(*engine, "vm", 1);
      ASSERT_OK(engine->commit("vm"));  // an activity entry, a closed segment
      change(*engine, "vm", 2, 3 * kMiB);
    }
    const InodeNumber disk = tree_file(engine->tree(), "vm", "disk");
    Bytes out(5000);
    ASSERT_OK(engine->tree().read(disk, 0, out));
    EXPECT_GT(ContainerCipher::alive(), 0U);
    PlaintextScratch scratch;
    std::ranges::fill(scratch.use(100).bytes(), std::byte{'p'});
    ASSERT_OK(key_vault_->set_enabled("backup", first_version_, false));
    EXPECT_FALSE(engine->vault().custody().refresh().ok());
    env_.sim_clock().advance_seconds(301);
    ASSERT_TRUE(eventually([&] { return engine->vault().custody().status().access == KeyAccess::sealed; }));
    EXPECT_TRUE(eventually([] { return ContainerCipher::alive() == 0; })) << ContainerCipher::alive() << " are alive";
    EXPECT_TRUE(eventually([&] { return is_all_zero(scratch.use(100).bytes()); })) << "plaintext of a thread's stays";

    const ContainerNumber journal = read_only ? ContainerNumber(0) : engine->vault().journal().number();
    ASSERT_OK(key_vault_->set_enabled("backup", first_version_, true));
    static_cast<void>(engine->vault().custody().refresh());
    EXPECT_TRUE(eventually([&] { return engine->tree().read(disk, 0, out).ok(); }));
    if (!read_only) {
      EXPECT_TRUE(eventually([&] { return engine->vault().journal().number() > journal; }));
      change(*engine, "vm", 5);
      ASSERT_OK(engine->commit("vm"));
    }
    ASSERT_OK(engine->close());
  }
  const auto engine = open_session();
  ASSERT_NE(engine, nullptr);
  EXPECT_EQ(engine->vault().catalogue().points_of("vm").size(), 2U);
  Bytes out(5000);
  ASSERT_OK(engine->tree().read(tree_file(engine->tree(), "vm", "disk"), 0, out));
  EXPECT_EQ(out, random_bytes(5, 5000));
  ASSERT_OK(engine->close());
}

}  // namespace
}  // namespace vaultfs
