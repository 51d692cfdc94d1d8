// Random operations against a model in memory.
#include <gtest/gtest.h>

#include <cstdlib>
#include <map>
#include <random>
#include <sstream>
#include <utility>

#include "tests/fs/tree/snapshot_bytes.h"
#include "tests/fs/tree/tree_under_test.h"
#include "tests/support/units.h"

namespace vaultfs {
namespace {

// What is written: anything, or mostly a few pages at random places of large files with hardly any room in memory, so
// that slots leave it with little in them and patches come about.
enum class Load : std::uint8_t { mixed, small_writes };

class Model {
 public:
  explicit Model(std::uint64_t seed, Load load = Load::mixed)
      : random_(seed), load_(load), tree_(env_, options(load)) {}

  static WorkingTree::Options options(Load load) {
    WorkingTree::Options options = TreeUnderTest::small_options();
    options.write_buffer_bytes = load == Load::mixed ? 3 * kMiB : 128 * 1024;
    options.frame_cache_bytes = 4 * kMiB;
    return options;
  }

  void run(int steps) {
    ASSERT_OK(TreeUnderTest::create(env_));
    ASSERT_OK(tree_.open());
    const auto made = tree_->make_directory(kRootInode, "vm", 0755, {});
    ASSERT_OK(made);
    item_ = made->number;
    for (int i = 0; i < steps; ++i) {
      step();
      if (testing::Test::HasFatalFailure()) {
        ADD_FAILURE() << "at step " << i << ": " << what_;
        return;
      }
    }
    // Whatever was cut or replaced before, the last snapshot has something to patch.
    if (load_ == Load::small_writes) write(any_name());
    snapshot();
    compare_all();
  }
  // Chunks of the files that were patches when snapshots had been taken.
  [[nodiscard]] std::size_t patches_seen() const { return patches_seen_; }

 private:
  std::uint64_t below(std::uint64_t bound) { return random_() % bound; }
  std::string any_name() { return "file" + std::to_string(below(3)); }
  std::uint64_t any_offset() {
    const std::uint64_t top = below(8) == 0 ? 11 * kMiB : 3 * kMiB;
    if (load_ == Load::small_writes && below(4) != 0) return below(top / 4096) * 4096;
    return below(3) == 0 ? below(top / kMiB) * kMiB : below(top);
  }
  std::uint64_t any_length() {
    if (load_ == Load::small_writes && below(16) != 0) return below(3) == 0 ? 1 + below(9000) : 4096;
    switch (below(4)) {
      case 0:
        return 1 + below(100);
      case 1:
        return 1 + below(9000);
      case 2:
        return 1 + below(300'000);
      default:
        return below(2) == 0 ? kMiB : 1 + below(2 * kMiB + kMiB / 2);
    }
  }

  InodeNumber number(const std::string& name) {
    const auto found = tree_->lookup(item_, name);
    if (found.ok()) return found->number;
    const auto made = tree_->make_node(item_, name, InodeType::file, 0644, 0, {});
    files_[name] = {};
    return made.ok() ? made->number : InodeNumber{};
  }

  void step() {
    const std::string name = any_name();
    const std::uint64_t choice = below(100);
    if (choice < 40) {
      for (int i = load_ == Load::small_writes ? 20 : 1; i > 0; --i) write(name);
      return;
    }
    if (choice < 48) return truncate(name);
    if (choice < 58) return zero(name);
    if (choice < 63) return rename(name);
    if (choice < 66) return unlink(name);
    if (choice < 80) return read(name);
    if (choice < 88) {
      what_ = "fsync " + name;
      ASSERT_OK(tree_->fsync(number(name), 0));
      return;
    }
    if (choice < 91) return snapshot();
    if (choice < 94) {
      what_ = "checkpoint";
      ASSERT_OK(tree_->checkpoint());
      return;
    }
    if (choice < 98) return crash();
    reopen();
  }

  void write(const std::string& name) {
    const InodeNumber inode = number(name);
    Bytes& model = files_[name];
    const bool append = below(6) == 0 && model.size() < 4 * kMiB;
    const std::uint64_t offset = append ? model.size() : any_offset();
    Bytes data = noise(any_length(), random_());
    if (below(8) == 0) std::fill(data.begin(), data.end(), std::byte{0});
    what_ = "write " + name + " at " + std::to_string(offset) + " + " + std::to_string(data.size());
    if (append) {
      const auto at = tree_->append(inode, 0, data);
      ASSERT_OK(at);
      ASSERT_EQ(*at, offset);
    } else {
      ASSERT_OK(tree_->write(inode, 0, offset, data));
    }
    if (model.size() < offset + data.size()) model.resize(offset + data.size());
    std::copy(data.begin(), data.end(), model.begin() + static_cast<std::ptrdiff_t>(offset));
  }

  void truncate(const std::string& name) {
    const std::uint64_t size = below(4) == 0 ? 0 : any_offset();
    what_ = "truncate " + name + " to " + std::to_string(size);
    ASSERT_OK(tree_->truncate(number(name), size));
    files_[name].resize(size);
  }

  void zero(const std::string& name) {
    using Mode = WorkingTree::FallocateMode;
    const InodeNumber inode = number(name);
    Bytes& model = files_[name];
    const std::uint64_t offset = any_offset();
    const std::uint64_t length = any_length();
    const bool extend = below(2) == 0;
    what_ = "zero " + name + " at " + std::to_string(offset) + " + " + std::to_string(length);
    ASSERT_OK(tree_->fallocate(inode, extend ? Mode::zero_range : Mode::punch_hole, offset, length));
    if (extend && model.size() < offset + length) model.resize(offset + length);
    for (std::uint64_t at = offset; at < std::min<std::uint64_t>(offset + length, model.size()); ++at) model[at] = {};
  }

  void rename(const std::string& name) {
    const std::string to = any_name();
    what_ = "rename " + name + " to " + to;
    static_cast<void>(number(name));
    ASSERT_OK(tree_->rename(item_, name, item_, to, WorkingTree::RenameMode::replace));
    if (to == name) return;
    files_[to] = std::move(files_[name]);
    files_.erase(name);
  }

  void unlink(const std::string& name) {
    what_ = "unlink " + name;
    static_cast<void>(number(name));
    ASSERT_OK(tree_->unlink(item_, name));
    files_.erase(name);
  }

  void read(const std::string& name) {
    const InodeNumber inode = number(name);
    const Bytes& model = files_[name];
    const std::uint64_t offset = any_offset();
    Bytes out(any_length());
    what_ = "read " + name + " at " + std::to_string(offset) + " + " + std::to_string(out.size());
    const auto got = tree_->read(inode, offset, out);
    ASSERT_OK(got);
    const std::uint64_t expected = offset < model.size() ? std::min(out.size(), model.size() - offset) : 0;
    ASSERT_EQ(*got, expected);
    ASSERT_TRUE(std::equal(out.begin(), out.begin() + static_cast<std::ptrdiff_t>(expected),
                           model.begin() + static_cast<std::ptrdiff_t>(std::min<std::uint64_t>(offset, model.size()))));
    ASSERT_EQ(tree_->attributes(inode)->size, model.size());
    check_seek(inode, model, offset);
  }

  // SEEK_DATA may call zeros data, but never data a hole.
  void check_seek(InodeNumber inode, const Bytes& model, std::uint64_t offset) {
    const auto data = tree_->seek_data(inode, offset);
    const std::uint64_t skipped_to = data.ok() ? *data : model.size();
    for (std::uint64_t at = offset; at < std::min<std::uint64_t>(skipped_to, model.size()); ++at) {
      ASSERT_EQ(model[at], std::byte{0}) << "a hole over data at " << at;
    }
  }

  void snapshot() {
    what_ = "snapshot";
    const auto snapshot = tree_->snapshot("vm");
    ASSERT_OK(snapshot);
    ASSERT_FALSE(tree_->changed_since("vm", snapshot->cut));
    std::map<InodeNumber, const InodeRecord*> records;
    for (const InodeRecord& record : snapshot->inodes) records[record.number] = &record;
    const auto& entries = records.at(snapshot->root)->entries;
    ASSERT_EQ(entries.size(), files_.size());
    for (const auto& [name, inode] : entries) {
      const auto content = record_bytes(tree_.vault().segments(), *records.at(inode));
      ASSERT_OK(content);
      ASSERT_EQ(*content, files_.at(name)) << name;
      count_patches(inode, content->size());
    }
  }

  void count_patches(InodeNumber inode, std::uint64_t size) {
    for (std::uint64_t index = 0; index * kMiB < size; ++index) {
      const auto id = tree_->chunk_at(inode, ChunkIndexInFile(index));
      ASSERT_OK(id);
      if (!id->has_value() || (*id)->is_zero()) continue;
      const auto patch = tree_.vault().segments().patch_of(**id);
      ASSERT_OK(patch);
      patches_seen_ += patch->has_value() ? 1 : 0;
    }
  }

  void crash() {
    what_ = "crash";
    ASSERT_OK(tree_->sync_all());
    tree_.drop();
    env_.crash(random_(), CrashMode::drop_all_unsynced);
    ASSERT_OK(tree_.open());
    compare_all();
  }

  void reopen() {
    what_ = "reopen";
    if (below(2) == 0) ASSERT_OK(tree_->checkpoint());
    ASSERT_OK(tree_.close());
    ASSERT_OK(tree_.open());
    compare_all();
  }

  void compare_all() {
    const auto entries = tree_->list(item_);
    ASSERT_OK(entries);
    ASSERT_EQ(entries->size(), files_.size());
    for (const DirectoryEntry& entry : *entries) {
      const auto content = read_all(*tree_, entry.number);
      ASSERT_OK(content);
      ASSERT_EQ(content->size(), files_.at(entry.name).size()) << entry.name;
      const auto differs = std::mismatch(content->begin(), content->end(), files_.at(entry.name).begin());
      ASSERT_EQ(differs.first - content->begin(), static_cast<std::ptrdiff_t>(content->size())) << entry.name;
    }
  }

  std::mt19937_64 random_;
  const Load load_;
  std::size_t patches_seen_ = 0;
  SimEnv env_;
  TreeUnderTest tree_;
  InodeNumber item_;
  std::map<std::string, Bytes> files_;
  std::string what_;
};

// Both ends count. VAULTFS_TEST_SEEDS=FROM-TO takes others, for long runs.
std::pair<std::uint64_t, std::uint64_t> seeds() {
  std::uint64_t from = 1;
  std::uint64_t to = 24;
  const char* const chosen = std::getenv("VAULTFS_TEST_SEEDS");  // NOLINT(concurrency-mt-unsafe): no thread sets any
  if (chosen != nullptr) {
    std::istringstream words(chosen);
    char dash = 0;
    words >> from >> dash >> to;
    if (!words || dash != '-' || from > to) std::abort();
  }
  return {from, to};
}

class TreeModelTest : public testing::TestWithParam<std::uint64_t> {};
INSTANTIATE_TEST_SUITE_P(Seeds, TreeModelTest, testing::Range<std::uint64_t>(seeds().first, seeds().second + 1));

TEST_P(TreeModelTest, BehavesLikeTheModel) { Model(GetParam()).run(120); }

TEST_P(TreeModelTest, BehavesLikeTheModelUnderSmallWrites) {
  Model model(GetParam(), Load::small_writes);
  model.run(100);
  EXPECT_GT(model.patches_seen(), 0U);
}

}  // namespace
}  // namespace vaultfs
