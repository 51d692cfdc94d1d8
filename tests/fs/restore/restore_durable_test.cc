// A restore that ended well is whole after a power cut, and is what the point has, whatever the medium makes of it.
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <cerrno>
#include <cstdlib>
#include <functional>

#include "fs/restore/restore.h"
#include "tests/fs/engine/engine_fixture.h"
#include "tests/support/units.h"

namespace vaultfs {
namespace {

// What this program asks the kernel to make durable. The answer is the kernel's, or the errno that the test wants.
using OnSync = std::function<int(int descriptor, const std::string& path, bool whole_file_system)>;
std::atomic<const OnSync*> on_sync{nullptr};

int answer_sync(int descriptor, bool whole_file_system) {
  const OnSync* const told = on_sync.load();
  if (told == nullptr) return 0;
  std::array<char, 4096> path{};
  const std::string link = "/proc/self/fd/" + std::to_string(descriptor);
  const ssize_t length = ::readlink(link.c_str(), path.data(), path.size());
  return (*told)(descriptor, std::string(path.data(), length < 0 ? 0 : static_cast<std::size_t>(length)),
                 whole_file_system);
}

int sync_in_kernel(long call, int descriptor, bool whole_file_system) {
  if (const int wanted = answer_sync(descriptor, whole_file_system); wanted != 0) {
    errno = wanted;
    return -1;
  }
  return static_cast<int>(::syscall(call, descriptor));
}

}  // namespace
}  // namespace vaultfs

// In place of the C library's, for this program.
extern "C" int fsync(int descriptor) { return vaultfs::sync_in_kernel(SYS_fsync, descriptor, false); }
extern "C" int syncfs(int descriptor) noexcept { return vaultfs::sync_in_kernel(SYS_syncfs, descriptor, true); }

namespace vaultfs {
namespace {

class RestoreDurableTest : public VaultEngineTest {
 protected:
  void SetUp() override {
    VaultEngineTest::SetUp();
    if (!HasFatalFailure()) engine_ = open_session();
    ASSERT_NE(engine_, nullptr);
    std::filesystem::create_directory(out());
    // Data, a hole of many chunks, a little data.
    write_file(scratch_ / "disk.img", random_bytes(1, 3 * kMiB));
    patch_file(scratch_ / "disk.img", 24 * kMiB, random_bytes(2, 5'001));
    ASSERT_OK(engine_->backup({"vm", {{"sda", scratch_ / "disk.img"}}}, nullptr));
  }
  void TearDown() override {
    on_sync = nullptr;
    if (engine_ == nullptr) return;
    EXPECT_TRUE(engine_->close().ok());
  }

  [[nodiscard]] std::filesystem::path out(const std::string& name = "") const {
    return name.empty() ? scratch_ / "out" : scratch_ / "out" / name;
  }
  [[nodiscard]] std::vector<std::string> names() const {
    std::vector<std::string> all;
    for (const auto& entry : std::filesystem::directory_iterator(out())) {
      all.push_back(entry.path().filename().string());
    }
    return all;
  }
  // Restores with `step` called at each sync below out(), told which one it is: "file", "everything" or "directory".
  Status restore_with(const std::filesystem::path& to, const std::string& disk,
                      const std::function<int(int descriptor, const std::string& what)>& step) {
    const OnSync look = [&](int descriptor, const std::string& path, bool whole_file_system) {
      if (!path.starts_with(out().string())) return 0;
      if (whole_file_system) return step(descriptor, "everything");
      return step(descriptor, path == out().string() ? "directory" : "file");
    };
    on_sync = &look;
    const auto restored = restore(engine_->vault(), {.item = "vm", .point = "", .disk = disk, .to = to}, nullptr);
    on_sync = nullptr;
    return restored.ok() ? ok_status() : Status(restored.error());
  }

  std::unique_ptr<VaultEngine> engine_;
};

using Steps = std::vector<std::string>;

TEST_F(RestoreDurableTest, ADiskHasItsNameWhenItIsDurableAndTheNameTooBeforeTheEnd) {
  Steps steps;
  ASSERT_OK(restore_with(out("disk"), "", [&](int, const std::string& what) {
    EXPECT_EQ(names().size(), what == "directory" ? 1U : 0U) << what;
    steps.push_back(what);
    return 0;
  }));
  // Its content before it is read back, and once more with owner, mode and times.
  EXPECT_EQ(steps, (Steps{"file", "file", "directory"}));
}

TEST_F(RestoreDurableTest, ATreeHasItsNamesWhenItIsDurableAndTheNamesTooBeforeTheEnd) {
  Steps steps;
  ASSERT_OK(restore_with(out(), "", [&](int, const std::string& what) {
    EXPECT_EQ(std::filesystem::exists(out("sda")), what == "directory") << what;
    steps.push_back(what);
    return 0;
  }));
  EXPECT_EQ(steps, (Steps{"file", "everything", "directory"}));
  EXPECT_EQ(names(), std::vector<std::string>{"sda"});
}

TEST_F(RestoreDurableTest, WhatCannotBeMadeDurableIsNotRestored) {
  for (const auto& [to, disk, all] : {std::tuple(out("disk"), "sda", 3), std::tuple(out(), "", 3)}) {
    for (int fails = 0; fails < all; ++fails) {
      SCOPED_TRACE(to.string() + ", sync " + std::to_string(fails));
      int at = 0;
      const Status restored = restore_with(to, disk, [&](int, const std::string&) { return at++ == fails ? EIO : 0; });
      EXPECT_FALSE(restored.ok());
      EXPECT_EQ(at, fails + 1) << "it went on";
      // A disk that has its name, which may not last, keeps it: it is whole.
      if (disk != std::string("sda") || fails < all - 1) {
        EXPECT_TRUE(names().empty());
      }
      std::filesystem::remove(out("disk"));
    }
  }
}

// The medium has other bytes than were written to it, from the moment when it was said to have them.
TEST_F(RestoreDurableTest, WhatIsReadBackIsComparedByteForByte) {
  const auto put = [](int descriptor, off_t at, char byte) { EXPECT_EQ(::pwrite(descriptor, &byte, 1, at), 1); };
  const auto other = [](int descriptor, off_t at) {
    char byte = 0;
    EXPECT_EQ(::pread(descriptor, &byte, 1, at), 1);
    return static_cast<char>(byte ^ 1);
  };
  const std::vector<std::pair<const char*, std::function<void(int)>>> faults = {
      {"a byte of the first chunk", [&](int disk) { put(disk, 0, other(disk, 0)); }},
      {"a byte inside", [&](int disk) { put(disk, 2 * kMiB + 7, other(disk, 2 * kMiB + 7)); }},
      {"the last byte", [&](int disk) { put(disk, 24 * kMiB + 5'000, other(disk, 24 * kMiB + 5'000)); }},
      {"a byte in the hole", [&](int disk) { put(disk, 10 * kMiB, 'x'); }},
      {"a byte between hole and data", [&](int disk) { put(disk, 24 * kMiB - 1, 'x'); }},
      {"the end", [](int disk) { EXPECT_EQ(::ftruncate(disk, 24 * kMiB), 0); }},
      {"zeros for data",
       [](int disk) { EXPECT_EQ(::fallocate(disk, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, kMiB, 4096), 0); }}};
  for (const auto& [what, fault] : faults) {
    for (const auto& [to, disk] : {std::pair(out("disk"), "sda"), std::pair(out(), "")}) {
      SCOPED_TRACE(std::string(what) + (to == out() ? " of a tree" : ""));
      bool done = false;
      const Status restored = restore_with(to, disk, [&, &change = fault](int descriptor, const std::string& step) {
        if (step == "file" && !std::exchange(done, true)) change(descriptor);
        return 0;
      });
      EXPECT_TRUE(done);
      ASSERT_FALSE(restored.ok());
      EXPECT_EQ(restored.code(), ErrorCode::RestoreMismatch);
      EXPECT_TRUE(names().empty());
    }
  }
}

}  // namespace
}  // namespace vaultfs
