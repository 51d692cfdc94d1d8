// What a compaction must not take, and whom it must not disturb.
#include "fs/upkeep/compactor.h"

#include <gtest/gtest.h>

#include <thread>

#include "tests/fs/engine/engine_fixture.h"
#include "tests/support/units.h"

namespace vaultfs {
namespace {

class CompactorTest : public VaultEngineTest {
 protected:
  // Closing makes no point.
  std::unique_ptr<VaultEngine> open_manual() {
    VaultEngine::Options options = session_options();
    options.manual_commit = true;
    return open_session(options);
  }
  static Result<bool> compact(VaultEngine& engine) { return Compactor(engine.vault(), engine.tree()).compact_now(); }
  // As somebody else would.
  static Result<bool> compact_aside(VaultEngine& engine) {
    Result<bool> outcome = false;
    std::thread([&] { outcome = compact(engine); }).join();
    return outcome;
  }
  [[nodiscard]] std::size_t segment_files() const {
    std::size_t files = 0;
    for ([[maybe_unused]] const auto& entry : std::filesystem::directory_iterator(vault_path() / "segments")) ++files;
    return files;
  }
  // Two states of a file, of which the first is garbage.
  void leave_garbage(VaultEngine& engine) {
    const InodeNumber disk = tree_file(engine.tree(), "vm", "disk");
    tree_write(engine.tree(), disk, 0, random_bytes(1, 2 * kMiB));
    ASSERT_OK(engine.tree().fsync(disk, 0));
    ASSERT_OK(engine.vault().segments().close_segment());
    tree_write(engine.tree(), disk, 0, random_bytes(2, 2 * kMiB));
    ASSERT_OK(engine.tree().fsync(disk, 0));
  }
};

TEST_F(CompactorTest, ABackupRunKeepsWhatItHasReadSoFar) {
  const auto engine = open_session();
  ASSERT_NE(engine, nullptr);
  const Bytes content = random_bytes(1, 3 * kMiB);
  write_file(scratch_ / "disk.img", content);
  std::size_t calls = 0;
  const auto outcome = engine->backup({"vm", {{"sda", scratch_ / "disk.img"}}}, [&](const Progress&) {
    ++calls;
    const auto compacted = compact_aside(*engine);
    EXPECT_TRUE(compacted.ok() && !*compacted) << "nothing refers to what was read, but the run is about to";
    return true;
  });
  ASSERT_OK(outcome);
  EXPECT_GT(calls, 0U);
  ASSERT_TRUE(outcome->commit.point.has_value());
  InodeNumber root;
  const auto point = engine->open_point(*outcome->commit.point, root);
  ASSERT_OK(point);
  EXPECT_EQ(tree_bytes(**point, (*point)->lookup(root, "sda")->number), content);
  const auto alone = compact(*engine);
  ASSERT_OK(alone);
  EXPECT_TRUE(*alone);
  ASSERT_OK(engine->close());
}

TEST_F(CompactorTest, AReaderOfTheVaultKeepsItsSegments) {
  const auto engine = open_manual();
  ASSERT_NE(engine, nullptr);
  ASSERT_NO_FATAL_FAILURE(leave_garbage(*engine));
  ASSERT_OK(engine->tree().checkpoint());
  VaultEngine::Options options = session_options();
  options.vault.read_only = true;
  auto reader = open_session(options);
  ASSERT_NE(reader, nullptr);
  const std::size_t before = segment_files();
  const auto beside = compact(*engine);
  ASSERT_OK(beside);
  EXPECT_FALSE(*beside);
  EXPECT_EQ(segment_files(), before);
  ASSERT_OK(reader->close());
  reader.reset();
  const auto after = compact(*engine);
  ASSERT_OK(after);
  EXPECT_TRUE(*after);
  EXPECT_LT(segment_files(), before);
  EXPECT_EQ(tree_bytes(engine->tree(), tree_file(engine->tree(), "vm", "disk")), random_bytes(2, 2 * kMiB));
  ASSERT_OK(engine->close());
}

// What the page lists looks as if nothing needed it.
TEST_F(CompactorTest, AMapPageThatCannotBeReadStopsIt) {
  const Bytes content = random_bytes(1, 10 * kMiB);
  {
    const auto engine = open_manual();
    ASSERT_NE(engine, nullptr);
    const InodeNumber disk = tree_file(engine->tree(), "vm", "disk");
    tree_write(engine->tree(), disk, 0, content);
    ASSERT_OK(engine->tree().fsync(disk, 0));
    ASSERT_OK(engine->vault().segments().close_segment());
    ASSERT_OK(engine->tree().checkpoint());  // stores the page
    ASSERT_OK(engine->close());
  }
  auto engine = open_manual();
  ASSERT_NE(engine, nullptr);
  SegmentStore& segments = engine->vault().segments();
  std::optional<ContainerNumber> of_page;
  ASSERT_OK(engine->tree().visit_references(
      [&](const ChunkId& id) -> Status {
        if (id.is_zero()) return ok_status();
        VAULTFS_ASSIGN_OR_RETURN(const RecordType type, segments.listed_type(id));
        if (type == RecordType::map_page) of_page = *segments.segment_of(id);
        return ok_status();
      },
      [](const ChunkId&, const Error&) { ADD_FAILURE(); }));
  ASSERT_TRUE(of_page.has_value());
  ASSERT_OK(engine->close());
  engine.reset();

  const auto again = open_manual();
  ASSERT_NE(again, nullptr);
  const std::size_t before = segment_files();
  std::filesystem::path file;
  for (const auto& entry : std::filesystem::directory_iterator(vault_path() / "segments")) {
    if (entry.path().filename().string().find(std::to_string(of_page->value)) != std::string::npos) file = entry.path();
  }
  ASSERT_FALSE(file.empty());
  std::filesystem::rename(file, scratch_ / "away");
  EXPECT_FALSE(compact(*again).ok());
  std::filesystem::rename(scratch_ / "away", file);
  EXPECT_GE(segment_files(), before);
  EXPECT_EQ(tree_bytes(again->tree(), tree_file(again->tree(), "vm", "disk")), content);
  ASSERT_OK(again->close());
}

}  // namespace
}  // namespace vaultfs
