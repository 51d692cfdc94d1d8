#include "fs/backup/backup_run.h"

#include <fcntl.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <fstream>

#include "fs/backup/disk_import.h"
#include "fs/points/recovery_point_tree.h"
#include "tests/fs/engine/engine_fixture.h"
#include "tests/support/units.h"

namespace vaultfs {
namespace {

class BackupRunTest : public VaultEngineTest {
 protected:
  void SetUp() override {
    VaultEngineTest::SetUp();
    if (!HasFatalFailure()) engine_ = open_session();
    ASSERT_NE(engine_, nullptr);
  }
  void TearDown() override {
    if (engine_ == nullptr) return;
    EXPECT_TRUE(engine_->close().ok());
  }

  [[nodiscard]] std::filesystem::path image() const { return scratch_ / "disk.img"; }
  Result<BackupOutcome> backup(const std::string& name = "sda.raw", const std::filesystem::path& path = {}) {
    return engine_->backup({"vm", {{name, path.empty() ? image() : path}}}, nullptr);
  }
  [[nodiscard]] Bytes working_bytes(const std::string& name) {
    const auto item = engine_->tree().lookup(kRootInode, "vm");
    if (!item.ok()) return {};
    const auto file = engine_->tree().lookup(item->number, name);
    return file.ok() ? tree_bytes(engine_->tree(), file->number) : Bytes{};
  }
  [[nodiscard]] std::vector<std::string> working_names() {
    std::vector<std::string> names;
    const auto item = engine_->tree().lookup(kRootInode, "vm");
    if (!item.ok()) return names;
    const auto entries = engine_->tree().list(item->number);
    EXPECT_TRUE(entries.ok());
    for (const DirectoryEntry& entry : *entries) names.push_back(entry.name);
    return names;
  }
  [[nodiscard]] Bytes point_bytes(const PointInfo& point, const std::string& name) {
    InodeNumber root;
    auto tree = engine_->open_point(point, root);
    EXPECT_TRUE(tree.ok());
    auto file = (*tree)->lookup(root, name);
    EXPECT_TRUE(file.ok());
    return file.ok() ? tree_bytes(**tree, file->number) : Bytes{};
  }
  [[nodiscard]] JobInfo last_job() {
    JobInfo last;
    for (const JobInfo& job : engine_->vault().catalogue().jobs()) {
      if (job.kind == JobKind::backup) last = job;
    }
    return last;
  }

  std::unique_ptr<VaultEngine> engine_;
};

TEST_F(BackupRunTest, ReadsADiskWithHolesAndAnOddTail) {
  write_file(image(), random_bytes(1, 3 * kMiB));
  patch_file(image(), 40 * kMiB, random_bytes(2, 70'001));
  const Bytes content = file_bytes(image());
  const auto outcome = backup();
  ASSERT_OK(outcome);
  ASSERT_TRUE(outcome->commit.point.has_value());
  EXPECT_FALSE(outcome->commit.point->automatic);
  EXPECT_FALSE(outcome->commit.point->crash_consistent);
  EXPECT_EQ(outcome->commit.point->logical_bytes, content.size());
  EXPECT_EQ(outcome->commit.job.state, JobState::completed);
  EXPECT_EQ(outcome->commit.job.logical_bytes, content.size());
  EXPECT_EQ(outcome->read_bytes + outcome->hole_bytes, content.size());
  EXPECT_EQ(outcome->hole_bytes, 37 * kMiB);
  EXPECT_EQ(outcome->new_chunks, 4U);
  EXPECT_GT(outcome->stored_bytes, 3 * kMiB);
  EXPECT_LT(outcome->stored_bytes, 4 * kMiB);
  EXPECT_EQ(point_bytes(*outcome->commit.point, "sda.raw"), content);
  EXPECT_EQ(working_bytes("sda.raw"), content);
  EXPECT_EQ(working_names(), std::vector<std::string>{"sda.raw"});
}

TEST_F(BackupRunTest, AnUnchangedDiskIsOnlyHashed) {
  write_file(image(), random_bytes(1, 20 * kMiB + 5));
  ASSERT_OK(backup());
  const Lsn before = engine_->vault().journal().last_appended();
  const std::uint64_t stored = engine_->vault().segments().stored_bytes();
  const auto again = backup();
  ASSERT_OK(again);
  EXPECT_FALSE(again->commit.point.has_value());
  EXPECT_EQ(again->commit.job.state, JobState::completed_no_change);
  EXPECT_EQ(again->new_chunks, 0U);
  EXPECT_EQ(again->known_chunks, 21U);
  EXPECT_EQ(again->stored_bytes, 0U);
  EXPECT_EQ(engine_->vault().segments().stored_bytes(), stored);
  // The job's begin and end, and nothing for the disk.
  EXPECT_LE(engine_->vault().journal().last_appended().value - before.value, 4U);
}

TEST_F(BackupRunTest, TheNextPointStoresOnlyWhatChanged) {
  write_file(image(), random_bytes(1, 20 * kMiB));
  const auto first = backup();
  ASSERT_OK(first);
  const Bytes old = file_bytes(image());
  patch_file(image(), 7 * kMiB + 100, random_bytes(2, 50));
  const auto second = backup();
  ASSERT_OK(second);
  EXPECT_EQ(second->new_chunks, 1U);
  EXPECT_EQ(second->known_chunks, 19U);
  EXPECT_EQ(point_bytes(*first->commit.point, "sda.raw"), old);
  EXPECT_EQ(point_bytes(*second->commit.point, "sda.raw"), file_bytes(image()));
}

TEST_F(BackupRunTest, GrownAndShrunkDisks) {
  write_file(image(), random_bytes(1, 12 * kMiB));
  ASSERT_OK(backup());
  for (const std::uint64_t size : {12 * kMiB + 1, 20 * kMiB, 3 * kMiB + 77, std::uint64_t{1}, 9 * kMiB}) {
    std::filesystem::resize_file(image(), size);
    const auto outcome = backup();
    ASSERT_OK(outcome);
    ASSERT_TRUE(outcome->commit.point.has_value()) << size;
    EXPECT_EQ(point_bytes(*outcome->commit.point, "sda.raw"), file_bytes(image())) << size;
  }
}

TEST_F(BackupRunTest, OtherDisksStayAndAttributesAreThoseOfTheSource) {
  write_file(image(), random_bytes(1, kMiB));
  ASSERT_EQ(::chmod(image().c_str(), 0640), 0);
  write_file(scratch_ / "second.img", random_bytes(2, 2 * kMiB));
  ASSERT_OK(engine_->backup({"vm", {{"sda", image()}, {"sdb", scratch_ / "second.img"}}}, nullptr));
  const auto item = engine_->tree().lookup(kRootInode, "vm");
  ASSERT_OK(item);
  const auto sda = engine_->tree().lookup(item->number, "sda");
  ASSERT_OK(sda);
  EXPECT_EQ(sda->mode, 0640U);
  EXPECT_EQ(sda->uid, ::getuid());
  patch_file(image(), 10, random_bytes(3, 10));
  ASSERT_EQ(::chmod(image().c_str(), 0604), 0);
  const std::array<timespec, 2> times{timespec{1'000'000'000, 5}, timespec{999'999'999, 123'456'789}};
  ASSERT_EQ(::utimensat(AT_FDCWD, image().c_str(), times.data(), 0), 0);
  const auto outcome = backup("sda");
  ASSERT_OK(outcome);
  const auto after = engine_->tree().lookup(item->number, "sda");
  ASSERT_OK(after);
  EXPECT_EQ(after->mode, 0604U);
  EXPECT_EQ(after->uid, ::getuid());
  EXPECT_EQ(after->mtime.value, 999'999'999'123'456'789);
  EXPECT_EQ(outcome->carried, std::vector<std::string>{"sdb"}) << "what was not named is told";
  EXPECT_EQ(point_bytes(*outcome->commit.point, "sda"), file_bytes(image()));
  EXPECT_EQ(point_bytes(*outcome->commit.point, "sdb"), file_bytes(scratch_ / "second.img"));
  ASSERT_EQ(::chmod(image().c_str(), 0600), 0);
  const auto chmod_only = backup("sda");
  ASSERT_OK(chmod_only);
  EXPECT_TRUE(chmod_only->commit.point.has_value()) << "a mode that was read is kept";
  ASSERT_EQ(::utimensat(AT_FDCWD, image().c_str(), times.data(), 0), 0);
  EXPECT_FALSE(backup("sda")->commit.point.has_value()) << "a new time alone is no change";
}

TEST_F(BackupRunTest, SourcesThatAreNoDisksAreNamed) {
  std::filesystem::create_directory(scratch_ / "directory");
  ASSERT_EQ(::mkfifo((scratch_ / "fifo").c_str(), 0600), 0);
  const std::vector<std::pair<std::filesystem::path, ErrorCode>> cases = {
      {scratch_ / "missing", ErrorCode::NotFound},
      {scratch_ / "directory", ErrorCode::IsADirectory},
      {scratch_ / "fifo", ErrorCode::InvalidArgument},
      {"/dev/null", ErrorCode::InvalidArgument},
      {vault_path() / VaultHeader::kFileName, ErrorCode::OverlapsVault},
  };
  for (const auto& [path, code] : cases) {
    const auto outcome = backup("sda", path);
    ASSERT_FALSE(outcome.ok()) << path;
    EXPECT_EQ(outcome.code(), code) << path << ": " << outcome.error().message;
  }
  std::filesystem::create_symlink(vault_path() / VaultHeader::kFileName, scratch_ / "link");
  const auto outcome = backup("sda", scratch_ / "link");
  ASSERT_FALSE(outcome.ok());
  EXPECT_EQ(outcome.code(), ErrorCode::OverlapsVault);
  EXPECT_TRUE(working_names().empty());
  EXPECT_FALSE(engine_->tree().lookup(kRootInode, "vm").ok()) << "no trace of the item";
}

TEST_F(BackupRunTest, NamesAreChecked) {
  write_file(image(), random_bytes(1, 100));
  for (const std::string& name : std::vector<std::string>{"", ".", "..", "a/b", std::string("a\0b", 3),
                                                          std::string(kImportPrefix) + "0", std::string(256, 'x')}) {
    const auto outcome = backup(name);
    ASSERT_FALSE(outcome.ok()) << name;
    EXPECT_EQ(error_exit_code(outcome.code()), 2) << name;
  }
  ASSERT_OK(backup(std::string(255, 'x')));
  EXPECT_FALSE(engine_->backup({"a/b", {{"sda", image()}}}, nullptr).ok());
  EXPECT_FALSE(engine_->backup({"vm", {}}, nullptr).ok());
  EXPECT_FALSE(engine_->backup({"vm", {{"sda", image()}, {"sda", image()}}}, nullptr).ok());
}

TEST_F(BackupRunTest, ASourceThatChangesItsSizeFailsTheJobAndLeavesTheDisk) {
  write_file(image(), random_bytes(1, 8 * kMiB));
  ASSERT_OK(backup());
  const Bytes old = working_bytes("sda.raw");
  for (const std::uint64_t new_size : {4 * kMiB, 40 * kMiB}) {
    write_file(image(), random_bytes(2, 16 * kMiB));
    bool done = false;
    const auto outcome = engine_->backup({"vm", {{"sda.raw", image()}}}, [&](const Progress&) {
      if (!std::exchange(done, true)) std::filesystem::resize_file(image(), new_size);
      return true;
    });
    ASSERT_FALSE(outcome.ok());
    EXPECT_EQ(outcome.code(), ErrorCode::JobFailed) << outcome.error().message;
    EXPECT_EQ(last_job().state, JobState::failed);
    EXPECT_NE(last_job().detail.find("JobFailed"), std::string::npos);
    EXPECT_EQ(working_bytes("sda.raw"), old);
    EXPECT_EQ(working_names(), std::vector<std::string>{"sda.raw"});
    EXPECT_EQ(engine_->vault().catalogue().points_of("vm").size(), 1U);
    EXPECT_FALSE(engine_->vault().catalogue().item("vm")->interrupted) << "the item is as it was";
  }
}

TEST_F(BackupRunTest, TheCallerCanStopIt) {
  write_file(image(), random_bytes(1, 64 * kMiB));
  std::uint64_t total = 0;
  const auto outcome = engine_->backup({"vm", {{"sda.raw", image()}}}, [&](const Progress& progress) {
    total = progress.total_bytes;
    return false;
  });
  ASSERT_FALSE(outcome.ok());
  EXPECT_EQ(outcome.code(), ErrorCode::Interrupted);
  EXPECT_EQ(total, 64 * kMiB);
  EXPECT_EQ(last_job().state, JobState::cancelled);
  EXPECT_FALSE(engine_->vault().catalogue().item("vm").has_value()) << "nothing came of it";
  EXPECT_FALSE(engine_->tree().lookup(kRootInode, "vm").ok());
  ASSERT_OK(backup());
}

TEST_F(BackupRunTest, AWriterOfTheMountKeepsItsFile) {
  write_file(image(), random_bytes(1, kMiB));
  ASSERT_OK(backup());
  const InodeNumber file = tree_file(engine_->tree(), "vm", "sda.raw");
  const auto handle = engine_->tree().open(file, true);
  ASSERT_OK(handle);
  const auto refused = backup();
  ASSERT_FALSE(refused.ok());
  EXPECT_EQ(refused.code(), ErrorCode::ItemBusy);
  engine_->tree().release(*handle);

  ErrorCode seen = ErrorCode::Internal;
  patch_file(image(), 0, random_bytes(9, 10));
  ASSERT_OK(engine_->backup({"vm", {{"sda.raw", image()}}}, [&](const Progress&) {
    const auto opened = engine_->tree().open(file, true);
    seen = opened.ok() ? ErrorCode::Internal : opened.code();
    return true;
  }));
  EXPECT_EQ(seen, ErrorCode::ItemBusy);
  const auto free_again = engine_->tree().open(tree_file(engine_->tree(), "vm", "sda.raw"), true);
  ASSERT_OK(free_again);
  engine_->tree().release(*free_again);
}

TEST_F(BackupRunTest, AFileMadeMeanwhileIsLeftAlone) {
  write_file(image(), random_bytes(1, 4 * kMiB));
  bool done = false;
  const auto outcome = engine_->backup({"vm", {{"sda.raw", image()}}}, [&](const Progress&) {
    if (!std::exchange(done, true))
      tree_write(engine_->tree(), tree_file(engine_->tree(), "vm", "sda.raw"), 0, random_bytes(5, 10));
    return true;
  });
  ASSERT_FALSE(outcome.ok());
  EXPECT_EQ(outcome.code(), ErrorCode::ItemBusy);
  EXPECT_EQ(working_bytes("sda.raw"), random_bytes(5, 10));
  EXPECT_EQ(working_names(), std::vector<std::string>{"sda.raw"});
}

TEST_F(BackupRunTest, WorkOfTheMountGoesIntoTheSamePoint) {
  write_file(image(), random_bytes(1, kMiB));
  tree_write(engine_->tree(), tree_file(engine_->tree(), "vm", "notes"), 0, random_bytes(7, 300));
  const JobInfo mounts = last_job();
  const auto outcome = backup();
  ASSERT_OK(outcome);
  ASSERT_TRUE(outcome->commit.point.has_value());
  EXPECT_NE(outcome->commit.job.number, mounts.number);
  EXPECT_EQ(point_bytes(*outcome->commit.point, "notes"), random_bytes(7, 300));
  const auto ended = engine_->vault().catalogue().job(mounts.number);
  ASSERT_TRUE(ended.has_value());
  EXPECT_EQ(ended->state, JobState::completed_no_change);
  EXPECT_EQ(engine_->vault().catalogue().points_of("vm").size(), 1U);
}

TEST_F(BackupRunTest, ADescriptorServesAsASource) {
  write_file(image(), random_bytes(1, 2 * kMiB + 3));
  const Bytes content = file_bytes(image());
  const int fd = ::open(image().c_str(), O_RDONLY | O_CLOEXEC);
  ASSERT_GE(fd, 0);
  std::filesystem::remove(image());
  const auto outcome = backup("sda", "/dev/fd/" + std::to_string(fd));
  ::close(fd);
  ASSERT_OK(outcome);
  EXPECT_EQ(point_bytes(*outcome->commit.point, "sda"), content);
}

TEST_F(BackupRunTest, ADiskOfManyMapPages) {
  write_file(image(), random_bytes(1, kMiB));
  patch_file(image(), 300 * kMiB, random_bytes(2, kMiB));
  patch_file(image(), 900 * kMiB, random_bytes(3, 5));
  const auto first = backup();
  ASSERT_OK(first);
  EXPECT_EQ(first->new_chunks, 3U);
  patch_file(image(), 600 * kMiB, random_bytes(4, 5));
  const auto second = backup();
  ASSERT_OK(second);
  EXPECT_EQ(second->new_chunks, 1U);
  InodeNumber root;
  const auto tree = engine_->open_point(*second->commit.point, root);
  ASSERT_OK(tree);
  const auto disk = (*tree)->lookup(root, "sda.raw");
  ASSERT_OK(disk);
  EXPECT_EQ(disk->size, 900 * kMiB + 5);
  const std::vector<std::pair<std::uint64_t, Bytes>> expected = {{0, random_bytes(1, kMiB)},
                                                                 {300 * kMiB, random_bytes(2, kMiB)},
                                                                 {600 * kMiB, random_bytes(4, 5)},
                                                                 {900 * kMiB, random_bytes(3, 5)}};
  for (const auto& [offset, bytes] : expected) {
    Bytes found(bytes.size());
    ASSERT_OK((*tree)->read(disk->number, offset, found));
    EXPECT_EQ(found, bytes) << offset;
  }
}

// A daemon of another user, that may not be dumped, gets a file of root's: it can read what it was given, not open it.
TEST_F(BackupRunTest, ADescriptorIsReadThoughItsFileMayNotBeOpened) {
  if (::geteuid() != 0) GTEST_SKIP() << "only root has something to hand over";
  write_file(image(), random_bytes(1, 3000));
  ASSERT_EQ(::chmod(image().c_str(), 0600), 0);
  const int fd = ::open(image().c_str(), O_RDONLY | O_CLOEXEC);
  ASSERT_GE(fd, 0);
  const pid_t child = ::fork();
  ASSERT_GE(child, 0);
  if (child == 0) {
    if (::setresuid(65534, 65534, 65534) != 0 || ::prctl(PR_SET_DUMPABLE, 0) != 0) ::_exit(2);
    const auto source = SourceReader::of_descriptor(fd, "the disk sda", "/nowhere");
    Bytes out(3000);
    ::_exit(source.ok() && (*source)->size_bytes() == 3000 && ::fcntl(fd, F_GETFD) >= 0 ? 0 : 1);
  }
  int status = 0;
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 0) << status;

  const auto outcome = engine_->backup({"vm", {{"sda", "the disk sda", fd}}}, nullptr);
  ASSERT_OK(outcome);
  EXPECT_EQ(point_bytes(*outcome->commit.point, "sda"), random_bytes(1, 3000));
  EXPECT_GE(::fcntl(fd, F_GETFD), 0) << "the caller's descriptor was closed";
  ::close(fd);
  EXPECT_EQ(engine_->backup({"vm", {{"sda", "the disk sda", 1 << 20}}}, nullptr).code(), ErrorCode::IoError);
}

}  // namespace
}  // namespace vaultfs
