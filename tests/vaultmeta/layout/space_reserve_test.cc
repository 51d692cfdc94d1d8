// The reserve: what must work works without a byte or an inode, and new content does not take it.
#include "vaultmeta/layout/space_reserve.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <thread>
#include <utility>

#include "base/thread/thread.h"
#include "tests/support/env_wrapper.h"
#include "tests/vaultmeta/vault/vault_world.h"
#include "vaultmeta/layout/vault_layout.h"

namespace vaultfs {
namespace {

constexpr std::uint64_t kReserveFileBytes = SpaceReserve::kLeastBytes / SpaceReserve::kFiles;

class SpaceReserveTest : public testing::Test {
 protected:
  void SetUp() override {
    world.kv->add_version("kek");
    ASSERT_OK(world.create(VaultWorld::customer_managed_options()));
    ASSERT_OK(world.open());
    ASSERT_OK(world.back_up("vm", "first"));
    world.vault->fill_reserve();
    ASSERT_TRUE(reserve().state().whole);
  }
  [[nodiscard]] SpaceReserve& reserve() { return *world.vault->space_reserve(); }
  [[nodiscard]] std::vector<Env::Path> reserve_files() const {
    std::vector<Env::Path> found;
    for (const Env::Path& path : world.env.files("/vault")) {
      if (path.parent_path() == "/vault" && SpaceReserve::is_file(path.filename().string())) found.push_back(path);
    }
    return found;
  }
  // What a full disk must not keep anybody from: a removal's journal entry, a commit, a rotation, a new epoch, the
  // checkpoint and the clean end; and the next opening.
  // Without inodes the machine's own state, on the same simulated disk, can't be written: no rotation then, and no pin.
  void do_all_that_must_work(bool machine_has_room = true) {
    ASSERT_OK(world.write("removed"));
    ASSERT_OK(world.vault->journal().commit());
    ASSERT_OK(world.back_up("vm", "first"));
    world.kv->add_version("kek");
    if (machine_has_room) ASSERT_OK(world.vault->custody().refresh());
    ASSERT_OK(world.back_up("vm", "first"));
    if (machine_has_room) ASSERT_OK(world.vault->custody().new_epoch());
    left = reserve().state().files;
    if (!machine_has_room) {
      world.close_without_a_word();
      world.env.set_unlimited_space();
    } else {
      ASSERT_OK(world.close());
    }
    ASSERT_OK(world.open());
    EXPECT_EQ(world.points(), (Texts{"vm=first", "vm=first", "vm=first"}));
  }

  // Others take what a file that was given up for another step has left.
  void take_all_room_at_the_end_of_a_segment() {
    world.env.set_observer([this, armed = true](SimStep step, const Env::Path& path) mutable {
      if (step != SimStep::write || path.extension() != ".open" || !std::exchange(armed, false)) return;
      world.env.set_free_bytes(0);
    });
  }

  VaultWorld world;
  unsigned left = 0;  // files of the reserve, when all was done
};

TEST_F(SpaceReserveTest, ItsStateIsToldWhileTheDiskStandsStill) {
  ASSERT_TRUE(reserve().give_up(SpaceReserve::For::durable_step));
  std::atomic<bool> told = false;
  Thread asks;
  world.env.set_observer([&](SimStep step, const Env::Path& path) {
    if (step != SimStep::create || !SpaceReserve::is_file(path.filename().string()) || asks.joinable()) return;
    asks = Thread("asks", [&] {
      static_cast<void>(reserve().held_bytes());
      told = true;
    });
    // This step does not end before the answer; without one, in ten seconds.
    for (unsigned waited = 0; !told && waited < 1000; ++waited)
      std::this_thread::sleep_for(std::chrono::milliseconds(10));
    EXPECT_TRUE(told);
  });
  world.vault->fill_reserve();
  world.env.set_observer(nullptr);
  ASSERT_TRUE(asks.joinable());
  asks.join();
}

TEST_F(SpaceReserveTest, HoldsRoomAndOutlivesAnOpening) {
  const auto before = reserve_files();
  ASSERT_EQ(before.size(), SpaceReserve::kFiles);
  const FileInfo first = *world.env.info(before.front());
  EXPECT_EQ(first.stored_bytes, kReserveFileBytes);
  ASSERT_OK(world.close());
  ASSERT_OK(world.open());
  EXPECT_EQ(reserve_files(), before);
  EXPECT_TRUE(world.env.info(before.front())->is_same_as(first));
  EXPECT_TRUE(reserve().state().whole);
  world.vault->fill_reserve();
  EXPECT_TRUE(world.env.info(before.front())->is_same_as(first)) << "what is there is not made again";
}

TEST_F(SpaceReserveTest, WithoutAByteAllThatMustWorkWorks) {
  world.env.set_free_bytes(0);
  do_all_that_must_work();
  EXPECT_LT(left, SpaceReserve::kFiles);
  EXPECT_GT(left, SpaceReserve::kFiles / 2) << "far more was given up than was needed";
}

TEST_F(SpaceReserveTest, WithoutAnInodeAllThatMustWorkWorks) {
  world.env.set_free_files(0);
  do_all_that_must_work(false);
  EXPECT_LT(left, SpaceReserve::kFiles);
}

TEST_F(SpaceReserveTest, AQuotaThatNobodyTellsOfIsTheSame) {
  world.env.set_free_bytes(0);
  world.env.set_free_files(0);
  world.env.hide_limits(true);
  do_all_that_must_work(false);
}

TEST_F(SpaceReserveTest, AStepTakesAsManyFilesAsItNeeds) {
  world.env.set_free_bytes(0);
  const Bytes long_one(5 * kReserveFileBytes + 1);
  const auto file = world.vault->env().open("/vault/points/00000000000000ff.point", OpenMode::create_exclusive);
  ASSERT_OK(file);
  ASSERT_OK((*file)->write_at(0, long_one));
  EXPECT_EQ(world.env.read("/vault/points/00000000000000ff.point"), long_one);
  EXPECT_EQ(reserve().state().files, SpaceReserve::kFiles - 6);
}

TEST_F(SpaceReserveTest, ACommitClosesItsSegmentWithoutAByte) {
  ASSERT_OK(world.store("second"));
  world.env.set_free_bytes(0);
  take_all_room_at_the_end_of_a_segment();
  ASSERT_OK(world.back_up("vm", "second"));
  EXPECT_EQ(world.points(), (Texts{"vm=first", "vm=second"}));
}

TEST_F(SpaceReserveTest, AnEpochEndsWithoutAByte) {
  ASSERT_OK(world.store("second"));
  world.env.set_free_bytes(0);
  take_all_room_at_the_end_of_a_segment();
  ASSERT_OK(world.vault->custody().new_epoch());
  EXPECT_FALSE(std::ranges::any_of(world.env.files("/vault/segments"),
                                   [](const Env::Path& path) { return path.extension() == ".open"; }));
}

TEST_F(SpaceReserveTest, AnOwnerEndsWithoutAByteAndTheNextOpensAfterACrash) {
  ASSERT_OK(world.store("second"));
  ASSERT_OK(world.vault->segments().sync());
  ASSERT_OK(world.write("x"));
  ASSERT_OK(world.vault->journal().commit());
  const SimEnv::Snapshot crashed = world.env.snapshot();
  world.env.set_free_bytes(0);
  ASSERT_OK(world.close());
  world.env.set_unlimited_space();
  world.env.restore(crashed);
  world.start_machine("/home");
  world.env.set_free_bytes(0);
  ASSERT_OK(world.open());
  EXPECT_EQ(world.env.files("/vault/segments").size(), 2U) << "what was left open is closed";
  EXPECT_TRUE(mentions(world.vault->opening_notes(), "unfinished segment"));
}

TEST_F(SpaceReserveTest, NewContentTakesNothingAndACommitsTakesHalf) {
  world.env.set_free_bytes(0);
  const auto put = [this](std::uint64_t seed) {
    Bytes content(kMaxChunkBytes);
    SimEnv(seed).fill_random(content);
    const auto stored = world.vault->segments().put(RecordType::chunk, content);
    return stored.ok() ? ErrorCode::Internal : stored.code();
  };
  EXPECT_EQ(put(1), ErrorCode::NoSpace);
  EXPECT_EQ(reserve().state().files, SpaceReserve::kFiles);
  EXPECT_FALSE(reserve().spent());
  const SpaceReserve::ContentUse use(&reserve());
  for (std::uint64_t seed = 2; seed < 40; ++seed) static_cast<void>(put(seed));
  EXPECT_EQ(put(50), ErrorCode::NoSpace);
  EXPECT_EQ(reserve().state().files, SpaceReserve::kFiles / 2);
  EXPECT_TRUE(reserve().spent());
}

TEST_F(SpaceReserveTest, TheJournalsZerosAheadTakeNothing) {
  ASSERT_OK(world.open());
  world.env.set_free_bytes(64ULL * 1024);
  ASSERT_OK(world.write("small"));
  ASSERT_OK(world.vault->journal().commit());
  EXPECT_EQ(reserve().state().files, SpaceReserve::kFiles);
}

TEST_F(SpaceReserveTest, TheIndexTakesNothing) {
  world.env.set_free_bytes(0);
  const auto file = world.vault->env().open("/vault/index/00000000000000ff.index", OpenMode::create_exclusive);
  ASSERT_OK(file);
  EXPECT_EQ((*file)->write_at(0, bytes_of("x")).code(), ErrorCode::NoSpace);
  EXPECT_EQ(write_file_durably(world.vault->env(), "/vault/index/00000000000000fe.index", bytes_of("x")).code(),
            ErrorCode::NoSpace);
  EXPECT_EQ(reserve().state().files, SpaceReserve::kFiles);
}

TEST_F(SpaceReserveTest, IsMadeAgainWhenThereIsRoomAndSaysSo) {
  world.env.set_free_bytes(0);
  ASSERT_OK(world.vault->write_head());
  EXPECT_TRUE(reserve().spent());
  EXPECT_TRUE(mentions(world.vault->take_warnings(), "no room left"));
  world.vault->fill_reserve();
  EXPECT_TRUE(reserve().spent()) << "there is no room yet";
  world.env.set_unlimited_space();
  reserve().fill_again();
  EXPECT_FALSE(reserve().spent());
  EXPECT_TRUE(reserve().state().whole);
  EXPECT_TRUE(mentions(world.vault->take_warnings(), "whole again"));
}

TEST_F(SpaceReserveTest, OverAnUnknownQuotaNewContentWaitsForMoreRoomThanTheReserve) {
  world.env.set_free_bytes(0);
  world.env.hide_limits(true);
  ASSERT_OK(world.vault->write_head());
  world.env.set_free_bytes(2ULL << 20);
  world.vault->fill_reserve();
  EXPECT_TRUE(reserve().state().whole);
  EXPECT_TRUE(reserve().spent()) << "the first writes would spend it again";
  EXPECT_FALSE(world.env.exists("/vault/reserve.tmp"));
  world.env.set_free_bytes(5ULL << 20);
  world.vault->fill_reserve();
  EXPECT_FALSE(reserve().spent());
  EXPECT_FALSE(world.env.exists("/vault/reserve.tmp"));
}

TEST_F(SpaceReserveTest, ASparseCopyHoldsNothingAndIsMadeAgain) {
  for (const Env::Path& path : reserve_files()) world.env.make_sparse(path);
  ASSERT_OK(world.open());
  EXPECT_EQ(reserve().state().bytes, 0U);
  EXPECT_FALSE(reserve().state().whole);
  world.vault->fill_reserve();
  EXPECT_TRUE(reserve().state().whole);
  for (const Env::Path& path : reserve_files()) EXPECT_EQ(world.env.info(path)->stored_bytes, kReserveFileBytes);
}

TEST_F(SpaceReserveTest, IsNoStrangerToVerify) {
  for (Vault* vault : {world.vault.get(), static_cast<Vault*>(nullptr)}) {
    const auto report = verify_vault(world.env, "/vault", vault, {});
    ASSERT_OK(report);
    EXPECT_TRUE(report->damage.empty()) << report->damage.front().file;
    EXPECT_TRUE(report->notes.empty());
  }
  // A program that does not know it takes it for unfinished writes.
  for (const Env::Path& path : reserve_files()) EXPECT_EQ(path.extension(), kUnfinishedSuffix);
}

TEST_F(SpaceReserveTest, SomethingElseOfItsNameCostsOneFileOnly) {
  world.env.remove("/vault/reserve-03.tmp");
  world.env.make_directories("/vault/reserve-03.tmp");
  ASSERT_OK(world.open());
  world.vault->fill_reserve();
  EXPECT_EQ(reserve().state().files, SpaceReserve::kFiles - 1);
  world.env.set_free_bytes(0);
  ASSERT_OK(world.vault->write_head());
  world.env.set_unlimited_space();
  world.vault->fill_reserve();
  EXPECT_FALSE(reserve().spent()) << "new content would be refused for ever";
}

TEST_F(SpaceReserveTest, GrowsWithTheVaultsOwnFiles) {
  reserve().fill(SpaceReserve::kLeastBytes + 2 * (5ULL << 20));
  EXPECT_GE(reserve().state().bytes, SpaceReserve::kLeastBytes + 2 * (5ULL << 20));
  reserve().fill(1ULL << 40);
  EXPECT_EQ(reserve().state().bytes, SpaceReserve::kMostBytes);
  EXPECT_TRUE(reserve().state().whole);
}

TEST_F(SpaceReserveTest, LeavesRoomToOthers) {
  for (const Env::Path& path : reserve_files()) world.env.remove(path);
  ASSERT_OK(world.open());
  world.env.set_free_bytes(6ULL << 20);
  world.vault->fill_reserve();
  EXPECT_EQ(reserve().state().files, 4U);
  world.env.set_unlimited_space();
  world.env.set_free_files(18);
  world.vault->fill_reserve();
  EXPECT_EQ(reserve().state().files, 7U);
}

// A file system without fallocate: bytes are written.
class NoFallocate final : public EnvWrapper {
 public:
  using EnvWrapper::EnvWrapper;
  Result<std::unique_ptr<File>> open(const Path& path, OpenMode mode) override {
    VAULTFS_ASSIGN_OR_RETURN(auto file, EnvWrapper::open(path, mode));
    return std::unique_ptr<File>(std::make_unique<FileWrapper>(std::move(file)));
  }
};

TEST(SpaceReserveAlone, WritesNoiseWhereNothingCanBeSetAside) {
  SimEnv sim;
  sim.make_directories("/vault");
  NoFallocate env(sim);
  SpaceReserve reserve;
  reserve.attach(env, "/vault");
  reserve.fill(0);
  EXPECT_TRUE(reserve.state().whole);
  const Bytes first = sim.read("/vault/reserve-00.tmp");
  EXPECT_EQ(first.size(), kReserveFileBytes);
  EXPECT_NE(first, sim.read("/vault/reserve-01.tmp")) << "a file system may store equal blocks once";
  EXPECT_FALSE(std::ranges::all_of(first, [](std::byte byte) { return byte == std::byte{0}; }));
}

TEST(SpaceReserveAlone, KnowsItsNames) {
  EXPECT_TRUE(SpaceReserve::is_file("reserve-00.tmp"));
  for (const char* other :
       {"reserve-0.tmp", "reserve-000.tmp", "reserve-xx.tmp", "reserve-00", "reserve-.tmp", "reserve-00.tmp.tmp"})
    EXPECT_FALSE(SpaceReserve::is_file(other)) << other;
}

}  // namespace
}  // namespace vaultfs
