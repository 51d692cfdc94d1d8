// A crash at every durable step of a re-encryption: nothing is lost, and the next run goes on with what is left.
#include <algorithm>
#include <random>
#include <tuple>

#include "fs/engine/vault_engine.h"
#include "tests/support/units.h"
#include "tests/vaultmeta/vault/vault_world.h"

namespace vaultfs {
namespace {

Bytes seeded_bytes(std::uint64_t seed, std::size_t size) {
  std::mt19937_64 random(seed);
  Bytes out(size);
  for (std::byte& byte : out) byte = static_cast<std::byte>(random());
  return out;
}

// A engine on a simulated disk.
class Machine {
 public:
  Machine() { EXPECT_TRUE(world.create().ok()); }

  Status open() {
    VaultEngine::Options options;
    options.vault.path = "/vault";
    options.background = false;
    options.manual_commit = true;  // closing makes no point
    options.tree.flush_seconds = 0;
    options.space_reserve = false;  // nothing to be copied at each step
    options.tree.store_workers = 1;
    options.tree.write_buffer_bytes = 8U << 20;
    VAULTFS_ASSIGN_OR_RETURN(engine, VaultEngine::open(world.machine(), options));
    return ok_status();
  }
  // As a process that ends without a word.
  void die() { engine.reset(); }

  Status write(const std::string& name, std::uint64_t offset, const Bytes& bytes) {
    WorkingTree& tree = engine->tree();
    auto directory = tree.lookup(kRootInode, "vm");
    if (!directory.ok()) directory = tree.make_directory(kRootInode, "vm", 0755, {});
    if (!directory.ok()) return directory.error();
    auto file = tree.lookup(directory->number, name);
    if (!file.ok()) file = tree.make_node(directory->number, name, InodeType::file, 0644, 0, {});
    if (!file.ok()) return file.error();
    return tree.write(file->number, 0, offset, bytes);
  }

  // Two points and a working tree that differs from both, all under the first epoch; then the second begins.
  Status fill() {
    VAULTFS_RETURN_IF_ERROR(write("disk", 0, seeded_bytes(1, 300 * kKiB)));
    VAULTFS_RETURN_IF_ERROR(write("small", 0, seeded_bytes(2, 300)));
    VAULTFS_RETURN_IF_ERROR(write("large", 9 * 1024 * kKiB, seeded_bytes(3, 40 * kKiB)));  // has a map page
    VAULTFS_RETURN_IF_ERROR(engine->commit("vm"));
    VAULTFS_RETURN_IF_ERROR(write("disk", 100 * kKiB, seeded_bytes(4, 4 * kKiB)));
    VAULTFS_RETURN_IF_ERROR(engine->commit("vm"));
    VAULTFS_RETURN_IF_ERROR(write("small", 0, seeded_bytes(5, 400)));
    VAULTFS_RETURN_IF_ERROR(engine->tree().sync_all());
    return engine->vault().custody().new_epoch();
  }

  static Result<Bytes> read(FileTree& tree, InodeNumber directory, const char* name) {
    VAULTFS_ASSIGN_OR_RETURN(const Attributes file, tree.lookup(directory, name));
    // Of a large one the end: before it there is a hole.
    Bytes out(std::min<std::uint64_t>(file.size, 400 * kKiB));
    VAULTFS_RETURN_IF_ERROR(tree.read(file.number, file.size - out.size(), out));
    return out;
  }
  // Of every point, then of the working tree.
  Result<std::vector<Bytes>> content() {
    std::vector<Bytes> all;
    const auto take = [&all](FileTree& tree, InodeNumber directory) -> Status {
      for (const char* name : {"disk", "small", "large"}) {
        VAULTFS_ASSIGN_OR_RETURN(Bytes bytes, read(tree, directory, name));
        all.push_back(std::move(bytes));
      }
      return ok_status();
    };
    for (const PointInfo& point : engine->vault().catalogue().points()) {
      InodeNumber root;
      VAULTFS_ASSIGN_OR_RETURN(const auto tree, engine->open_point(point, root));
      VAULTFS_RETURN_IF_ERROR(take(*tree, root));
    }
    VAULTFS_ASSIGN_OR_RETURN(const Attributes item, engine->tree().lookup(kRootInode, "vm"));
    VAULTFS_RETURN_IF_ERROR(take(engine->tree(), item.number));
    return all;
  }

  void expect_undamaged() {
    for (Vault* vault : {&engine->vault(), static_cast<Vault*>(nullptr)}) {
      const auto report = verify_vault(world.env, "/vault", vault, nullptr);
      ASSERT_OK(report);
      EXPECT_TRUE(report->damage.empty())
          << report->damage.front().file << ": " << report->damage.front().error.message;
    }
  }

  VaultWorld world;
  std::unique_ptr<VaultEngine> engine;
};

// What a run does that is not to be interrupted by the test itself.
Status run(VaultEngine& engine, bool without_grace) {
  ReencryptRequest request;
  request.without_grace = without_grace;
  VAULTFS_RETURN_IF_ERROR(engine.reencrypt(request, nullptr));
  return engine.close();
}

class ReencryptionCrashTest : public testing::TestWithParam<std::tuple<CrashMode, bool>> {};

TEST_P(ReencryptionCrashTest, LosesNothingAtAnyStep) {
  const auto [mode, without_grace] = GetParam();
  Machine machine;
  SimEnv& env = machine.world.env;
  ASSERT_OK(machine.open());
  ASSERT_OK(machine.fill());
  const auto before = machine.content();
  ASSERT_OK(before);
  ASSERT_EQ(before->size(), 9U);
  ASSERT_OK(machine.engine->close());
  machine.die();
  const SimEnv::Snapshot start = env.snapshot();

  std::size_t unfinished = 0;
  for (std::uint64_t step = 0;; ++step) {
    SCOPED_TRACE("step " + std::to_string(step));
    env.restore(start);
    machine.world.start_machine("/home");
    ASSERT_OK(machine.open());
    env.fail_after(step);
    const Status done = run(*machine.engine, without_grace);
    const bool reached = env.failure_reached();
    machine.die();
    env.crash(step, mode);
    machine.world.start_machine("/home");
    ASSERT_OK(machine.open());
    const bool reencrypting = machine.engine->vault().catalogue().reencrypting();
    if (reencrypting) ++unfinished;
    const auto after = machine.content();
    ASSERT_OK(after);
    ASSERT_TRUE(*after == *before);
    for (const JobInfo& job : machine.engine->vault().catalogue().jobs()) ASSERT_NE(job.state, JobState::in_progress);
    ASSERT_NO_FATAL_FAILURE(machine.expect_undamaged());

    const auto rest = machine.engine->reencrypt({0, true}, nullptr);
    ASSERT_OK(rest);
    ASSERT_EQ(rest->damaged_records, 0U);
    ASSERT_EQ(rest->left_segments + rest->waiting_segments, 0U);
    for (const EpochUse& use : machine.engine->vault().segments().epochs()) ASSERT_EQ(use.epoch, rest->epoch);
    ASSERT_EQ(env.files("/vault/points").size(), 2U);
    ASSERT_OK(machine.engine->close());
    machine.die();
    ASSERT_OK(machine.open());
    const auto end = machine.content();
    ASSERT_OK(end);
    ASSERT_TRUE(*end == *before);
    ASSERT_NO_FATAL_FAILURE(machine.expect_undamaged());
    machine.die();
    if (HasFailure()) return;
    if (!reached) {
      ASSERT_OK(done);
      EXPECT_GT(step, 60U);
      EXPECT_GT(unfinished, 5U);  // the test did catch it in the middle
      return;
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Modes, ReencryptionCrashTest,
                         testing::Values(std::tuple(CrashMode::drop_all_unsynced, true),
                                         std::tuple(CrashMode::keep_all, true), std::tuple(CrashMode::random, true),
                                         std::tuple(CrashMode::random, false)));

// A sync that fails takes the moved records out of the index: they count as stored where they were.
TEST(ReencryptionFailureTest, AFailedSyncLeavesEverythingWhereItWas) {
  Machine machine;
  SimEnv& env = machine.world.env;
  ASSERT_OK(machine.open());
  ASSERT_OK(machine.fill());
  const auto before = machine.content();
  ASSERT_OK(before);
  SegmentStore& segments = machine.engine->vault().segments();
  ASSERT_OK(segments.close_segment());
  const EpochNumber target = *machine.engine->vault().keys().current();
  std::size_t moved = 0;
  ASSERT_OK(machine.engine->tree().visit_references(
      [&](const ChunkId& id) -> Status {
        const UseGate::Use use = segments.use();
        VAULTFS_ASSIGN_OR_RETURN(const ReencryptedRecords outcome, segments.reencrypt(id, target));
        moved += outcome.records;
        return ok_status();
      },
      [](const ChunkId&, const Error&) { ADD_FAILURE(); }));
  ASSERT_GT(moved, 3U);
  env.fail_next_sync(1);
  EXPECT_FALSE(segments.sync_reencrypted().ok());
  const auto after = machine.content();
  ASSERT_OK(after);
  EXPECT_TRUE(*after == *before);
  // And it works once the disk does.
  const auto outcome = machine.engine->reencrypt({0, true}, nullptr);
  ASSERT_OK(outcome);
  EXPECT_EQ(outcome->left_segments + outcome->waiting_segments, 0U);
  const auto end = machine.content();
  ASSERT_OK(end);
  EXPECT_TRUE(*end == *before);
}

TEST(ReencryptionFailureTest, AFullDiskStopsItBeforeWritersFeelIt) {
  Machine machine;
  ASSERT_OK(machine.open());
  ASSERT_OK(machine.fill());
  machine.world.env.set_free_bytes(150ULL << 20);
  const auto full = machine.engine->reencrypt({}, nullptr);
  EXPECT_EQ(full.code(), ErrorCode::NoSpace);
  EXPECT_EQ(machine.engine->vault().catalogue().jobs().back().state, JobState::failed);
  ASSERT_OK(machine.write("disk", 0, seeded_bytes(7, 4096)));
  ASSERT_OK(machine.engine->commit("vm"));
  machine.world.env.set_unlimited_space();
  ASSERT_OK(machine.engine->reencrypt({}, nullptr));
}

}  // namespace
}  // namespace vaultfs
