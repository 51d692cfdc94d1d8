// A reader beside an owner at work.
#include <gtest/gtest.h>

#include <functional>

#include "tests/fs/tree/tree_under_test.h"
#include "tests/support/env_wrapper.h"
#include "tests/support/units.h"

namespace vaultfs {
namespace {

// Calls `meanwhile` once, before a file of `folder` is opened.
class OpeningMeanwhile final : public EnvWrapper {
 public:
  OpeningMeanwhile(Env& inner, std::string folder, std::function<void()> meanwhile)
      : EnvWrapper(inner), folder_(std::move(folder)), meanwhile_(std::move(meanwhile)) {}
  Result<std::unique_ptr<File>> open(const Path& path, OpenMode mode) override {
    if (path.parent_path().filename() == folder_ && meanwhile_) std::exchange(meanwhile_, nullptr)();
    return EnvWrapper::open(path, mode);
  }
  [[nodiscard]] bool called() const { return !meanwhile_; }

 private:
  const std::string folder_;
  std::function<void()> meanwhile_;
};

// Whatever the reader is about to open while the owner stores and acknowledges more: what it shows, it can read.
TEST(ReaderTest, ReadsAllThatItShowsWhileTheOwnerGoesOn) {
  for (const char* folder : {"heads", "segments", "journal", "activity"}) {
    SCOPED_TRACE(folder);
    SimEnv env;
    ASSERT_OK(TreeUnderTest::create(env));
    TreeUnderTest tree(env);
    ASSERT_OK(tree.open());
    const InodeNumber item = tree->make_directory(kRootInode, "vm", 0755, {})->number;
    const InodeNumber file = tree->make_node(item, "disk", InodeType::file, 0644, 0, {})->number;
    ASSERT_OK(tree->write(file, 0, 0, noise(kMiB, 1)));
    ASSERT_OK(tree->sync_all());
    OpeningMeanwhile beside(env, folder, [&] {
      EXPECT_TRUE(tree->write(file, 0, kMiB, noise(kMiB, 2)).ok());
      EXPECT_TRUE(tree->sync_all().ok());
    });
    TreeUnderTest reader(beside);
    ASSERT_OK(reader.open(true));
    ASSERT_TRUE(beside.called());
    const auto shown = reader->attributes(file);
    ASSERT_OK(shown);
    Bytes seen(shown->size);
    ASSERT_OK(reader->read(file, 0, seen));
    for (std::uint64_t chunk = 0; chunk * kMiB < seen.size(); ++chunk) {
      EXPECT_TRUE(std::equal(seen.begin() + static_cast<std::ptrdiff_t>(chunk * kMiB),
                             seen.begin() + static_cast<std::ptrdiff_t>((chunk + 1) * kMiB),
                             noise(kMiB, chunk + 1).begin()));
    }
  }
}

}  // namespace
}  // namespace vaultfs
