// Env::hold_directory on the real disk: what is open is gone by, whatever takes its name.
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>

#include "base/files/env.h"
#include "tests/support/assert_ok.h"
#include "tests/support/scratch_directory.h"

namespace vaultfs {
namespace {

namespace fs = std::filesystem;

class HeldDirectoryTest : public testing::Test {
 protected:
  void SetUp() override {
    for (const char* name : {"a", "b"}) {
      fs::create_directories(scratch_ / name / "heads");
      put(posix_env(), name + std::string("/who"), name);
    }
    held_ = hold("a");
  }
  std::unique_ptr<Env> hold(const std::string& name) {
    auto held = posix_env().hold_directory(scratch_ / name);
    if (!held.ok()) {
      ADD_FAILURE() << held.error().message;
      return nullptr;
    }
    return std::move(*held);
  }
  void put(Env& env, const std::string& name, std::string_view text) {
    ASSERT_OK(write_file_durably(env, scratch_ / name, bytes_of(text)));
  }
  std::string get(Env& env, const std::string& name) {
    const auto bytes = read_file(env, scratch_ / name, 1 << 20);
    return bytes.ok() ? std::string(text_of(*bytes)) : std::string(error_name(bytes.code()));
  }
  // The two change places.
  void exchange() {
    fs::rename(scratch_ / "a", scratch_ / "c");
    fs::rename(scratch_ / "b", scratch_ / "a");
    fs::rename(scratch_ / "c", scratch_ / "b");
  }

  ScratchDirectory scratch_;
  std::unique_ptr<Env> held_;
};

TEST_F(HeldDirectoryTest, NothingIsDivertedWhenDirectoriesChangePlaces) {
  put(*held_, "a/heads/1", "one");  // heads is open now
  auto file = held_->open(scratch_ / "a/journal.tmp", OpenMode::create_exclusive);
  ASSERT_OK(file);
  const FileInfo before = *held_->info(scratch_ / "a");
  exchange();
  EXPECT_TRUE(held_->info(scratch_ / "a")->is_same_as(before));
  EXPECT_FALSE(posix_env().info(scratch_ / "a")->is_same_as(before)) << "by its path it is another one";

  put(*held_, "a/heads/2", "two");
  put(*held_, "a/root", "r");
  ASSERT_OK(held_->rename(scratch_ / "a/journal.tmp", scratch_ / "a/journal"));
  ASSERT_OK(held_->make_directory(scratch_ / "a/made"));
  ASSERT_OK(held_->lock(scratch_ / "a/lock"));
  ASSERT_OK(held_->remove_file(scratch_ / "a/heads/1"));
  ASSERT_OK(held_->sync_directory(scratch_ / "a/heads"));
  EXPECT_EQ(get(*held_, "a/who"), "a");
  EXPECT_EQ(held_->list(scratch_ / "a/heads").value(), std::vector<std::string>{"2"});
  EXPECT_EQ(held_->list(scratch_ / "a").value(),
            (std::vector<std::string>{"heads", "journal", "lock", "made", "root", "who"}));
  EXPECT_GT(held_->free_bytes(scratch_ / "a").value(), 0U);
  EXPECT_EQ(posix_env().list(scratch_ / "a").value(), (std::vector<std::string>{"heads", "who"})) << "the other one";
  EXPECT_EQ(posix_env().list(scratch_ / "a/heads").value(), std::vector<std::string>{});
  EXPECT_EQ(get(posix_env(), "b/heads/2"), "two");
}

TEST_F(HeldDirectoryTest, AFolderThatWasUsedIsGoneByToo) {
  put(*held_, "a/heads/1", "one");
  fs::rename(scratch_ / "a/heads", scratch_ / "a/old");
  fs::create_directory(scratch_ / "a/heads");
  put(*held_, "a/heads/2", "two");
  EXPECT_TRUE(fs::exists(scratch_ / "a/old/2"));
  EXPECT_TRUE(fs::is_empty(scratch_ / "a/heads"));
  // What this process itself makes anew is another matter.
  ASSERT_OK(held_->remove_directory(scratch_ / "a/heads"));
  ASSERT_OK(held_->make_directory(scratch_ / "a/heads"));
  put(*held_, "a/heads/3", "three");
  EXPECT_TRUE(fs::exists(scratch_ / "a/heads/3"));
}

TEST_F(HeldDirectoryTest, NoLinkIsFollowed) {
  fs::create_directory_symlink(scratch_ / "b", scratch_ / "link");
  EXPECT_FALSE(posix_env().hold_directory(scratch_ / "link").ok());
  fs::create_directory_symlink(scratch_ / "b/heads", scratch_ / "a/points");
  fs::create_symlink(scratch_ / "b/who", scratch_ / "a/file");
  fs::create_symlink(scratch_ / "b/none", scratch_ / "a/dangling");
  EXPECT_EQ(held_->list(scratch_ / "a/points").code(), ErrorCode::ForeignFile);
  EXPECT_EQ(held_->open(scratch_ / "a/points/1", OpenMode::create_exclusive).code(), ErrorCode::ForeignFile);
  EXPECT_EQ(held_->sync_directory(scratch_ / "a/points").code(), ErrorCode::ForeignFile);
  for (const char* name : {"a/file", "a/dangling"}) {
    EXPECT_EQ(held_->open(scratch_ / name, OpenMode::read_only).code(), ErrorCode::ForeignFile) << name;
    EXPECT_EQ(held_->open(scratch_ / name, OpenMode::read_write).code(), ErrorCode::ForeignFile) << name;
    EXPECT_EQ(held_->open(scratch_ / name, OpenMode::create_exclusive).code(), ErrorCode::AlreadyExists) << name;
    EXPECT_EQ(held_->lock(scratch_ / name).code(), ErrorCode::ForeignFile) << name;
    EXPECT_EQ(held_->lock_shared(scratch_ / name).code(), ErrorCode::ForeignFile) << name;
    EXPECT_EQ(held_->info(scratch_ / name)->kind, FileKind::other) << name;
    ASSERT_OK(held_->remove_file(scratch_ / name));  // the link itself may go
  }
  EXPECT_EQ(get(posix_env(), "b/who"), "b");
  EXPECT_FALSE(fs::exists(scratch_ / "b/none"));
}

TEST_F(HeldDirectoryTest, WhatIsNoFileIsRefusedAndBlocksNobody) {
  ASSERT_EQ(::mkfifo((scratch_ / "a/fifo").c_str(), 0600), 0);
  fs::create_directory(scratch_ / "a/directory");
  for (const char* name : {"a/fifo", "a/directory"}) {
    EXPECT_EQ(held_->open(scratch_ / name, OpenMode::read_only).code(), ErrorCode::ForeignFile) << name;
    EXPECT_EQ(held_->open(scratch_ / name, OpenMode::read_write).code(), ErrorCode::ForeignFile) << name;
    EXPECT_EQ(held_->lock(scratch_ / name).code(), ErrorCode::ForeignFile) << name;
    EXPECT_EQ(held_->lock_shared(scratch_ / name).code(), ErrorCode::ForeignFile) << name;
  }
  EXPECT_EQ(held_->open(scratch_ / "a/who/below", OpenMode::read_only).code(), ErrorCode::ForeignFile);
}

TEST_F(HeldDirectoryTest, AFileWithMoreNamesIsReadButNeitherWrittenNorLocked) {
  fs::create_hard_link(scratch_ / "b/who", scratch_ / "a/linked");
  EXPECT_EQ(get(*held_, "a/linked"), "b") << "a copy may share what never changes";
  EXPECT_EQ(held_->open(scratch_ / "a/linked", OpenMode::read_write).code(), ErrorCode::ForeignFile);
  EXPECT_EQ(held_->lock(scratch_ / "a/linked").code(), ErrorCode::ForeignFile);
  EXPECT_EQ(held_->lock_shared(scratch_ / "a/linked").code(), ErrorCode::ForeignFile);
  if (::geteuid() != 0) return;
  put(*held_, "a/other", "x");
  ASSERT_EQ(::chown((scratch_ / "a/other").c_str(), 65534, 65534), 0);
  EXPECT_EQ(held_->open(scratch_ / "a/other", OpenMode::read_write).code(), ErrorCode::ForeignFile);
  ASSERT_EQ(::chown((scratch_ / "a").c_str(), 65534, 65534), 0);
  ASSERT_OK(hold("a")->open(scratch_ / "a/other", OpenMode::read_write));  // it is that user's directory
}

TEST_F(HeldDirectoryTest, ALockIsOfTheFileThatHasTheName) {
  const auto lock = held_->lock(scratch_ / "a/lock");
  ASSERT_OK(lock);
  EXPECT_EQ(held_->lock(scratch_ / "a/lock").code(), ErrorCode::VaultBusy);
  EXPECT_EQ(hold("a")->lock_shared(scratch_ / "a/lock").code(), ErrorCode::VaultBusy);
}

TEST_F(HeldDirectoryTest, PathsLeadNowhereElse) {
  for (const Env::Path& path : {scratch_ / "b/who", scratch_ / "a/../b/who", scratch_ / "a/heads/..", Env::Path("who"),
                                scratch_ / "ab", scratch_.path()}) {
    EXPECT_EQ(held_->open(path, OpenMode::read_only).code(), ErrorCode::InvalidName) << path;
  }
  EXPECT_EQ(held_->info(scratch_ / "a/none/below")->kind, FileKind::missing);
  EXPECT_EQ(held_->open(scratch_ / "a/none/below", OpenMode::read_only).code(), ErrorCode::NotFound);
}

TEST_F(HeldDirectoryTest, RealPathsFollowLinksAndTakeWhatIsMissingAsItWouldBeMade) {
  fs::create_directory_symlink(scratch_ / "b", scratch_ / "link");
  const Env::Path real = fs::canonical(scratch_.path());
  EXPECT_EQ(posix_env().real_path(scratch_ / "link").value(), real / "b");
  EXPECT_EQ(posix_env().real_path(scratch_ / "link/new").value(), real / "b/new");
  EXPECT_EQ(posix_env().real_path(scratch_ / "link/new/").value(), real / "b/new");
  EXPECT_EQ(posix_env().real_path(scratch_ / "link/../a").value(), real / "a") << "as a shell takes it";
  EXPECT_TRUE(posix_env().real_path(scratch_ / "none/below").ok());
}

}  // namespace
}  // namespace vaultfs
