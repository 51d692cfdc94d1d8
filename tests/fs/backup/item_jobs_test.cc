#include "fs/backup/item_jobs.h"

#include <atomic>
#include <thread>

#include "fs/points/recovery_point_tree.h"
#include "tests/fs/engine/engine_fixture.h"

namespace vaultfs {
namespace {

// Stands between the tree and the jobs; muted, it lets changes through without telling the jobs, as if before_change
// had been called during the job before.
class MutableObserver final : public ChangeObserver {
 public:
  explicit MutableObserver(ChangeObserver& jobs) : jobs_(jobs) {}
  Status before_change(const std::string& item) override { return muted ? ok_status() : jobs_.before_change(item); }
  void write_failed(const std::string& item, const Error& error) override { jobs_.write_failed(item, error); }
  std::atomic<bool> muted{false};

 private:
  ChangeObserver& jobs_;
};

// A vault, its working tree and its jobs, without a engine's timers: commit_due() is called by the test.
class ItemJobsTest : public VaultEngineTest {
 protected:
  void SetUp() override {
    VaultEngineTest::SetUp();
    if (!HasFatalFailure()) open();
  }
  void TearDown() override { end_process(); }

  void open(ItemJobs::Options options = {}) {
    tree_ = WorkingTree::create(session_options().tree);
    VaultOpenOptions vault_options;
    vault_options.path = vault_path();
    auto vault = Vault::open(machine(), vault_options, *tree_);
    ASSERT_OK(vault);
    vault_ = std::move(*vault);
    refresher_ = std::make_unique<KeyRefresher>(vault_->custody(), env_.clock(), false);
    jobs_ = std::make_unique<ItemJobs>(*vault_, *tree_, *refresher_, options);
    observer_ = std::make_unique<MutableObserver>(*jobs_);
    tree_->start(*vault_, *observer_);
    jobs_->take_stock();
  }

  // The owner goes without finishing anything; what was written is in the journal.
  void end_process() {
    if (tree_ != nullptr) {
      EXPECT_TRUE(tree_->stop().ok());
    }
    tree_.reset();
    observer_.reset();
    jobs_.reset();
    refresher_.reset();
    vault_.reset();
  }
  void reopen(ItemJobs::Options options = {}) {
    end_process();
    open(options);
  }

  void change(const std::string& item, std::uint64_t seed) {
    tree_write(*tree_, tree_file(*tree_, item, "disk"), 0, random_bytes(seed, 5000));
  }
  // Lets time pass as the timers would see it: they look at the start and at the end.
  void pass(std::int64_t seconds) {
    jobs_->commit_due();
    env_.sim_clock().advance_seconds(seconds);
    jobs_->commit_due();
  }
  [[nodiscard]] std::vector<PointInfo> points(const std::string& item) { return vault_->catalogue().points_of(item); }
  [[nodiscard]] JobInfo last_job() {
    const std::vector<JobInfo> all = vault_->catalogue().jobs();
    for (auto job = all.rbegin(); job != all.rend(); ++job) {
      if (job->kind == JobKind::backup) return *job;
    }
    ADD_FAILURE() << "there is no job";
    return {};
  }
  [[nodiscard]] bool interrupted(const std::string& item) {
    const auto info = vault_->catalogue().item(item);
    return info && info->interrupted;
  }
  [[nodiscard]] Bytes point_bytes(const PointInfo& point, const std::string& name) {
    InodeNumber root;
    auto tree = open_point_tree(*vault_, point, root);
    EXPECT_TRUE(tree.ok());
    auto file = (*tree)->lookup(root, name);
    EXPECT_TRUE(file.ok());
    return tree_bytes(**tree, file->number);
  }

  std::unique_ptr<WorkingTree> tree_;
  std::unique_ptr<Vault> vault_;
  std::unique_ptr<KeyRefresher> refresher_;
  std::unique_ptr<ItemJobs> jobs_;
  std::unique_ptr<MutableObserver> observer_;
};

TEST_F(ItemJobsTest, FirstChangeBeginsAJobAndFurtherChangesBelongToIt) {
  EXPECT_EQ(vault_->catalogue().jobs().size(), 1U);  // the update of keys that its creation was
  change("vm", 1);
  const JobInfo begun = last_job();
  EXPECT_EQ(begun.state, JobState::in_progress);
  EXPECT_EQ(begun.item, "vm");
  change("vm", 2);
  EXPECT_EQ(last_job().number, begun.number);
  change("other", 3);
  EXPECT_EQ(last_job().item, "other");
}

TEST_F(ItemJobsTest, ClosedFilesSettleIntoAnAutomaticPoint) {
  change("vm", 1);
  pass(9);
  EXPECT_TRUE(points("vm").empty());
  pass(1);
  ASSERT_EQ(points("vm").size(), 1U);
  const PointInfo point = points("vm").front();
  EXPECT_TRUE(point.automatic);
  EXPECT_FALSE(point.after_interruption);
  EXPECT_FALSE(point.crash_consistent);
  EXPECT_EQ(point.files, 1U);
  EXPECT_EQ(point.logical_bytes, 5000U);
  const JobInfo job = last_job();
  EXPECT_EQ(job.state, JobState::completed);
  EXPECT_EQ(job.point, point.number);
  EXPECT_GE(point.cut, job.begun);
  EXPECT_EQ(point_bytes(point, "disk"), random_bytes(1, 5000));
  pass(3600);
  EXPECT_EQ(points("vm").size(), 1U) << "nothing changed, nothing to do";
}

TEST_F(ItemJobsTest, EachChangePutsSettlingOff) {
  change("vm", 1);
  for (int i = 0; i < 4; ++i) {
    pass(6);
    change("vm", 10);
  }
  EXPECT_TRUE(points("vm").empty());
  pass(10);
  EXPECT_EQ(points("vm").size(), 1U);
}

TEST_F(ItemJobsTest, AnOpenFileWaitsForMaxJob) {
  const InodeNumber file = tree_file(*tree_, "vm", "disk");
  const auto handle = tree_->open(file, true);
  ASSERT_OK(handle);
  ASSERT_OK(tree_->write(file, *handle, 0, random_bytes(1, 5000)));
  pass(3600);
  EXPECT_TRUE(points("vm").empty());
  pass(24 * 3600 - 3600);
  ASSERT_EQ(points("vm").size(), 1U);
  EXPECT_TRUE(points("vm").front().crash_consistent);
  EXPECT_TRUE(points("vm").front().automatic);
  // The file is still open: the next write begins the next job, after the cut.
  ASSERT_OK(tree_->write(file, *handle, 0, random_bytes(2, 5000)));
  EXPECT_EQ(last_job().state, JobState::in_progress);
  EXPECT_GE(last_job().begun, points("vm").front().cut);
  tree_->release(*handle);
  pass(10);
  ASSERT_EQ(points("vm").size(), 2U);
  EXPECT_FALSE(points("vm").back().crash_consistent);
  EXPECT_EQ(point_bytes(points("vm").front(), "disk"), random_bytes(1, 5000));
  EXPECT_EQ(point_bytes(points("vm").back(), "disk"), random_bytes(2, 5000));
}

TEST_F(ItemJobsTest, AskedForAtOnceAlsoWithFilesOpen) {
  const InodeNumber file = tree_file(*tree_, "vm", "disk");
  const auto handle = tree_->open(file, true);
  ASSERT_OK(handle);
  ASSERT_OK(tree_->write(file, *handle, 0, random_bytes(1, 5000)));
  const auto outcome = jobs_->commit("vm");
  ASSERT_OK(outcome);
  ASSERT_TRUE(outcome->point.has_value());
  EXPECT_TRUE(outcome->point->crash_consistent);
  EXPECT_FALSE(outcome->point->automatic);
  EXPECT_EQ(outcome->job.state, JobState::completed);
  EXPECT_EQ(outcome->job.point, outcome->point->number);
  EXPECT_FALSE(outcome->point->manifest.is_zero());
  tree_->release(*handle);
}

TEST_F(ItemJobsTest, CommitOfAnUnchangedItemTurnsAnAutomaticPointExplicit) {
  change("vm", 1);
  pass(10);
  ASSERT_EQ(points("vm").size(), 1U);
  ASSERT_TRUE(points("vm").front().automatic);
  for (int i = 0; i < 2; ++i) {
    const auto outcome = jobs_->commit("vm");
    ASSERT_OK(outcome);
    EXPECT_FALSE(outcome->point.has_value());
    EXPECT_EQ(outcome->job.state, JobState::completed_no_change);
    ASSERT_EQ(points("vm").size(), 1U);
    EXPECT_FALSE(points("vm").front().automatic);
  }
  EXPECT_EQ(vault_->catalogue().jobs().size(), 4U);  // with that of the creation
}

TEST_F(ItemJobsTest, CommitOfAnUnknownItemIsRefused) {
  const auto outcome = jobs_->commit("nobody");
  ASSERT_FALSE(outcome.ok());
  EXPECT_EQ(outcome.code(), ErrorCode::ItemNotFound);
  EXPECT_EQ(last_job().state, JobState::failed) << "what was asked for leaves a trace";
  EXPECT_EQ(last_job().item, "nobody");
  EXPECT_FALSE(vault_->catalogue().item("nobody").has_value());
}

TEST_F(ItemJobsTest, ManualWorkWaitsForCommitAcrossSessions) {
  reopen({.manual_commit = true});
  change("vm", 1);
  pass(48 * 3600);
  EXPECT_TRUE(points("vm").empty());
  EXPECT_EQ(last_job().state, JobState::in_progress);
  ASSERT_OK(jobs_->close());
  EXPECT_TRUE(points("vm").empty());
  EXPECT_EQ(last_job().state, JobState::interrupted);
  EXPECT_FALSE(interrupted("vm")) << "nothing was lost";
  reopen({.manual_commit = true});
  const auto outcome = jobs_->commit("vm");
  ASSERT_OK(outcome);
  ASSERT_TRUE(outcome->point.has_value());
  EXPECT_EQ(point_bytes(*outcome->point, "disk"), random_bytes(1, 5000));
}

TEST_F(ItemJobsTest, CloseCommitsWhatIsRunning) {
  change("vm", 1);
  change("other", 2);
  ASSERT_OK(jobs_->close());
  ASSERT_EQ(points("vm").size(), 1U);
  EXPECT_TRUE(points("vm").front().automatic);
  EXPECT_EQ(points("other").size(), 1U);
}

TEST_F(ItemJobsTest, AfterACrashWorkWaitsForTheNextChangeAndIsMarked) {
  change("vm", 1);
  ASSERT_OK(jobs_->commit("vm"));
  change("vm", 2);
  ASSERT_OK(tree_->sync_all());
  reopen();
  EXPECT_EQ(last_job().state, JobState::interrupted);
  EXPECT_TRUE(interrupted("vm"));
  const std::size_t jobs_before = vault_->catalogue().jobs().size();
  pass(48 * 3600);
  EXPECT_EQ(points("vm").size(), 1U) << "interrupted work is not committed by itself";
  EXPECT_EQ(vault_->catalogue().jobs().size(), jobs_before);

  ASSERT_OK(jobs_->close());
  EXPECT_EQ(points("vm").size(), 1U) << "nor at unmount";
  reopen();
  change("vm", 3);
  pass(10);
  ASSERT_EQ(points("vm").size(), 2U);
  EXPECT_TRUE(points("vm").back().after_interruption);
  EXPECT_TRUE(points("vm").back().automatic);

  change("vm", 4);
  const auto asked = jobs_->commit("vm");
  ASSERT_OK(asked);
  ASSERT_TRUE(asked->point.has_value());
  EXPECT_FALSE(asked->point->after_interruption);
  EXPECT_FALSE(interrupted("vm"));
  change("vm", 5);
  pass(10);
  EXPECT_FALSE(points("vm").back().after_interruption);
}

TEST_F(ItemJobsTest, InterruptedWorkIsCommittedByHand) {
  change("vm", 1);
  ASSERT_OK(tree_->sync_all());
  reopen();
  const auto outcome = jobs_->commit("vm");
  ASSERT_OK(outcome);
  ASSERT_TRUE(outcome->point.has_value());
  EXPECT_FALSE(outcome->point->after_interruption);
  EXPECT_FALSE(interrupted("vm"));
  EXPECT_EQ(point_bytes(*outcome->point, "disk"), random_bytes(1, 5000));
}

TEST_F(ItemJobsTest, AWriteFailureFailsTheJobAndMarksTheItem) {
  change("vm", 1);
  const JobInfo begun = last_job();
  jobs_->write_failed("vm", Error{ErrorCode::IoError, "the medium is gone"});
  jobs_->commit_due();
  const auto failed = vault_->catalogue().job(begun.number);
  ASSERT_TRUE(failed.has_value());
  EXPECT_EQ(failed->state, JobState::failed);
  EXPECT_EQ(failed->detail, "IoError: the medium is gone");
  EXPECT_TRUE(interrupted("vm"));
  pass(48 * 3600);
  EXPECT_TRUE(points("vm").empty()) << "what a failed job left is not committed by itself";
  change("vm", 2);
  EXPECT_NE(last_job().number, begun.number);
  pass(10);
  ASSERT_EQ(points("vm").size(), 1U);
  EXPECT_TRUE(points("vm").front().after_interruption);
}

TEST_F(ItemJobsTest, CloseTellsOfWorkThatAFailedJobLeft) {
  change("vm", 1);
  jobs_->write_failed("vm", Error{ErrorCode::IoError, "the medium is gone"});
  const Status closed = jobs_->close();
  ASSERT_FALSE(closed.ok()) << "an unmount that is taken for a backup";
  EXPECT_EQ(closed.code(), ErrorCode::JobFailed);
  EXPECT_NE(closed.error().message.find("the medium is gone"), std::string::npos);
  ASSERT_OK(jobs_->commit("vm"));
  EXPECT_TRUE(jobs_->close().ok()) << "now a point has it";
}

TEST_F(ItemJobsTest, AChangeAfterAFailureBeginsANewJobAtOnce) {
  change("vm", 1);
  const JobInfo begun = last_job();
  jobs_->write_failed("vm", Error{ErrorCode::NoSpace, "the disk is full"});
  change("vm", 2);
  EXPECT_NE(last_job().number, begun.number);
  EXPECT_EQ(vault_->catalogue().job(begun.number)->state, JobState::failed);
}

TEST_F(ItemJobsTest, ARemovedItemKeepsItsPointsAndItsJobDoesNotCount) {
  change("vm", 1);
  ASSERT_OK(jobs_->commit("vm"));
  const auto directory = tree_->lookup(kRootInode, "vm");
  ASSERT_OK(directory);
  ASSERT_OK(tree_->unlink(directory->number, "disk"));
  ASSERT_OK(tree_->remove_directory(kRootInode, "vm"));
  pass(10);
  EXPECT_EQ(points("vm").size(), 1U);
  EXPECT_EQ(last_job().state, JobState::interrupted);
  EXPECT_FALSE(interrupted("vm"));
  EXPECT_EQ(point_bytes(points("vm").front(), "disk"), random_bytes(1, 5000));
  change("vm", 2);
  pass(10);
  EXPECT_EQ(points("vm").size(), 2U) << "creating it again continues it";
}

TEST_F(ItemJobsTest, AChangeThatFailsLeavesNoPoint) {
  change("vm", 1);
  pass(10);
  const auto directory = tree_->lookup(kRootInode, "vm");
  ASSERT_OK(directory);
  EXPECT_FALSE(tree_->unlink(directory->number, "missing").ok());
  ASSERT_OK(jobs_->before_change("vm"));
  pass(10);
  EXPECT_EQ(points("vm").size(), 1U);
  EXPECT_EQ(last_job().state, JobState::completed_no_change);
  EXPECT_TRUE(points("vm").front().automatic) << "only a person's commit turns it explicit";
}

TEST_F(ItemJobsTest, ChangesThatNoJobCoversAreAdopted) {
  change("vm", 1);
  const InodeNumber file = tree_file(*tree_, "vm", "disk");
  ASSERT_OK(jobs_->commit("vm"));
  observer_->muted = true;
  tree_write(*tree_, file, 0, random_bytes(2, 5000));
  observer_->muted = false;
  EXPECT_EQ(last_job().state, JobState::completed);
  jobs_->commit_due();
  EXPECT_EQ(last_job().state, JobState::in_progress);
  pass(10);
  ASSERT_EQ(points("vm").size(), 2U);
  EXPECT_EQ(point_bytes(points("vm").back(), "disk"), random_bytes(2, 5000));
}

// Writers go on while commits cut: every point holds a prefix of what the writer did.
TEST_F(ItemJobsTest, PointsAreAtomicCutsUnderAWriter) {
  const InodeNumber first = tree_file(*tree_, "vm", "first");
  const InodeNumber second = tree_file(*tree_, "vm", "second");
  std::atomic<bool> stop{false};
  std::atomic<std::uint64_t> written{0};
  std::thread writer([&] {
    const auto one = tree_->open(first, true);
    const auto two = tree_->open(second, true);
    for (std::uint64_t n = 1; !stop.load(); ++n) {
      const ByteView bytes = std::as_bytes(std::span(&n, 1));
      // Far apart, so that the two files' content is sealed separately.
      EXPECT_TRUE(tree_->write(first, *one, (n % 7) * 100'000, bytes).ok());
      EXPECT_TRUE(tree_->write(first, *one, 3U << 20, bytes).ok());
      EXPECT_TRUE(tree_->write(second, *two, 0, bytes).ok());
      written.store(n);
    }
    tree_->release(*one);
    tree_->release(*two);
  });
  std::uint64_t last = 0;
  for (int i = 0; i < 8; ++i) {
    const std::uint64_t before = written.load();
    while (written.load() == before) std::this_thread::yield();
    const std::uint64_t acknowledged = written.load();
    const auto outcome = jobs_->commit("vm");
    ASSERT_OK(outcome);
    ASSERT_TRUE(outcome->point.has_value());
    EXPECT_TRUE(outcome->point->crash_consistent);
    std::uint64_t in_first = 0;
    std::uint64_t in_second = 0;
    const Bytes one = point_bytes(*outcome->point, "first");
    ASSERT_GE(one.size(), (3U << 20) + sizeof in_first);
    std::memcpy(&in_first, one.data() + (3U << 20), sizeof in_first);
    const Bytes two = point_bytes(*outcome->point, "second");
    std::memcpy(&in_second, two.data(), std::min(two.size(), sizeof in_second));
    EXPECT_GE(in_second, acknowledged) << "acknowledged before the cut";
    EXPECT_TRUE(in_first == in_second || in_first == in_second + 1) << in_first << " and " << in_second;
    EXPECT_GT(in_first, last);
    last = in_first;
  }
  stop.store(true);
  writer.join();
  pass(10);
  const JobInfo job = last_job();
  EXPECT_NE(job.state, JobState::in_progress) << "the last writes were committed, too";
}

TEST_F(ItemJobsTest, EachNextJobBeginsAtOrAfterTheCut) {
  const InodeNumber file = tree_file(*tree_, "vm", "disk");
  std::atomic<bool> stop{false};
  std::thread writer([&] {
    const auto handle = tree_->open(file, true);
    for (std::uint64_t n = 1; !stop.load(); ++n) {
      EXPECT_TRUE(tree_->write(file, *handle, (n % 64) * 4096, std::as_bytes(std::span(&n, 1))).ok());
    }
    tree_->release(*handle);
  });
  for (int i = 0; i < 6; ++i) ASSERT_OK(jobs_->commit("vm"));
  stop.store(true);
  writer.join();
  Lsn cut;
  for (const JobInfo& job : vault_->catalogue().jobs()) {
    EXPECT_GE(job.begun, cut) << "job " << job.number.value;
    for (const PointInfo& point : points("vm")) {
      if (point.number == job.point) cut = point.cut;
    }
  }
}

// Whatever order a failure and a commit come in, the job ends once and the next commit works.
TEST_F(ItemJobsTest, FailuresDuringCommitsEndTheJobOnce) {
  std::atomic<bool> stop{false};
  std::thread failing([&] {
    while (!stop.load()) {
      jobs_->write_failed("vm", Error{ErrorCode::IoError, "a failure of the test"});
      jobs_->commit_due();
    }
  });
  for (std::uint64_t i = 0; i < 12; ++i) {
    change("vm", i);
    const auto outcome = jobs_->commit("vm");
    if (!outcome.ok()) {
      EXPECT_EQ(outcome.code(), ErrorCode::JobFailed) << outcome.error().message;
    }
  }
  stop.store(true);
  failing.join();
  jobs_->commit_due();
  change("vm", 100);
  const auto outcome = jobs_->commit("vm");
  ASSERT_OK(outcome);
  ASSERT_TRUE(outcome->point.has_value());
  EXPECT_EQ(point_bytes(*outcome->point, "disk"), random_bytes(100, 5000));
  for (const JobInfo& job : vault_->catalogue().jobs()) EXPECT_NE(job.state, JobState::in_progress);
}

TEST_F(ItemJobsTest, CommitsOfManyItemsAtOnce) {
  constexpr int kItems = 6;
  for (int i = 0; i < kItems; ++i) change("vm" + std::to_string(i), static_cast<std::uint64_t>(i));
  std::vector<std::thread> threads;
  for (int i = 0; i < kItems; ++i) {
    for (int again = 0; again < 2; ++again) {
      threads.emplace_back([this, i] { EXPECT_TRUE(jobs_->commit("vm" + std::to_string(i)).ok()); });
    }
  }
  for (std::thread& thread : threads) thread.join();
  for (int i = 0; i < kItems; ++i) {
    ASSERT_EQ(points("vm" + std::to_string(i)).size(), 1U);
    EXPECT_EQ(point_bytes(points("vm" + std::to_string(i)).front(), "disk"),
              random_bytes(static_cast<std::uint64_t>(i), 5000));
  }
}

}  // namespace
}  // namespace vaultfs
