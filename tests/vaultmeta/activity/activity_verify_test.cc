#include "vaultmeta/activity/activity_verify.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "store/record/container.h"
#include "tests/support/sim_env.h"
#include "tests/support/test_epoch_keys.h"

namespace vaultfs {
namespace {

using ::testing::HasSubstr;

const Env::Path kVerifiedDirectory = "/activity";

std::string name(int number) { return "activity/000000000000000" + std::to_string(number) + ".activity"; }
Env::Path path(int number) { return "/" + name(number); }

// A log of three files, the entries 1 to 6, two in each.
class ActivityVerifyTest : public testing::Test {
 protected:
  void write_log(const EpochKeys& keys, std::uint64_t entries = 6) {
    auto log = ActivityLog::open(env_, kVerifiedDirectory, keys, false, 0, {});
    ASSERT_TRUE(log.ok());
    for (std::uint64_t number = 1; number <= entries; ++number) {
      ActivityEntry entry;
      entry.operation = "backup.complete";
      entry.outcome = "Succeeded";
      entry.subject = std::to_string(number);
      ASSERT_TRUE((*log)->append(entry).ok());
      if (number % 2 == 0) (*log)->roll();
    }
    known_.entries = (*log)->count();
    known_.chain = (*log)->chain();
    known_.file = (*log)->newest_file();
  }

  std::vector<ActivityDamage> damage(bool with_keys = true) {
    ActivityExpectation expected = known_;
    if (!with_keys) expected.chain.reset();
    auto report = verify_activity_files(env_, kVerifiedDirectory, with_keys ? keys_.get() : nullptr, expected);
    EXPECT_TRUE(report.ok());
    if (!report.ok()) return {};
    EXPECT_EQ(report->authenticated, with_keys);
    if (report->damage.empty()) {
      EXPECT_GE(report->entries, known_.entries);
    }
    for (const ActivityDamage& one : report->damage) EXPECT_EQ(one.error.code, ErrorCode::DamagedActivityLog);
    return std::move(report->damage);
  }

  // The one damage that is found, with keys and without.
  void expect_one(std::uint64_t entry, const std::string& file, const std::string& what) {
    for (const bool with_keys : {true, false}) {
      SCOPED_TRACE(with_keys ? "with keys" : "without keys");
      const auto found = damage(with_keys);
      ASSERT_EQ(found.size(), 1U);
      EXPECT_EQ(found[0].entry, entry);
      EXPECT_EQ(found[0].file, file);
      EXPECT_THAT(found[0].error.message, HasSubstr(what));
    }
  }

  SimEnv env_;
  std::unique_ptr<EpochKeys> keys_ = make_test_keys();
  ActivityExpectation known_;
  SimEnv::Snapshot whole_ = written();

 private:
  SimEnv::Snapshot written() {
    env_.make_directories(kVerifiedDirectory);
    write_log(*keys_);
    return env_.snapshot();
  }
};

TEST_F(ActivityVerifyTest, FindsNothingWhereNothingIs) {
  EXPECT_TRUE(damage(true).empty());
  EXPECT_TRUE(damage(false).empty());
}

TEST_F(ActivityVerifyTest, NamesAFileThatIsGone) {
  for (int file = 1; file <= 2; ++file) {
    env_.restore(whole_);
    env_.remove(path(file));
    expect_one(static_cast<std::uint64_t>(2 * file - 1), name(file), "the file is gone");
  }
  env_.restore(whole_);
  env_.remove(path(3));
  expect_one(5, name(2), "entries 5 to 6 are missing");
}

TEST_F(ActivityVerifyTest, NamesWhatWasCutOff) {
  const std::uint64_t header = ContainerHeader::kEncodedBytes;
  for (int file = 1; file <= 3; ++file) {
    const std::uint64_t size = env_.read(path(file)).size();
    const std::uint64_t record = (size - header) / 2;  // the entries are equally long
    for (std::uint64_t length = 0; length < size; ++length) {
      SCOPED_TRACE(std::to_string(file) + " cut to " + std::to_string(length));
      env_.restore(whole_);
      env_.cut(path(file), length);
      const std::uint64_t left = length < header + record ? 0 : 1;
      expect_one(static_cast<std::uint64_t>(2 * file - 1) + left, name(file), "missing");
    }
  }
}

TEST_F(ActivityVerifyTest, NamesTheFileOfEveryChangedBit) {
  for (int file = 1; file <= 3; ++file) {
    const std::uint64_t bits = env_.read(path(file)).size() * 8;
    for (std::uint64_t bit = 0; bit < bits; bit += 3) {
      env_.restore(whole_);
      env_.flip_bit(path(file), bit);
      for (const bool with_keys : {true, false}) {
        const auto found = damage(with_keys);
        ASSERT_EQ(found.size(), 1U) << file << " bit " << bit;
        EXPECT_EQ(found[0].file, name(file)) << bit;
        EXPECT_EQ((found[0].entry + 1) / 2, static_cast<std::uint64_t>(file)) << bit;
      }
    }
  }
}

TEST_F(ActivityVerifyTest, NamesEveryPlace) {
  env_.remove(path(1));
  env_.flip_bit(path(3), (ContainerHeader::kEncodedBytes + 100) * 8);
  for (const bool with_keys : {true, false}) {
    const auto found = damage(with_keys);
    ASSERT_EQ(found.size(), 2U);
    EXPECT_EQ(found[0].file, name(1));
    EXPECT_EQ(found[0].entry, 1U);
    EXPECT_EQ(found[1].file, name(3));
    EXPECT_EQ(found[1].entry, 5U);
  }
}

// What somebody makes who can compute checksums and has no key.
TEST_F(ActivityVerifyTest, OnlyKeysTellWhatWasMadeUp) {
  const Bytes genuine = env_.read(path(2));
  const auto other_keys = make_test_keys(Suite::aes_gcm, 1, 9);
  const ActivityExpectation known = known_;
  for (int file = 1; file <= 3; ++file) env_.remove(path(file));
  write_log(*other_keys);
  const Bytes made_up = env_.read(path(2));
  known_ = known;
  env_.restore(whole_);
  ASSERT_NE(made_up, genuine);
  env_.write(path(2), made_up);
  EXPECT_TRUE(damage(false).empty());
  const auto found = damage(true);
  ASSERT_EQ(found.size(), 1U);
  EXPECT_EQ(found[0].file, name(2));
  EXPECT_EQ(found[0].entry, 3U);
}

TEST_F(ActivityVerifyTest, AnotherHistoryIsFoundByItsChain) {
  for (int file = 1; file <= 3; ++file) env_.remove(path(file));
  const ActivityExpectation known = known_;
  env_.sim_clock().advance_seconds(1);
  write_log(*keys_);
  known_ = known;
  EXPECT_TRUE(damage(false).empty());
  const auto found = damage(true);
  ASSERT_EQ(found.size(), 1U);
  EXPECT_EQ(found[0].entry, 6U);
  EXPECT_THAT(found[0].error.message, HasSubstr("another history"));
}

// A file of another place, whole, has no say in which entries there are.
TEST_F(ActivityVerifyTest, AFileInAnothersPlaceIsRefused) {
  env_.copy(path(1), path(2));
  expect_one(3, name(2), "");
}

// Without keys anybody can write any number.
TEST_F(ActivityVerifyTest, AnAbsurdNumberCostsNothing) {
  for (const std::uint64_t number : {std::uint64_t{1} << 60, ~std::uint64_t{0}, std::uint64_t{0}}) {
    env_.restore(whole_);
    ContainerHeader header;
    auto cipher = ContainerCipher::create(env_, *make_test_keys(Suite::aes_gcm, 1, 9), ContainerKind::activity,
                                          ContainerNumber(4), header);
    ASSERT_TRUE(cipher.ok());
    Bytes file = header.encode();
    RecordDraft draft;
    draft.type = RecordType::activity_entry;
    draft.frame_log2 = 13;
    draft.sequence = number;
    ASSERT_TRUE(seal_record(**cipher, draft, bytes_of("an entry"), file).ok());
    env_.write(path(4), file);
    EXPECT_EQ(damage(false).size(), 1U) << number;
    EXPECT_EQ(damage(true).size(), 1U) << number;
  }
}

TEST_F(ActivityVerifyTest, AnAppendThatFailedIsNoDamage) {
  auto log = ActivityLog::open(env_, kVerifiedDirectory, *keys_, false, known_.entries, *known_.chain);
  ASSERT_TRUE(log.ok());
  ActivityEntry entry;
  entry.operation = "test";
  ASSERT_TRUE((*log)->append(entry).ok());
  env_.fail_next_sync(1);
  EXPECT_FALSE((*log)->append(entry).ok());  // its bytes may well be in the file
  ASSERT_TRUE((*log)->append(entry).ok());
  const auto report = (*log)->verify();
  ASSERT_TRUE(report.ok());
  EXPECT_TRUE(report->damage.empty());
  EXPECT_EQ(report->entries, 8U);
}

TEST_F(ActivityVerifyTest, TheOwnerMissesWhatItHasWritten) {
  auto log = ActivityLog::open(env_, kVerifiedDirectory, *keys_, false, known_.entries, *known_.chain);
  ASSERT_TRUE(log.ok());
  ActivityEntry entry;
  entry.operation = "test";
  ASSERT_TRUE((*log)->append(entry).ok());
  env_.remove(path(4));  // no head names it yet
  const auto report = (*log)->verify();
  ASSERT_TRUE(report.ok());
  ASSERT_EQ(report->damage.size(), 1U);
  EXPECT_EQ(report->damage[0].entry, 7U);
  keys_->wipe();
  EXPECT_EQ((*log)->verify().code(), ErrorCode::KeyRevoked);
}

TEST_F(ActivityVerifyTest, WhatAnOldKeyMadeIsFound) {
  auto log = ActivityLog::open(env_, kVerifiedDirectory, *keys_, false, known_.entries, *known_.chain);
  ASSERT_TRUE(log.ok());
  ActivityEntry entry;
  entry.operation = "forged";
  ASSERT_TRUE((*log)->append(entry).ok());
  keys_ = make_test_keys(Suite::aes_gcm, 2, 0, 1);
  auto later = ActivityLog::open(env_, kVerifiedDirectory, *keys_, true, known_.entries, *known_.chain, true);
  ASSERT_TRUE(later.ok());
  const auto report = (*later)->verify();
  ASSERT_TRUE(report.ok());
  ASSERT_EQ(report->damage.size(), 1U);
  EXPECT_EQ(report->damage[0].file, name(4));
  EXPECT_EQ(report->damage[0].entry, 7U);
  EXPECT_THAT(report->damage[0].error.message, HasSubstr("closed"));
}

}  // namespace
}  // namespace vaultfs
