#include <algorithm>
#include <random>
#include <set>

#include "store/index/segment_format.h"
#include "tests/vaultmeta/vault/vault_world.h"

namespace vaultfs {
namespace {

using VerifyTexts = std::vector<std::string>;

// Files that hold nothing: their locks count.
bool is_lock(const std::filesystem::path& path) {
  return path.filename() == "vault.lock" || path.filename() == "vault.hold";
}

class VaultVerify : public testing::Test {
 protected:
  VaultVerify() {
    if (!world_.create().ok() || !world_.open().ok() || !world_.back_up("vm1", "one").ok()) std::abort();
    if (!world_.back_up("vm2", "two").ok() || !world_.close().ok()) std::abort();
    whole_ = world_.files();
  }

  VerifyReport verify(bool keyless) {
    EXPECT_TRUE(keyless || world_.open_read_only().ok());
    auto report = verify_vault(world_.env, "/vault", keyless ? nullptr : world_.vault.get(), {});
    EXPECT_TRUE(report.ok());
    world_.close_without_a_word();
    return report.ok() ? std::move(*report) : VerifyReport{};
  }

  static bool has(const VerifyReport& report, const std::string& file, ErrorCode code) {
    return std::any_of(report.damage.begin(), report.damage.end(),
                       [&](const Damage& d) { return d.file == file && d.error.code == code; });
  }

  VaultWorld world_;
  VaultWorld::Files whole_;
};

TEST_F(VaultVerify, ReadsEveryByteOfASoundVault) {
  std::uint64_t bytes = 0;
  for (const auto& [path, content] : whole_) {
    if (!is_lock(path)) bytes += content.size();
  }
  for (const bool keyless : {true, false}) {
    const VerifyReport report = verify(keyless);
    EXPECT_TRUE(report.damage.empty()) << report.damage.front().file << ": " << report.damage.front().error.message;
    EXPECT_EQ(report.counts.files, whole_.size() - 2);
    EXPECT_EQ(report.counts.bytes, bytes);
    EXPECT_EQ(report.points_checked, 2U);
    EXPECT_EQ(report.authenticated, !keyless);
  }
  EXPECT_EQ(world_.files(), whole_);
}

TEST_F(VaultVerify, FindsAMissingOrShortenedSegmentWithoutAnyKey) {
  const Env::Path segment = "/vault/segments/0000000000000001.seg";
  world_.env.remove(segment);
  VerifyReport report = verify(true);
  EXPECT_TRUE(has(report, "points/0000000000000001.point", ErrorCode::SegmentMissing));
  EXPECT_FALSE(has(report, "points/0000000000000002.point", ErrorCode::SegmentMissing));
  report = verify(false);
  EXPECT_TRUE(has(report, "points/0000000000000001.point", ErrorCode::SegmentMissing));
  EXPECT_TRUE(has(report, "points/0000000000000001.point", ErrorCode::ChunkMissing) ||
              has(report, "points/0000000000000001.point", ErrorCode::SegmentMissing));
  world_.put_back(whole_);
  world_.env.cut(segment, world_.env.read(segment).size() - 1);
  EXPECT_TRUE(has(verify(true), "points/0000000000000001.point", ErrorCode::DamagedSegment));
}

// A point with a patch needs the segment of what the patch lies over, too.
TEST_F(VaultVerify, FollowsPatchesToTheirBases) {
  ASSERT_TRUE(world_.open().ok());
  SegmentStore& segments = world_.vault->segments();
  const Bytes base(100'000, std::byte{'b'});
  const Bytes content(100'000, std::byte{'p'});
  const auto base_put = segments.put(RecordType::chunk, base);
  ASSERT_TRUE(base_put.ok());
  ASSERT_TRUE(segments.close_segment().ok());
  const auto patch = segments.put_patch({base_put->id, 100'000, patch_pages_of(8192, 12'288), content});
  ASSERT_TRUE(patch.ok() && patch->has_value());
  const ContainerNumber base_segment = *segments.segment_of(base_put->id);
  const ContainerNumber patch_segment = *segments.segment_of((*patch)->id);
  ASSERT_NE(base_segment, patch_segment);

  const auto job = world_.vault->begin_job(JobKind::backup, "vm3");
  ASSERT_TRUE(job.ok());
  ASSERT_TRUE(world_.write("vm3=three").ok());
  Manifest manifest;
  manifest.root = InodeNumber(2);
  InodeRecord root;
  root.number = InodeNumber(2);
  root.type = InodeType::directory;
  root.entries = {{"disk", InodeNumber(3)}};
  InodeRecord file;
  file.number = InodeNumber(3);
  file.size = 100'000;
  file.chunks = {(*patch)->id};
  manifest.inodes = {root, file};
  PointInfo point;
  point.number = world_.vault->catalogue().take_point_number();
  point.item = "vm3";
  point.cut = world_.vault->journal().last_appended().next();
  ASSERT_TRUE(world_.vault->publish_point(std::move(manifest), point, *job).ok());
  const auto stored = world_.vault->load_manifest(*world_.vault->catalogue().find_point("vm3", ""));
  ASSERT_TRUE(stored.ok());
  std::set<ContainerNumber> needed;
  for (const Manifest::SegmentNeeded& segment : stored->inventory) needed.insert(segment.number);
  EXPECT_EQ(needed, (std::set<ContainerNumber>{base_segment, patch_segment}));
  ASSERT_TRUE(world_.close().ok());
  EXPECT_TRUE(verify(true).damage.empty());
  EXPECT_TRUE(verify(false).damage.empty());

  const std::string manifest_file = "points/0000000000000003.point";
  const VaultWorld::Files whole = world_.files();
  world_.env.remove("/vault/" + closed_segment_name(base_segment));
  EXPECT_TRUE(has(verify(true), manifest_file, ErrorCode::SegmentMissing));
  world_.put_back(whole);
  world_.env.remove("/vault/" + closed_segment_name(base_segment));
  world_.env.remove("/vault/index");
  world_.env.make_directories("/vault/index");
  EXPECT_TRUE(has(verify(false), manifest_file, ErrorCode::ChunkMissing)) << "only the patch itself is there";
}

TEST_F(VaultVerify, ReportsAMissingManifestAndWhatDoesNotBelong) {
  world_.env.remove("/vault/points/0000000000000002.point");
  world_.env.write("/vault/points/notes.txt", bytes_of("x"));
  world_.env.write("/vault/stray", bytes_of("x"));
  world_.env.write("/vault/points/00000000000000ff.point.tmp", bytes_of("x"));
  const VerifyReport report = verify(false);
  EXPECT_TRUE(has(report, "points/0000000000000002.point", ErrorCode::ManifestMissing));
  EXPECT_TRUE(has(report, "points/notes.txt", ErrorCode::DamagedHeader));
  EXPECT_TRUE(has(report, "stray", ErrorCode::DamagedHeader));
  EXPECT_EQ(report.damage.size(), 3U);
}

TEST_F(VaultVerify, CanBeStopped) {
  const auto report = verify_vault(world_.env, "/vault", nullptr, [](const VerifyCounts&) { return false; });
  ASSERT_FALSE(report.ok());
  EXPECT_EQ(report.code(), ErrorCode::Interrupted);
}

TEST_F(VaultVerify, KeylessFindsChangedBitsInEveryFile) {
  std::mt19937_64 random(7);
  for (const auto& [path, content] : whole_) {
    if (is_lock(path) || path.extension() == ".head" || path.extension() == ".keyring") continue;
    // The end of a journal or activity log may be torn, so their last bytes are no proof of damage.
    const bool may_be_torn = path.extension() == ".journal" || path.extension() == ".activity";
    for (int i = 0; i < 12; ++i) {
      const std::uint64_t bit = random() % (content.size() * 8);
      if (may_be_torn && bit / 8 >= 160) continue;
      world_.env.flip_bit(path, bit);
      EXPECT_FALSE(verify(true).damage.empty()) << path << " bit " << bit;
      world_.env.write(path, content);
    }
  }
}

// The promise: a changed byte gives an error with a name, or no difference at all, never wrong data.
TEST_F(VaultVerify, AChangedBitNeverGivesWrongData) {
  std::mt19937_64 random(11);
  const VerifyTexts right{"vm1=one", "vm2=two"};
  const VerifyTexts right_tree = [&] {
    EXPECT_TRUE(world_.open_read_only().ok());
    return world_.tree.texts;
  }();
  const auto home = world_.files("/home");
  std::set<std::string> opened_anyway;
  for (const auto& [path, content] : whole_) {
    if (is_lock(path)) continue;
    const std::uint64_t bits = content.size() * 8;
    const std::uint64_t samples = std::min<std::uint64_t>(bits, 40);
    for (std::uint64_t i = 0; i < samples; ++i) {
      const std::uint64_t bit = i < 8 ? i * (bits / 8) : random() % bits;
      world_.put_back(whole_);
      world_.put_back(home, "/home");
      world_.env.flip_bit(path, bit);
      const Status opened = i % 2 == 0 ? world_.open() : world_.open_read_only();
      if (!opened.ok()) {
        EXPECT_TRUE(is_integrity_error(opened.code()) || opened.code() == ErrorCode::NotAVault ||
                    opened.code() == ErrorCode::UnsupportedFormat || opened.code() == ErrorCode::VaultUnverified ||
                    opened.code() == ErrorCode::WrongKey || opened.code() == ErrorCode::PlatformKeyMissing)
            << path << " bit " << bit << ": " << error_name(opened.code()) << ": " << opened.error().message;
        continue;
      }
      opened_anyway.insert(path.parent_path().filename().string());
      EXPECT_EQ(world_.tree.texts, right_tree) << path << " bit " << bit;
      const auto points = world_.vault->catalogue().points();
      ASSERT_EQ(points.size(), 2U) << path << " bit " << bit;
      for (std::size_t p = 0; p < 2; ++p) {
        const auto read = world_.content_of(points[p]);
        if (read.ok()) {
          EXPECT_EQ(points[p].item + "=" + *read, right[p]) << path << " bit " << bit;
        } else {
          EXPECT_TRUE(is_integrity_error(read.code())) << path << " bit " << bit << ": " << error_name(read.code());
        }
      }
      world_.close_without_a_word();
    }
  }
  // Damage in these must not make the rest of the vault unreadable.
  for (const char* folder : {"segments", "points", "activity", "index"})
    EXPECT_EQ(opened_anyway.count(folder), 1U) << folder;
}

TEST_F(VaultVerify, AGlanceNeedsNoKey) {
  world_.env.remove("/home");
  const auto glance = glance_at_vault(world_.env, "/vault");
  ASSERT_OK(glance);
  ASSERT_EQ(glance->slots.size(), 1U);
  EXPECT_EQ(glance->slots[0].kind, SlotKind::platform);
  EXPECT_GE(glance->keyring_generation, Generation(1));
  world_.env.remove("/vault/keyrings");
  world_.env.make_directories("/vault/keyrings");
  EXPECT_EQ(glance_at_vault(world_.env, "/vault").code(), ErrorCode::KeyringMissing);
}

}  // namespace
}  // namespace vaultfs
