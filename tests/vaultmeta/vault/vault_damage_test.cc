// What a vault remembers of damage, through the real store, catalogue and journal.
#include <algorithm>

#include "store/index/segment_format.h"
#include "tests/vaultmeta/vault/vault_world.h"

namespace vaultfs {
namespace {

class VaultDamageTest : public testing::Test {
 protected:
  void SetUp() override {
    ASSERT_OK(world_.create());
    ASSERT_OK(world_.open());
    ASSERT_OK(world_.back_up("vm1", "one"));
    ASSERT_OK(world_.back_up("vm2", "two"));
    const Manifest manifest = *world_.vault->load_manifest(world_.vault->catalogue().points().front());
    page_ = manifest.inodes.at(2).pages.at(0);
    segment_ = *world_.vault->segments().segment_of(page_);
    ASSERT_OK(world_.close());
  }

  Catalogue& catalogue() { return world_.vault->catalogue(); }
  SegmentStore& segments() { return world_.vault->segments(); }
  [[nodiscard]] Env::Path path() const { return "/vault/" + closed_segment_name(segment_); }
  // Of the text "one", at its end.
  void damage_small_chunk() {
    ASSERT_OK(world_.open_read_only());
    const ChunkId id = world_.vault->load_manifest(catalogue().points().front())->inodes.at(1).chunks.at(0);
    const auto place = *segments().place_of(ChunkIndex::key_of(id));
    world_.close_without_a_word();
    world_.env.flip_bit(path(), 8 * (place.offset + 93));
  }
  VerifyReport verify() {
    EXPECT_TRUE(world_.open_read_only().ok());
    auto report = verify_vault(world_.env, "/vault", world_.vault.get(), {});
    EXPECT_TRUE(report.ok());
    world_.close_without_a_word();
    return report.ok() ? std::move(*report) : VerifyReport{};
  }
  // What it says is lost: file and message of each.
  Texts keyless_damage() {
    const auto report = verify_vault(world_.env, "/vault", nullptr, {});
    EXPECT_TRUE(report.ok());
    Texts told;
    for (const Damage& found : report->damage) told.push_back(found.file + ": " + found.error.message);
    return told;
  }
  JobState last_job() { return catalogue().jobs().back().state; }

  VaultWorld world_;
  ChunkId page_;
  ContainerNumber segment_;
};

TEST_F(VaultDamageTest, IsRememberedOverCrashesAndOpeningsWithoutAnIndex) {
  ASSERT_NO_FATAL_FAILURE(damage_small_chunk());
  const VerifyReport report = verify();
  ASSERT_EQ(report.damaged_segments, std::set<ContainerNumber>{segment_});
  ASSERT_OK(world_.open());
  ASSERT_EQ(catalogue().damage_count(), 0U);
  const auto examined = world_.vault->examine_damage(report.damaged_segments);
  ASSERT_OK(examined);
  EXPECT_EQ(examined->found, 1U);
  EXPECT_EQ(examined->known, 1U);
  EXPECT_EQ(world_.vault->examine_damage(report.damaged_segments)->found, 0U);
  world_.close_without_a_word();
  world_.env.crash(1, CrashMode::drop_all_unsynced);
  ASSERT_OK(world_.open());
  EXPECT_EQ(catalogue().damage_count(), 1U);
  ASSERT_OK(world_.close());
  for (const Env::Path& file : world_.env.files("/vault/index")) world_.env.remove(file);
  ASSERT_OK(world_.open());
  ASSERT_EQ(catalogue().damage_count(), 1U);
  const KnownDamage known = catalogue().damage().front();
  EXPECT_EQ(known.chunk.segment, segment_);
  EXPECT_TRUE(segments().place_of(known.chunk.key)->damaged);
}

TEST_F(VaultDamageTest, TheSameContentHealsAllPointsAndVerifyIsClean) {
  ASSERT_NO_FATAL_FAILURE(damage_small_chunk());
  VerifyReport report = verify();
  ASSERT_FALSE(report.damage.empty());
  EXPECT_FALSE(keyless_damage().empty());
  const auto named = std::ranges::find_if(report.damage, [](const Damage& d) { return d.bytes > 0; });
  ASSERT_NE(named, report.damage.end());
  EXPECT_EQ(named->item, "vm1");
  EXPECT_EQ(named->disk, "small");
  EXPECT_EQ(named->offset, 0U);
  EXPECT_EQ(named->bytes, 3U);
  EXPECT_TRUE(std::ranges::none_of(report.damage, [](const Damage& d) { return d.item == "vm2"; }));
  ASSERT_OK(world_.open());
  ASSERT_OK(world_.vault->examine_damage(report.damaged_segments));
  EXPECT_EQ(world_.vault->known_damage_of_item("vm1")->size(), 1U);
  EXPECT_TRUE(world_.vault->known_damage_of_item("vm2")->empty());
  // Under another item's name.
  ASSERT_OK(world_.back_up("vm3", "one"));
  EXPECT_EQ(last_job(), JobState::completed);
  const auto healed = world_.vault->record_healed(nullptr);
  ASSERT_OK(healed);
  EXPECT_EQ(healed->chunks, 1U);
  EXPECT_EQ(healed->points, 2U);
  EXPECT_EQ(catalogue().damage_count(), 0U);
  EXPECT_EQ(world_.points(), (Texts{"vm1=one", "vm2=two", "vm3=one"}));
  ASSERT_OK(world_.close());
  report = verify();
  EXPECT_TRUE(report.damage.empty()) << report.damage.front().error.message;
  EXPECT_FALSE(report.notes.empty()) << "the old record is there still";
  EXPECT_EQ(keyless_damage(), Texts());
}

TEST_F(VaultDamageTest, ACrashBeforeTheHealingIsDurableForgetsNothing) {
  ASSERT_NO_FATAL_FAILURE(damage_small_chunk());
  ASSERT_OK(world_.open());
  ASSERT_OK(world_.vault->examine_damage({segment_}));
  ASSERT_OK(segments().put(RecordType::chunk, bytes_of("one")));
  world_.close_without_a_word();
  world_.env.crash(1, CrashMode::drop_all_unsynced);
  ASSERT_OK(world_.open());
  EXPECT_EQ(catalogue().damage_count(), 1U);
  EXPECT_EQ(world_.vault->record_healed(nullptr)->chunks, 0U);
  const auto put = segments().put(RecordType::chunk, bytes_of("one"));
  ASSERT_OK(put);
  EXPECT_TRUE(put->stored);
}

// Both with an index that tells what was there and without one.
TEST_F(VaultDamageTest, AMissingSegmentBlocksNoPointAndItsJobEndsWithWarnings) {
  const VaultWorld::Files whole = world_.files();
  const VaultWorld::Files home = world_.files("/home");
  for (const bool with_index : {true, false}) {
    world_.put_back(whole);
    world_.put_back(home, "/home");
    world_.env.remove(path());
    if (!with_index) {
      for (const Env::Path& file : world_.env.files("/vault/index")) world_.env.remove(file);
    }
    ASSERT_OK(world_.open());
    ASSERT_OK(world_.vault->examine_damage({segment_}));
    // What a lost map page lists is not known without an index.
    EXPECT_EQ(catalogue().damage_count(), with_index ? 3U : 2U) << "index: " << with_index;
    ASSERT_OK(world_.back_up("vm2", "three"));
    EXPECT_EQ(last_job(), JobState::completed);
    // A point that refers to what is gone.
    const Manifest lost = *world_.vault->load_manifest(catalogue().points().front());
    const auto job = world_.vault->begin_job(JobKind::backup, "vm1");
    ASSERT_OK(job);
    ASSERT_OK(world_.write("vm1=one"));
    PointInfo point;
    point.item = "vm1";
    point.cut = world_.vault->journal().last_appended().next();
    Manifest manifest;
    manifest.root = lost.root;
    manifest.inodes = lost.inodes;
    ASSERT_OK(world_.vault->publish_point(std::move(manifest), point, *job));
    EXPECT_EQ(last_job(), JobState::completed_with_warnings);
    EXPECT_NE(catalogue().jobs().back().detail.find("bytes can't be read, first of"), std::string::npos)
        << catalogue().jobs().back().detail;
    EXPECT_FALSE(catalogue().item("vm1")->interrupted);
    // The content comes back.
    ASSERT_OK(world_.back_up("vm1", "one"));
    EXPECT_EQ(last_job(), JobState::completed);
    const auto healed = world_.vault->record_healed(nullptr);
    ASSERT_OK(healed);
    EXPECT_EQ(healed->chunks, with_index ? 3U : 2U);
    EXPECT_EQ(healed->points, 3U);
    for (const std::string& content : world_.points()) EXPECT_EQ(content.find("Missing"), std::string::npos) << content;
    // The points list the segments that they need now; compaction takes the former manifests away.
    EXPECT_FALSE(catalogue().superseded().empty());
    ASSERT_OK(world_.vault->forget_superseded(UnixNanos{1}));
    ASSERT_OK(world_.close());
    EXPECT_EQ(keyless_damage(), Texts());
    const VerifyReport report = verify();
    EXPECT_TRUE(report.damage.empty()) << report.damage.front().file << ": " << report.damage.front().error.message;
  }
}

// On a machine that takes what is there, a point counts by what can be read, not by the files that it had.
TEST_F(VaultDamageTest, AHealedPointIsNotIncompleteForTheSegmentThatItLost) {
  world_.env.remove(path());
  ASSERT_OK(world_.open_read_only(true));
  EXPECT_EQ(world_.points(), (Texts{"vm1=SegmentMissing", "vm2=two"}));
  ASSERT_OK(world_.open());
  ASSERT_OK(world_.back_up("vm3", "one"));
  ASSERT_OK(world_.vault->record_healed(nullptr));
  ASSERT_OK(world_.close());
  ASSERT_OK(world_.open_read_only(true));
  EXPECT_EQ(world_.points(), (Texts{"vm1=one", "vm2=two", "vm3=one"}));
}

TEST_F(VaultDamageTest, AnOpeningRemembersAMissingSegment) {
  const VaultWorld::Files whole = world_.files();
  const VaultWorld::Files home = world_.files("/home");
  for (const bool with_index : {true, false}) {
    world_.put_back(whole);
    world_.put_back(home, "/home");
    world_.env.remove(path());
    if (!with_index) {
      for (const Env::Path& file : world_.env.files("/vault/index")) world_.env.remove(file);
    }
    ASSERT_OK(world_.open());
    // What a lost map page lists is not known without an index.
    EXPECT_EQ(catalogue().damage_count(), with_index ? 3U : 2U) << "index: " << with_index;
    world_.close_without_a_word();
  }
}

TEST_F(VaultDamageTest, AWarnedJobDoesNotFeedTheRotationRule) {
  ASSERT_NO_FATAL_FAILURE(damage_small_chunk());
  ASSERT_OK(world_.open());
  ASSERT_OK(world_.vault->examine_damage({segment_}));
  auto job = world_.vault->begin_job(JobKind::backup, "vm1");
  ASSERT_OK(job);
  job->state = JobState::completed_with_warnings;
  ASSERT_OK(world_.vault->finish_job(*job, std::nullopt));
  EXPECT_EQ(last_job(), JobState::completed_with_warnings);
  EXPECT_FALSE(catalogue().item("vm1")->interrupted) << "the work was done";
  ASSERT_OK(world_.close());
  ASSERT_OK(world_.open());
  EXPECT_EQ(last_job(), JobState::completed_with_warnings);
}

TEST_F(VaultDamageTest, ADiskThatIsAwayIsNeverRemembered) {
  ASSERT_OK(world_.open());
  world_.env.fail_reads(path());
  EXPECT_FALSE(world_.vault->examine_damage({segment_}).ok());
  EXPECT_FALSE(segments().read_verified(RecordType::map_page, page_).ok());
  ASSERT_OK(world_.vault->remember_damage());
  EXPECT_EQ(catalogue().damage_count(), 0U);
  world_.env.clear_faults();
  // Nor what no segment is found to have, as long as one could not be looked at.
  world_.close_without_a_word();
  for (const Env::Path& file : world_.env.files("/vault/index")) world_.env.remove(file);
  world_.env.fail_reads(path());
  ASSERT_OK(world_.open());
  EXPECT_FALSE(segments().contains(page_));
  ASSERT_OK(world_.vault->examine_damage({}));
  EXPECT_EQ(catalogue().damage_count(), 0U);
}

TEST_F(VaultDamageTest, AReaderRemembersNothing) {
  ASSERT_NO_FATAL_FAILURE(damage_small_chunk());
  ASSERT_OK(world_.open_read_only());
  EXPECT_EQ(
      code_of(world_.vault->examine_damage({segment_}).ok() ? ok_status() : Status(Error{ErrorCode::ReadOnly, ""})),
      ErrorCode::ReadOnly);
  ASSERT_OK(world_.vault->remember_damage());
  EXPECT_EQ(world_.vault->record_healed(nullptr)->chunks, 0U);
}

}  // namespace
}  // namespace vaultfs
