// After a real rotation, the holder of the retired version rewrites old segments: the mount gives an error, or what was
// written.
#include <algorithm>
#include <set>

#include "fs/restore/restore.h"
#include "store/index/segment_format.h"
#include "tests/fs/engine/session_fixture.h"
#include "tests/support/forger.h"
#include "tests/support/units.h"

namespace vaultfs {
namespace {

class ClosedEpochSessionTest : public SessionTest {
 protected:
  static constexpr std::size_t kDiskBytes = 12 * kMiB;  // of so many chunks that there is a map page

  [[nodiscard]] std::unique_ptr<Session> open_session() {
    Session::Options options = session_options();
    options.manual_commit = true;
    return SessionTest::open_session(options);
  }
  // A point and a working tree of before a rotation, then a backup that retires the first version.
  void make_history() {
    const auto session = open_session();
    ASSERT_NE(session, nullptr);
    write_file(scratch_ / "disk.img", disk_);
    ASSERT_OK(session->backup({"vm", {{"sda", scratch_ / "disk.img"}}}, nullptr));
    for (const SegmentInfo& segment : session->vault().segments().segments()) old_.insert(segment.number);
    rotate_key();
    write_file(scratch_ / "other.img", random_bytes(2, kMiB));
    const auto outcome = session->backup({"other", {{"sda", scratch_ / "other.img"}}}, nullptr);
    ASSERT_OK(outcome);
    ASSERT_EQ(outcome->commit.retired, std::vector<std::string>{first_version_});
    ASSERT_OK(session->close());
  }
  [[nodiscard]] std::filesystem::path segment_file(ContainerNumber number) const {
    return vault_path() / closed_segment_name(number);
  }
  // Other bytes in every record of that type, by the key that the retired version gave.
  void forge(Session& session, RecordType type) {
    std::size_t forged = 0;
    for (const ContainerNumber number : old_) {
      if (!std::filesystem::exists(segment_file(number))) continue;
      Forger forger(file_bytes(segment_file(number)), session.vault().keys(), number);
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
  Opened point(Session& session) {
    InodeNumber root;
    const auto tree = session.open_point(session.vault().catalogue().points_of("vm").front(), root);
    EXPECT_TRUE(tree.ok());
    return {*tree, (*tree)->lookup(root, "sda")->number};
  }

  const Bytes disk_ = random_bytes(1, kDiskBytes);
  std::set<ContainerNumber> old_;
};

TEST_F(ClosedEpochSessionTest, ForgedChunksReadAsErrorsEverywhere) {
  ASSERT_NO_FATAL_FAILURE(make_history());
  const auto files = intact();
  for (const std::size_t size : {std::size_t{4096}, std::size_t{128 * 1024}, std::size_t{kMiB}}) {
    SCOPED_TRACE(size);
    put_back(files);
    const auto session = open_session();
    ASSERT_NE(session, nullptr);
    const InodeNumber file = tree_file(session->tree(), "vm", "sda");
    const Opened old = point(*session);
    // All is right at first, and partly known from then on.
    EXPECT_EQ(refused(session->tree(), file, 4096, 3 * kMiB), 0U);
    EXPECT_EQ(refused(*old.tree, old.disk, 4096, 3 * kMiB), 0U);
    ASSERT_NO_FATAL_FAILURE(forge(*session, RecordType::chunk));
    EXPECT_GT(refused(session->tree(), file, size, std::max<std::size_t>(size, kMiB / 2)), 10U);
    EXPECT_GT(refused(*old.tree, old.disk, size, std::max<std::size_t>(size, kMiB / 2)), 10U);
    const auto restored = restore(*session, {"vm", "", "sda", scratch_ / "restored", true}, nullptr);
    EXPECT_FALSE(restored.ok());
    put_back(files);
    EXPECT_EQ(refused(session->tree(), file, size, std::max<std::size_t>(size, kMiB / 2)), 0U);
    EXPECT_TRUE(session->close().ok());
  }
}

TEST_F(ClosedEpochSessionTest, ForgedMapPagesReadAsErrorsEverywhere) {
  ASSERT_NO_FATAL_FAILURE(make_history());
  const auto session = open_session();
  ASSERT_NE(session, nullptr);
  ASSERT_NO_FATAL_FAILURE(forge(*session, RecordType::map_page));
  InodeNumber root;
  const auto old = session->open_point(session->vault().catalogue().points_of("vm").front(), root);
  ASSERT_OK(old);
  const auto item = session->tree().lookup(kRootInode, "vm");
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
  expect_refused(session->tree(), item->number);
  expect_refused(**old, root);
  static_cast<void>(session->close());
}

}  // namespace
}  // namespace vaultfs
