// Damage that is known, and the backups and writes that come upon it.
#include <algorithm>
#include <filesystem>
#include <vector>

#include "crypto/chunk_id.h"
#include "fs/backup/disk_import.h"
#include "fs/tree/content.h"
#include "fs/upkeep/compactor.h"
#include "store/index/segment_format.h"
#include "tests/fs/engine/engine_fixture.h"
#include "tests/support/units.h"

namespace vaultfs {
namespace {

class DamageHealsTest : public VaultEngineTest {
 protected:
  static constexpr std::uint64_t kBytes = 12 * kMiB;    // with a map page
  static constexpr std::uint64_t kPatchHeaderAt = 120;  // in the record of a patch

  void SetUp() override {
    VaultEngineTest::SetUp();
    if (HasFatalFailure()) return;
    write_file(image(), disk_);
    engine_ = open_session(options());
    ASSERT_NE(engine_, nullptr);
    ASSERT_OK(backup("vm"));
    manifest_ = *vault().load_manifest(vault().catalogue().points().front());
    const auto file = std::ranges::find(manifest_.inodes, InodeType::file, &InodeRecord::type);
    ASSERT_NE(file, manifest_.inodes.end());
    page_ = file->pages.at(0);
    chunks_ = MapPage::decode(*vault().segments().read_verified(RecordType::map_page, page_))->entries;
  }
  void TearDown() override {
    if (engine_ == nullptr) return;
    EXPECT_TRUE(engine_->close().ok());
  }
  [[nodiscard]] VaultEngine::Options options() const {
    VaultEngine::Options options = session_options();
    options.manual_commit = true;
    return options;
  }
  void reopen() {
    ASSERT_OK(engine_->close());
    engine_.reset();
    engine_ = open_session(options());
    ASSERT_NE(engine_, nullptr);
  }
  Vault& vault() { return engine_->vault(); }
  WorkingTree& tree() { return engine_->tree(); }
  [[nodiscard]] std::filesystem::path image() const { return scratch_ / "disk.img"; }
  Result<BackupOutcome> backup(const std::string& item) {
    return engine_->backup({item, {{"disk", image()}}}, nullptr);
  }
  // Changes the record where it lies, and a look finds out.
  void damage(const ChunkId& id) {
    damage_at(id, vault().segments().place_of(ChunkIndex::key_of(id))->stored_bytes / 2);
  }
  void damage_at(const ChunkId& id, std::uint64_t offset) {
    ASSERT_OK(vault().segments().close_segment());
    const ChunkPlace place = *vault().segments().place_of(ChunkIndex::key_of(id));
    const auto file = vault_path() / closed_segment_name(place.segment);
    Bytes bytes = file_bytes(file);
    bytes[place.offset + offset] ^= std::byte{0x40};
    patch_file(file, 0, bytes);
    ASSERT_OK(vault().examine_damage({place.segment}));
    ASSERT_TRUE(vault().catalogue().knows_damage(ChunkIndex::key_of(id)));
  }
  [[nodiscard]] bool verify_is_clean() {
    const auto report = verify_vault(env_, vault_path(), &vault(), {}, [this](const auto& look, const auto& tell) {
      return look_through_tree(tree(), look, tell);
    });
    EXPECT_TRUE(report.ok());
    return report.ok() && report->damage.empty();
  }
  // A few pages of that MiB are written in the mount and committed: the patch that the point has there.
  ChunkId patched(std::uint64_t index, Bytes& expected) {
    for (const std::uint64_t page : {4, 9, 17}) {
      const Bytes bytes = random_bytes(70 + page, 4096);
      std::ranges::copy(bytes, expected.begin() + static_cast<std::ptrdiff_t>(index * kMiB + page * 4096));
      tree_write(tree(), tree_file(tree(), "vm", "disk"), index * kMiB + page * 4096, bytes);
    }
    EXPECT_TRUE(engine_->commit("vm").ok());
    const Manifest manifest = *vault().load_manifest(vault().catalogue().points().back());
    const auto file = std::ranges::find(manifest.inodes, InodeType::file, &InodeRecord::type);
    const auto page = vault().segments().read_verified(RecordType::map_page, file->pages.at(0));
    const ChunkId id = MapPage::decode(*page)->entries.at(index);
    EXPECT_EQ(*vault().segments().listed_type(id), RecordType::patch);
    return id;
  }
  ChunkId test_id_of(const Bytes& content) {
    const auto id = vault().keys().with_id_key([&](const SecretBuffer& key) -> Result<ChunkId> {
      return chunk_id(key, static_cast<std::uint8_t>(RecordType::chunk), content);
    });
    return *id;
  }
  [[nodiscard]] JobState last_job() { return vault().catalogue().jobs().back().state; }

  const Bytes disk_ = random_bytes(1, kBytes);
  std::unique_ptr<VaultEngine> engine_;
  Manifest manifest_;
  ChunkId page_;
  std::vector<ChunkId> chunks_;
};

TEST_F(DamageHealsTest, AnUnchangedDiskHealsChunksAndMapPages) {
  ASSERT_NO_FATAL_FAILURE(damage(chunks_[3]));
  ASSERT_NO_FATAL_FAILURE(damage(page_));
  EXPECT_FALSE(verify_is_clean());
  // Once with the page in memory, and once not.
  for (const bool reopened : {false, true}) {
    if (reopened) {
      ASSERT_NO_FATAL_FAILURE(damage(page_));
      ASSERT_NO_FATAL_FAILURE(reopen());
    }
    const auto outcome = backup("vm");
    ASSERT_OK(outcome);
    EXPECT_EQ(outcome->commit.healed.chunks, reopened ? 1U : 2U);
    EXPECT_GE(outcome->commit.healed.points, 1U);
    // The checkpoint of a engine that has the page in memory stores it anew by itself.
    EXPECT_TRUE(reopened || outcome->stored_bytes > kMiB);
    EXPECT_TRUE(verify_is_clean());
    EXPECT_EQ(vault().catalogue().damage_count(), 0U);
  }
}

TEST_F(DamageHealsTest, WithoutTheContentEveryJobOfTheItemWarns) {
  ASSERT_NO_FATAL_FAILURE(damage(chunks_[5]));
  const auto unchanged = engine_->commit("vm");
  ASSERT_OK(unchanged);
  EXPECT_FALSE(unchanged->point.has_value());
  EXPECT_EQ(last_job(), JobState::completed_with_warnings);
  tree_write(tree(), tree_file(tree(), "vm", "beside"), 0, random_bytes(2, 100));
  const auto changed = engine_->commit("vm");
  ASSERT_OK(changed);
  EXPECT_TRUE(changed->point.has_value());
  EXPECT_EQ(changed->job.state, JobState::completed_with_warnings);
  EXPECT_NE(changed->job.detail.find("1048576 bytes can't be read, first of disk at byte " + std::to_string(5 * kMiB)),
            std::string::npos)
      << changed->job.detail;
  tree_write(tree(), tree_file(tree(), "other", "file"), 0, random_bytes(3, 100));
  EXPECT_EQ(engine_->commit("other")->job.state, JobState::completed) << "it has nothing of it";
}

TEST_F(DamageHealsTest, WhatAReadFindsIsRememberedBeforeTheJobEnds) {
  const ChunkPlace place = *vault().segments().place_of(ChunkIndex::key_of(chunks_[2]));
  const auto file = vault_path() / closed_segment_name(place.segment);
  patch_file(file, place.offset + 1000, random_bytes(7, 500'000));
  Bytes out(4096);
  EXPECT_FALSE(tree().read(tree_file(tree(), "vm", "disk"), 2 * kMiB, out).ok());
  EXPECT_EQ(vault().catalogue().damage_count(), 0U) << "no read waits for the journal";
  tree_write(tree(), tree_file(tree(), "vm", "beside"), 0, random_bytes(2, 100));
  EXPECT_EQ(engine_->commit("vm")->job.state, JobState::completed_with_warnings);
  EXPECT_EQ(vault().catalogue().damage_count(), 1U);
  ASSERT_NO_FATAL_FAILURE(reopen());
  EXPECT_EQ(vault().catalogue().damage_count(), 1U);
}

TEST_F(DamageHealsTest, AWriterInTheMountHealsByWritingTheSame) {
  ASSERT_NO_FATAL_FAILURE(damage(chunks_[4]));
  tree_write(tree(), tree_file(tree(), "new", "copy"), 4 * kMiB, ByteView(disk_).subspan(4 * kMiB, kMiB));
  const auto outcome = engine_->commit("new");
  ASSERT_OK(outcome);
  EXPECT_EQ(outcome->healed.chunks, 1U);
  EXPECT_EQ(outcome->healed.points, 1U);
  EXPECT_TRUE(verify_is_clean());
}

// A virtual machine writes pages here and there over a chunk that is lost: its item is backed up all the same.
TEST_F(DamageHealsTest, PagesOverALostChunkKeepTheItemFromNothing) {
  ASSERT_NO_FATAL_FAILURE(damage(chunks_[6]));
  const InodeNumber disk = tree_file(tree(), "vm", "disk");
  Bytes expected = disk_;
  for (std::uint64_t page = 0; page < 200; page += 2) {
    const Bytes bytes = random_bytes(100 + page, 4096);
    std::ranges::copy(bytes, expected.begin() + static_cast<std::ptrdiff_t>(6 * kMiB + page * 4096));
    tree_write(tree(), disk, 6 * kMiB + page * 4096, bytes);
  }
  const auto outcome = engine_->commit("vm");
  ASSERT_OK(outcome);
  EXPECT_EQ(outcome->job.state, JobState::completed_with_warnings);
  Bytes out(4096);
  ASSERT_OK(tree().read(disk, 6 * kMiB + 8192, out));
  EXPECT_TRUE(bytes_equal(out, ByteView(expected).subspan(6 * kMiB + 8192, 4096)));
  Bytes whole(kMiB);
  EXPECT_FALSE(tree().read(disk, 6 * kMiB, whole).ok()) << "what was not written is lost";
  // And whole again with what the disk had.
  ASSERT_OK(backup("original"));
  EXPECT_TRUE(bytes_equal(tree_bytes(tree(), disk), expected));
}

// A patch has another id than the whole chunk that a backup brings: it is made anew of that.
TEST_F(DamageHealsTest, APatchHealsByTheWholeContent) {
  Bytes expected = disk_;
  const ChunkId patch = patched(3, expected);
  ASSERT_NO_FATAL_FAILURE(damage_at(patch, 2 * 4096));
  EXPECT_FALSE(verify_is_clean());
  write_file(image(), expected);
  const auto outcome = backup("elsewhere");
  ASSERT_OK(outcome);
  EXPECT_EQ(outcome->commit.job.state, JobState::completed);
  EXPECT_EQ(outcome->commit.healed.chunks, 1U);
  EXPECT_EQ(outcome->commit.healed.points, 1U);
  EXPECT_TRUE(verify_is_clean());
  EXPECT_EQ(vault().catalogue().damage_count(), 0U);
  EXPECT_TRUE(vault().segments().read_verified(RecordType::chunk, patch).ok());
  // By now a point has the content: what is found damaged is healed at once.
  ASSERT_OK(vault().segments().close_segment());
  const ChunkPlace place = *vault().segments().place_of(ChunkIndex::key_of(patch));
  patch_file(vault_path() / closed_segment_name(place.segment), place.offset + 5000, random_bytes(8, 1000));
  const auto examined = vault().examine_damage({place.segment});
  ASSERT_OK(examined);
  EXPECT_EQ(examined->found, 1U);
  EXPECT_EQ(examined->healed.chunks, 1U);
  EXPECT_TRUE(verify_is_clean());
}

// Other content than it had, or a patch that does not say any more what it replaced: it stays lost, and that is said.
TEST_F(DamageHealsTest, APatchThatCanNotBeMadeAnewStaysKnown) {
  Bytes expected = disk_;
  const ChunkId patch = patched(3, expected);
  ASSERT_NO_FATAL_FAILURE(damage_at(patch, 2 * 4096));
  const auto other = backup("vm");  // the disk of before
  ASSERT_OK(other);
  EXPECT_EQ(other->commit.healed.chunks, 0U);
  EXPECT_EQ(other->commit.job.state, JobState::completed) << "the new point is whole";
  EXPECT_EQ(vault().catalogue().damage_count(), 1U);
  EXPECT_FALSE(verify_is_clean());
  ASSERT_NO_FATAL_FAILURE(damage_at(patch, kPatchHeaderAt));
  ASSERT_NO_FATAL_FAILURE(reopen());
  write_file(image(), expected);
  ASSERT_OK(backup("vm"));
  EXPECT_FALSE(verify_is_clean());
  EXPECT_EQ(vault().catalogue().damage_count(), 1U);
}

// A virtual machine goes on writing over a patch that is lost.
TEST_F(DamageHealsTest, PagesOverALostPatchKeepTheItemFromNothing) {
  Bytes expected = disk_;
  const ChunkId patch = patched(3, expected);
  ASSERT_NO_FATAL_FAILURE(damage_at(patch, kPatchHeaderAt));
  ASSERT_NO_FATAL_FAILURE(reopen());  // its header is known in memory
  const InodeNumber disk = tree_file(tree(), "vm", "disk");
  for (int round = 0; round < 2; ++round) {
    const Bytes bytes = random_bytes(50 + static_cast<std::uint64_t>(round), 4096);
    tree_write(tree(), disk, 3 * kMiB + (200 + 2 * static_cast<std::uint64_t>(round)) * 4096, bytes);
    const auto outcome = engine_->commit("vm");
    ASSERT_OK(outcome);
    EXPECT_EQ(outcome->job.state, JobState::completed_with_warnings);
    for (int written = 0; written <= round; ++written) {
      Bytes out(4096);
      ASSERT_OK(tree().read(disk, 3 * kMiB + (200 + 2 * static_cast<std::uint64_t>(written)) * 4096, out));
      EXPECT_TRUE(bytes_equal(out, random_bytes(50 + static_cast<std::uint64_t>(written), 4096)));
    }
    Bytes whole(kMiB);
    EXPECT_FALSE(tree().read(disk, 3 * kMiB, whole).ok()) << "what was not written is lost";
    EXPECT_FALSE(verify_is_clean());
  }
  // A copy by reference does not spread it.
  const auto handle = tree().open(tree_file(tree(), "vm", "copy"), true);
  ASSERT_OK(handle);
  EXPECT_FALSE(tree().copy_range(tree(), {disk, 3 * kMiB}, {tree_file(tree(), "vm", "copy"), 0}, *handle, kMiB).ok());
  tree().release(*handle);
  // And whole again with the next backup of the disk.
  ASSERT_OK(backup("vm"));
  EXPECT_TRUE(bytes_equal(tree_bytes(tree(), tree_file(tree(), "vm", "disk")), disk_));
  EXPECT_EQ(last_job(), JobState::completed);
}

TEST_F(DamageHealsTest, ACopyByReferenceDoesNotSpreadIt) {
  ASSERT_NO_FATAL_FAILURE(damage(chunks_[0]));
  const InodeNumber from = tree_file(tree(), "vm", "disk");
  const InodeNumber to = tree_file(tree(), "vm", "copy");
  const auto handle = tree().open(to, true);
  ASSERT_OK(handle);
  EXPECT_FALSE(tree().copy_range(tree(), {from, 0}, {to, 0}, *handle, kMiB).ok());
  const auto rest = tree().copy_range(tree(), {from, kMiB}, {to, kMiB}, *handle, 3 * kMiB);
  ASSERT_OK(rest);
  EXPECT_EQ(*rest, 3 * kMiB);
  tree().release(*handle);
}

// What nobody refers to any more goes with its segment, and is forgotten then.
TEST_F(DamageHealsTest, DamageOfWhatIsGoneIsForgotten) {
  const Bytes bytes = random_bytes(5, kMiB);
  const InodeNumber file = tree_file(tree(), "draft", "file");
  tree_write(tree(), file, 0, bytes);
  ASSERT_OK(tree().checkpoint());
  const ChunkId id = test_id_of(bytes);
  ASSERT_TRUE(vault().segments().place_of(ChunkIndex::key_of(id)).has_value());
  ASSERT_NO_FATAL_FAILURE(damage(id));
  const auto segment = vault_path() / closed_segment_name(*vault().segments().segment_of(id));
  tree_write(tree(), file, 0, random_bytes(6, kMiB));
  ASSERT_OK(tree().checkpoint());
  Compactor compactor(vault(), tree());
  const auto compacted = compactor.compact_now();
  ASSERT_OK(compacted);
  EXPECT_TRUE(*compacted);
  EXPECT_FALSE(std::filesystem::exists(segment));
  EXPECT_EQ(vault().catalogue().damage_count(), 0U);
  EXPECT_TRUE(verify_is_clean());
}

TEST_F(DamageHealsTest, VerifyNamesStretchesOfTheWorkingTree) {
  ASSERT_NO_FATAL_FAILURE(damage(chunks_[7]));
  ASSERT_NO_FATAL_FAILURE(damage(chunks_[8]));
  const auto report = verify_vault(env_, vault_path(), &vault(), {}, [this](const auto& look, const auto& tell) {
    return look_through_tree(tree(), look, tell);
  });
  ASSERT_OK(report);
  std::vector<Damage> losses = report->damage;
  std::erase_if(losses, [](const Damage& found) { return found.bytes == 0; });
  ASSERT_EQ(losses.size(), 2U);
  for (const Damage& loss : losses) {
    EXPECT_EQ(loss.item, "vm");
    EXPECT_EQ(loss.disk, "disk");
    EXPECT_EQ(loss.offset, 7 * kMiB);
    EXPECT_EQ(loss.bytes, 2 * kMiB);
  }
  EXPECT_EQ(losses[0].point, vault().catalogue().points().front().id());
  EXPECT_EQ(losses[1].point, "") << "the working tree";
}

}  // namespace
}  // namespace vaultfs
