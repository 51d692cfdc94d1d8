// Hundreds of files under a vault's names: what is told of them is a few lines, and what is not needed goes.
#include "store/record/stream.h"
#include "tests/vaultmeta/vault/vault_world.h"
#include "vaultmeta/heads/head.h"
#include "vaultmeta/layout/vault_layout.h"

namespace vaultfs {
namespace {

constexpr std::uint64_t kFirstPlanted = 1000;
constexpr std::uint64_t kPlanted = 300;
constexpr std::size_t kFewLines = 30;

class ManyFiles : public testing::Test {
 protected:
  void SetUp() override {
    ASSERT_OK(world_.create());
    ASSERT_OK(world_.open());
    ASSERT_OK(world_.back_up("vm", "one"));
  }
  static std::string path_of(const VaultFolder& folder, std::uint64_t i) {
    return "/vault/" + folder.file(kFirstPlanted + i);
  }

  VaultWorld world_;
};

TEST_F(ManyFiles, AuthenticOldManifestsAreRemovedAndToldInAFewLines) {
  std::vector<Bytes> manifests;
  for (std::uint64_t i = 0; i < kPlanted; ++i) {
    auto manifest = seal_stream(world_.env, world_.vault->keys(), ContainerKind::manifest,
                                ContainerNumber(kFirstPlanted + i), bytes_of("of a point that is no more"));
    ASSERT_OK(manifest);
    manifests.push_back(std::move(manifest).value());
  }
  ASSERT_OK(world_.close());
  for (std::uint64_t i = 0; i < kPlanted; ++i) world_.env.write(path_of(kPointFiles, i), manifests[i]);
  const std::uint64_t synced = world_.env.steps(SimStep::sync_directory);
  ASSERT_OK(world_.open());
  EXPECT_LT(world_.env.steps(SimStep::sync_directory) - synced, kPlanted) << "one for all of a folder";
  EXPECT_TRUE(mentions(world_.vault->opening_notes(), "more files that nothing names were removed"));
  EXPECT_LT(world_.vault->opening_notes().size(), kFewLines);
  for (std::uint64_t i = 0; i < kPlanted; ++i) EXPECT_FALSE(world_.env.exists(path_of(kPointFiles, i)));
  EXPECT_EQ(world_.points(), Texts{"vm=one"});
}

// One opening removes a thousand, the next ones the others; no number of theirs is used meanwhile.
TEST_F(ManyFiles, AnOpeningRemovesSoManyAndTheNextOneGoesOn) {
  constexpr std::uint64_t kMany = 1500;
  std::vector<Bytes> manifests;
  for (std::uint64_t i = 0; i < kMany; ++i) {
    auto manifest = seal_stream(world_.env, world_.vault->keys(), ContainerKind::manifest,
                                ContainerNumber(kFirstPlanted + i), bytes_of("of a point that is no more"));
    ASSERT_OK(manifest);
    manifests.push_back(std::move(manifest).value());
  }
  ASSERT_OK(world_.close());
  for (std::uint64_t i = 0; i < kMany; ++i) world_.env.write(path_of(kPointFiles, i), manifests[i]);
  ASSERT_OK(world_.open());
  EXPECT_TRUE(mentions(world_.vault->opening_notes(), "500 more files in points/"));
  EXPECT_FALSE(world_.env.exists(path_of(kPointFiles, 999)));
  EXPECT_TRUE(world_.env.exists(path_of(kPointFiles, 1000)));
  ASSERT_OK(world_.back_up("vm", "two"));
  EXPECT_GE(world_.vault->catalogue().points().back().number.value, kFirstPlanted + kMany);
  ASSERT_OK(world_.close());
  ASSERT_OK(world_.open());
  EXPECT_FALSE(world_.env.exists(path_of(kPointFiles, kMany - 1)));
  EXPECT_EQ(world_.points(), (Texts{"vm=one", "vm=two"}));
}

TEST_F(ManyFiles, ManifestsOfNobodyAreKeptAndToldInAFewLines) {
  ASSERT_OK(world_.close());
  for (std::uint64_t i = 0; i < kPlanted; ++i) world_.env.write(path_of(kPointFiles, i), bytes_of("junk"));
  ASSERT_OK(world_.open());
  EXPECT_TRUE(mentions(world_.vault->opening_notes(), "more files were passed over"));
  EXPECT_LT(world_.vault->opening_notes().size(), kFewLines);
  EXPECT_TRUE(world_.env.exists(path_of(kPointFiles, kPlanted - 1)));
  EXPECT_EQ(world_.points(), Texts{"vm=one"});
}

// A check names two thousand of a folder and counts the rest, with keys and without.
TEST_F(ManyFiles, VerifyNamesSomeOfThem) {
  ASSERT_OK(world_.close());
  constexpr std::uint64_t kMany = 2500;
  constexpr std::size_t kMostLines = 2002;
  for (std::uint64_t i = 0; i < kMany; ++i) world_.env.write(path_of(kSegmentFiles, i), bytes_of("junk"));
  for (std::uint64_t i = 0; i < kMany; ++i) world_.env.write(path_of(kPointFiles, i), bytes_of("junk"));
  ASSERT_OK(world_.open_read_only());
  EXPECT_LT(world_.vault->opening_notes().size(), kFewLines);
  for (Vault* vault : {world_.vault.get(), static_cast<Vault*>(nullptr)}) {
    const auto report = verify_vault(world_.env, "/vault", vault, {}, {});
    ASSERT_OK(report);
    std::map<std::string, std::size_t> lines;
    bool counted = false;
    for (const Damage& one : report->damage) {
      ++lines[one.file.substr(0, one.file.find('/'))];
      counted = counted || one.error.message == "500 more files are damaged, or are none of the vault's";
    }
    EXPECT_TRUE(counted);
    EXPECT_LE(lines["segments"], kMostLines);
    EXPECT_LE(lines["points"], vault == nullptr ? 2 * kMostLines : kMostLines);
    EXPECT_GT(lines["points"], 1000U);
    if (vault != nullptr) {
      EXPECT_GE(report->damaged_segments.size(), kMany) << "all of them are looked at";
    }
  }
}

// Whole in form, of this vault and epoch, and signed by nobody.
TEST_F(ManyFiles, ForgedHeadsCountForNothing) {
  ASSERT_OK(world_.close());
  const auto heads = world_.env.files("/vault/heads");
  ASSERT_FALSE(heads.empty());
  auto stored = Head::decode(world_.env.read(heads.back()));
  ASSERT_OK(stored);
  for (std::uint64_t i = 0; i < kPlanted; ++i) {
    stored->head.generation = Generation(kFirstPlanted + i);
    const Bytes body = stored->head.encode();
    world_.env.write(path_of(kHeadFiles, i), Head::file_of(body, stored->head.format, stored->mac));
  }
  ASSERT_OK(world_.open());
  EXPECT_TRUE(mentions(world_.vault->opening_notes(), "no head of this vault"));
  EXPECT_LT(world_.vault->opening_notes().size(), kFewLines);
  EXPECT_EQ(world_.points(), Texts{"vm=one"});
}

}  // namespace
}  // namespace vaultfs
