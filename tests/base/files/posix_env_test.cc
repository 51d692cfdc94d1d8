#include <gtest/gtest.h>
#include <sched.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <fstream>

#include "base/files/env.h"
#include "base/ids.h"
#include "tests/support/env_wrapper.h"
#include "tests/support/scratch_directory.h"

namespace vaultfs {
namespace {

namespace fs = std::filesystem;

class PosixEnvTest : public testing::Test {
 protected:
  Env& env_ = posix_env();
  ScratchDirectory scratch_;

  void put(const std::string& name, std::string_view text) {
    ASSERT_TRUE(write_file_durably(env_, scratch_ / name, bytes_of(text)).ok());
  }
  std::string get(const std::string& name) {
    auto bytes = read_file(env_, scratch_ / name, 1 << 20);
    return bytes.ok() ? std::string(text_of(*bytes)) : std::string(error_name(bytes.code()));
  }
};

TEST_F(PosixEnvTest, FilesReadWriteAndTruncate) {
  auto file = env_.open(scratch_ / "f", OpenMode::create_exclusive);
  ASSERT_TRUE(file.ok());
  ASSERT_TRUE((*file)->write_at(3, bytes_of("def")).ok());
  ASSERT_TRUE((*file)->write_at(0, bytes_of("abc")).ok());
  ASSERT_TRUE((*file)->sync().ok());
  EXPECT_EQ((*file)->size().value(), 6U);
  Bytes out(10);
  EXPECT_EQ((*file)->read_at(2, out).value(), 4U) << "fewer only at the end";
  EXPECT_EQ(text_of(ByteView(out).first(4)), "cdef");
  EXPECT_EQ((*file)->read_at(6, out).value(), 0U);
  EXPECT_EQ((*file)->read_at(1000, out).value(), 0U);
  ASSERT_TRUE((*file)->truncate(2).ok());
  ASSERT_TRUE((*file)->truncate(4).ok());
  EXPECT_EQ((*file)->read_at(0, out).value(), 4U);
  EXPECT_EQ(to_hex(ByteView(out).first(4)), "61620000");
  EXPECT_EQ(env_.info(scratch_ / "f")->mode, 0600U);
}

TEST_F(PosixEnvTest, OpenModesAreKept) {
  EXPECT_EQ(env_.open(scratch_ / "f", OpenMode::read_only).code(), ErrorCode::NotFound);
  EXPECT_EQ(env_.open(scratch_ / "f", OpenMode::read_write).code(), ErrorCode::NotFound);
  put("f", "text");
  EXPECT_EQ(env_.open(scratch_ / "f", OpenMode::create_exclusive).code(), ErrorCode::AlreadyExists);
  auto file = env_.open(scratch_ / "f", OpenMode::read_only);
  ASSERT_TRUE(file.ok());
  EXPECT_FALSE((*file)->write_at(0, bytes_of("x")).ok());
  EXPECT_EQ(get("f"), "text");
}

TEST_F(PosixEnvTest, OnlyRegularFilesAreOpened) {
  ASSERT_EQ(::mkfifo((scratch_ / "fifo").c_str(), 0600), 0);
  EXPECT_FALSE(env_.open(scratch_ / "fifo", OpenMode::read_only).ok()) << "and it doesn't wait for a writer";
  EXPECT_FALSE(env_.open(scratch_ / "fifo", OpenMode::read_write).ok());
  EXPECT_FALSE(env_.open(scratch_.path(), OpenMode::read_only).ok());
  put("f", "text");
  fs::create_symlink(scratch_ / "f", scratch_ / "link");
  EXPECT_FALSE(env_.open(scratch_ / "link", OpenMode::read_write).ok());
  EXPECT_FALSE(env_.open(scratch_ / "link", OpenMode::create_exclusive).ok());
  fs::create_symlink(scratch_ / "fifo", scratch_ / "link-to-fifo");
  EXPECT_FALSE(env_.open(scratch_ / "link-to-fifo", OpenMode::read_only).ok());
}

TEST_F(PosixEnvTest, LinksAreFollowedForReadingAndWhatIsOpenIsTold) {
  // As Kubernetes mounts secrets.
  fs::create_directory(scratch_ / "..2026_01");
  put("..2026_01/secret", "text");
  ASSERT_EQ(::chmod((scratch_ / "..2026_01/secret").c_str(), 0640), 0);
  fs::create_directory_symlink("..2026_01", scratch_ / "..data");
  fs::create_symlink("..data/secret", scratch_ / "secret");
  EXPECT_EQ(get("secret"), "text");
  const auto file = env_.open(scratch_ / "secret", OpenMode::read_only);
  ASSERT_TRUE(file.ok());
  const auto info = (*file)->info();
  EXPECT_EQ(info->mode, 0640U);
  EXPECT_TRUE(info->is_same_as(*env_.info(scratch_ / "..2026_01/secret")));
  fs::create_symlink("circle", scratch_ / "circle");
  EXPECT_FALSE(env_.open(scratch_ / "circle", OpenMode::read_only).ok());
}

TEST_F(PosixEnvTest, DirectoriesAndNames) {
  ASSERT_TRUE(env_.make_directory(scratch_ / "d").ok());
  EXPECT_EQ(env_.make_directory(scratch_ / "d").code(), ErrorCode::AlreadyExists);
  EXPECT_EQ(env_.info(scratch_ / "d")->kind, FileKind::directory);
  EXPECT_EQ(env_.info(scratch_ / "d")->mode, 0700U);
  EXPECT_EQ(env_.info(scratch_ / "none")->kind, FileKind::missing);
  EXPECT_EQ(env_.info(scratch_ / "none/below")->kind, FileKind::missing);
  put("d/b", "1");
  put("d/a", "22");
  EXPECT_EQ(env_.list(scratch_ / "d").value(), (std::vector<std::string>{"a", "b"}));
  EXPECT_EQ(env_.info(scratch_ / "d/a")->size, 2U);
  EXPECT_EQ(env_.list(scratch_ / "none").code(), ErrorCode::NotFound);
  EXPECT_EQ(env_.list(scratch_ / "d/a").code(), ErrorCode::NotADirectory);
  EXPECT_EQ(env_.remove_directory(scratch_ / "d").code(), ErrorCode::DirectoryNotEmpty);
  ASSERT_TRUE(env_.rename(scratch_ / "d/a", scratch_ / "d/b").ok());
  EXPECT_EQ(get("d/b"), "22");
  ASSERT_TRUE(env_.remove_file(scratch_ / "d/b").ok());
  EXPECT_EQ(env_.remove_file(scratch_ / "d/b").code(), ErrorCode::NotFound);
  ASSERT_TRUE(env_.sync_directory(scratch_ / "d").ok());
  ASSERT_TRUE(env_.remove_directory(scratch_ / "d").ok());
  EXPECT_EQ(env_.sync_directory(scratch_ / "d").code(), ErrorCode::NotFound);
  EXPECT_GT(env_.free_bytes(scratch_.path()).value(), 0U);
}

TEST_F(PosixEnvTest, LockIsExclusiveAndEndsWithItsHolder) {
  {
    auto lock = env_.lock(scratch_ / "lock");
    ASSERT_TRUE(lock.ok());
    EXPECT_EQ(env_.lock(scratch_ / "lock").code(), ErrorCode::VaultBusy);
  }
  EXPECT_TRUE(env_.lock(scratch_ / "lock").ok());
}

TEST_F(PosixEnvTest, LockOfAKilledProcessIsFree) {
  int ready[2];
  ASSERT_EQ(::pipe(ready), 0);
  const pid_t child = ::fork();
  if (child == 0) {
    auto lock = env_.lock(scratch_ / "lock");
    const char answer = lock.ok() ? 'y' : 'n';
    if (::write(ready[1], &answer, 1) != 1) ::_exit(1);
    for (;;) ::pause();
  }
  char answer = 0;
  ASSERT_EQ(::read(ready[0], &answer, 1), 1);
  EXPECT_EQ(answer, 'y');
  EXPECT_EQ(env_.lock(scratch_ / "lock").code(), ErrorCode::VaultBusy);
  ::kill(child, SIGKILL);
  ::waitpid(child, nullptr, 0);
  ::close(ready[0]);
  ::close(ready[1]);
  EXPECT_TRUE(env_.lock(scratch_ / "lock").ok());
}

TEST_F(PosixEnvTest, RandomnessAndClocks) {
  const auto a = random_id<VaultId>(env_), b = random_id<VaultId>(env_);
  EXPECT_FALSE(a.is_zero());
  EXPECT_NE(a, b);
  Bytes large(1000);
  env_.fill_random(large);
  EXPECT_FALSE(is_all_zero(ByteView(large).last(100)));
  EXPECT_GT(env_.clock().now().seconds(), 1'700'000'000);
  const std::int64_t before = env_.clock().monotonic_nanos();
  EXPECT_GE(env_.clock().monotonic_nanos(), before);
}

// The clock of grace and time-outs runs through a suspend. In a time namespace the time since the boot, which counts
// suspends, is set apart from the monotonic time, which does not.
TEST_F(PosixEnvTest, TheMonotonicClockCountsTheTimeAsleep) {
  constexpr std::int64_t kAsleepSeconds = 86'400;
  const std::int64_t before = env_.clock().monotonic_nanos();
  const pid_t child = ::fork();
  ASSERT_GE(child, 0);
  if (child == 0) {
    if (::unshare(CLONE_NEWTIME) != 0) ::_exit(77);
    std::ofstream offsets("/proc/self/timens_offsets");
    offsets << "boottime " << kAsleepSeconds << " 0" << std::endl;
    if (!offsets) ::_exit(77);
    const pid_t there = ::fork();  // a time namespace is that of its maker's children
    if (there < 0) ::_exit(77);
    if (there == 0) {
      const std::int64_t asleep = (env_.clock().monotonic_nanos() - before) / kNanosPerSecond;
      ::_exit(asleep >= kAsleepSeconds && asleep < kAsleepSeconds + 3600 ? 0 : 1);
    }
    int status = 0;
    ::waitpid(there, &status, 0);
    ::_exit(WIFEXITED(status) ? WEXITSTATUS(status) : 2);
  }
  int status = 0;
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  ASSERT_TRUE(WIFEXITED(status));
  if (WEXITSTATUS(status) == 77) GTEST_SKIP() << "no time namespace can be made here";
  EXPECT_EQ(WEXITSTATUS(status), 0);
}

TEST_F(PosixEnvTest, ReadFileHasALimit) {
  put("f", "12345");
  EXPECT_TRUE(read_file(env_, scratch_ / "f", 5).ok());
  EXPECT_EQ(read_file(env_, scratch_ / "f", 4).code(), ErrorCode::InvalidArgument);
  EXPECT_EQ(read_file(env_, scratch_ / "none", 4).code(), ErrorCode::NotFound);
}

// A file that is cut between the look at its size and the reading has no zeros for what is gone.
TEST_F(PosixEnvTest, AFileThatIsCutWhileItIsReadEndsThere) {
  class Cut final : public FileWrapper {
   public:
    using FileWrapper::FileWrapper;
    Result<std::uint64_t> size() override { return std::uint64_t{9}; }
  };
  put("f", "five!");
  Cut file(*env_.open(scratch_ / "f", OpenMode::read_only));
  EXPECT_EQ(text_of(read_file(file, scratch_ / "f", 9).value()), "five!");
}

TEST_F(PosixEnvTest, DurableWriteReplacesAsAWhole) {
  put("f", "a long first version");
  put("f", "short");
  EXPECT_EQ(get("f"), "short");
  EXPECT_EQ(env_.list(scratch_.path()).value(), std::vector<std::string>{"f"}) << "no temporary stays";
}

TEST_F(PosixEnvTest, DurableWriteCopesWithALeftOver) {
  put("f.tmp", "what a crash left, longer than the new content");
  put("f", "new");
  EXPECT_EQ(get("f"), "new");
  EXPECT_EQ(env_.info(scratch_ / "f.tmp")->kind, FileKind::missing);
}

TEST_F(PosixEnvTest, DurableWriteTakesABareName) {
  const fs::path before = fs::current_path();
  fs::current_path(scratch_.path());
  EXPECT_TRUE(write_file_durably(env_, "bare", bytes_of("x")).ok());
  fs::current_path(before);
  EXPECT_EQ(get("bare"), "x");
}

TEST_F(PosixEnvTest, DurableWriteReportsAMissingDirectory) {
  EXPECT_EQ(write_file_durably(env_, scratch_ / "none/f", bytes_of("x")).code(), ErrorCode::NotFound);
}

}  // namespace
}  // namespace vaultfs
