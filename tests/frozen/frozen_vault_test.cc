#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <map>
#include <memory>
#include <nlohmann/json.hpp>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "crypto/hash.h"
#include "crypto/keyvault/local_key_vaults.h"
#include "fs/session.h"
#include "store/container.h"
#include "store/stream.h"
#include "tests/support/assert_ok.h"
#include "tests/support/scratch_directory.h"
#include "vaultmeta/head.h"
#include "vaultmeta/keyring.h"
#include "vaultmeta/machine_resolver.h"
#include "vaultmeta/recovery_file.h"
#include "vaultmeta/vault_recover.h"

// Every format version has an example that its first programs wrote, and every later version of the code must read it:
// tests/frozen/vN/README.md.
namespace vaultfs {
namespace {

namespace stdfs = std::filesystem;
using nlohmann::json;

constexpr const char* kKeyVault = "office";
constexpr const char* kKey = "backup";

std::string contents(const stdfs::path& path) {
  std::ifstream file(path, std::ios::binary);
  EXPECT_TRUE(file.good()) << path;
  return {std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
}

// SHA-256 of every file below a directory, by path.
std::map<std::string, std::string> file_digests(const stdfs::path& root) {
  std::map<std::string, std::string> digests;
  for (const auto& entry : stdfs::recursive_directory_iterator(root)) {
    if (!entry.is_regular_file()) continue;
    digests[entry.path().lexically_relative(root)] = to_hex(sha256(bytes_of(contents(entry.path()))).view());
  }
  return digests;
}

std::string type_name(InodeType type) {
  switch (type) {
    case InodeType::file:
      return "file";
    case InodeType::directory:
      return "directory";
    case InodeType::symlink:
      return "symlink";
    case InodeType::fifo:
      return "fifo";
    default:
      return "another";
  }
}

std::string decimal_time(UnixNanos time) {
  const std::string fraction = std::to_string(time.value % 1'000'000'000);
  return std::to_string(time.seconds()) + "." + std::string(9 - fraction.size(), '0') + fraction;
}

std::string octal_mode(std::uint32_t mode) {
  std::string digits;
  for (int shift = 9; shift >= 0; shift -= 3) digits += static_cast<char>('0' + ((mode >> shift) & 7U));
  return digits;
}

// One inode in the form of expected.json.
Result<json> describe(FileTree& tree, InodeNumber inode) {
  VAULTFS_ASSIGN_OR_RETURN(const Attributes found, tree.attributes(inode));
  json entry = {{"type", type_name(found.type)}, {"mode", octal_mode(found.mode)}, {"owner", {found.uid, found.gid}}};
  if (found.type != InodeType::directory) entry["links"] = found.link_count;
  if (found.type == InodeType::symlink) {
    VAULTFS_ASSIGN_OR_RETURN(entry["target"], tree.read_link(inode));
  }
  if (found.type == InodeType::file) {
    Bytes content(found.size);
    VAULTFS_ASSIGN_OR_RETURN(const std::size_t got, tree.read(inode, 0, content));
    if (got != content.size()) return Error{ErrorCode::IoError, "a short read"};
    entry["size"] = found.size;
    entry["sha256"] = to_hex(sha256(content).view());
    entry["mtime"] = decimal_time(found.mtime);
  }
  return entry;
}

Status describe_below(FileTree& tree, InodeNumber directory, const std::string& prefix, json& found) {
  VAULTFS_ASSIGN_OR_RETURN(const std::vector<DirectoryEntry> entries, tree.list(directory));
  for (const DirectoryEntry& entry : entries) {
    const std::string path = prefix + entry.name;
    VAULTFS_ASSIGN_OR_RETURN(found[path], describe(tree, entry.number));
    if (entry.type == InodeType::directory) {
      VAULTFS_RETURN_IF_ERROR(describe_below(tree, entry.number, path + "/", found));
    }
  }
  return ok_status();
}

// Compares what is below `root` with `expected`: the same paths, and every member that expected.json has.
void expect_tree(FileTree& tree, InodeNumber root, const json& expected) {
  json found = json::object();
  ASSERT_OK(describe_below(tree, root, "", found));
  EXPECT_EQ(found.size(), expected.size());
  EXPECT_FALSE(expected.empty());
  for (const auto& [path, wanted] : expected.items()) {
    ASSERT_TRUE(found.contains(path)) << path << " is missing";
    for (const auto& [member, value] : wanted.items()) EXPECT_EQ(found[path][member], value) << path << ": " << member;
  }
}

// A copy of an example and its machine on this machine.
class FrozenVault : public testing::TestWithParam<std::string> {
 protected:
  void SetUp() override {
    // copy() without a list of modes: git keeps none, and no empty directories.
    stdfs::copy(example(), scratch_.path() / "example", stdfs::copy_options::recursive);
    for (const char* folder :
         {"checkpoints", "index", "activity", "journal", "heads", "keyrings", "points", "segments"}) {
      stdfs::create_directories(vault_path() / folder);
    }
    expected_ = json::parse(contents(example() / "expected.json"))[GetParam()];
    SetUpMachine();
  }

  // The machine as its files below home() have it.
  void SetUpMachine() {
    for (const auto& entry : stdfs::recursive_directory_iterator(scratch_.path() / "example")) {
      stdfs::permissions(entry.path(), entry.is_directory() ? stdfs::perms::owner_all
                                                            : stdfs::perms::owner_read | stdfs::perms::owner_write);
    }
    auto state = MachineState::open(posix_env(), home());
    ASSERT_OK(state);
    state_ = std::move(*state);
    platform_keys_ = std::make_unique<MachineKeyStore>(posix_env(), home());
    key_vaults_ = std::make_unique<LocalKeyVaults>(posix_env(), home(), nullptr);
    registry_ = std::make_unique<KeyVaultRegistry>(posix_env(), home(), *key_vaults_);
    identities_ = std::make_unique<IdentityStore>(posix_env(), home());
    resolver_ = std::make_unique<MachineResolver>(*registry_, *identities_);
    const auto glance = glance_at_vault(posix_env(), vault_path());
    ASSERT_OK(glance);
    ASSERT_OK(state_->register_vault({glance->header.id, vault_path(), kKeyVault, kKey}));
  }

  // The first programs of version 1 wrote no patches and knew no escrow key: those have examples of their own.
  [[nodiscard]] static stdfs::path example() {
    const char* folder = "v1";
    if (std::string_view(GetParam()).starts_with("patches")) folder = "v1-patches";
    if (std::string_view(GetParam()).starts_with("epochs")) folder = "v1-epochs";
    if (GetParam() == "escrow") folder = "v1-escrow";
    if (std::string_view(GetParam()).starts_with("escrow-")) folder = "v1-escrow-double";
    return stdfs::path(VAULTFS_SOURCE_DIR) / "tests/frozen" / folder;
  }
  [[nodiscard]] stdfs::path home() const { return scratch_ / "example/home"; }
  [[nodiscard]] stdfs::path vault_path() const { return scratch_ / "example" / GetParam(); }
  [[nodiscard]] Vault::Machine machine() { return {posix_env(), *state_, *platform_keys_, *resolver_}; }

  [[nodiscard]] Result<std::unique_ptr<Session>> open(bool read_only) {
    Session::Options options;
    options.vault.path = vault_path();
    options.vault.read_only = read_only;
    options.background = false;
    options.manual_commit = true;
    options.tree.flush_seconds = 0;
    options.tree.write_buffer_bytes = 16U << 20;
    return Session::open(machine(), options);
  }

  // The points of expected.json are there, each holding what it held.
  void expect_points(Session& session) {
    std::size_t seen = 0;
    for (const PointInfo& point : session.vault().catalogue().points()) {
      if (!expected_["points"].contains(point.id())) continue;
      SCOPED_TRACE(point.id());
      InodeNumber root;
      const auto tree = session.open_point(point, root);
      ASSERT_OK(tree);
      expect_tree(**tree, root, expected_["points"][point.id()]);
      ++seen;
    }
    EXPECT_EQ(seen, expected_["points"].size());
  }
  void expect_working_tree(Session& session) {
    if (expected_.contains("tree")) expect_tree(session.tree(), kRootInode, expected_["tree"]);
  }
  void expect_no_damage(Vault* vault) {
    const auto report = verify_vault(posix_env(), vault_path(), vault, nullptr);
    ASSERT_OK(report);
    EXPECT_EQ(report->authenticated, vault != nullptr);
    EXPECT_GT(report->counts.records, 0U);
    for (const Damage& damage : report->damage) {
      ADD_FAILURE() << damage.file << ": " << error_name(damage.error.code) << ": " << damage.error.message;
    }
  }

  ScratchDirectory scratch_;
  json expected_;
  std::unique_ptr<MachineState> state_;
  std::unique_ptr<MachineKeyStore> platform_keys_;
  std::unique_ptr<LocalKeyVaults> key_vaults_;
  std::unique_ptr<KeyVaultRegistry> registry_;
  std::unique_ptr<IdentityStore> identities_;
  std::unique_ptr<MachineResolver> resolver_;
};

TEST_P(FrozenVault, ReadsEveryPointAndChangesNothing) {
  const auto before = file_digests(vault_path());
  {
    const auto session = open(true);
    ASSERT_OK(session);
    expect_points(**session);
    expect_working_tree(**session);
  }
  EXPECT_EQ(file_digests(vault_path()), before);
}

TEST_P(FrozenVault, VerifiesWithAndWithoutKeys) {
  expect_no_damage(nullptr);
  const auto session = open(true);
  ASSERT_OK(session);
  expect_no_damage(&(*session)->vault());
}

TEST_P(FrozenVault, GoesOnAsTheVaultOfThisVersion) {
  std::string point_of_now;
  {
    const auto session = open(false);
    ASSERT_OK(session);
    expect_points(**session);
    expect_working_tree(**session);
    WorkingTree& tree = (*session)->tree();
    const auto item = tree.lookup(kRootInode, "vm");
    ASSERT_OK(item);
    const auto disk = tree.lookup(item->number, "disk.raw");
    ASSERT_OK(disk);
    const auto handle = tree.open(disk->number, true);
    ASSERT_OK(handle);
    ASSERT_OK(tree.write(disk->number, *handle, 1'500'000, bytes_of("written by a later version")));
    tree.release(*handle);
    const auto outcome = (*session)->commit("vm");
    ASSERT_OK(outcome);
    ASSERT_TRUE(outcome->point.has_value());
    point_of_now = outcome->point->id();
    ASSERT_OK((*session)->close());
  }
  const auto session = open(true);
  ASSERT_OK(session);
  expect_points(**session);
  const std::vector<PointInfo> points = (*session)->vault().catalogue().points();
  const auto newest =
      std::find_if(points.begin(), points.end(), [&](const PointInfo& point) { return point.id() == point_of_now; });
  ASSERT_NE(newest, points.end());
  InodeNumber root;
  const auto tree = (*session)->open_point(*newest, root);
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
  EXPECT_EQ(versions, (std::set<std::uint16_t>{1, 2}));
  expect_no_damage(nullptr);
  expect_no_damage(&(*session)->vault());
}

TEST_P(FrozenVault, DoesNotOpenWithoutItsKeys) {
  stdfs::remove_all(home() / "keyvaults");
  const auto session = open(true);
  ASSERT_FALSE(session.ok());
  EXPECT_EQ(session.code(), ErrorCode::KeyVaultUnavailable) << session.error().message;
}

INSTANTIATE_TEST_SUITE_P(Version1, FrozenVault,
                         testing::Values("vault", "vault-double", "vault-unclean", "patches", "patches-unclean",
                                         "escrow", "escrow-double", "escrow-before", "epochs", "epochs-unclean"),
                         [](const testing::TestParamInfo<std::string>& instance) {
                           std::string name = instance.param;
                           std::replace(name.begin(), name.end(), '-', '_');
                           return name;
                         });

// The vault whose first key version is Retired.
class FrozenRotatedVault : public FrozenVault {};

TEST_P(FrozenRotatedVault, NeedsTheActiveVersionOnly) {
  const auto key_vault = key_vaults_->open(kKeyVault);
  ASSERT_OK(key_vault);
  const auto session = open(true);
  ASSERT_OK(session);
  const EncryptionStatus status = (*session)->vault().custody().status();
  ASSERT_EQ(status.versions.size(), 2U);
  EXPECT_EQ(status.versions[0].role, VersionRole::retired);
  EXPECT_EQ(status.versions[1].role, VersionRole::active);
  ASSERT_OK((*key_vault)->set_enabled(kKey, status.versions[0].version, false));
  const auto again = open(true);
  ASSERT_OK(again);
  expect_points(**again);
}

INSTANTIATE_TEST_SUITE_P(Version1, FrozenRotatedVault, testing::Values("vault"));

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
    const auto session = open(false);
    ASSERT_OK(session);
    // Bound as soon as it is open, before anything is written.
    EXPECT_EQ(head_formats(), (std::set<std::uint16_t>{1, 2}));
    const auto head = Head::decode(bytes_of(contents(newest("heads"))));
    ASSERT_OK(head);
    EXPECT_EQ(head->head.format, 2);
    EXPECT_NE(newest("journal"), old_journal);
    expect_points(**session);
    expect_working_tree(**session);
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
    const auto session = open(false);
    ASSERT_OK(session);
    const stdfs::path carried = newest("keyrings");
    EXPECT_NE(carried, old_keyring);
    EXPECT_EQ(newest_keyring_format(), 4);
    const auto head = Head::decode(bytes_of(contents(newest("heads"))));
    ASSERT_OK(head);
    EXPECT_EQ(head->head.keyring, sha256(bytes_of(contents(carried)))) << "the first head names it";
    EXPECT_FALSE((*session)->vault().custody().status().last_update.has_value()) << "no change of keys";
    ASSERT_OK((*session)->close());
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
  const auto session = open(false);
  ASSERT_OK(session);
  EXPECT_EQ(newest("keyrings"), carried);
  expect_points(**session);
  expect_working_tree(**session);
}

// A head of format 1 does not vouch for what the catalogue says of the points: nothing is removed for that.
TEST_P(FrozenEpochsVault, AManifestThatTheCatalogueDoesNotKnowIsKeptOnce) {
  const stdfs::path strange = vault_path() / "points/0000000000000009.point";
  {
    const auto session = open(true);
    ASSERT_OK(session);
    const auto file = seal_stream(posix_env(), (*session)->vault().keys(), ContainerKind::manifest, ContainerNumber(9),
                                  bytes_of("a manifest"), bytes_of("its inventory"));
    ASSERT_OK(file);
    std::ofstream(strange, std::ios::binary) << text_of(*file);
  }
  {
    const auto session = open(false);
    ASSERT_OK(session);
    EXPECT_TRUE(stdfs::exists(strange));
    ASSERT_OK((*session)->close());
  }
  const auto session = open(false);
  ASSERT_OK(session);
  EXPECT_FALSE(stdfs::exists(strange)) << "a head of format 2 does";
  expect_points(**session);
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
  const auto session = open(false);
  ASSERT_OK(session);
  expect_points(**session);
  expect_working_tree(**session);
}

INSTANTIATE_TEST_SUITE_P(Version1, FrozenEpochsVault, testing::Values("epochs", "epochs-unclean"),
                         [](const auto& vault) { return vault.param == "epochs" ? "epochs" : "epochs_unclean"; });

// The vault with a second layer, whose key is in the recovery file too.
class FrozenDoubleVault : public FrozenVault {};

TEST_P(FrozenDoubleVault, OpensByItsRecoveryFile) {
  stdfs::remove_all(home() / "platform-keys");
  const auto without = open(true);
  ASSERT_FALSE(without.ok());
  EXPECT_EQ(without.code(), ErrorCode::PlatformKeyMissing) << without.error().message;
  auto passphrase = SecretBuffer::copy_of(bytes_of("protects nothing"));
  ASSERT_OK(passphrase);
  const auto keys = read_recovery_file(posix_env(), example() / "recovery-file", *passphrase);
  ASSERT_OK(keys);
  ASSERT_FALSE(keys->platform_keys.empty());
  for (const RecoveryKeys::Key& key : keys->platform_keys) {
    ASSERT_OK(platform_keys_->install(PlatformKeyId(key.id), key.key));
  }
  const auto session = open(true);
  ASSERT_OK(session);
  expect_points(**session);
}

INSTANTIATE_TEST_SUITE_P(Version1, FrozenDoubleVault, testing::Values("vault-double"));

// The vaults with an escrow key.
class FrozenEscrowVault : public FrozenVault {
 protected:
  void SetUp() override {
    FrozenVault::SetUp();
    auto passphrase = SecretBuffer::copy_of(bytes_of("protects nothing"));
    ASSERT_OK(passphrase);
    auto key = RsaKey::from_pem(bytes_of(contents(example() / "escrow.pem")), &*passphrase);
    ASSERT_OK(key);
    escrow_key_ = std::move(*key);
  }
  std::unique_ptr<RsaKey> escrow_key_;
};

TEST_P(FrozenEscrowVault, OpensByItsEscrowKeyAlone) {
  stdfs::remove_all(home() / "keyvaults");
  stdfs::remove_all(home() / "platform-keys");
  const auto before = file_digests(vault_path());
  ASSERT_OK(drill_escrow(machine(), vault_path(), *escrow_key_));
  EXPECT_EQ(file_digests(vault_path()), before);
}

INSTANTIATE_TEST_SUITE_P(Version1, FrozenEscrowVault, testing::Values("escrow", "escrow-double"),
                         [](const auto& vault) { return vault.param == "escrow" ? "escrow" : "escrow_double"; });

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
    const auto session = open(false);
    ASSERT_OK(session);
    ASSERT_OK((*session)->vault().custody().rewrap(false));
    ASSERT_OK((*session)->close());
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
