// Targets that keep less than a point has, or are in use: refused before the first byte, or counted.
#include <fcntl.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <array>
#include <cstddef>
#include <thread>

#include "fs/restore/restore.h"
#include "fs/restore/restore_attributes.h"
#include "fs/restore/restore_target.h"
#include "tests/fs/engine/engine_fixture.h"
#include "tests/support/child_process.h"
#include "tests/support/units.h"

namespace vaultfs {
namespace {

constexpr uid_t kNobody = 65534;

class RestoreEdgesTest : public VaultEngineTest {
 protected:
  void SetUp() override {
    VaultEngineTest::SetUp();
    if (!HasFatalFailure()) engine_ = open_session();
    ASSERT_NE(engine_, nullptr);
    std::filesystem::create_directory(scratch_ / "out");
    write_file(scratch_ / "disk.img", random_bytes(1, 2 * kMiB + 77));
    ASSERT_OK(engine_->backup({"vm", {{"sda", scratch_ / "disk.img"}}}, nullptr));
  }
  void TearDown() override {
    if (engine_ == nullptr) return;
    EXPECT_TRUE(engine_->close().ok());
  }
  [[nodiscard]] std::filesystem::path out(const std::string& name = "disk") const { return scratch_ / "out" / name; }
  Result<RestoreOutcome> restore_to(const std::filesystem::path& to, bool force = false, bool replace_open = false) {
    RestoreRequest request;
    request.item = "vm";
    request.to = to;
    request.force = force;
    request.replace_open = replace_open;
    return restore(engine_->vault(), request, nullptr);
  }
  Result<RestoreOutcome> restore_through(int pipe) {
    RestoreRequest request;
    request.item = "vm";
    request.pipe = pipe;
    return restore(engine_->vault(), request, nullptr);
  }
  [[nodiscard]] JobInfo last_restore() {
    JobInfo last;
    for (const JobInfo& job : engine_->vault().catalogue().jobs()) {
      if (job.kind == JobKind::restore) last = job;
    }
    return last;
  }

  std::unique_ptr<VaultEngine> engine_;
};

// renameat2 knows no flags from now on, in every thread: as on NTFS, NFS, some ZFS.
bool forbid_rename_flags() {
  std::array<sock_filter, 6> program{
      sock_filter BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, nr)),
      sock_filter BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_renameat2, 0, 3),
      sock_filter BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, args) + 4 * sizeof(std::uint64_t)),
      sock_filter BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, 0, 1, 0),
      sock_filter BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EINVAL),
      sock_filter BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
  };
  const sock_fprog filter{static_cast<unsigned short>(program.size()), program.data()};
  if (::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0) return false;
  return ::syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_TSYNC, &filter) == 0;
}

TEST_F(RestoreEdgesTest, TargetsThatKnowNoRenameFlagsGetTheirFilesAllTheSame) {
  if (child_arguments().empty()) {
    EXPECT_EQ(wait_for_child(start_child({"without"})), 0);
    return;
  }
  if (!forbid_rename_flags()) ::_exit(0);
  const Bytes content = file_bytes(scratch_ / "disk.img");
  EXPECT_TRUE(restore_to(scratch_ / "out").ok());
  EXPECT_EQ(file_bytes(out("sda")), content);
  const auto again = restore_to(scratch_ / "out");
  EXPECT_FALSE(again.ok());
  write_file(out("sda"), random_bytes(3, 10));
  EXPECT_TRUE(restore_to(scratch_ / "out", true).ok());
  EXPECT_EQ(file_bytes(out("sda")), content);
  EXPECT_TRUE(restore_to(out("single")).ok());
  EXPECT_FALSE(restore_to(out("single")).ok());
  EXPECT_TRUE(restore_to(out("single"), true).ok());
  EXPECT_EQ(file_bytes(out("single")), content);
  std::size_t names = 0;
  for (const auto& entry : std::filesystem::directory_iterator(scratch_ / "out")) names += entry.exists() ? 1U : 0U;
  EXPECT_EQ(names, 2U) << "nothing is left behind";
  ::_exit(testing::Test::HasFailure() ? 1 : 0);
}

TEST_F(RestoreEdgesTest, AFileThatSomebodyGoesOnUsingIsNotReplaced) {
  write_file(out(), random_bytes(2, 100));
  const int guest = ::open(out().c_str(), O_RDWR | O_CLOEXEC);
  ASSERT_GE(guest, 0);
  const auto refused = restore_to(out(), true);
  ASSERT_FALSE(refused.ok());
  EXPECT_EQ(refused.code(), ErrorCode::ItemBusy);
  EXPECT_EQ(file_bytes(out()), random_bytes(2, 100));
  EXPECT_EQ(last_restore().state, JobState::failed);
  std::filesystem::rename(out(), out("sda"));
  EXPECT_EQ(restore_to(scratch_ / "out", true).code(), ErrorCode::ItemBusy) << "nor in a whole item";
  ASSERT_OK(restore_to(out("sda"), true, true));
  ::close(guest);
  EXPECT_EQ(file_bytes(out("sda")), file_bytes(scratch_ / "disk.img"));

  const int reader = ::open(out("sda").c_str(), O_RDONLY | O_CLOEXEC);
  ASSERT_OK(restore_to(out("sda"), true));  // who reads a file keeps what he reads
  // A guest that may only read holds locks.
  struct flock lock {};
  lock.l_type = F_RDLCK;
  lock.l_start = 100;
  lock.l_len = 1;
  const int locked = ::open(out("sda").c_str(), O_RDONLY | O_CLOEXEC);
  ASSERT_EQ(::fcntl(locked, F_OFD_SETLK, &lock), 0);
  EXPECT_EQ(restore_to(out("sda"), true).code(), ErrorCode::ItemBusy);
  ::close(locked);
  ::close(reader);
}

// Links are followed once, when the target is looked at: one that has come since may lead anywhere.
TEST_F(RestoreEdgesTest, ALinkThatHasComeSinceIsRefused) {
  write_file(out("other"), random_bytes(2, 10));
  std::filesystem::create_symlink(out("other"), out());
  const auto target = RestoreTarget::new_file(out(), /*force=*/true, kMiB, /*replace_open=*/false);
  ASSERT_FALSE(target.ok());
  EXPECT_EQ(target.code(), ErrorCode::RefusedOverwrite);
  EXPECT_TRUE(std::filesystem::is_symlink(out()));
}

TEST_F(RestoreEdgesTest, OwnersThatTheUserMayNotSetAreCountedAndTheRestGoesOn) {
  if (::geteuid() != 0) GTEST_SKIP() << "wants root";
  WorkingTree& tree = engine_->tree();
  const auto item = tree.lookup(kRootInode, "vm");
  ASSERT_OK(item);
  const auto sda = tree.lookup(item->number, "sda");
  ASSERT_OK(sda);
  AttributeChange change;
  change.uid = 1234;
  change.mode = 04755;
  change.mtime = UnixNanos{1'000'000'000'000'000'001};
  const auto wanted = tree.set_attributes(sda->number, change);
  ASSERT_OK(wanted);
  write_file(out(), {});
  ASSERT_EQ(::chown(out().c_str(), kNobody, kNobody), 0);
  RestoreOutcome outcome;
  Status status = ok_status();
  std::thread([&] {
    const int file = ::open(out().c_str(), O_RDWR | O_CLOEXEC);
    // Of this thread alone: what libc calls so is of the process.
    EXPECT_EQ(::syscall(SYS_setresuid, kNobody, kNobody, kNobody), 0);
    status = restore_attributes(tree, file, *wanted, outcome);
    ::close(file);
  }).join();
  EXPECT_TRUE(status.ok()) << status.error().message;
  EXPECT_EQ(outcome.lost_owners, 1U);
  struct stat st {};
  ASSERT_EQ(::stat(out().c_str(), &st), 0);
  EXPECT_EQ(st.st_uid, kNobody);
  EXPECT_EQ(st.st_mode & 07777U, 0755U) << "no set-id bit of somebody else's file";
  EXPECT_EQ(st.st_mtim.tv_nsec, 1);
}

TEST_F(RestoreEdgesTest, ADiskGoesThroughAPipe) {
  std::array<int, 2> ends{};
  ASSERT_EQ(::pipe2(ends.data(), O_CLOEXEC), 0);
  ASSERT_EQ(::fcntl(ends[1], F_SETFL, O_NONBLOCK), 0);
  Bytes received;
  std::thread reader([&] {
    Bytes piece(50'000);
    for (ssize_t n = 0; (n = ::read(ends[0], piece.data(), piece.size())) > 0;) {
      append(received, ByteView(piece).first(static_cast<std::size_t>(n)));
    }
  });
  const auto outcome = restore_through(ends[1]);
  ::close(ends[1]);
  reader.join();
  ::close(ends[0]);
  ASSERT_OK(outcome);
  EXPECT_EQ(received, file_bytes(scratch_ / "disk.img"));
  EXPECT_EQ(last_restore().state, JobState::completed);

  ASSERT_EQ(::pipe2(ends.data(), O_CLOEXEC), 0);
  ASSERT_EQ(::fcntl(ends[1], F_SETFL, O_NONBLOCK), 0);
  ::close(ends[0]);
  static_cast<void>(::signal(SIGPIPE, SIG_IGN));
  EXPECT_EQ(restore_through(ends[1]).code(), ErrorCode::IoError);
  ::close(ends[1]);
  EXPECT_EQ(last_restore().state, JobState::failed);
}

TEST_F(RestoreEdgesTest, WhoStopsItCancelsIt) {
  RestoreRequest request;
  request.item = "vm";
  request.to = out();
  EXPECT_EQ(restore(engine_->vault(), request, [](const Progress&) { return false; }).code(), ErrorCode::Interrupted);
  EXPECT_EQ(last_restore().state, JobState::cancelled);
  request.item = "nobody";
  EXPECT_EQ(restore(engine_->vault(), request, nullptr).code(), ErrorCode::ItemNotFound);
  EXPECT_EQ(last_restore().item, "nobody");
  EXPECT_EQ(last_restore().state, JobState::failed);
}

}  // namespace
}  // namespace vaultfs
