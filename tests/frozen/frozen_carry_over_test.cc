#include "store/record/container.h"
#include "store/record/stream.h"
#include "tests/frozen/frozen_fixture.h"
#include "vaultmeta/heads/head.h"
#include "vaultmeta/keys/keyring.h"

// Carrying over: a vault of any version goes on under the first owner of this version, and what was bound stays bound.
namespace vaultfs {
namespace {

class FrozenVaultGoesOn : public FrozenVault {};

TEST_P(FrozenVaultGoesOn, AsTheVaultOfThisVersion) {
  std::string point_of_now;
  {
    const auto engine = open(false);
    ASSERT_OK(engine);
    expect_points(**engine);
    expect_working_tree(**engine);
    WorkingTree& tree = (*engine)->tree();
    const auto item = tree.lookup(kRootInode, "vm");
    ASSERT_OK(item);
    const auto disk = tree.lookup(item->number, "disk.raw");
    ASSERT_OK(disk);
    const auto handle = tree.open(disk->number, true);
    ASSERT_OK(handle);
    ASSERT_OK(tree.write(disk->number, *handle, 1'500'000, bytes_of("written by a later version")));
    tree.release(*handle);
    const auto outcome = (*engine)->commit("vm");
    ASSERT_OK(outcome);
    ASSERT_TRUE(outcome->point.has_value());
    point_of_now = outcome->point->id();
    ASSERT_OK((*engine)->close());
  }
  const auto engine = open(true);
  ASSERT_OK(engine);
  expect_points(**engine);
  const std::vector<PointInfo> points = (*engine)->vault().catalogue().points();
  const auto newest =
      std::find_if(points.begin(), points.end(), [&](const PointInfo& point) { return point.id() == point_of_now; });
  ASSERT_NE(newest, points.end());
  InodeNumber root;
  const auto tree = (*engine)->open_point(*newest, root);
  ASSERT_OK(tree);
  const auto disk = resolve_path(**tree, root, "disk.raw");
  ASSERT_OK(disk);
  Bytes written(26);
  ASSERT_OK((*tree)->read(disk->number, 1'500'000, written));
  EXPECT_EQ(text_of(written), "written by a later version");
  // Segments of then stay as they are; those of now stand beside them.
  std::set<std::uint16_t> versions;
  for (const auto& entry : stdfs::directory_iterator(vault_path() / "segments")) {
    const auto header = ContainerHeader::decode(bytes_of(contents(entry.path())));
    ASSERT_OK(header);
    versions.insert(header->version);
  }
  const bool is_version_1 = example().filename().string().starts_with("v1");
  EXPECT_EQ(versions, is_version_1 ? (std::set<std::uint16_t>{1, 2}) : std::set<std::uint16_t>{2});
  expect_no_other_damage(nullptr);
  expect_no_other_damage(&(*engine)->vault());
}

INSTANTIATE_TEST_SUITE_P(Version1, FrozenVaultGoesOn,
                         testing::Values("vault", "vault-double", "vault-unclean", "patches", "patches-unclean",
                                         "escrow", "escrow-double", "escrow-before", "epochs", "epochs-unclean"),
                         frozen_name);
INSTANTIATE_TEST_SUITE_P(Version2, FrozenVaultGoesOn, testing::Values("killed", "closed"), frozen_name);

// The vaults with closed epochs, whose heads and journals are of format 1, and what becomes of them.
class FrozenEpochsVault : public FrozenVault {
 protected:
  [[nodiscard]] std::set<std::uint16_t> head_formats() const {
    std::set<std::uint16_t> formats;
    for (const auto& entry : stdfs::directory_iterator(vault_path() / "heads")) {
      const auto head = Head::decode(bytes_of(contents(entry.path())));
      EXPECT_TRUE(head.ok());
      formats.insert(head->head.format);
    }
    return formats;
  }
  [[nodiscard]] std::uint16_t newest_keyring_format() const {
    const auto keyring = ClosedKeyring::decode(bytes_of(contents(newest("keyrings"))));
    EXPECT_TRUE(keyring.ok());
    return keyring->format;
  }
  // The file of that folder with the highest number.
  [[nodiscard]] stdfs::path newest(const char* folder) const {
    std::set<stdfs::path> all;
    for (const auto& entry : stdfs::directory_iterator(vault_path() / folder)) all.insert(entry.path());
    return *all.rbegin();
  }
};

TEST_P(FrozenEpochsVault, TheFirstOwnerCarriesItOver) {
  EXPECT_EQ(head_formats(), std::set<std::uint16_t>{1});
  const stdfs::path old_journal = newest("journal");
  {
    const auto engine = open(false);
    ASSERT_OK(engine);
    // Bound as soon as it is open, before anything is written.
    EXPECT_EQ(head_formats(), (std::set<std::uint16_t>{1, 2}));
    const auto head = Head::decode(bytes_of(contents(newest("heads"))));
    ASSERT_OK(head);
    EXPECT_EQ(head->head.format, 2);
    EXPECT_NE(newest("journal"), old_journal);
    expect_points(**engine);
    expect_working_tree(**engine);
  }  // killed
  const auto again = open(true);
  ASSERT_OK(again);
  expect_points(**again);
  expect_working_tree(**again);
}

// A program of before refuses the vault by name from then on. The keys stay what they were.
TEST_P(FrozenEpochsVault, TheFirstOwnerWritesAKeyringOfTheNewForm) {
  EXPECT_EQ(newest_keyring_format(), 1);
  const stdfs::path old_keyring = newest("keyrings");
  {
    const auto engine = open(false);
    ASSERT_OK(engine);
    const stdfs::path carried = newest("keyrings");
    EXPECT_NE(carried, old_keyring);
    EXPECT_EQ(newest_keyring_format(), 4);
    const auto head = Head::decode(bytes_of(contents(newest("heads"))));
    ASSERT_OK(head);
    EXPECT_EQ(head->head.keyring, sha256(bytes_of(contents(carried)))) << "the first head names it";
    EXPECT_FALSE((*engine)->vault().custody().status().last_update.has_value()) << "no change of keys";
    ASSERT_OK((*engine)->close());
  }
  const stdfs::path carried = newest("keyrings");
  ASSERT_OK(open(false));
  EXPECT_EQ(newest("keyrings"), carried) << "once";
}

// A crash between that keyring and the head that names it.
TEST_P(FrozenEpochsVault, AKeyringOfTheNewFormWithoutAHeadOpens) {
  const auto before = file_digests(vault_path());
  { ASSERT_OK(open(false)); }
  const stdfs::path carried = newest("keyrings");
  const stdfs::path orphan = newest("journal");
  stdfs::remove_all(home());
  stdfs::copy(example() / "home", home(), stdfs::copy_options::recursive);
  for (const auto& [path, digest] : file_digests(vault_path())) {
    const stdfs::path file = vault_path() / path;
    if (!before.contains(path) && file != orphan && file != carried) stdfs::remove(file);
  }
  ASSERT_EQ(head_formats(), std::set<std::uint16_t>{1});
  SetUpMachine();
  {
    const auto reader = open(true);
    ASSERT_OK(reader);
    expect_points(**reader);
  }
  const auto engine = open(false);
  ASSERT_OK(engine);
  EXPECT_EQ(newest("keyrings"), carried);
  expect_points(**engine);
  expect_working_tree(**engine);
}

// A head of format 1 does not vouch for what the catalogue says of the points: nothing is removed for that.
TEST_P(FrozenEpochsVault, AManifestThatTheCatalogueDoesNotKnowIsKeptOnce) {
  const stdfs::path strange = vault_path() / "points/0000000000000009.point";
  {
    const auto engine = open(true);
    ASSERT_OK(engine);
    const auto file = seal_stream(posix_env(), (*engine)->vault().keys(), ContainerKind::manifest, ContainerNumber(9),
                                  bytes_of("a manifest"), bytes_of("its inventory"));
    ASSERT_OK(file);
    std::ofstream(strange, std::ios::binary) << text_of(*file);
  }
  {
    const auto engine = open(false);
    ASSERT_OK(engine);
    EXPECT_TRUE(stdfs::exists(strange));
    ASSERT_OK((*engine)->close());
  }
  const auto engine = open(false);
  ASSERT_OK(engine);
  EXPECT_FALSE(stdfs::exists(strange)) << "a head of format 2 does";
  expect_points(**engine);
}

// What was read when it was carried over is all that counts of the old journals.
TEST_P(FrozenEpochsVault, OldJournalsAreBoundByTheirDigests) {
  const stdfs::path old_journal = newest("journal");
  { ASSERT_OK(open(false)); }  // and killed
  Bytes changed = to_bytes(bytes_of(contents(old_journal)));
  changed[400] ^= std::byte{1};  // a record; what follows may be zeros that were written ahead
  std::ofstream(old_journal, std::ios::binary | std::ios::trunc) << text_of(changed);
  EXPECT_EQ(open(true).code(), ErrorCode::JournalDamaged);
  EXPECT_EQ(open(false).code(), ErrorCode::JournalDamaged);
}

// A crash at the carrying over leaves the old form or the new one.
TEST_P(FrozenEpochsVault, AJournalWithoutAHeadChangesNothing) {
  const auto before = file_digests(vault_path());
  const auto heads_before = newest("heads");
  { ASSERT_OK(open(false)); }
  // As if the power had gone before the head: the pin was not moved, the journal is there.
  const stdfs::path orphan = newest("journal");
  stdfs::remove_all(home());
  stdfs::copy(example() / "home", home(), stdfs::copy_options::recursive);
  for (const auto& [path, digest] : file_digests(vault_path())) {
    if (!before.contains(path) && vault_path() / path != orphan) stdfs::remove(vault_path() / path);
  }
  ASSERT_EQ(newest("heads"), heads_before);
  SetUpMachine();
  const auto engine = open(false);
  ASSERT_OK(engine);
  expect_points(**engine);
  expect_working_tree(**engine);
}

INSTANTIATE_TEST_SUITE_P(Version1, FrozenEpochsVault, testing::Values("epochs", "epochs-unclean"),
                         [](const auto& vault) { return vault.param == "epochs" ? "epochs" : "epochs_unclean"; });

// The one on two layers whose escrow slot was written before the infrastructure key had a place in it.
class FrozenEscrowBeforeVault : public FrozenEscrowVault {};

TEST_P(FrozenEscrowBeforeVault, WantsTheMachinesKeyUntilItsKeyringIsWrittenAnew) {
  auto drilled = drill_escrow(machine(), vault_path(), *escrow_key_);
  ASSERT_OK(drilled);
  EXPECT_EQ(drilled->has_infrastructure_key, false);
  stdfs::rename(home() / "platform-keys", home() / "away");
  EXPECT_EQ(drill_escrow(machine(), vault_path(), *escrow_key_).code(), ErrorCode::PlatformKeyMissing);
  stdfs::rename(home() / "away", home() / "platform-keys");
  {
    const auto engine = open(false);
    ASSERT_OK(engine);
    ASSERT_OK((*engine)->vault().custody().rewrap(false));
    ASSERT_OK((*engine)->close());
  }
  stdfs::remove_all(home() / "platform-keys");
  stdfs::remove_all(home() / "keyvaults");
  drilled = drill_escrow(machine(), vault_path(), *escrow_key_);
  ASSERT_OK(drilled);
  EXPECT_EQ(drilled->has_infrastructure_key, true);
}

INSTANTIATE_TEST_SUITE_P(Version1, FrozenEscrowBeforeVault, testing::Values("escrow-before"));

}  // namespace
}  // namespace vaultfs
