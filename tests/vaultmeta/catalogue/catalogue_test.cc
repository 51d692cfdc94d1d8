#include "vaultmeta/catalogue/catalogue.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "base/byte_codec.h"
#include "tests/vaultmeta/stored_form_checks.h"

namespace vaultfs {
namespace {

PointInfo a_point(std::uint64_t number, const std::string& item) {
  PointInfo point;
  point.number = PointNumber(number);
  point.item = item;
  point.created = UnixNanos{1'795'306'500'123'456'789};  // 2026-11-22T00:15:00Z
  point.cut = Lsn(7 * number);
  point.manifest.mutable_view()[3] = std::byte{9};
  point.manifest_bytes = 4711;
  point.automatic = true;
  point.crash_consistent = true;
  point.logical_bytes = 1ULL << 40;
  point.files = 3;
  return point;
}

JobInfo a_job(std::uint64_t number, JobState state) {
  JobInfo job;
  job.number = JobNumber(number);
  job.state = state;
  job.item = "vm1";
  job.begun = Lsn(5);
  job.started = UnixNanos{1};
  job.ended = UnixNanos{state == JobState::in_progress ? 0 : 2};
  job.point = PointNumber(state == JobState::completed ? 1 : 0);
  job.logical_bytes = 10;
  job.stored_bytes = 4;
  job.detail = "detail";
  return job;
}

KnownDamage some_damage(std::uint16_t number) {
  KnownDamage damage;
  damage.chunk.key[0] = static_cast<std::byte>(number & 0xffU);
  damage.chunk.key[1] = static_cast<std::byte>(number >> 8U);
  damage.chunk.type = RecordType::patch;
  damage.chunk.segment = ContainerNumber(number);
  damage.since = UnixNanos{number};
  return damage;
}

Bytes joined(const Bytes& a, const Bytes& b) {
  Bytes both = a;
  both.insert(both.end(), b.begin(), b.end());
  return both;
}

TEST(Catalogue, IdOfAPointSortsByAgeAndTellsItsTimeInUtc) {
  EXPECT_EQ(a_point(42, "vm1").id(), "000042-20261122T001500Z");
  EXPECT_LT(a_point(9, "vm1").id(), a_point(10, "vm1").id());
}

TEST(Catalogue, EntriesRebuildTheSameState) {
  Catalogue original;
  std::vector<Bytes> entries;
  entries.push_back(original.put(ItemInfo{"vm1", UnixNanos{5}, true}));
  entries.push_back(original.put(a_job(1, JobState::in_progress)));
  entries.push_back(joined(original.put(a_point(1, "vm1")), original.put(a_job(1, JobState::completed))));
  entries.push_back(original.put(a_point(2, "vm1")));
  entries.push_back(original.remove_point(PointNumber(1)));
  Catalogue replayed;
  for (const Bytes& entry : entries) ASSERT_TRUE(replayed.apply(entry).ok());
  EXPECT_EQ(replayed.encode(), original.encode());
  // Twice is harmless.
  for (const Bytes& entry : entries) ASSERT_TRUE(replayed.apply(entry).ok());
  EXPECT_EQ(replayed.encode(), original.encode());
  ASSERT_EQ(replayed.points().size(), 1U);
  EXPECT_EQ(replayed.points().front().logical_bytes, 1ULL << 40);
  EXPECT_TRUE(replayed.points().front().crash_consistent);
  EXPECT_TRUE(replayed.item("vm1")->interrupted);
  EXPECT_EQ(replayed.job(JobNumber(1))->state, JobState::completed);
  EXPECT_EQ(replayed.job(JobNumber(1))->detail, "detail");
}

TEST(Catalogue, NumbersAreNeverGivenTwice) {
  Catalogue catalogue;
  EXPECT_EQ(catalogue.take_point_number(), PointNumber(1));
  EXPECT_EQ(catalogue.take_point_number(), PointNumber(2));
  catalogue.reserve_point_number(PointNumber(7));
  EXPECT_EQ(catalogue.take_point_number(), PointNumber(8));
  catalogue.reserve_point_number(PointNumber(3));
  EXPECT_EQ(catalogue.take_point_number(), PointNumber(9));
  EXPECT_EQ(catalogue.take_job_number(), JobNumber(1));
  // A removed point's number stays used, also after a replay of the removal alone.
  Catalogue other;
  Catalogue replayed;
  ASSERT_TRUE(replayed.apply(other.remove_point(PointNumber(12))).ok());
  EXPECT_EQ(replayed.take_point_number(), PointNumber(13));
  Catalogue loaded;
  ASSERT_TRUE(loaded.load(catalogue.encode()).ok());
  EXPECT_EQ(loaded.take_point_number(), PointNumber(10));
  EXPECT_EQ(loaded.take_job_number(), JobNumber(2));
}

TEST(Catalogue, FindsPointsByIdByNumberAndTheNewest) {
  Catalogue catalogue;
  EXPECT_EQ(catalogue.find_point("vm1", "").code(), ErrorCode::ItemNotFound);
  static_cast<void>(catalogue.put(ItemInfo{"vm1", UnixNanos{5}, false}));
  EXPECT_EQ(catalogue.find_point("vm1", "").code(), ErrorCode::RecoveryPointNotFound);
  static_cast<void>(catalogue.put(a_point(4, "vm1")));
  static_cast<void>(catalogue.put(a_point(5, "other")));
  static_cast<void>(catalogue.put(a_point(6, "vm1")));
  EXPECT_EQ(catalogue.find_point("vm1", "")->number, PointNumber(6));
  EXPECT_EQ(catalogue.find_point("vm1", "4")->number, PointNumber(4));
  EXPECT_EQ(catalogue.find_point("vm1", "000004")->number, PointNumber(4));
  EXPECT_EQ(catalogue.find_point("vm1", a_point(4, "vm1").id())->number, PointNumber(4));
  EXPECT_EQ(catalogue.find_point("vm1", "5").code(), ErrorCode::RecoveryPointNotFound);
  EXPECT_EQ(catalogue.find_point("vm1", "4x").code(), ErrorCode::RecoveryPointNotFound);
  EXPECT_EQ(catalogue.find_point("vm1", "99999999999999999999").code(), ErrorCode::RecoveryPointNotFound);
}

TEST(Catalogue, KeepsTheNewestEndedJobsAndEveryUnfinishedOne) {
  Catalogue catalogue;
  static_cast<void>(catalogue.put(a_job(1, JobState::in_progress)));
  const std::uint64_t last = Catalogue::kMaxEndedJobs + 11;
  for (std::uint64_t n = 2; n <= last; ++n) static_cast<void>(catalogue.put(a_job(n, JobState::failed)));
  const auto jobs = catalogue.jobs();
  ASSERT_EQ(jobs.size(), Catalogue::kMaxEndedJobs + 1);
  EXPECT_EQ(jobs[0].number, JobNumber(1));
  EXPECT_EQ(jobs[1].number, JobNumber(last - Catalogue::kMaxEndedJobs + 1));
  EXPECT_EQ(jobs.back().number, JobNumber(last));
  Catalogue loaded;
  ASSERT_TRUE(loaded.load(catalogue.encode()).ok());
  EXPECT_EQ(loaded.encode(), catalogue.encode());
}

TEST(Catalogue, CutsAnOverlongDetail) {
  Catalogue catalogue;
  JobInfo job = a_job(1, JobState::failed);
  job.detail = std::string(5000, 'x');
  Catalogue replayed;
  ASSERT_TRUE(replayed.apply(catalogue.put(job)).ok());
  EXPECT_EQ(replayed.job(JobNumber(1))->detail, std::string(1024, 'x'));
}

TEST(Catalogue, ABadEntryChangesNothing) {
  Catalogue source;
  const Bytes good = source.put(a_point(1, "vm1"));
  const Bytes section = source.encode();
  Catalogue catalogue;
  Bytes bad = joined(good, good);
  bad.pop_back();
  EXPECT_EQ(catalogue.apply(bad).code(), ErrorCode::JournalDamaged);
  EXPECT_EQ(catalogue.apply({}).code(), ErrorCode::JournalDamaged);
  EXPECT_TRUE(catalogue.points().empty());
  ASSERT_TRUE(catalogue.apply(good).ok());
  EXPECT_EQ(catalogue.load(ByteView(section).first(section.size() - 1)).code(), ErrorCode::DamagedCheckpoint);
  EXPECT_EQ(catalogue.points().size(), 1U);
}

TEST(Catalogue, AnEntryMayChangeNothing) {
  Catalogue catalogue;
  ASSERT_TRUE(catalogue.apply(Catalogue::no_change()).ok());
  EXPECT_EQ(catalogue.encode(), Catalogue().encode());
  (void)catalogue.put(a_point(7, "vm1"));
  const Bytes before = catalogue.encode();
  ASSERT_TRUE(catalogue.apply(Catalogue::no_change()).ok());
  EXPECT_EQ(catalogue.encode(), before);
}

TEST(Catalogue, StoredFormOfEachChange) {
  Catalogue source;
  const std::vector<Bytes> entries{source.put(ItemInfo{"vm1", UnixNanos{5}, true}),
                                   source.put(a_point(3, "vm1")),
                                   source.put(a_job(2, JobState::completed)),
                                   source.remove_point(PointNumber(3)),
                                   source.put(SupersededManifest{PointNumber(4), PointNumber(3), UnixNanos{5}}),
                                   source.set_reencrypting(true),
                                   source.put(a_job(5, JobState::completed_with_warnings)),
                                   source.put({some_damage(1), some_damage(2)}),
                                   source.remove_damage({some_damage(1).chunk.key})};
  for (const Bytes& entry : entries) {
    for (std::size_t size = 0; size < entry.size(); ++size) {
      Catalogue catalogue;
      EXPECT_EQ(catalogue.apply(ByteView(entry).first(size)).code(), ErrorCode::JournalDamaged) << size;
    }
    for (std::size_t bit = 0; bit < entry.size() * 8; ++bit) {
      Bytes flipped = entry;
      flipped[bit / 8] ^= static_cast<std::byte>(1U << (bit % 8));
      Catalogue catalogue;
      const Status applied = catalogue.apply(flipped);
      // Whatever was taken can be stored and loaded again.
      Catalogue loaded;
      EXPECT_TRUE(loaded.load(catalogue.encode()).ok()) << "bit " << bit;
      const bool known_code = !applied.ok() && (applied.code() == ErrorCode::JournalDamaged ||
                                                applied.code() == ErrorCode::UnsupportedFormat);  // of another kind
      EXPECT_TRUE(applied.ok() || known_code) << "bit " << bit;
    }
  }
}

// What a newer program says of a vault is told from damage, and nothing of the entry is taken.
TEST(Catalogue, AChangeOfAnUnknownKindIsNoDamage) {
  Catalogue source;
  Bytes entry = source.put(ItemInfo{"vm1", UnixNanos{5}, false});
  append(entry, source.set_reencrypting(true));
  ByteWriter later;
  later.u8(0x80 | 0x7f);
  later.text("of a newer program");
  append(entry, later.view());
  Catalogue catalogue;
  const Status applied = catalogue.apply(entry);
  ASSERT_FALSE(applied.ok());
  EXPECT_EQ(applied.code(), ErrorCode::UnsupportedFormat);
  EXPECT_NE(applied.error().message.find("kind 127"), std::string::npos);
  EXPECT_TRUE(catalogue.items().empty());
}

// The first versions wrote changes without a length.
TEST(Catalogue, ReadsChangesWithoutALength) {
  ByteWriter entry;
  entry.u8(1);
  entry.text("vm1");
  entry.i64(5);
  entry.boolean(true);
  entry.u8(7);
  entry.boolean(true);
  Catalogue catalogue;
  ASSERT_TRUE(catalogue.apply(entry.view()).ok());
  EXPECT_EQ(catalogue.items().size(), 1U);
  EXPECT_TRUE(catalogue.reencrypting());
}

TEST(Catalogue, TheDigestOfThePointsChangesWithEachOfThem) {
  Catalogue catalogue;
  std::vector<Digest> seen{catalogue.points_digest()};
  const auto expect_new = [&](const char* what) {
    const Digest now = catalogue.points_digest();
    EXPECT_EQ(std::count(seen.begin(), seen.end(), now), 0) << what;
    seen.push_back(now);
  };
  static_cast<void>(catalogue.put(a_point(1, "vm1")));
  expect_new("a point");
  static_cast<void>(catalogue.put(a_point(2, "vm1")));
  expect_new("another");
  PointInfo changed = a_point(2, "vm1");
  changed.manifest.mutable_view()[7] ^= std::byte{1};
  static_cast<void>(catalogue.put(changed));
  expect_new("another manifest");
  changed.file = PointNumber(3);
  static_cast<void>(catalogue.put(changed));
  expect_new("in another file");
  static_cast<void>(catalogue.put(a_point(2, "vm1")));
  static_cast<void>(catalogue.put(a_job(2, JobState::completed)));
  EXPECT_EQ(catalogue.points_digest(), seen[2]) << "jobs are no points";
}

TEST(Catalogue, ManifestsThatWereWrittenAnewSurviveJournalAndCheckpoint) {
  Catalogue original;
  std::vector<Bytes> entries;
  entries.push_back(original.put(a_point(1, "vm1")));
  PointInfo renewed = a_point(1, "vm1");
  EXPECT_EQ(renewed.manifest_file(), PointNumber(1));
  renewed.file = original.take_point_number();
  EXPECT_EQ(renewed.manifest_file(), PointNumber(2));
  entries.push_back(
      joined(original.put(renewed), original.put(SupersededManifest{PointNumber(1), PointNumber(1), UnixNanos{77}})));
  entries.push_back(original.set_reencrypting(true));
  Catalogue replayed;
  for (const Bytes& entry : entries) ASSERT_TRUE(replayed.apply(entry).ok());
  Catalogue loaded;
  ASSERT_TRUE(loaded.load(original.encode()).ok());
  for (const Catalogue* catalogue : {&original, &replayed, &loaded}) {
    ASSERT_TRUE(catalogue->point(PointNumber(1)).has_value());
    EXPECT_EQ(catalogue->point(PointNumber(1))->file, PointNumber(2));
    EXPECT_EQ(catalogue->point(PointNumber(1))->id(), a_point(1, "vm1").id());
    ASSERT_EQ(catalogue->superseded().size(), 1U);
    EXPECT_EQ(catalogue->superseded()[0].file, PointNumber(1));
    EXPECT_EQ(catalogue->superseded()[0].since.value, 77);
    EXPECT_TRUE(catalogue->reencrypting());
  }
  // The number of a file is never a point's.
  EXPECT_EQ(replayed.take_point_number(), PointNumber(3));
  ASSERT_TRUE(loaded
                  .apply(joined(loaded.put(SupersededManifest{PointNumber(1), PointNumber(1), UnixNanos{0}}),
                                loaded.set_reencrypting(false)))
                  .ok());
  EXPECT_TRUE(loaded.superseded().empty());
  EXPECT_FALSE(loaded.reencrypting());
  // A point that says nothing else is in its own file again.
  ASSERT_TRUE(loaded.apply(loaded.put(a_point(1, "vm1"))).ok());
  EXPECT_EQ(loaded.point(PointNumber(1))->manifest_file(), PointNumber(1));
}

TEST(Catalogue, DamageSurvivesJournalAndCheckpoint) {
  Catalogue original;
  std::vector<KnownDamage> many;  // of several changes
  for (std::uint16_t n = 1; n <= 10'000; ++n) many.push_back(some_damage(n));
  std::vector<Bytes> entries{original.put(many)};
  EXPECT_LT(entries.front().size(), std::size_t{4} << 20U);
  KnownDamage again = some_damage(7);
  again.chunk.segment = ContainerNumber(99);
  entries.push_back(original.put(std::vector<KnownDamage>{again}));
  entries.push_back(original.remove_damage({some_damage(1).chunk.key, some_damage(2).chunk.key, ChunkIndex::Key{}}));
  Catalogue replayed;
  for (const Bytes& entry : entries) ASSERT_TRUE(replayed.apply(entry).ok());
  Catalogue loaded;
  ASSERT_TRUE(loaded.load(original.encode()).ok());
  for (const Catalogue* catalogue : {&original, &replayed, &loaded}) {
    ASSERT_EQ(catalogue->damage_count(), 9998U);
    EXPECT_FALSE(catalogue->knows_damage(some_damage(2).chunk.key));
    ASSERT_TRUE(catalogue->knows_damage(again.chunk.key));
    for (const KnownDamage& damage : catalogue->damage()) {
      if (damage.chunk.key != again.chunk.key) continue;
      EXPECT_EQ(damage.chunk, again.chunk);
      EXPECT_EQ(damage.since.value, 7);
    }
  }
  EXPECT_EQ(replayed.encode(), original.encode());
}

TEST(Catalogue, RefusesValuesOutOfRange) {
  Catalogue source;
  JobInfo job = a_job(1, JobState::failed);
  job.state = static_cast<JobState>(8);
  Catalogue catalogue;
  EXPECT_FALSE(catalogue.apply(source.put(job)).ok());
  job = a_job(1, JobState::failed);
  job.kind = static_cast<JobKind>(0);
  EXPECT_FALSE(catalogue.apply(source.put(job)).ok());
  job.kind = static_cast<JobKind>(5);
  EXPECT_FALSE(catalogue.apply(source.put(job)).ok());
  PointInfo backwards = a_point(3, "vm1");
  backwards.file = PointNumber(2);
  EXPECT_FALSE(catalogue.apply(source.put(backwards)).ok());
  EXPECT_FALSE(catalogue.apply(source.put(SupersededManifest{PointNumber(2), PointNumber(3), UnixNanos{1}})).ok());
  EXPECT_FALSE(catalogue.apply(source.put(a_point(0, "vm1"))).ok());
  EXPECT_FALSE(catalogue.apply(source.put(a_point(1, ""))).ok());
  EXPECT_FALSE(catalogue.apply(source.put(ItemInfo{std::string(256, 'a'), UnixNanos{}, false})).ok());
}

}  // namespace
}  // namespace vaultfs
