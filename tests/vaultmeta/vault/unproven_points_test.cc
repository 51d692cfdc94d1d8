// What a machine makes of recovery points where the newest checkpoint is gone or files of points are: proven are those
// that a head vouches for, and what is not there is damage (docs/format.md, section 5.1).
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <set>
#include <string>

#include "tests/support/assert_ok.h"
#include "tests/vaultmeta/vault/vault_world.h"
#include "vaultmeta/layout/vault_layout.h"

namespace vaultfs {
namespace {

using ::testing::ElementsAre;

class UnprovenPoints : public ::testing::Test {
 protected:
  // The owner has points 1 (epoch 1, closed by now), 2 and 3; the holder of the retired version went on from an old
  // copy.
  void SetUp() override {
    world_.kv->add_version("kek");
    ASSERT_OK(world_.create(VaultWorld::customer_managed_options()));
    ASSERT_OK(world_.open());
    ASSERT_OK(world_.back_up("vm1", "one"));
    ASSERT_OK(world_.close());
    const VaultWorld::Files old_copy = world_.files();
    const VaultWorld::Files old_home = world_.files("/home");
    for (int i = 0; i < 6; ++i) {
      ASSERT_OK(world_.open());
      ASSERT_OK(world_.back_up(i == 5 ? "his" : "vm1", "one"));
    }
    ASSERT_OK(world_.close());
    his_ = world_.files();
    world_.put_back(old_copy);
    world_.put_back(old_home, "/home");
    world_.kv->add_version("kek");
    ASSERT_OK(world_.open());
    ASSERT_OK(world_.vault->custody().refresh());
    ASSERT_OK(world_.back_up("vm1", "two"));
    ASSERT_OK(world_.back_up("vm1", "three"));
    newest_ = world_.vault->custody().status().fingerprint;
    ASSERT_EQ(newest_.epoch, EpochNumber(2));
    ASSERT_OK(world_.close());
  }

  void machine(const Env::Path& home) {
    world_.close_without_a_word();
    world_.start_machine(home);
  }
  Status open_as(bool fingerprint, bool unverified, bool accept_older = false) {
    VaultOpenOptions options;
    options.read_only = true;
    options.points_suffice = true;
    if (fingerprint) options.fingerprint = newest_;
    options.allow_unverified = unverified;
    options.accept_older = accept_older;
    return world_.open(options);
  }
  static Env::Path point(std::uint64_t number) { return Env::Path("/vault") / kPointFiles.file(number); }
  void plant(std::uint64_t number) { world_.env.write(point(number), his_.at(point(number))); }
  void remove_all(const std::string& folder) {
    for (const Env::Path& path : world_.env.files("/vault/" + folder)) world_.env.remove(path);
  }
  void keep_newest_head() {
    const auto heads = world_.env.files("/vault/heads");
    for (const Env::Path& path : heads) {
      if (path != heads.back()) world_.env.remove(path);
    }
  }
  std::set<std::string> unproven() {
    std::set<std::string> ids;
    for (const PointInfo& info : world_.vault->catalogue().points()) {
      if (info.unproven) ids.insert(std::to_string(info.number.value));
    }
    return ids;
  }
  VerifyReport report() {
    auto report = verify_vault(world_.env, "/vault", world_.vault.get(), {});
    EXPECT_TRUE(report.ok());
    return std::move(*report);
  }
  bool is_damage(const std::string& file, ErrorCode code, const std::string& item = "") {
    const VerifyReport all = report();
    return std::any_of(all.damage.begin(), all.damage.end(), [&](const Damage& damage) {
      return damage.file == file && damage.error.code == code && damage.item == item &&
             damage.point.empty() == item.empty();
    });
  }

  VaultWorld world_;
  VaultWorld::Files his_;
  VaultFingerprint newest_;
};

TEST_F(UnprovenPoints, AFileBesideTheOwnersPointsIsPassedOver) {
  remove_all("checkpoints");
  plant(7);
  for (const char* home : {"/home", "/new"}) {
    machine(home);
    ASSERT_OK(open_as(true, false));
    EXPECT_THAT(world_.points(), ElementsAre("vm1=one", "vm1=two", "vm1=three")) << home;
    EXPECT_EQ(unproven(), std::set<std::string>());
    EXPECT_FALSE(world_.vault->points_in_doubt().has_value());
    EXPECT_TRUE(is_damage(kPointFiles.file(7), ErrorCode::AuthenticationFailed));
  }
}

TEST_F(UnprovenPoints, ManyFilesBesideThemArePassedOverByTheHeadsBefore) {
  remove_all("checkpoints");
  for (const std::uint64_t number : {4, 5, 6, 7}) plant(number);
  machine("/new");
  ASSERT_OK(open_as(true, false));
  EXPECT_THAT(world_.points(), ElementsAre("vm1=one", "vm1=two", "vm1=three"));
  EXPECT_EQ(unproven(), std::set<std::string>());
}

TEST_F(UnprovenPoints, WhatNobodyVouchesForIsMarkedAndRefused) {
  remove_all("checkpoints");
  keep_newest_head();
  plant(6);
  plant(7);
  world_.env.remove(point(2));
  const std::set<std::string> all{"1", "3", "6", "7"};
  machine("/new");
  ASSERT_OK(open_as(true, false));
  EXPECT_EQ(unproven(), all);
  EXPECT_TRUE(world_.vault->points_in_doubt().has_value());
  for (const PointInfo& info : world_.vault->catalogue().points()) {
    EXPECT_EQ(world_.vault->load_manifest(info).code(), ErrorCode::AuthenticationFailed);
  }
  EXPECT_TRUE(is_damage(kPointFiles.file(7), ErrorCode::AuthenticationFailed, "his"));
  for (const bool accept_older : {false, true}) {
    machine(accept_older ? "/home" : "/new");
    ASSERT_OK(open_as(false, !accept_older, accept_older));
    EXPECT_EQ(unproven(), all);
    EXPECT_TRUE(mentions(world_.vault->opening_notes(), "of item his is unproven"));
    EXPECT_THAT(world_.points(), ElementsAre("vm1=one", "vm1=three", "vm1=one", "his=one"));
    EXPECT_TRUE(is_damage(kPointFiles.file(7), ErrorCode::AuthenticationFailed, "his"));
  }
}

TEST_F(UnprovenPoints, WhatAHeadVouchesForStaysUsableWhereAnotherPointIsGone) {
  remove_all("checkpoints");
  world_.env.remove(point(3));
  for (const char* home : {"/home", "/new"}) {
    machine(home);
    ASSERT_OK(open_as(true, false));
    EXPECT_THAT(world_.points(), ElementsAre("vm1=one", "vm1=two")) << home;
    EXPECT_EQ(unproven(), std::set<std::string>());
    ASSERT_TRUE(world_.vault->points_in_doubt().has_value());
    EXPECT_EQ(world_.vault->points_in_doubt()->code, ErrorCode::CheckpointMissing);
    EXPECT_FALSE(report().damage.empty());
  }
  // In the midst: what follows is known by its file alone.
  plant(3);
  world_.env.remove(point(2));
  machine("/home");
  ASSERT_OK(open_as(false, false));
  EXPECT_EQ(unproven(), std::set<std::string>{"3"});
  EXPECT_EQ(world_.points(), (Texts{"vm1=one", "vm1=AuthenticationFailed"}));
}

TEST_F(UnprovenPoints, AFileThatTheCatalogueDoesNotKnowIsNamedByVerify) {
  plant(7);
  ASSERT_OK(open_as(false, false));
  EXPECT_THAT(world_.points(), ElementsAre("vm1=one", "vm1=two", "vm1=three"));
  EXPECT_TRUE(is_damage(kPointFiles.file(7), ErrorCode::AuthenticationFailed));
}

// The catalogue is there, the files are not: that is a loss on any machine.
TEST_F(UnprovenPoints, AFileThatTheCatalogueKnowsAndIsNotThereIsDamage) {
  const VaultWorld::Files whole = world_.files();
  const auto expect_damage = [&](const Texts& points, const std::string& file, ErrorCode code) {
    for (const bool fingerprint : {true, false}) {
      machine("/new");
      ASSERT_OK(open_as(fingerprint, !fingerprint));
      EXPECT_EQ(world_.points(), points);
      EXPECT_EQ(mentions(world_.vault->opening_notes(), "is incomplete"), code == ErrorCode::ManifestMissing);
      EXPECT_TRUE(is_damage(file, code, "vm1")) << file;
    }
    world_.put_back(whole);
  };
  const Texts none{"vm1=ManifestMissing", "vm1=ManifestMissing", "vm1=ManifestMissing"};
  remove_all("points");
  expect_damage(none, kPointFiles.file(2), ErrorCode::ManifestMissing);
  world_.env.remove(point(3));
  expect_damage({"vm1=one", "vm1=two", "vm1=ManifestMissing"}, kPointFiles.file(3), ErrorCode::ManifestMissing);
  plant(2);
  expect_damage({"vm1=one", "vm1=DamagedManifest", "vm1=three"}, kPointFiles.file(2), ErrorCode::DamagedManifest);
}

TEST_F(UnprovenPoints, ASegmentThatIsNotThereTakesNoPointAway) {
  const Env::Path segment = world_.env.files("/vault/segments").back();
  world_.env.remove(segment);
  machine("/new");
  ASSERT_OK(open_as(true, false));
  EXPECT_EQ(world_.vault->catalogue().points().size(), 3U);
  EXPECT_TRUE(is_damage(kPointFiles.file(3), ErrorCode::SegmentMissing, "vm1"));
}

TEST_F(UnprovenPoints, AVaultThatIsKnownAndHasLostItsHeaderIsDamaged) {
  ASSERT_OK(open_as(false, false));
  world_.env.remove("/vault/vault.header");
  EXPECT_TRUE(is_damage("vault.header", ErrorCode::DamagedHeader));
  EXPECT_EQ(code_of(open_as(false, false)), ErrorCode::DamagedHeader);
  EXPECT_EQ(code_of(world_.open()), ErrorCode::DamagedHeader);
  machine("/new");
  EXPECT_EQ(code_of(open_as(true, false)), ErrorCode::NotAVault);
}

// Put there after the opening, under the numbers that the owner takes next.
TEST_F(UnprovenPoints, PlantedFilesStopNoWork) {
  ASSERT_OK(world_.open());
  const auto next = [this](const VaultFolder& folder) {
    std::uint64_t highest = 0;
    for (const Env::Path& path : world_.env.files(Env::Path("/vault") / folder.name)) {
      highest = std::max(highest, number_of(path.filename().string(), folder.extension).value_or(0));
    }
    return highest + 1;
  };
  const auto plant_next = [&] {
    for (const VaultFolder& folder : kVaultFolders) {
      const std::uint64_t number = next(folder);
      for (std::uint64_t i = 0; i < 2; ++i) {
        world_.env.write(Env::Path("/vault") / folder.file(number + i),
                         i == 0 && folder.name == kPointFiles.name ? his_.at(point(7)) : Bytes(300));
      }
    }
  };
  plant_next();
  ASSERT_OK(world_.back_up("vm1", "four"));
  plant_next();
  ASSERT_OK(world_.checkpoint());
  ASSERT_OK(world_.back_up("vm2", "five"));
  world_.kv->add_version("kek");
  plant_next();
  ASSERT_OK(world_.vault->custody().refresh());
  ASSERT_OK(world_.back_up("vm1", "six"));
  plant_next();
  ASSERT_OK(world_.close());
  ASSERT_OK(world_.open());
  EXPECT_EQ(world_.points(), (Texts{"vm1=one", "vm1=two", "vm1=three", "vm1=four", "vm2=five", "vm1=six"}));
}

// The segment that is written to has its number long before its name.
TEST_F(UnprovenPoints, ASegmentThatIsPlantedUnderTheOpenOnesNumberMakesRoom) {
  ASSERT_OK(world_.open());
  ASSERT_OK(world_.vault->segments().put(RecordType::chunk, bytes_of("something new")));
  ASSERT_OK(world_.vault->segments().sync());
  for (const Env::Path& path : world_.env.files("/vault/segments")) {
    const auto number = number_of(path.filename().string(), kOpenSegmentExtension);
    if (number) world_.env.write(Env::Path("/vault") / kSegmentFiles.file(*number), Bytes(300));
  }
  ASSERT_OK(world_.back_up("vm1", "four"));
  ASSERT_OK(world_.close());
  ASSERT_OK(world_.open());
  EXPECT_EQ(world_.points().back(), "vm1=four");
}

class PlantedHeads : public UnprovenPoints {
 protected:
  // Continues a copy of the vault and the machine's state, which stay as they are.
  void make_branch() {
    const auto vault = world_.files();
    const auto home = world_.files("/home");
    ASSERT_OK(world_.open());
    for (int i = 0; i < 4; ++i) ASSERT_OK(world_.back_up("vm1", "of the branch"));
    ASSERT_OK(world_.close());
    branch_ = world_.files();
    world_.put_back(vault);
    world_.put_back(home, "/home");
  }
  // His head of that number, which is beyond the newest one there is.
  void plant_heads(const VaultWorld::Files& others, bool all) {
    const Env::Path newest = world_.env.files("/vault/heads").back();
    std::size_t planted = 0;
    for (const auto& [path, bytes] : others) {
      if (path.parent_path() != "/vault/heads" || path <= newest || (!all && planted > 0)) continue;
      world_.env.write(path, bytes);
      ++planted;
    }
    ASSERT_GT(planted, 0U);
  }
  void expect_it_works(const char* home) {
    const auto vault = world_.files();
    machine(home);
    ASSERT_OK(open_as(true, false));
    EXPECT_THAT(world_.points(), ElementsAre("vm1=one", "vm1=two", "vm1=three"));
    EXPECT_FALSE(world_.vault->history_damage().has_value());
    EXPECT_TRUE(mentions(world_.vault->opening_notes(), "passed over: heads/"));
    const VerifyReport all = report();
    EXPECT_TRUE(std::any_of(all.damage.begin(), all.damage.end(), [](const Damage& damage) {
      return damage.file.starts_with("heads/") && damage.error.code == ErrorCode::DamagedHead;
    }));
    ASSERT_OK(trust_vault(world_.machine(), "/vault", newest_, true));
    ASSERT_OK(world_.open());
    ASSERT_OK(world_.back_up("vm1", "four"));
    ASSERT_OK(world_.close());
    ASSERT_OK(world_.open());
    EXPECT_EQ(world_.points(), (Texts{"vm1=one", "vm1=two", "vm1=three", "vm1=four"}));
    world_.close_without_a_word();
    world_.put_back(vault);
  }

  VaultWorld::Files branch_;
};

TEST_F(PlantedHeads, OnesOfAClosedEpochArePassedOver) {
  const auto home = world_.files("/home");
  for (const bool all : {false, true}) {
    world_.put_back(home, "/home");
    const auto vault = world_.files();
    ASSERT_NO_FATAL_FAILURE(plant_heads(his_, all));
    expect_it_works("/home");
    expect_it_works(all ? "/new" : "/newer");
    world_.put_back(vault);
  }
}

TEST_F(PlantedHeads, OnesOfABranchArePassedOver) {
  ASSERT_NO_FATAL_FAILURE(make_branch());
  ASSERT_OK(world_.open());
  ASSERT_OK(world_.vault->write_head());
  ASSERT_OK(world_.close());
  const auto mine = world_.files();
  const auto my_home = world_.files("/home");
  for (const bool all : {false, true}) {
    world_.put_back(mine);
    world_.put_back(my_home, "/home");
    ASSERT_NO_FATAL_FAILURE(plant_heads(branch_, all));
    expect_it_works("/home");
    expect_it_works(all ? "/new" : "/newer");
  }
}

// The whole of a branch in the vault's place is a rollback as ever.
TEST_F(PlantedHeads, ABranchThatTookTheVaultsPlaceIsARollback) {
  ASSERT_NO_FATAL_FAILURE(make_branch());
  ASSERT_OK(world_.open());
  ASSERT_OK(world_.back_up("vm1", "mine"));
  ASSERT_OK(world_.close());
  world_.put_back(branch_);
  EXPECT_EQ(code_of(world_.open()), ErrorCode::RollbackDetected);
  EXPECT_EQ(code_of(open_as(false, false)), ErrorCode::RollbackDetected);
  ASSERT_OK(trust_vault(world_.machine(), "/vault", newest_, true));
  ASSERT_OK(world_.open());
}

}  // namespace
}  // namespace vaultfs
