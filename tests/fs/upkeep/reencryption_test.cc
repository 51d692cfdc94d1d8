// Re-encryption: everything goes to the newest epoch, nothing is lost whatever goes on, what is damaged stays.
#include <algorithm>
#include <atomic>
#include <chrono>
#include <set>
#include <thread>

#include "fs/upkeep/compactor.h"
#include "store/index/segment_format.h"
#include "tests/fs/engine/engine_fixture.h"
#include "tests/support/units.h"

namespace vaultfs {
namespace {

constexpr std::int64_t kDaySeconds = 24 * 3600;

class ReencryptionTest : public VaultEngineTest {
 protected:
  // Closing makes no point of what the working tree has.
  [[nodiscard]] std::unique_ptr<VaultEngine> open_session() {
    VaultEngine::Options options = session_options();
    options.manual_commit = true;
    return VaultEngineTest::open_session(options);
  }

  // Two items, three points, with patches, map pages, small files, deduplicated and removed content.
  void fill(VaultEngine& engine) {
    write_file(scratch_ / "disk.img", random_bytes(1, 9 * kMiB));
    ASSERT_OK(engine.backup({"web", {{"sda", scratch_ / "disk.img"}}}, nullptr));
    patch_file(scratch_ / "disk.img", 2 * kMiB + 5, random_bytes(2, 5000));
    ASSERT_OK(engine.backup({"web", {{"sda", scratch_ / "disk.img"}}}, nullptr));
    tree_write(engine.tree(), tree_file(engine.tree(), "mail", "disk"), 0, random_bytes(3, 3 * kMiB));
    tree_write(engine.tree(), tree_file(engine.tree(), "mail", "note"), 0, random_bytes(4, 700));
    ASSERT_OK(engine.commit("mail"));
    tree_write(engine.tree(), tree_file(engine.tree(), "mail", "disk"), kMiB + 4096, random_bytes(5, 4096));
    tree_write(engine.tree(), tree_file(engine.tree(), "mail", "working"), 0, random_bytes(6, 2 * kMiB));
    ASSERT_OK(engine.tree().sync_all());
    ASSERT_OK(engine.tree().checkpoint());
  }

  // Every byte of every point and of the working tree.
  static std::vector<Bytes> content(VaultEngine& engine) {
    std::vector<Bytes> all;
    const auto take = [&all](FileTree& tree, InodeNumber directory, const char* name) {
      const auto file = tree.lookup(directory, name);
      if (file.ok()) all.push_back(tree_bytes(tree, file->number));
    };
    for (const PointInfo& point : engine.vault().catalogue().points()) {
      InodeNumber root;
      const auto tree = engine.open_point(point, root);
      EXPECT_TRUE(tree.ok()) << (tree.ok() ? "" : tree.error().message);
      if (!tree.ok()) continue;
      for (const char* name : {"sda", "disk", "note", "working"}) take(**tree, root, name);
    }
    for (const char* item : {"web", "mail"}) {
      const auto directory = engine.tree().lookup(kRootInode, item);
      if (!directory.ok()) continue;
      for (const char* name : {"sda", "disk", "note", "working"}) take(engine.tree(), directory->number, name);
    }
    return all;
  }

  static std::set<std::uint64_t> epochs(VaultEngine& engine) {
    std::set<std::uint64_t> numbers;
    for (const EpochUse& use : engine.vault().segments().epochs()) numbers.insert(use.epoch.value);
    return numbers;
  }
  static Result<ReencryptOutcome> reencrypt(VaultEngine& engine, bool without_grace = false) {
    ReencryptRequest request;
    request.without_grace = without_grace;
    return engine.reencrypt(request, nullptr);
  }
  static std::size_t manifests(const std::filesystem::path& vault) {
    std::size_t count = 0;
    for ([[maybe_unused]] const auto& entry : std::filesystem::directory_iterator(vault / "points")) ++count;
    return count;
  }
  void expect_undamaged(VaultEngine& engine) {
    for (Vault* vault : {&engine.vault(), static_cast<Vault*>(nullptr)}) {
      const auto report = verify_vault(env_, vault_path(), vault, nullptr);
      ASSERT_OK(report);
      EXPECT_TRUE(report->damage.empty())
          << report->damage.front().file << ": " << report->damage.front().error.message;
    }
  }
};

TEST_F(ReencryptionTest, BringsEverythingToTheNewestEpoch) {
  std::vector<Bytes> before;
  EpochNumber newest;
  {
    const auto engine = open_session();
    ASSERT_NE(engine, nullptr);
    fill(*engine);
    before = content(*engine);
    ASSERT_EQ(before.size(), 8U);
    ASSERT_OK(engine->vault().custody().new_epoch());
    const auto outcome = reencrypt(*engine);
    ASSERT_OK(outcome);
    newest = outcome->epoch;
    EXPECT_EQ(newest, *engine->vault().keys().current());
    EXPECT_EQ(outcome->job.state, JobState::completed);
    EXPECT_EQ(outcome->job.kind, JobKind::reencryption);
    EXPECT_GE(outcome->moved_bytes, 14 * kMiB);
    EXPECT_EQ(outcome->reencrypted_points, 3U);
    EXPECT_EQ(outcome->left_segments, 0U);
    EXPECT_EQ(outcome->damaged_records, 0U);
    // A copy that is being made of it may still want what the points needed.
    EXPECT_GT(outcome->waiting_bytes, 10 * kMiB);
    EXPECT_EQ(manifests(vault_path()), 6U);
    EXPECT_FALSE(engine->vault().catalogue().reencrypting());
    for (const PointInfo& point : engine->vault().catalogue().points()) {
      const auto epoch = engine->vault().manifest_epoch(point);
      ASSERT_OK(epoch);
      EXPECT_EQ(*epoch, newest);
    }
    EXPECT_TRUE(content(*engine) == before);
    expect_undamaged(*engine);
    ASSERT_OK(engine->close());
  }
  env_.sim_clock().advance_seconds(kDaySeconds - 60);
  {
    const auto engine = open_session();
    ASSERT_NE(engine, nullptr);
    EXPECT_TRUE(content(*engine) == before);
    ASSERT_OK(engine->close());
  }
  EXPECT_EQ(manifests(vault_path()), 6U);
  env_.sim_clock().advance_seconds(120);
  {
    const auto engine = open_session();  // its end removes what is over
    ASSERT_NE(engine, nullptr);
    ASSERT_OK(engine->close());
  }
  const auto engine = open_session();
  ASSERT_NE(engine, nullptr);
  EXPECT_EQ(epochs(*engine), std::set<std::uint64_t>{newest.value});
  EXPECT_EQ(manifests(vault_path()), 3U);
  EXPECT_TRUE(content(*engine) == before);
  expect_undamaged(*engine);
  ASSERT_OK(engine->close());
}

TEST_F(ReencryptionTest, WithoutGraceTheOldSegmentsGoAtOnceAndASecondRunFindsNothing) {
  const auto engine = open_session();
  ASSERT_NE(engine, nullptr);
  fill(*engine);
  const std::vector<Bytes> before = content(*engine);
  ASSERT_OK(engine->vault().custody().new_epoch());
  ASSERT_OK(engine->vault().custody().new_epoch());
  const auto outcome = reencrypt(*engine, true);
  ASSERT_OK(outcome);
  EXPECT_EQ(epochs(*engine), std::set<std::uint64_t>{outcome->epoch.value});
  EXPECT_EQ(outcome->waiting_segments, 0U);
  EXPECT_GT(outcome->removed_bytes, 14 * kMiB);
  EXPECT_TRUE(content(*engine) == before);
  expect_undamaged(*engine);

  const auto again = reencrypt(*engine);
  ASSERT_OK(again);
  EXPECT_EQ(again->job.state, JobState::completed_no_change);
  EXPECT_EQ(again->moved_chunks, 0U);
  EXPECT_EQ(again->reencrypted_points, 0U);
  ASSERT_OK(engine->close());
}

TEST_F(ReencryptionTest, StoppedItGoesOnWithWhatIsLeft) {
  const auto engine = open_session();
  ASSERT_NE(engine, nullptr);
  fill(*engine);
  // From here on only the points have it: what compaction asks of the working tree does not help them.
  const auto web = engine->tree().lookup(kRootInode, "web");
  ASSERT_OK(web);
  ASSERT_OK(engine->tree().unlink(web->number, "sda"));
  const std::vector<Bytes> before = content(*engine);
  ASSERT_OK(engine->vault().custody().new_epoch());
  ReencryptRequest slow;
  slow.bytes_per_second = 40 * kMiB;
  std::uint64_t moved = 0;
  const auto stopped = engine->reencrypt(slow, [&moved](const Progress& now) {
    moved = now.done_bytes;
    return now.done_bytes < 5 * kMiB;
  });
  EXPECT_EQ(stopped.code(), ErrorCode::Interrupted);
  EXPECT_GE(moved, 5 * kMiB);
  EXPECT_TRUE(engine->vault().catalogue().reencrypting());
  EXPECT_EQ(engine->vault().catalogue().jobs().back().state, JobState::cancelled);
  EXPECT_TRUE(content(*engine) == before);

  // What was moved lies in segments that no point lists yet, and that the working tree needs in part only.
  Compactor compactor(engine->vault(), engine->tree());
  for (int i = 0; i < 2; ++i) {
    const auto compacted = compactor.compact_now();
    ASSERT_OK(compacted);
    EXPECT_TRUE(*compacted);
  }
  EXPECT_TRUE(content(*engine) == before);
  expect_undamaged(*engine);

  const auto rest = reencrypt(*engine);
  ASSERT_OK(rest);
  EXPECT_EQ(rest->job.state, JobState::completed);
  EXPECT_GT(rest->moved_bytes, 0U);
  EXPECT_LT(rest->moved_bytes + moved, 17 * kMiB);  // nothing twice
  EXPECT_EQ(rest->left_segments, 0U);
  EXPECT_FALSE(engine->vault().catalogue().reencrypting());
  EXPECT_TRUE(content(*engine) == before);
  ASSERT_OK(engine->close());
}

TEST_F(ReencryptionTest, ARateIsKept) {
  const auto engine = open_session();
  ASSERT_NE(engine, nullptr);
  tree_write(engine->tree(), tree_file(engine->tree(), "vm", "disk"), 0, random_bytes(1, 4 * kMiB));
  ASSERT_OK(engine->commit("vm"));
  ASSERT_OK(engine->vault().custody().new_epoch());
  ReencryptRequest slow;
  slow.bytes_per_second = 8 * kMiB;
  const auto began = std::chrono::steady_clock::now();
  ASSERT_OK(engine->reencrypt(slow, nullptr));
  EXPECT_GE(std::chrono::steady_clock::now() - began, std::chrono::milliseconds(450));
  ASSERT_OK(engine->close());
}

TEST_F(ReencryptionTest, WhatIsDamagedStaysAndIsTold) {
  ContainerNumber segment;
  {
    const auto engine = open_session();
    ASSERT_NE(engine, nullptr);
    write_file(scratch_ / "disk.img", random_bytes(1, 9 * kMiB));
    ASSERT_OK(engine->backup({"web", {{"sda", scratch_ / "disk.img"}}}, nullptr));
    write_file(scratch_ / "other.img", random_bytes(2, 3 * kMiB));
    ASSERT_OK(engine->backup({"mail", {{"sda", scratch_ / "other.img"}}}, nullptr));
    ASSERT_OK(engine->vault().custody().new_epoch());
    const auto manifest = engine->vault().load_manifest(engine->vault().catalogue().points().front());
    ASSERT_OK(manifest);
    segment = manifest->inventory.front().number;
    ASSERT_OK(engine->close());
  }
  const auto file = vault_path() / closed_segment_name(segment);
  patch_file(file, std::filesystem::file_size(file) / 2, random_bytes(9, 16));

  const auto engine = open_session();
  ASSERT_NE(engine, nullptr);
  for (int round = 0; round < 2; ++round) {
    const auto outcome = reencrypt(*engine, true);
    ASSERT_OK(outcome);
    EXPECT_EQ(outcome->job.state, JobState::failed);
    // By a point and by the working tree.
    EXPECT_GE(outcome->damaged_records, 1U);
    ASSERT_FALSE(outcome->damage.empty());
    EXPECT_EQ(outcome->left_segments, 1U);
    EXPECT_EQ(outcome->waiting_segments, 0U);
    if (round == 0) {
      EXPECT_GE(outcome->moved_bytes, 10 * kMiB);
    } else {
      EXPECT_EQ(outcome->moved_bytes, 0U);
    }
    EXPECT_TRUE(std::filesystem::exists(file));
  }
  // All but the one chunk.
  std::size_t unreadable = 0;
  const std::vector<PointInfo> points = engine->vault().catalogue().points();
  ASSERT_EQ(points.size(), 2U);
  for (const PointInfo& point : points) {
    InodeNumber root;
    const auto tree = engine->open_point(point, root);
    ASSERT_OK(tree);
    const auto disk = (*tree)->lookup(root, "sda");
    ASSERT_OK(disk);
    const Bytes wanted = random_bytes(point.item == "web" ? 1 : 2, disk->size);
    for (std::uint64_t at = 0; at < disk->size; at += kMiB) {
      Bytes chunk(kMiB);
      if (!(*tree)->read(disk->number, at, chunk).ok()) {
        ++unreadable;
      } else {
        EXPECT_TRUE(std::equal(chunk.begin(), chunk.end(), wanted.begin() + static_cast<std::ptrdiff_t>(at)));
      }
    }
  }
  EXPECT_EQ(unreadable, 1U);
  ASSERT_OK(engine->close());
}

TEST_F(ReencryptionTest, WritersCommitsBackupsAndReadersGoOn) {
  VaultEngine::Options options = session_options();
  options.background = true;
  options.manual_commit = true;
  const auto engine = VaultEngineTest::open_session(options);
  ASSERT_NE(engine, nullptr);
  fill(*engine);
  const std::vector<Bytes> before = content(*engine);
  ASSERT_OK(engine->vault().custody().new_epoch());
  std::atomic<bool> done{false};
  Bytes model(4 * kMiB);
  std::thread writer([&] {
    const InodeNumber file = tree_file(engine->tree(), "busy", "disk");
    for (std::uint64_t round = 0; !done; ++round) {
      const Bytes bytes = random_bytes(round, 70'000);
      const std::uint64_t offset = (round * 333'333) % (model.size() - bytes.size());
      tree_write(engine->tree(), file, offset, bytes);
      std::copy(bytes.begin(), bytes.end(), model.begin() + static_cast<std::ptrdiff_t>(offset));
      // Content that lies under the old epoch: a hit.
      tree_write(engine->tree(), tree_file(engine->tree(), "busy", "copy"), 0, random_bytes(1, 2 * kMiB));
      if (round % 5 == 4) {
        EXPECT_TRUE(engine->commit("busy").ok());
      }
    }
  });
  std::thread reader([&] {
    while (!done) EXPECT_EQ(tree_bytes(engine->tree(), tree_file(engine->tree(), "web", "sda")).size(), 9 * kMiB);
  });
  ReencryptRequest request;
  request.without_grace = true;
  request.bytes_per_second = 30 * kMiB;
  const auto outcome = engine->reencrypt(request, nullptr);
  done = true;
  writer.join();
  reader.join();
  ASSERT_OK(outcome);
  EXPECT_EQ(outcome->damaged_records, 0U);
  ASSERT_OK(engine->commit("busy"));
  // What came meanwhile may have found, and kept, a chunk of an old segment that nothing else needed.
  const auto second = reencrypt(*engine, true);
  ASSERT_OK(second);
  EXPECT_EQ(epochs(*engine), std::set<std::uint64_t>{second->epoch.value});
  const auto directory = engine->tree().lookup(kRootInode, "busy");
  ASSERT_OK(directory);
  const auto disk = engine->tree().lookup(directory->number, "disk");
  ASSERT_OK(disk);
  const Bytes written = tree_bytes(engine->tree(), disk->number);
  EXPECT_TRUE(std::equal(written.begin(), written.end(), model.begin()));
  EXPECT_EQ(tree_bytes(engine->tree(), tree_file(engine->tree(), "busy", "copy")), random_bytes(1, 2 * kMiB));
  for (const PointInfo& point : engine->vault().catalogue().points_of("web")) {
    InodeNumber root;
    const auto tree = engine->open_point(point, root);
    ASSERT_OK(tree);
    const auto file = (*tree)->lookup(root, "sda");
    ASSERT_OK(file);
    const Bytes got = tree_bytes(**tree, file->number);
    EXPECT_TRUE(std::find(before.begin(), before.end(), got) != before.end());
  }
  expect_undamaged(*engine);
  ASSERT_OK(engine->close());
}

TEST_F(ReencryptionTest, ARotationMeanwhileDoesNotMakeItEndless) {
  const auto engine = open_session();
  ASSERT_NE(engine, nullptr);
  fill(*engine);
  const std::vector<Bytes> before = content(*engine);
  ASSERT_OK(engine->vault().custody().new_epoch());
  const EpochNumber target = *engine->vault().keys().current();
  bool rotated = false;
  const auto outcome = engine->reencrypt({}, [&](const Progress& now) {
    if (now.done_bytes > 2 * kMiB && !std::exchange(rotated, true)) {
      EXPECT_TRUE(engine->vault().custody().new_epoch().ok());
    }
    return true;
  });
  ASSERT_OK(outcome);
  EXPECT_TRUE(rotated);
  EXPECT_EQ(outcome->epoch, target);
  EXPECT_EQ(outcome->left_segments, 0U);
  EXPECT_TRUE(content(*engine) == before);
  ASSERT_OK(engine->close());
}

}  // namespace
}  // namespace vaultfs
