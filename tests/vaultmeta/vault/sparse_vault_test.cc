// Files of a vault, or beside those of a vault, that are as long as a disk: what an opening and a check read, and hold
// at a time, is bounded before anything is authentic, and nothing that is not damaged is lost.
#include "tests/support/sparse_env.h"
#include "tests/support/units.h"
#include "tests/vaultmeta/vault/vault_world.h"
#include "vaultmeta/layout/vault_layout.h"

namespace vaultfs {
namespace {

constexpr std::uint64_t kStretchedBytes = std::uint64_t{1024} * 1024 * kMiB;  // 1 TiB
// A search for records gives up after 256 MiB, and a look for the newest state happens up to five times.
constexpr std::uint64_t kMostRead = std::uint64_t{5} * 320 * kMiB;
constexpr std::uint64_t kMostHeld = 17 * kMiB;  // the longest record

class SparseVault : public testing::Test {
 protected:
  void SetUp() override {
    ASSERT_OK(world_.create());
    ASSERT_OK(world_.open());
    ASSERT_OK(world_.back_up("vm1", "one"));
    ASSERT_OK(world_.vault->custody().rewrap(false));
    ASSERT_OK(world_.close());
    ASSERT_OK(world_.open());
    ASSERT_OK(world_.back_up("vm2", "two"));
    // Not closed: an open segment, a journal without an end, entries of the log.
    const auto stored = world_.store("three");
    ASSERT_OK(stored);
    stored_last_ = stored->inodes.at(1).chunks.at(0);
    ASSERT_OK(world_.vault->segments().sync());
    ASSERT_OK(world_.write("later"));
    ASSERT_OK(world_.vault->journal().commit());
    world_.close_without_a_word();
    before_ = world_.env.snapshot();
  }

  Status open(bool read_only, bool points_suffice) {
    vault_.reset();
    VaultOpenOptions options;
    options.path = "/vault";
    options.read_only = read_only;
    options.points_suffice = points_suffice;
    tree_ = ListTree();
    auto opened = Vault::open({env_, *world_.machine_state, *world_.platform_keys, world_.resolver}, options, tree_);
    if (!opened.ok()) return opened.error();
    vault_ = std::move(*opened);
    return ok_status();
  }

  // Opens, lists and checks the vault as it is, in every way there is.
  void look(const std::string& what) {
    for (const bool owner : {false, true}) {
      SCOPED_TRACE(what + (owner ? ", by its owner" : ", read-only"));
      env_.work = {};
      const Status opened = open(!owner, !owner);
      expect_bounded();
      if (!opened.ok()) {
        EXPECT_TRUE(is_integrity_error(opened.code())) << error_name(opened.code()) << ": " << opened.error().message;
        continue;
      }
      EXPECT_EQ(vault_->catalogue().points().size(), 2U);
      env_.work = {};
      const auto report = verify_vault(env_, "/vault", vault_.get(), {}, {});
      EXPECT_TRUE(report.ok()) << report.error().message;
      expect_bounded();
      vault_.reset();
    }
    SCOPED_TRACE(what + ", without keys");
    world_.env.restore(*before_);
    env_.work = {};
    const auto report = verify_vault(env_, "/vault", nullptr, {}, {});
    EXPECT_TRUE(report.ok()) << report.error().message;
    expect_bounded();
  }

  void expect_bounded() {
    EXPECT_LE(env_.work.read_bytes, kMostRead);
    EXPECT_LE(env_.work.largest_read, kMostHeld);
  }

  VaultWorld world_;
  SparseEnv env_{world_.env};
  std::optional<SimEnv::Snapshot> before_;
  ChunkId stored_last_;  // in the open segment
  ListTree tree_;
  std::unique_ptr<Vault> vault_;
};

TEST_F(SparseVault, EveryFileOfAVaultStretched) {
  std::size_t open_segments = 0;
  for (const Env::Path& path : world_.env.files("/vault")) {
    if (path.parent_path() == "/vault") continue;  // what is no vault.header makes no vault
    if (path.extension() == ".open") ++open_segments;
    world_.env.restore(*before_);
    env_.stretch_none();
    env_.stretch(path, kStretchedBytes);
    look(path.string());
  }
  EXPECT_EQ(open_segments, 1U);
  env_.stretch_none();
  world_.env.restore(*before_);
  ASSERT_OK(open(false, false));
  EXPECT_EQ(vault_->catalogue().points().size(), 2U);
}

// What a crash left open keeps what its owner wrote.
TEST_F(SparseVault, AStretchedOpenSegmentLosesNothing) {
  for (const Env::Path& path : world_.env.files("/vault/segments")) {
    if (path.extension() == ".open") env_.stretch(path, kStretchedBytes);
  }
  ASSERT_OK(open(false, false));
  ASSERT_OK(vault_->segments().read_verified(RecordType::chunk, stored_last_));
  EXPECT_TRUE(mentions(vault_->opening_notes(), "no segment has more than"));
  const auto report = verify_vault(env_, "/vault", vault_.get(), {}, {});
  ASSERT_OK(report);
  EXPECT_TRUE(report->damage.empty()) << report->damage.front().error.message;
}

// Files that are no more than a name and a length, in the places of the next ones.
TEST_F(SparseVault, StretchedFilesThatAreNobodys) {
  const std::string names[] = {
      kKeyringFiles.file(77),           kHeadFiles.file(77),    "heads/0000000000000400.pack", kSegmentFiles.file(77),
      "segments/0000000000000077.open", kJournalFiles.file(77), kCheckpointFiles.file(77),     kPointFiles.file(77),
      kActivityFiles.file(77),          kIndexFiles.file(77)};
  for (const std::string& name : names) {
    world_.env.restore(*before_);
    env_.stretch_none();
    world_.env.write("/vault/" + name, Bytes{});
    env_.stretch("/vault/" + name, kStretchedBytes);
    for (const bool owner : {false, true}) {
      SCOPED_TRACE(name + (owner ? ", by its owner" : ", read-only"));
      env_.work = {};
      ASSERT_OK(open(!owner, !owner));
      EXPECT_EQ(vault_->catalogue().points().size(), 2U);
      expect_bounded();
      env_.work = {};
      ASSERT_OK(verify_vault(env_, "/vault", vault_.get(), {}, {}));
      expect_bounded();
      vault_.reset();
    }
  }
}

}  // namespace
}  // namespace vaultfs
