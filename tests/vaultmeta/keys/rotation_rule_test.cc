#include "vaultmeta/keys/rotation_rule.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace vaultfs {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

VersionRecord record(const std::string& version, std::uint64_t lsn = 0) {
  VersionRecord made;
  made.key_vault = "kv";
  made.key = "kek";
  made.version = version;
  made.took_effect_lsn = Lsn(lsn);
  made.first_epoch = EpochNumber(1);
  return made;
}

RotationRule rule_with(std::initializer_list<std::pair<const char*, std::uint64_t>> versions) {
  RotationRule rule;
  for (const auto& [version, lsn] : versions) {
    if (rule.versions().empty()) {
      rule.start(record(version, lsn));
    } else {
      EXPECT_TRUE(rule.take_effect(record(version, lsn), RotationRule::Moment{UnixNanos{5}, Generation(5)}).ok());
    }
  }
  return rule;
}

VersionName named(const std::string& version) { return {version, "kv", "kek"}; }
const VersionRecord* find(const RotationRule& rule, const std::string& version) { return rule.find(named(version)); }
VersionRole role(const RotationRule& rule, const std::string& version) { return find(rule, version)->role; }

TEST(RotationRuleTest, TheFirstVersionIsActive) {
  const RotationRule rule = rule_with({{"v1", 0}});
  EXPECT_EQ(rule.active()->version, "v1");
  EXPECT_FALSE(rule.any_retiring());
}

TEST(RotationRuleTest, TakingEffectMakesTheOldOneRetiring) {
  const RotationRule rule = rule_with({{"v1", 0}, {"v2", 10}});
  EXPECT_EQ(rule.active()->version, "v2");
  EXPECT_EQ(role(rule, "v1"), VersionRole::retiring);
  EXPECT_EQ(find(rule, "v1")->role_since, UnixNanos{5});
  EXPECT_FALSE(find(rule, "v1")->waiting_for.empty());
}

TEST(RotationRuleTest, TheActiveOneCantTakeEffectAgain) {
  RotationRule rule = rule_with({{"v1", 0}});
  EXPECT_EQ(rule.take_effect(record("v1"), RotationRule::Moment{UnixNanos{1}, Generation(1)}).code(),
            ErrorCode::InvalidArgument);
  EXPECT_EQ(rule.versions().size(), 1U);
}

TEST(RotationRuleTest, AJobBegunBeforeTheSuccessorTookEffectDoesNotCount) {
  RotationRule rule = rule_with({{"v1", 0}, {"v2", 10}});
  EXPECT_FALSE(rule.job_completed(JobNumber(1), Lsn(9)));
  EXPECT_THAT(rule.awaiting_proof(), IsEmpty());
  EXPECT_THAT(rule.retire(RotationRule::Moment{UnixNanos{9}, Generation(9)}, EpochNumber(1)), IsEmpty());
  EXPECT_TRUE(rule.job_completed(JobNumber(2), Lsn(10)));
  EXPECT_THAT(rule.awaiting_proof(), ElementsAre(named("v1")));
  EXPECT_EQ(find(rule, "v1")->completed_by, JobNumber(2));
  EXPECT_FALSE(rule.job_completed(JobNumber(3), Lsn(11)));
}

TEST(RotationRuleTest, ABackupAloneRetiresNothing) {
  RotationRule rule = rule_with({{"v1", 0}, {"v2", 10}});
  ASSERT_TRUE(rule.job_completed(JobNumber(1), Lsn(10)));
  EXPECT_EQ(role(rule, "v1"), VersionRole::retiring);
  EXPECT_THAT(rule.retire(RotationRule::Moment{UnixNanos{9}, Generation(9)}, EpochNumber(4)), ElementsAre(named("v1")));
  EXPECT_EQ(role(rule, "v1"), VersionRole::retired);
  EXPECT_EQ(find(rule, "v1")->last_epoch, EpochNumber(4));
  EXPECT_EQ(find(rule, "v1")->role_since, UnixNanos{9});
}

TEST(RotationRuleTest, NoJobCountsBeforeTheEffectIsSettled) {
  RotationRule rule = rule_with({{"v1", 0}, {"v2", VersionRecord::kNotInEffect.value}});
  EXPECT_FALSE(rule.job_completed(JobNumber(1), Lsn(1'000'000)));
  EXPECT_TRUE(rule.record_effect(Lsn(20)));
  EXPECT_FALSE(rule.record_effect(Lsn(20)));
  EXPECT_FALSE(rule.job_completed(JobNumber(2), Lsn(19)));
  EXPECT_TRUE(rule.job_completed(JobNumber(3), Lsn(20)));
}

TEST(RotationRuleTest, OneJobRetiresWhatSeveralRotationsLeft) {
  RotationRule rule = rule_with({{"v1", 0}, {"v2", 10}, {"v3", 20}});
  ASSERT_TRUE(rule.job_completed(JobNumber(1), Lsn(25)));
  EXPECT_THAT(rule.retire(RotationRule::Moment{UnixNanos{9}, Generation(9)}, EpochNumber(1)),
              ElementsAre(named("v1"), named("v2")));
  EXPECT_FALSE(rule.any_retiring());
}

TEST(RotationRuleTest, AJobBetweenTwoRotationsRetiresTheOlderOnly) {
  RotationRule rule = rule_with({{"v1", 0}, {"v2", 10}, {"v3", 20}});
  ASSERT_TRUE(rule.job_completed(JobNumber(1), Lsn(15)));
  EXPECT_THAT(rule.retire(RotationRule::Moment{UnixNanos{9}, Generation(9)}, EpochNumber(1)), ElementsAre(named("v1")));
  EXPECT_EQ(role(rule, "v2"), VersionRole::retiring);
}

TEST(RotationRuleTest, DroppingNeedsNoBackup) {
  RotationRule rule = rule_with({{"v1", 0}, {"v2", 10}, {"v3", 20}});
  EXPECT_THAT(rule.drop_retiring(RotationRule::Moment{UnixNanos{9}, Generation(9)}, EpochNumber(2)),
              ElementsAre(named("v1"), named("v2")));
  EXPECT_EQ(role(rule, "v3"), VersionRole::active);
}

TEST(RotationRuleTest, AVersionThatComesBackGetsANewRecord) {
  RotationRule rule = rule_with({{"v1", 0}, {"v2", 10}});
  ASSERT_TRUE(rule.job_completed(JobNumber(1), Lsn(10)));
  ASSERT_THAT(rule.retire(RotationRule::Moment{UnixNanos{9}, Generation(9)}, EpochNumber(1)), ElementsAre(named("v1")));
  ASSERT_TRUE(rule.take_effect(record("v1", 30), RotationRule::Moment{UnixNanos{9}, Generation(9)}).ok());
  ASSERT_EQ(rule.versions().size(), 3U);
  EXPECT_EQ(rule.versions()[0].role, VersionRole::retired);
  EXPECT_EQ(rule.active()->version, "v1");
  EXPECT_EQ(role(rule, "v2"), VersionRole::retiring);
}

TEST(RotationRuleTest, ARetiringVersionThatComesBackIsNeededOnce) {
  RotationRule rule = rule_with({{"v1", 0}, {"v2", 10}, {"v1", 20}});
  ASSERT_EQ(rule.versions().size(), 2U);
  EXPECT_EQ(rule.active()->version, "v1");
  EXPECT_EQ(role(rule, "v2"), VersionRole::retiring);
}

TEST(RotationRuleTest, SeesARetiringVersionDisabledAndBack) {
  RotationRule rule = rule_with({{"v1", 0}, {"v2", 10}});
  EXPECT_FALSE(rule.observe(named("v1"), true));
  EXPECT_TRUE(rule.observe(named("v1"), false));
  EXPECT_TRUE(find(rule, "v1")->disabled_too_early);
  EXPECT_FALSE(rule.observe(named("v1"), false));
  EXPECT_TRUE(rule.observe(named("v1"), true));
  EXPECT_FALSE(rule.observe(named("v2"), false));  // the Active one is no business of this
}

TEST(RotationRuleTest, ADisabledRetiringVersionRetiresAllTheSame) {
  RotationRule rule = rule_with({{"v1", 0}, {"v2", 10}});
  ASSERT_TRUE(rule.observe(named("v1"), false));
  ASSERT_TRUE(rule.job_completed(JobNumber(1), Lsn(10)));
  EXPECT_THAT(rule.retire(RotationRule::Moment{UnixNanos{9}, Generation(9)}, EpochNumber(1)), ElementsAre(named("v1")));
  EXPECT_FALSE(find(rule, "v1")->disabled_too_early);
}

TEST(RotationRuleTest, RefusesMoreRetiringVersionsThanAKeyringHolds) {
  RotationRule rule = rule_with({{"v", 0}});
  for (std::size_t i = 0; i < RotationRule::kMaxRetiring; ++i) {
    ASSERT_TRUE(
        rule.take_effect(record("v" + std::to_string(i), i), RotationRule::Moment{UnixNanos{1}, Generation(1)}).ok());
  }
  EXPECT_EQ(rule.take_effect(record("one more", 1000), RotationRule::Moment{UnixNanos{1}, Generation(1)}).code(),
            ErrorCode::NotPermitted);
}

TEST(RotationRuleTest, ForgetsTheOldestRetiredBeyondTheLimit) {
  RotationRule rule = rule_with({{"v0", 0}});
  for (std::uint64_t i = 1; i < RotationRule::kMaxVersions + 5; ++i) {
    ASSERT_TRUE(
        rule.take_effect(record("v" + std::to_string(i), i), RotationRule::Moment{UnixNanos{1}, Generation(1)}).ok());
    ASSERT_TRUE(rule.job_completed(JobNumber(i), Lsn(i)));
    ASSERT_EQ(rule.retire(RotationRule::Moment{UnixNanos{1}, Generation(1)}, EpochNumber(i)).size(), 1U);
  }
  EXPECT_EQ(rule.versions().size(), RotationRule::kMaxVersions);
  EXPECT_EQ(find(rule, "v0"), nullptr);
}

TEST(RotationRuleTest, ComesBackFromItsStoredForm) {
  RotationRule rule = rule_with({{"v1", 0}, {"v2", 10}, {"v3", VersionRecord::kNotInEffect.value}});
  rule.set_waiting_for(named("v2"), std::string(500, 'x'));
  ASSERT_TRUE(rule.job_completed(JobNumber(7), Lsn(12)));
  ByteWriter writer;
  rule.encode(writer);
  ByteReader reader(writer.view());
  const RotationRule back = RotationRule::decode(reader);
  ASSERT_TRUE(reader.finish(ErrorCode::DamagedKeyring, "rule").ok());
  EXPECT_EQ(back.versions(), rule.versions());
}

TEST(RotationRuleTest, RefusesStoredFormsThatBreakTheRule) {
  const auto refuses = [](std::vector<VersionRecord> records) {
    // Encoded by hand, because the rule itself makes no such state.
    ByteWriter writer;
    writer.u32(static_cast<std::uint32_t>(records.size()));
    for (const VersionRecord& made : records) {
      RotationRule one;
      one.start(made);
      ByteWriter single;
      one.encode(single);
      Bytes bytes = to_bytes(single.view().subspan(4));
      bytes[3 * 4 + made.key_vault.size() + made.key.size() + made.version.size()] = static_cast<std::byte>(made.role);
      writer.raw(bytes);
    }
    ByteReader reader(writer.view());
    static_cast<void>(RotationRule::decode(reader));
    return !reader.finish(ErrorCode::DamagedKeyring, "rule").ok();
  };
  VersionRecord retiring = record("v1", 0);
  retiring.role = VersionRole::retiring;
  const VersionRecord active = record("v2", 10);
  EXPECT_FALSE(refuses({retiring, active}));
  EXPECT_TRUE(refuses({}));
  EXPECT_TRUE(refuses({retiring}));
  EXPECT_TRUE(refuses({active, retiring}));
  EXPECT_TRUE(refuses({active, record("v3", 20)}));
  EXPECT_TRUE(refuses({retiring, record("v2", 10), record("v3", 9)}));
  VersionRecord unordered = retiring;
  unordered.took_effect_lsn = Lsn(11);
  EXPECT_TRUE(refuses({unordered, active}));
  VersionRecord twice = retiring;
  twice.version = "v2";
  EXPECT_TRUE(refuses({twice, active}));
  twice.key = "another";
  EXPECT_FALSE(refuses({twice, active})) << "each key has its own v2";
}

// Where versions are numbered, each key has a version "1".
TEST(RotationRuleTest, AVersionIsTheOneOfItsKey) {
  RotationRule rule = rule_with({{"1", 0}});
  VersionRecord others = record("1", 10);
  others.key = "another";
  ASSERT_TRUE(rule.take_effect(others, RotationRule::Moment{UnixNanos{5}, Generation(5)}).ok());
  EXPECT_EQ(role(rule, "1"), VersionRole::retiring);
  EXPECT_EQ(rule.active()->key, "another");
  EXPECT_TRUE(rule.observe(named("1"), false));
  EXPECT_FALSE(rule.active()->disabled_too_early);
  VersionRecord third = record("1", 20);
  third.key = "third";
  ASSERT_TRUE(rule.take_effect(third, RotationRule::Moment{UnixNanos{6}, Generation(6)}).ok());
  EXPECT_EQ(rule.versions().size(), 3U) << "nobody's Retiring record went";
  ASSERT_TRUE(rule.job_completed(JobNumber(1), Lsn(10)));
  EXPECT_THAT(rule.retire(RotationRule::Moment{UnixNanos{9}, Generation(9)}, EpochNumber(1)), ElementsAre(named("1")));
  EXPECT_EQ(rule.find({"1", "kv", "another"})->role, VersionRole::retiring);
}

TEST(RotationRuleTest, AVersionThatIsWrappedElsewhereIsNeededOnce) {
  RotationRule rule = rule_with({{"v1", 0}, {"v2", 10}});
  rule.rename(named("v2"), {"v1", "kv", "kek"});
  EXPECT_EQ(rule.versions().size(), 1U);
  rule = rule_with({{"v1", 0}, {"v2", 10}});
  rule.rename(named("v2"), {"v2", "new", "kek"});
  EXPECT_EQ(rule.active()->key_vault, "new");
  EXPECT_EQ(rule.versions().size(), 2U);
}

TEST(RotationRuleTest, OnlyUniqueIdsAreTheSameUnderAnotherName) {
  EXPECT_TRUE(same_version({"1", "kv", "a"}, {"1", "kv", "a"}));
  EXPECT_FALSE(same_version({"1", "kv", "a"}, {"1", "kv", "b"}));
  const std::string unique = "0123456789abcdef0123456789abcdef";
  EXPECT_TRUE(same_version({unique, "kv", "a"}, {unique, "other", "b"}));
  EXPECT_FALSE(same_version({unique, "kv", "a"}, {"2", "kv", "a"}));
}

}  // namespace
}  // namespace vaultfs
