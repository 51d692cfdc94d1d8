// What is left to store: limits of quotas, and room that is taken before it is written.
#include <gtest/gtest.h>

#include <cerrno>

#include "base/files/env.h"
#include "base/files/posix_file.h"
#include "tests/support/assert_ok.h"
#include "tests/support/env_wrapper.h"
#include "tests/support/scratch_directory.h"
#include "tests/support/sim_env.h"

namespace vaultfs {
namespace {

using posix::left_of_limit;

TEST(FreeSpaceTest, AQuotaLeavesWhatItsHardLimitSays) {
  EXPECT_EQ(left_of_limit(0, 0, 100, 0, 1000), FreeSpace::kNoLimit);
  EXPECT_EQ(left_of_limit(150, 0, 100, 0, 1000), 50U);
  EXPECT_EQ(left_of_limit(100, 0, 100, 0, 1000), 0U);
  EXPECT_EQ(left_of_limit(100, 0, 170, 0, 1000), 0U) << "root may have gone beyond";
}

TEST(FreeSpaceTest, ASoftLimitIsOneWhenItsGraceIsOver) {
  EXPECT_EQ(left_of_limit(150, 80, 100, 0, 1000), 50U);
  EXPECT_EQ(left_of_limit(150, 80, 100, 1001, 1000), 50U);
  EXPECT_EQ(left_of_limit(150, 80, 100, 1000, 1000), 0U);
  EXPECT_EQ(left_of_limit(0, 80, 100, 1000, 1000), 0U);
  EXPECT_EQ(left_of_limit(150, 80, 79, 1000, 1000), 71U);
}

TEST(FreeSpaceTest, RoomIsTakenBeforeItIsWritten) {
  ScratchDirectory scratch;
  Env& env = posix_env();
  const auto file = env.open(scratch / "file", OpenMode::create_exclusive);
  ASSERT_OK(file);
  const Status taken = (*file)->allocate(1 << 20);
  if (!taken.ok() && taken.code() == ErrorCode::NotSupported) GTEST_SKIP() << "no fallocate here";
  ASSERT_OK(taken);
  const auto info = (*file)->info();
  ASSERT_OK(info);
  EXPECT_EQ(info->size, 1U << 20U);
  EXPECT_GE(info->stored_bytes, 1U << 20U);
  ASSERT_OK((*file)->truncate(0));
  ASSERT_OK((*file)->truncate(1 << 20));
  EXPECT_LT((*file)->info()->stored_bytes, 1U << 20U) << "a hole takes none";
}

TEST(FreeSpaceTest, IsToldOfPathsAndOfHeldDirectoriesAlike) {
  ScratchDirectory scratch;
  const std::filesystem::path path = scratch / "directory";
  ASSERT_OK(posix_env().make_directory(path));
  const auto held = posix_env().hold_directory(path);
  ASSERT_OK(held);
  const auto by_path = posix_env().free_space(path);
  const auto by_descriptor = (*held)->free_space(path);
  ASSERT_OK(by_path);
  ASSERT_OK(by_descriptor);
  EXPECT_GT(by_path->bytes, 0U);
  EXPECT_GT(by_descriptor->bytes, 0U);
  EXPECT_EQ(posix_env().free_space(scratch / "nowhere").code(), ErrorCode::NotFound);
}

TEST(FreeSpaceTest, AQuotaIsNamed) {
  const Error error = posix::system_error(EDQUOT, "cannot write", "/vault/file");
  EXPECT_EQ(error.code, ErrorCode::NoSpace);
  EXPECT_NE(error.message.find("quota"), std::string::npos) << error.message;
  EXPECT_NE(posix::system_error(ENOSPC, "cannot write", "/file").message.find("full"), std::string::npos);
}

// A file server that tells of its quota at the sync, and has room once something was given up.
class ServerOverQuota final : public EnvWrapper {
 public:
  using EnvWrapper::EnvWrapper;
  Result<std::unique_ptr<File>> open(const Path& path, OpenMode mode) override {
    VAULTFS_ASSIGN_OR_RETURN(auto file, EnvWrapper::open(path, mode));
    return std::unique_ptr<File>(std::make_unique<ServersFile>(std::move(file), *this));
  }
  bool make_room(const Path& /*path*/) override { return to_give_up > 0 && --to_give_up >= 0; }
  int needed = 0;
  int to_give_up = 0;

 private:
  class ServersFile final : public File {
   public:
    ServersFile(std::unique_ptr<File> file, ServerOverQuota& server) : file_(std::move(file)), server_(server) {}
    Result<std::size_t> read_at(std::uint64_t offset, MutableByteView out) override {
      return file_->read_at(offset, out);
    }
    Status write_at(std::uint64_t offset, ByteView bytes) override { return file_->write_at(offset, bytes); }
    Status sync() override {
      if (server_.to_give_up > server_.needed) return Error{ErrorCode::NoSpace, "over quota"};
      return file_->sync();
    }
    Status truncate(std::uint64_t size) override { return file_->truncate(size); }
    Result<std::uint64_t> size() override { return file_->size(); }
    Result<FileInfo> info() override { return file_->info(); }

   private:
    std::unique_ptr<File> file_;
    ServerOverQuota& server_;
  };
};

TEST(FreeSpaceTest, APutThatFindsNoRoomAtItsSyncBeginsAnew) {
  SimEnv sim;
  ServerOverQuota env(sim);
  env.to_give_up = 3;
  env.needed = 1;
  ASSERT_OK(write_file_durably(env, "/file", bytes_of("content")));
  EXPECT_EQ(env.to_give_up, 1);
  EXPECT_EQ(sim.read("/file"), to_bytes(bytes_of("content")));
  env.to_give_up = 2;
  env.needed = -1;  // never enough
  EXPECT_EQ(write_file_durably(env, "/other", bytes_of("content")).code(), ErrorCode::NoSpace);
  EXPECT_FALSE(sim.exists("/other.tmp"));
}

}  // namespace
}  // namespace vaultfs
