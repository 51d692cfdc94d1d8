#include "fs/restore/restore.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include <array>
#include <cstdio>

#include "tests/fs/engine/engine_fixture.h"
#include "tests/support/units.h"

namespace vaultfs {
namespace {

std::uint64_t allocated(const std::filesystem::path& path) {
  struct stat st {};
  EXPECT_EQ(::stat(path.c_str(), &st), 0) << path;
  return static_cast<std::uint64_t>(st.st_blocks) * 512;
}

// A loop device over a file, detached at the end of the scope.
class LoopDevice {
 public:
  explicit LoopDevice(const std::filesystem::path& file) {
    const std::string command = "losetup --find --show '" + file.string() + "' 2>/dev/null";
    std::FILE* pipe = ::popen(command.c_str(), "r");
    if (pipe == nullptr) return;
    std::array<char, 256> line{};
    if (std::fgets(line.data(), line.size(), pipe) != nullptr) path_ = line.data();
    if (::pclose(pipe) != 0) path_.clear();
    while (!path_.empty() && path_.back() == '\n') path_.pop_back();
  }
  LoopDevice(const LoopDevice&) = delete;
  LoopDevice& operator=(const LoopDevice&) = delete;
  ~LoopDevice() {
    if (!path_.empty() && std::system(("losetup --detach " + path_).c_str()) != 0) {
      ADD_FAILURE() << path_ << " could not be detached";
    }
  }
  [[nodiscard]] const std::string& path() const { return path_; }

 private:
  std::string path_;
};

class RestoreTest : public VaultEngineTest {
 protected:
  void SetUp() override {
    VaultEngineTest::SetUp();
    if (!HasFatalFailure()) engine_ = open_session();
    ASSERT_NE(engine_, nullptr);
    std::filesystem::create_directory(scratch_ / "out");
  }
  void TearDown() override {
    if (engine_ == nullptr) return;
    EXPECT_TRUE(engine_->close().ok());
  }

  [[nodiscard]] std::filesystem::path image() const { return scratch_ / "disk.img"; }
  [[nodiscard]] std::filesystem::path out(const std::string& name = "restored.img") const {
    return scratch_ / "out" / name;
  }
  void backup_image() { ASSERT_OK(engine_->backup({"vm", {{"sda", image()}}}, nullptr)); }
  // 3 MiB of data, a hole, a little data: 24 MiB and an odd number of bytes.
  void make_image(std::uint64_t seed = 1) {
    write_file(image(), random_bytes(seed, 3 * kMiB));
    patch_file(image(), 24 * kMiB, random_bytes(seed + 1, 5'001));
  }
  Result<RestoreOutcome> restore_to(const std::filesystem::path& to, bool force = false, const std::string& point = "",
                                    const std::string& disk = "") {
    return restore(engine_->vault(), {.item = "vm", .point = point, .disk = disk, .to = to, .force = force}, nullptr);
  }
  [[nodiscard]] std::vector<std::string> names_in_out() const {
    std::vector<std::string> names;
    for (const auto& entry : std::filesystem::directory_iterator(scratch_ / "out")) {
      names.push_back(entry.path().filename().string());
    }
    return names;
  }
  // Flips a byte in the middle of each closed segment.
  void damage_segments() {
    for (const auto& entry : std::filesystem::directory_iterator(vault_path() / "segments")) {
      const std::uint64_t middle = entry.file_size() / 2;
      Bytes bytes = file_bytes(entry.path());
      bytes[middle] ^= std::byte{1};
      patch_file(entry.path(), middle, ByteView(bytes).subspan(middle, 1));
    }
  }

  std::unique_ptr<VaultEngine> engine_;
};

TEST_F(RestoreTest, BothPointsComeBackByteForByte) {
  make_image();
  backup_image();
  const Bytes first = file_bytes(image());
  patch_file(image(), kMiB + 7, random_bytes(9, 100));
  std::filesystem::resize_file(image(), 26 * kMiB);
  backup_image();
  const Bytes second = file_bytes(image());
  const auto points = engine_->vault().catalogue().points_of("vm");
  ASSERT_EQ(points.size(), 2U);

  const auto newest = restore_to(out());
  ASSERT_OK(newest);
  EXPECT_EQ(newest->point.number, points[1].number);
  EXPECT_EQ(newest->files, 1U);
  EXPECT_EQ(newest->logical_bytes, second.size());
  EXPECT_LT(newest->written_bytes, 5 * kMiB);
  EXPECT_EQ(file_bytes(out()), second);
  EXPECT_LT(allocated(out()), 5 * kMiB) << "holes stay holes";
  ASSERT_OK(restore_to(out("by-id"), false, points[0].id()));
  EXPECT_EQ(file_bytes(out("by-id")), first);
  ASSERT_OK(restore_to(out("by-number"), false, std::to_string(points[0].number.value), "sda"));
  EXPECT_EQ(file_bytes(out("by-number")), first);
  struct stat st {};
  ASSERT_EQ(::stat(out().c_str(), &st), 0);
  struct stat source {};
  ASSERT_EQ(::stat(image().c_str(), &source), 0);
  EXPECT_EQ(st.st_mode, source.st_mode);
  EXPECT_EQ(st.st_uid, source.st_uid);
  EXPECT_EQ(st.st_mtim.tv_sec, source.st_mtim.tv_sec);
  EXPECT_EQ(st.st_mtim.tv_nsec, source.st_mtim.tv_nsec);
}

TEST_F(RestoreTest, PatchedPointsComeBackAndTheSameDiskIsKnownAgain) {
  make_image();
  backup_image();
  const auto item = engine_->tree().lookup(kRootInode, "vm");
  ASSERT_OK(item);
  const auto disk = engine_->tree().lookup(item->number, "sda");
  ASSERT_OK(disk);
  for (const std::uint64_t offset : {std::uint64_t{8192}, kMiB + 5'000, 10 * kMiB, 24 * kMiB + 4'900}) {
    const Bytes bytes = random_bytes(offset, 4'096);
    const auto handle = engine_->tree().open(disk->number, true);
    ASSERT_OK(handle);
    ASSERT_OK(engine_->tree().write(disk->number, *handle, offset, bytes));
    engine_->tree().release(*handle);
    patch_file(image(), offset, bytes);
  }
  ASSERT_OK(engine_->commit("vm"));
  std::size_t patches = 0;
  for (const std::uint64_t index : {0U, 1U, 10U, 24U}) {
    const auto id = engine_->tree().chunk_at(disk->number, ChunkIndexInFile(index));
    ASSERT_OK(id);
    ASSERT_TRUE(id->has_value());
    const auto patch = engine_->vault().segments().patch_of(**id);
    ASSERT_OK(patch);
    patches += patch->has_value() ? 1 : 0;
  }
  EXPECT_GE(patches, 3U) << "the tail is so small that it is put whole";
  ASSERT_OK(restore_to(out()));
  EXPECT_EQ(file_bytes(out()), file_bytes(image()));

  // backup run puts whole chunks in the patches' place, once.
  const auto before = engine_->vault().catalogue().points_of("vm").size();
  backup_image();
  ASSERT_OK(restore_to(out("again")));
  EXPECT_EQ(file_bytes(out("again")), file_bytes(image()));
  EXPECT_EQ(engine_->vault().catalogue().points_of("vm").size(), before + 1);
  backup_image();
  EXPECT_EQ(engine_->vault().catalogue().points_of("vm").size(), before + 1) << "nothing has changed";
  EXPECT_TRUE(verify_vault(posix_env(), vault_path(), &engine_->vault(), nullptr)->damage.empty());
}

TEST_F(RestoreTest, HolesSmallerThanAChunkStayHoles) {
  const Bytes page = random_bytes(5, 4096);
  write_file(image(), page);
  for (std::uint64_t at = 64 * 1024; at < 8 * kMiB; at += 64 * 1024) patch_file(image(), at, page);
  backup_image();
  ASSERT_OK(restore_to(out()));
  EXPECT_EQ(file_bytes(out()), file_bytes(image()));
  EXPECT_LE(allocated(out()), allocated(image()) + 64 * 1024);
}

TEST_F(RestoreTest, AnExistingFileIsRefusedWithoutForce) {
  make_image();
  backup_image();
  ASSERT_OK(restore_to(out()));
  const Bytes mine = random_bytes(77, 100);
  write_file(out(), mine);
  const auto refused = restore_to(out());
  ASSERT_FALSE(refused.ok());
  EXPECT_EQ(refused.code(), ErrorCode::RefusedOverwrite);
  EXPECT_EQ(file_bytes(out()), mine);
  ASSERT_OK(restore_to(out(), true));
  EXPECT_EQ(file_bytes(out()), file_bytes(image()));
  EXPECT_EQ(names_in_out(), std::vector<std::string>{"restored.img"});
}

TEST_F(RestoreTest, WhatIsNotThereIsNamed) {
  make_image();
  backup_image();
  EXPECT_EQ(restore(engine_->vault(), {.item = "nobody", .point = "", .disk = "", .to = out()}, nullptr).code(),
            ErrorCode::ItemNotFound);
  EXPECT_EQ(restore_to(out(), false, "99").code(), ErrorCode::RecoveryPointNotFound);
  const auto no_disk = restore_to(out(), false, "", "sdz");
  EXPECT_EQ(no_disk.code(), ErrorCode::DiskNotFound);
  EXPECT_NE(no_disk.error().message.find("sda"), std::string::npos);
  EXPECT_EQ(restore_to(out() / "below" / "nothing").code(), ErrorCode::NotFound);
  // A device of the test's own, where it may make one: a fault in the product must not replace the machine's.
  const std::filesystem::path own_null = scratch_ / "null";
  const bool is_own = ::mknod(own_null.c_str(), S_IFCHR | 0600, ::makedev(1, 3)) == 0;
  EXPECT_EQ(restore_to(is_own ? own_null : std::filesystem::path("/dev/null"), true).code(),
            ErrorCode::InvalidArgument);
  EXPECT_EQ(restore_to(vault_path() / "points" / "mine").code(), ErrorCode::OverlapsVault);
  ASSERT_OK(engine_->backup({"vm", {{"sdb", image()}}}, nullptr));
  const auto ambiguous = restore_to(out());
  EXPECT_EQ(ambiguous.code(), ErrorCode::DiskNotFound);
  EXPECT_NE(ambiguous.error().message.find("sda, sdb"), std::string::npos);
  EXPECT_TRUE(names_in_out().empty());
}

TEST_F(RestoreTest, DamageIsNamedAndLeavesNothing) {
  make_image();
  backup_image();
  ASSERT_OK(engine_->close());
  engine_.reset();
  damage_segments();
  engine_ = open_session();
  ASSERT_NE(engine_, nullptr);
  for (const bool force : {false, true}) {
    if (force) write_file(out(), random_bytes(1, 10));
    const auto outcome = restore_to(out(), force);
    ASSERT_FALSE(outcome.ok());
    EXPECT_TRUE(is_integrity_error(outcome.code())) << error_name(outcome.code());
    EXPECT_EQ(names_in_out().size(), force ? 1U : 0U);
  }
  EXPECT_EQ(file_bytes(out()), random_bytes(1, 10)) << "the file that was there is as it was";
  JobInfo last;
  for (const JobInfo& job : engine_->vault().catalogue().jobs()) {
    if (job.kind == JobKind::restore) last = job;
  }
  EXPECT_EQ(last.state, JobState::failed);
}

TEST_F(RestoreTest, TheCallerCanStopIt) {
  make_image();
  backup_image();
  std::uint64_t calls = 0;
  const auto outcome = restore(engine_->vault(), {.item = "vm", .point = "", .disk = "", .to = out()},
                               [&](const Progress&) { return ++calls < 1; });
  ASSERT_FALSE(outcome.ok());
  EXPECT_EQ(outcome.code(), ErrorCode::Interrupted);
  EXPECT_TRUE(names_in_out().empty());
}

TEST_F(RestoreTest, AReadOnlySessionRestores) {
  make_image();
  backup_image();
  ASSERT_OK(engine_->close());
  engine_.reset();
  VaultEngine::Options options = session_options();
  options.vault.read_only = true;
  engine_ = open_session(options);
  ASSERT_NE(engine_, nullptr);
  ASSERT_OK(restore_to(out()));
  EXPECT_EQ(file_bytes(out()), file_bytes(image()));
}

TEST_F(RestoreTest, AWholeItemIntoADirectory) {
  make_image();
  backup_image();
  WorkingTree& tree = engine_->tree();
  const auto item = tree.lookup(kRootInode, "vm");
  ASSERT_OK(item);
  const auto directory = tree.make_directory(item->number, "conf", 0751, {});
  ASSERT_OK(directory);
  const auto inner = tree.make_node(directory->number, "domain.xml", InodeType::file, 0644, 0, {});
  ASSERT_OK(inner);
  tree_write(tree, inner->number, 0, random_bytes(4, 1234));
  ASSERT_OK(tree.make_link(inner->number, item->number, "same.xml"));
  ASSERT_OK(tree.make_symlink(directory->number, "link", "/nowhere/at all", {}));
  ASSERT_OK(tree.make_node(directory->number, "fifo", InodeType::fifo, 0620, 0, {}));
  ASSERT_OK(tree.make_node(directory->number, "empty", InodeType::file, 0400, 0, {}));
  AttributeChange change;
  change.mtime = UnixNanos{1'000'000'000'123'456'789};
  change.uid = ::geteuid() == 0 ? 1234U : ::geteuid();
  change.mode = 04750;
  ASSERT_OK(tree.set_attributes(inner->number, change));
  change = {};
  change.mtime = UnixNanos{999'999'999'000'000'001};
  ASSERT_OK(tree.set_attributes(directory->number, change));
  ASSERT_OK(engine_->commit("vm"));

  const auto outcome = restore_to(scratch_ / "out");
  ASSERT_OK(outcome);
  EXPECT_EQ(outcome->files, 3U);
  EXPECT_EQ(file_bytes(out("sda")), file_bytes(image()));
  EXPECT_EQ(file_bytes(out("conf/domain.xml")), random_bytes(4, 1234));
  EXPECT_EQ(file_bytes(out("conf/empty")), Bytes{});
  EXPECT_EQ(std::filesystem::read_symlink(out("conf/link")), "/nowhere/at all");
  struct stat st {};
  struct stat other {};
  ASSERT_EQ(::stat(out("conf/domain.xml").c_str(), &st), 0);
  ASSERT_EQ(::stat(out("same.xml").c_str(), &other), 0);
  EXPECT_EQ(st.st_ino, other.st_ino);
  EXPECT_EQ(st.st_mode & 07777U, 04750U);
  EXPECT_EQ(st.st_uid, ::geteuid() == 0 ? 1234U : ::geteuid());
  EXPECT_EQ(st.st_mtim.tv_sec, 1'000'000'000);
  EXPECT_EQ(st.st_mtim.tv_nsec, 123'456'789);
  ASSERT_EQ(::stat(out("conf").c_str(), &st), 0);
  EXPECT_EQ(st.st_mode & 07777U, 0751U);
  EXPECT_EQ(st.st_mtim.tv_sec, 999'999'999);
  ASSERT_EQ(::stat(out("conf/fifo").c_str(), &st), 0);
  EXPECT_TRUE(S_ISFIFO(st.st_mode));
  EXPECT_EQ(st.st_mode & 07777U, 0620U);

  const auto refused = restore_to(scratch_ / "out");
  ASSERT_FALSE(refused.ok());
  EXPECT_EQ(refused.code(), ErrorCode::RefusedOverwrite);
  write_file(out("conf/mine"), random_bytes(1, 1));
  ASSERT_OK(restore_to(scratch_ / "out", true));
  EXPECT_FALSE(std::filesystem::exists(out("conf/mine"))) << "entries are replaced as a whole";
  EXPECT_EQ(names_in_out().size(), 3U);

  ASSERT_OK(restore_to(scratch_ / "out", true, "", "conf/domain.xml"));
  EXPECT_EQ(file_bytes(out("domain.xml")), random_bytes(4, 1234)) << "one disk goes into the directory under its name";
}

TEST_F(RestoreTest, AFailureOfAWholeItemLeavesTheDirectoryAsItWas) {
  make_image();
  backup_image();
  tree_write(engine_->tree(), tree_file(engine_->tree(), "vm", "zzz"), 0, random_bytes(4, 1234));
  ASSERT_OK(engine_->commit("vm"));
  ASSERT_OK(engine_->close());
  engine_.reset();
  damage_segments();
  engine_ = open_session();
  ASSERT_NE(engine_, nullptr);
  write_file(out("sda"), random_bytes(1, 10));
  EXPECT_FALSE(restore_to(scratch_ / "out", true).ok());
  EXPECT_EQ(names_in_out(), std::vector<std::string>{"sda"});
  EXPECT_EQ(file_bytes(out("sda")), random_bytes(1, 10));
}

TEST_F(RestoreTest, ABlockDevice) {
  write_file(image(), random_bytes(1, 3 * kMiB));
  patch_file(image(), 12 * kMiB, random_bytes(2, 4096));
  backup_image();
  const Bytes content = file_bytes(image());
  const std::filesystem::path backing = scratch_ / "backing";
  const Bytes old = random_bytes(3, 16 * kMiB);
  write_file(backing, old);
  const LoopDevice device(backing);
  if (device.path().empty()) GTEST_SKIP() << "no loop device can be had here";

  const auto outcome = restore_to(device.path());
  ASSERT_OK(outcome);
  const Bytes found = file_bytes(device.path());
  ASSERT_EQ(found.size(), old.size());
  EXPECT_TRUE(bytes_equal(ByteView(found).first(content.size()), content)) << "holes are zeros on a device";
  EXPECT_TRUE(bytes_equal(ByteView(found).subspan(content.size()), ByteView(old).subspan(content.size())))
      << "what lies behind the disk is not touched";

  const int held = ::open(device.path().c_str(), O_RDONLY | O_EXCL | O_CLOEXEC);  // as a mount would
  ASSERT_GE(held, 0);
  EXPECT_EQ(restore_to(device.path()).code(), ErrorCode::ItemBusy);
  ::close(held);

  patch_file(image(), 17 * kMiB, random_bytes(2, 1));
  backup_image();
  const auto shorter = restore_to(device.path());
  ASSERT_FALSE(shorter.ok());
  EXPECT_EQ(shorter.code(), ErrorCode::ShortDevice);
  EXPECT_EQ(file_bytes(device.path()), found) << "nothing was written";
}

TEST_F(RestoreTest, ABlockDeviceIsBackedUp) {
  write_file(scratch_ / "backing", random_bytes(3, 5 * kMiB + 512));
  const LoopDevice device(scratch_ / "backing");
  if (device.path().empty()) GTEST_SKIP() << "no loop device can be had here";
  ASSERT_OK(engine_->backup({"vm", {{"sda", device.path()}}}, nullptr));
  ASSERT_OK(restore_to(out()));
  EXPECT_EQ(file_bytes(out()), random_bytes(3, 5 * kMiB + 512));
}

}  // namespace
}  // namespace vaultfs
