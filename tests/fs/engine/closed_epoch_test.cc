// After a real rotation, the holder of the retired version rewrites old segments: the mount gives an error, or what was
// written.
#include <algorithm>
#include <set>

#include "fs/restore/restore.h"
#include "store/index/segment_format.h"
#include "tests/fs/engine/engine_fixture.h"
#include "tests/support/forger.h"
#include "tests/support/units.h"

namespace vaultfs {
namespace {

class ClosedEpochTest : public VaultEngineTest {
 protected:
  static constexpr std::size_t kDiskBytes = 12 * kMiB;  // of so many chunks that there is a map page

  [[nodiscard]] std::unique_ptr<VaultEngine> open_session() {
    VaultEngine::Options options = session_options();
    options.manual_commit = true;
    return VaultEngineTest::open_session(options);
  }
  // A point and a working tree of before a rotation, then a backup that retires the first version.
  void make_history() {
    const auto engine = open_session();
    ASSERT_NE(engine, nullptr);
    write_file(scratch_ / "disk.img", disk_);
    ASSERT_OK(engine->backup({"vm", {{"sda", scratch_ / "disk.img"}}}, nullptr));
    for (const SegmentInfo& segment : engine->vault().segments().segments()) old_.insert(segment.number);
    rotate_key();
    write_file(scratch_ / "other.img", random_bytes(2, kMiB));
    const auto outcome = engine->backup({"other", {{"sda", scratch_ / "other.img"}}}, nullptr);
    ASSERT_OK(outcome);
    ASSERT_EQ(outcome->commit.retired, std::vector<std::string>{first_version_});
    ASSERT_OK(engine->close());
  }
  [[nodiscard]] std::filesystem::path segment_file(ContainerNumber number) const {
    return vault_path() / closed_segment_name(number);
  }
  // Other bytes in every record of that type, by the key that the retired version gave.
  void forge(VaultEngine& engine, RecordType type) {
    std::size_t forged = 0;
    for (const ContainerNumber number : old_) {
      if (!std::filesystem::exists(segment_file(number))) continue;
      Forger forger(file_bytes(segment_file(number)), engine.vault().keys(), number);
      for (std::size_t at = ContainerHeader::kEncodedBytes; at + RecordHeader::kEncodedBytes < forger.file().size();
           at += 8) {
        const auto header = RecordHeader::decode(ByteView(forger.file()).subspan(at, RecordHeader::kEncodedBytes));
        if (!header.ok() || header->type != type) continue;
        const Bytes content = forger.content_of(header->id);
        bool done = false;
        for (std::size_t i = 0; i < 256 && !done; ++i) {
          Bytes other = content;
          if (type == RecordType::chunk) {
            for (std::size_t at_byte = 0; at_byte < other.size(); at_byte += 1000) other[at_byte] ^= std::byte{0x55};
          } else {
            other[40] ^= static_cast<std::byte>(i + 1);  // an entry of the page, which must compress as well as it did
          }
          done = forger.forge(header->id, other);
        }
        ASSERT_TRUE(done);
        ++forged;
      }
      patch_file(segment_file(number), 0, forger.file());
    }
    ASSERT_GT(forged, 0U);
  }
  std::map<ContainerNumber, Bytes> intact() {
    std::map<ContainerNumber, Bytes> files;
    for (const ContainerNumber number : old_) files[number] = file_bytes(segment_file(number));
    return files;
  }
  void put_back(const std::map<ContainerNumber, Bytes>& files) {
    for (const auto& [number, bytes] : files) patch_file(segment_file(number), 0, bytes);
  }
  // Reads in pieces of `size`, some or all. How many gave an error; no other gave anything but what was written.
  std::size_t refused(FileTree& tree, InodeNumber inode, std::size_t size, std::size_t step) {
    std::size_t errors = 0;
    Bytes out(size);
    for (std::size_t at = 0; at + size <= kDiskBytes; at += step) {
      const auto read = tree.read(inode, at, out);
      if (!read.ok()) {
        EXPECT_EQ(error_exit_code(read.code()), 10) << error_name(read.code());
        ++errors;
      } else {
        EXPECT_TRUE(bytes_equal(out, ByteView(disk_).subspan(at, size))) << at;
      }
    }
    return errors;
  }
  struct Opened {
    std::shared_ptr<FileTree> tree;
    InodeNumber disk;
  };
  Opened point(VaultEngine& engine) {
    InodeNumber root;
    const auto tree = engine.open_point(engine.vault().catalogue().points_of("vm").front(), root);
    EXPECT_TRUE(tree.ok());
    return {*tree, (*tree)->lookup(root, "sda")->number};
  }

  const Bytes disk_ = random_bytes(1, kDiskBytes);
  std::set<ContainerNumber> old_;
};

TEST_F(ClosedEpochTest, ForgedChunksReadAsErrorsEverywhere) {
  ASSERT_NO_FATAL_FAILURE(make_history());
  const auto files = intact();
  for (const std::size_t size : {std::size_t{4096}, std::size_t{128 * 1024}, std::size_t{kMiB}}) {
    SCOPED_TRACE(size);
    put_back(files);
    const auto engine = open_session();
    ASSERT_NE(engine, nullptr);
    const InodeNumber file = tree_file(engine->tree(), "vm", "sda");
    const Opened old = point(*engine);
    // All is right at first, and partly known from then on.
    EXPECT_EQ(refused(engine->tree(), file, 4096, 3 * kMiB), 0U);
    EXPECT_EQ(refused(*old.tree, old.disk, 4096, 3 * kMiB), 0U);
    ASSERT_NO_FATAL_FAILURE(forge(*engine, RecordType::chunk));
    EXPECT_GT(refused(engine->tree(), file, size, std::max<std::size_t>(size, kMiB / 2)), 10U);
    EXPECT_GT(refused(*old.tree, old.disk, size, std::max<std::size_t>(size, kMiB / 2)), 10U);
    const auto restored = restore(engine->vault(), {"vm", "", "sda", scratch_ / "restored", true}, nullptr);
    EXPECT_FALSE(restored.ok());
    put_back(files);
    EXPECT_EQ(refused(engine->tree(), file, size, std::max<std::size_t>(size, kMiB / 2)), 0U);
    EXPECT_TRUE(engine->close().ok());
  }
}

TEST_F(ClosedEpochTest, ForgedMapPagesReadAsErrorsEverywhere) {
  ASSERT_NO_FATAL_FAILURE(make_history());
  const auto engine = open_session();
  ASSERT_NE(engine, nullptr);
  ASSERT_NO_FATAL_FAILURE(forge(*engine, RecordType::map_page));
  InodeNumber root;
  const auto old = engine->open_point(engine->vault().catalogue().points_of("vm").front(), root);
  ASSERT_OK(old);
  const auto item = engine->tree().lookup(kRootInode, "vm");
  ASSERT_OK(item);
  // What a file occupies stands in its map, so that it may not even be found.
  const auto expect_refused = [&](FileTree& tree, InodeNumber directory) {
    const auto disk = tree.lookup(directory, "sda");
    if (disk.ok()) {
      EXPECT_EQ(refused(tree, disk->number, 4096, kMiB), 12U);
    } else {
      EXPECT_EQ(error_exit_code(disk.code()), 10) << error_name(disk.code());
    }
  };
  expect_refused(engine->tree(), item->number);
  expect_refused(**old, root);
  static_cast<void>(engine->close());
}

}  // namespace
}  // namespace vaultfs
