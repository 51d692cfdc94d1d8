#include "fs/upkeep/key_refresher.h"

#include <gtest/gtest.h>

#include <atomic>
#include <thread>

#include "tests/support/sim_env.h"

namespace vaultfs {
namespace {

using std::chrono::milliseconds;

// A custody whose refresh ends when the test lets it.
class SlowCustody final : public KeyCustody {
 public:
  Result<RefreshOutcome> refresh() override {
    std::unique_lock lock(mutex_);
    ++begun_;
    changed_.notify_all();
    changed_.wait(lock, [this] { return allowed_ >= begun_; });
    if (failing_) return Error{ErrorCode::KeyVaultUnavailable, "no answer"};
    RefreshOutcome outcome;
    outcome.retired = {std::to_string(begun_)};
    return outcome;
  }
  void allow(int upto) {
    const std::lock_guard lock(mutex_);
    allowed_ = upto;
    changed_.notify_all();
  }
  void set_failing(bool failing) {
    const std::lock_guard lock(mutex_);
    failing_ = failing;
  }
  void wait_until_begun(int count) {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [&] { return begun_ >= count; });
  }
  int begun() {
    const std::lock_guard lock(mutex_);
    return begun_;
  }

  EpochKeys& keys() override { return keys_; }
  Generation generation() const override { return {}; }
  Digest keyring_digest() const override { return {}; }
  Digest keyring_predecessor() const override { return {}; }
  EncryptionStatus status() const override { return {}; }
  std::uint64_t incarnation() const override { return 1; }
  Result<Digest> fingerprint_of(EpochNumber) override { return Digest{}; }
  Status check_descends_from(Generation, const Digest&) const override { return ok_status(); }
  Result<SecretBuffer> root_key_for(std::string_view) const override { return SecretBuffer::allocate(32); }
  Result<Digest> root_mac(std::string_view, ByteView) const override { return Digest{}; }
  void attach(KeyChangeHost&) override {}
  Status job_completed(JobNumber, Lsn) override { return ok_status(); }
  Status item_attempted() override { return ok_status(); }
  Status set_key(const KeyRef&) override { return ok_status(); }
  Status set_identity(const std::string& /*identity*/) override { return ok_status(); }
  Status rewrap(bool) override { return ok_status(); }
  Status set_escrow(const std::optional<Bytes>& /*public_key*/) override { return ok_status(); }
  Status recover(const RecoverRequest& /*request*/) override { return ok_status(); }
  Status new_epoch() override { return ok_status(); }
  Status set_limits(const AccessLimits&) override { return ok_status(); }
  Result<std::vector<KeyDrill>> drill() override { return std::vector<KeyDrill>{}; }
  Status carry_over(Generation) override { return ok_status(); }
  Status new_incarnation() override { return ok_status(); }
  bool enforce_deadlines(const std::function<void()>&) override { return false; }

 private:
  EpochKeys keys_{VaultId{}, Suite::aes_gcm};
  std::mutex mutex_;  // guards all below
  std::condition_variable changed_;
  int begun_ = 0;
  int allowed_ = 0;
  bool failing_ = false;
};

TEST(KeyRefresher, ARequestNeverWaits) {
  SlowCustody custody;
  SimClock clock;
  KeyRefresher refresher(custody, clock, false);
  refresher.request();
  custody.wait_until_begun(1);
  for (int i = 0; i < 5; ++i) refresher.request();  // one more is due, not five
  custody.allow(2);
  custody.wait_until_begun(2);
  custody.allow(100);
  std::this_thread::sleep_for(milliseconds(30));
  EXPECT_EQ(custody.begun(), 2);
}

TEST(KeyRefresher, WaitsOnlyAsLongAsItWasTold) {
  SlowCustody custody;
  SimClock clock;
  KeyRefresher refresher(custody, clock, false);
  const auto before = std::chrono::steady_clock::now();
  const auto outcome = refresher.refresh_within(milliseconds(50));
  EXPECT_LT(std::chrono::steady_clock::now() - before, std::chrono::seconds(10));
  ASSERT_FALSE(outcome.ok());
  EXPECT_EQ(outcome.code(), ErrorCode::KeyVaultUnavailable);
  custody.allow(100);
}

TEST(KeyRefresher, ARefreshUnderWayDoesNotCount) {
  SlowCustody custody;
  SimClock clock;
  KeyRefresher refresher(custody, clock, false);
  refresher.request();
  custody.wait_until_begun(1);
  std::thread release([&] {
    custody.allow(1);
    custody.wait_until_begun(2);
    custody.allow(2);
  });
  const auto outcome = refresher.refresh();  // what the first saw may be from before this call
  release.join();
  ASSERT_TRUE(outcome.ok());
  EXPECT_EQ(outcome->retired, std::vector<std::string>{"2"});
}

TEST(KeyRefresher, OneJustMadeCountsBeforeAJobAFailedOneDoesNot) {
  SlowCustody custody;
  SimClock clock;
  custody.allow(100);
  KeyRefresher refresher(custody, clock, false);
  refresher.refresh_before_job();
  refresher.refresh_before_job();
  EXPECT_EQ(custody.begun(), 1);
  clock.advance_nanos(KeyRefresher::kRecentNanos);
  refresher.refresh_before_job();
  EXPECT_EQ(custody.begun(), 2);
  clock.advance_nanos(KeyRefresher::kRecentNanos);
  custody.set_failing(true);
  refresher.refresh_before_job();
  refresher.refresh_before_job();
  EXPECT_EQ(custody.begun(), 4);
  EXPECT_FALSE(refresher.refresh().ok());
}

// Suspended for an hour: the clock has moved on, and no wait of this process has.
TEST(KeyRefresher, ATimeAsleepCountsTowardsTheNextOne) {
  SlowCustody custody;
  SimClock clock;
  custody.allow(100);
  KeyRefresher refresher(custody, clock, true);
  std::this_thread::sleep_for(milliseconds(50));  // the wait has begun
  EXPECT_EQ(custody.begun(), 0);
  clock.set({clock.now().value + 400 * kSecondsPerDay * kNanosPerSecond});  // of no account
  std::this_thread::sleep_for(2 * KeyRefresher::kPiece);
  EXPECT_EQ(custody.begun(), 0);
  clock.advance_seconds(3600);
  custody.wait_until_begun(1);  // or the test's time is over
}

}  // namespace
}  // namespace vaultfs
