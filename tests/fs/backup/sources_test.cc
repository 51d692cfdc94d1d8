// Sources that are no good copy of a disk: refused, or told and counted; never FileConsistent.
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <limits>
#include <utility>

#include "base/files/file_time.h"
#include "fs/backup/source/image_format.h"
#include "fs/restore/restore.h"
#include "tests/fs/engine/engine_fixture.h"
#include "tests/support/units.h"

namespace vaultfs {
namespace {

class SourcesTest : public VaultEngineTest {
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
  Result<BackupOutcome> backup(const ProgressCallback& progress = nullptr) {
    return engine_->backup({"vm", {{"sda", image()}}}, progress);
  }
  [[nodiscard]] std::vector<JobInfo> backups() {
    std::vector<JobInfo> found = engine_->vault().catalogue().jobs();
    std::erase_if(found, [](const JobInfo& job) { return job.kind != JobKind::backup; });
    return found;
  }
  [[nodiscard]] std::vector<std::string> operations() {
    std::vector<std::string> found;
    const auto entries = engine_->vault().activity().entries();
    EXPECT_TRUE(entries.ok());
    for (const ActivityEntry& entry : *entries) found.push_back(entry.operation);
    return found;
  }

  std::unique_ptr<VaultEngine> engine_;
};

TEST_F(SourcesTest, AnEmptySourceIsRefusedAndTheItemStaysAsItIs) {
  write_file(image(), {});
  const auto first = backup();
  ASSERT_FALSE(first.ok());
  EXPECT_EQ(first.code(), ErrorCode::InvalidArgument);
  EXPECT_FALSE(engine_->vault().catalogue().item("vm").has_value());
  write_file(image(), random_bytes(1, kMiB));
  ASSERT_OK(backup());
  write_file(image(), {});
  EXPECT_FALSE(backup().ok());
  EXPECT_EQ(engine_->vault().catalogue().points_of("vm").size(), 1U);
}

TEST_F(SourcesTest, WhatWasAskedForAndRefusedIsAFailedJob) {
  EXPECT_EQ(backup().code(), ErrorCode::NotFound);
  EXPECT_EQ(engine_->backup({"a/b", {{"sda", image()}}}, nullptr).code(), ErrorCode::InvalidName);
  ASSERT_EQ(backups().size(), 2U);
  EXPECT_EQ(backups()[0].state, JobState::failed);
  EXPECT_EQ(backups()[0].item, "vm");
  EXPECT_TRUE(backups()[0].detail.starts_with("NotFound: ")) << backups()[0].detail;
  EXPECT_EQ(backups()[1].item, "");
  EXPECT_EQ(operations(), (std::vector<std::string>{"vault.create", "backup.fail", "backup.fail"}));
  EXPECT_TRUE(engine_->vault().catalogue().items().empty());
}

TEST_F(SourcesTest, OneThatIsOpenForWritingElsewhereIsCrashConsistent) {
  write_file(image(), random_bytes(1, kMiB));
  const int writer = ::open(image().c_str(), O_RDWR | O_CLOEXEC);
  ASSERT_GE(writer, 0);
  const auto live = backup();
  ::close(writer);
  ASSERT_OK(live);
  EXPECT_TRUE(live->commit.point->crash_consistent);
  EXPECT_EQ(live->commit.job.state, JobState::completed);
  EXPECT_FALSE(live->source_in_doubt);
  ASSERT_EQ(live->warnings.size(), 1U);
  EXPECT_NE(live->warnings[0].find("open for writing"), std::string::npos);
  EXPECT_NE(live->commit.job.detail.find("open for writing"), std::string::npos);
  patch_file(image(), 5, random_bytes(2, 5));
  const auto still = backup();
  ASSERT_OK(still);
  EXPECT_FALSE(still->commit.point->crash_consistent);
  EXPECT_TRUE(still->warnings.empty());
}

// Who was there when it began may have written to what was read last, or first.
TEST_F(SourcesTest, OneThatWasOpenForWritingAtTheStartIsCrashConsistent) {
  write_file(image(), random_bytes(1, 3 * kMiB));
  int writer = ::open(image().c_str(), O_RDWR | O_CLOEXEC);
  ASSERT_GE(writer, 0);
  const auto live = engine_->backup({"vm", {{"sda", image()}}}, [&](const Progress&) {
    if (writer >= 0) ::close(std::exchange(writer, -1));
    return true;
  });
  ASSERT_EQ(writer, -1);
  ASSERT_OK(live);
  EXPECT_TRUE(live->commit.point->crash_consistent);
  EXPECT_EQ(live->warnings.size(), 1U);
}

TEST_F(SourcesTest, OneThatAVirtualMachineRunsFromIsCrashConsistent) {
  write_file(image(), random_bytes(1, kMiB));
  // As qemu does, whose file descriptor may be in another namespace: a shared lock on the byte of its right to write.
  const int machine = ::open(image().c_str(), O_RDONLY | O_CLOEXEC);
  ASSERT_GE(machine, 0);
  struct flock lock {};
  lock.l_type = F_RDLCK;
  lock.l_start = 101;
  lock.l_len = 1;
  ASSERT_EQ(::fcntl(machine, F_OFD_SETLK, &lock), 0);
  const auto live = backup();
  ::close(machine);
  ASSERT_OK(live);
  EXPECT_TRUE(live->commit.point->crash_consistent);
  EXPECT_NE(live->warnings.at(0).find("virtual machine"), std::string::npos);
}

TEST_F(SourcesTest, OneThatChangesWhileItIsReadEndsWithWarnings) {
  write_file(image(), random_bytes(1, 8 * kMiB));
  bool changed = false;
  const auto torn = backup([&](const Progress&) {
    if (!std::exchange(changed, true)) patch_file(image(), 7 * kMiB, random_bytes(2, 9));
    return true;
  });
  ASSERT_OK(torn);
  EXPECT_TRUE(torn->source_in_doubt);
  EXPECT_EQ(torn->commit.job.state, JobState::completed_with_warnings);
  EXPECT_TRUE(torn->commit.point->crash_consistent);
  EXPECT_NE(torn->warnings.at(0).find("written to while it was read"), std::string::npos);
}

TEST_F(SourcesTest, ProgressComesToTheSumOfAllDisksAndARestoreTellsTheSameSize) {
  write_file(image(), random_bytes(1, 5 * kMiB + 17));
  write_file(scratch_ / "holes.img", random_bytes(2, kMiB));
  std::filesystem::resize_file(scratch_ / "holes.img", 40 * kMiB + 3);
  std::vector<Progress> told;
  const ProgressCallback note = [&told](const Progress& now) {
    told.push_back(now);
    return true;
  };
  const auto check = [&told](std::uint64_t total) {
    ASSERT_FALSE(told.empty());
    std::uint64_t before = 0;
    for (const Progress& now : told) {
      EXPECT_EQ(now.total_bytes, total);
      EXPECT_GE(now.done_bytes, before);
      EXPECT_LE(now.done_bytes, total);
      before = now.done_bytes;
    }
    EXPECT_EQ(before, total);
    told.clear();
  };
  ASSERT_OK(engine_->backup({"vm", {{"a", image()}, {"b", scratch_ / "holes.img"}}}, note));
  check(45 * kMiB + 20);
  ASSERT_OK(restore(engine_->vault(), {.item = "vm", .point = {}, .disk = "b", .to = scratch_ / "back"}, note));
  check(40 * kMiB + 3);
  std::filesystem::create_directory(scratch_ / "all");
  ASSERT_OK(restore(engine_->vault(), {.item = "vm", .point = {}, .disk = {}, .to = scratch_ / "all"}, note));
  check(45 * kMiB + 20);
}

TEST_F(SourcesTest, WhatIsCarriedOutOfATornPointIsNoBetterThere) {
  write_file(image(), random_bytes(1, kMiB));
  const int writer = ::open(image().c_str(), O_RDWR | O_CLOEXEC);
  ASSERT_OK(backup());
  ::close(writer);
  write_file(scratch_ / "other.img", random_bytes(2, kMiB));
  const auto other = engine_->backup({"vm", {{"sdb", scratch_ / "other.img"}}}, nullptr);
  ASSERT_OK(other);
  EXPECT_EQ(other->carried, std::vector<std::string>{"sda"});
  EXPECT_TRUE(other->commit.point->crash_consistent);
}

TEST_F(SourcesTest, AnImageOnTopOfAnotherEndsWithWarnings) {
  Bytes qcow = random_bytes(1, kMiB);
  const std::string header("QFI\xfb\0\0\0\3\0\0\0\0\0\0\2\0", 16);
  std::copy(header.begin(), header.end(), reinterpret_cast<char*>(qcow.data()));
  write_file(image(), qcow);
  const auto overlay = backup();
  ASSERT_OK(overlay);
  EXPECT_EQ(overlay->commit.job.state, JobState::completed_with_warnings);
  EXPECT_TRUE(overlay->source_in_doubt);
  EXPECT_NE(overlay->warnings.at(0).find("backing file"), std::string::npos);
}

Bytes image_of(std::initializer_list<std::pair<std::size_t, std::string>> parts) {
  Bytes image(512);
  for (const auto& [at, text] : parts) {
    image.resize(std::max(image.size(), at + text.size()));
    std::copy(text.begin(), text.end(), reinterpret_cast<char*>(image.data()) + at);
  }
  return image;
}

ImageReader reader_of(Bytes image) {
  return [image = std::move(image)](std::uint64_t offset, std::size_t length) {
    const std::size_t begin = std::min<std::uint64_t>(offset, image.size());
    const std::size_t end = begin + std::min(length, image.size() - begin);
    return Bytes(image.begin() + static_cast<std::ptrdiff_t>(begin), image.begin() + static_cast<std::ptrdiff_t>(end));
  };
}

TEST(ImageFormat, KnowsWhatIsIncomplete) {
  const auto of = [](std::initializer_list<std::pair<std::size_t, std::string>> parts) {
    return why_image_is_incomplete(reader_of(image_of(parts)));
  };
  const std::string qcow("QFI\xfb\0\0\0\3", 8);
  EXPECT_EQ(of({}), "");
  EXPECT_EQ(of({{510, "\x55\xaa"}}), "");
  EXPECT_EQ(of({{0, qcow}}), "");
  EXPECT_NE(of({{0, qcow}, {15, "\1"}}), "");
  EXPECT_NE(of({{0, qcow}, {79, "\4"}}).find("another file"), std::string::npos);
  EXPECT_NE(of({{0, qcow}, {79, "\1"}}).find("not closed"), std::string::npos);
  EXPECT_EQ(of({{0, std::string("QFI\xfb\0\0\0\2", 8)}, {79, "\4"}}), "") << "version 2 has no features";
  EXPECT_NE(of({{0, std::string("QED\0", 4)}, {16, "\1"}}), "");
  EXPECT_NE(of({{0, "# Disk DescriptorFile\nversion=1\n"}}), "");
  EXPECT_NE(of({{0, "KDMV"}}).find("one part"), std::string::npos);
  const std::string one("\1\0\0\0\0\0\0\0", 8);
  EXPECT_EQ(of({{0, "KDMV"}, {28, one}, {36, one}, {600, "parentCID=ffffffff\n"}, {1023, "-"}}), "");
  EXPECT_NE(of({{0, "KDMV"}, {28, one}, {36, one}, {600, "parentCID=12345678\n"}, {1023, "-"}}), "");
  EXPECT_NE(
      of({{0, "KDMV"}, {28, one}, {36, one}, {72, "\1"}, {600, "parentCID=ffffffff"}, {1023, "-"}}).find("not closed"),
      std::string::npos);
  EXPECT_NE(of({{0, "KDMV"}, {30, one}, {36, one}, {0x10000 * 512, "parentCID=12345678\n"}}).find("parent"),
            std::string::npos)
      << "wherever its header says";
  EXPECT_NE(of({{0, "KDMV"}, {28, one}, {36, one}, {1023, "\n"}}).find("one part"), std::string::npos);
  EXPECT_NE(of({{0, "COWD"}}), "");
  EXPECT_NE(of({{0, std::string("\xbe\xba\xfe\xca\0\0\0\0", 8)}}), "");
  EXPECT_NE(of({{0, "WithouFreSpacExt"}, {44, "Ynot"}}).find("not closed"), std::string::npos);
  EXPECT_EQ(of({{0, "WithoutFreeSpace"}, {44, "1.2v"}}), "");
  EXPECT_NE(of({{0, "Bochs Virtual HD Image"}, {32, "Redolog"}, {48, "Undoable"}}), "");
  EXPECT_EQ(of({{0, "Bochs Virtual HD Image"}, {32, "Redolog"}, {48, "Growing"}}), "");
  EXPECT_NE(of({{64, "\x7f\x10\xda\xbe"}, {76, "\4"}}), "");
  EXPECT_EQ(of({{64, "\x7f\x10\xda\xbe"}, {76, "\1"}}), "");
  EXPECT_NE(of({{0, "conectix"}, {63, "\4"}}), "");
  EXPECT_EQ(why_image_is_incomplete(reader_of({})), "");
  EXPECT_EQ(why_image_is_incomplete(reader_of(Bytes(3))), "");
  for (const std::string& text : {std::string("vhdxfile"), std::string("KDMV"), qcow, std::string("conectix")}) {
    EXPECT_NO_THROW(static_cast<void>(why_image_is_incomplete(reader_of(image_of({{0, text}})))));
    EXPECT_NO_THROW(static_cast<void>(why_image_is_incomplete(reader_of(to_bytes(bytes_of(text))))));
  }
}

TEST(ImageFormat, KnowsAVhdxWithAParentOrAnOpenLog) {
  constexpr std::size_t kHead1 = 64 << 10, kHead2 = 128 << 10, kRegions = 192 << 10, kMetadata = 2 << 20;
  const auto number = [](std::uint64_t value, std::size_t bytes) {
    return std::string(reinterpret_cast<const char*>(&value), bytes);
  };
  const auto of = [&](std::uint64_t flags, const std::string& newer_log, const std::string& older_log) {
    return why_image_is_incomplete(
        reader_of(image_of({{0, "vhdxfile"},
                            {kHead1, "head"},
                            {kHead1 + 8, number(7, 8)},
                            {kHead1 + 48, newer_log},
                            {kHead2, "head"},
                            {kHead2 + 8, number(6, 8)},
                            {kHead2 + 48, older_log},
                            {kRegions, "regi"},
                            {kRegions + 8, number(2, 4)},
                            {kRegions + 48, "\x06\xa2\x7c\x8b\x90\x47\x9a\x4b\xb8\xfe\x57\x5f\x05\x0f\x88\x6e"},
                            {kRegions + 64, number(kMetadata, 8)},
                            {kMetadata, "metadata"},
                            {kMetadata + 10, number(1, 2)},
                            {kMetadata + 32, "\x37\x67\xa1\xca\x36\xfa\x43\x4d\xb3\xb6\x33\xf0\xaa\x44\xe7\x6b"},
                            {kMetadata + 48, number(64 << 10, 4)},
                            {kMetadata + (64 << 10), number(32 << 20, 4) + number(flags, 4)}})));
  };
  EXPECT_EQ(of(0, "", ""), "");
  EXPECT_EQ(of(1, "", "x"), "") << "the older header does not count";
  EXPECT_NE(of(2, "", "").find("parent"), std::string::npos);
  EXPECT_NE(of(0, "x", "").find("not closed"), std::string::npos);
}

TEST(FileTime, BeyondWhatAVaultKeepsIsTheNearestThereIs) {
  constexpr std::int64_t kMax = std::numeric_limits<std::int64_t>::max();
  EXPECT_EQ(file_time_of({5, 7}).time.value, 5'000'000'007);
  EXPECT_EQ(file_time_of({-5, 7}).time.value, -4'999'999'993);
  EXPECT_FALSE(file_time_of({9'223'372'036, 854'775'807}).clamped);
  EXPECT_EQ(file_time_of({9'223'372'036, 854'775'807}).time.value, kMax);
  for (const timespec late : {timespec{9'223'372'036, 854'775'808}, timespec{16'725'225'600, 0}, timespec{kMax, 0}}) {
    EXPECT_TRUE(file_time_of(late).clamped);
    EXPECT_EQ(file_time_of(late).time.value, kMax);
  }
  for (const timespec early : {timespec{-9'300'000'000, 1}, timespec{-kMax - 1, 0}}) {
    EXPECT_TRUE(file_time_of(early).clamped);
    EXPECT_EQ(file_time_of(early).time.value / kNanosPerSecond, -9'223'372'036);
  }
}

}  // namespace
}  // namespace vaultfs
