#pragma once

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
#include <utility>
#include <vector>

#include "crypto/hash.h"
#include "fs/engine/vault_engine.h"
#include "tests/support/assert_ok.h"
#include "tests/support/scratch_directory.h"
#include "vaultmeta/keys/machine_key_vaults.h"
#include "vaultmeta/machine/local_key_vaults.h"
#include "vaultmeta/machine/recovery_file.h"
#include "vaultmeta/vault/recover.h"

// Every format version has an example that its first programs wrote, and every later version of the code must read it:
// tests/frozen/v1/README.md. What is the same for all: a copy of an example, and the comparison with expected.json.
namespace vaultfs {

namespace stdfs = std::filesystem;
using nlohmann::json;

inline constexpr const char* kFrozenKeyVault = "office";
inline constexpr const char* kFrozenKey = "backup";

inline std::string contents(const stdfs::path& path) {
  std::ifstream file(path, std::ios::binary);
  EXPECT_TRUE(file.good()) << path;
  return {std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
}

// SHA-256 of every file below a directory, by path.
inline std::map<std::string, std::string> file_digests(const stdfs::path& root) {
  std::map<std::string, std::string> digests;
  for (const auto& entry : stdfs::recursive_directory_iterator(root)) {
    if (!entry.is_regular_file()) continue;
    digests[entry.path().lexically_relative(root)] = to_hex(sha256(bytes_of(contents(entry.path()))).view());
  }
  return digests;
}

inline std::string type_name(InodeType type) {
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

inline std::string decimal_time(UnixNanos time) {
  const std::string fraction = std::to_string(time.value % 1'000'000'000);
  return std::to_string(time.seconds()) + "." + std::string(9 - fraction.size(), '0') + fraction;
}

inline std::string octal_mode(std::uint32_t mode) {
  std::string digits;
  for (int shift = 9; shift >= 0; shift -= 3) digits += static_cast<char>('0' + ((mode >> shift) & 7U));
  return digits;
}

// One inode in the form of expected.json.
inline Result<json> describe(FileTree& tree, InodeNumber inode) {
  VAULTFS_ASSIGN_OR_RETURN(const Attributes found, tree.attributes(inode));
  json entry = {{"type", type_name(found.type)}, {"mode", octal_mode(found.mode)}, {"owner", {found.uid, found.gid}}};
  if (found.type != InodeType::directory) entry["links"] = found.link_count;
  if (found.type == InodeType::symlink) {
    VAULTFS_ASSIGN_OR_RETURN(entry["target"], tree.read_link(inode));
  }
  if (found.type == InodeType::file) {
    Bytes content(found.size);
    const auto got = tree.read(inode, 0, content);
    entry["size"] = found.size;
    // Of a damaged file expected.json tells no digest.
    entry["sha256"] = got.ok() && *got == content.size() ? to_hex(sha256(content).view()) : "can't be read";
    entry["mtime"] = decimal_time(found.mtime);
  }
  return entry;
}

inline Status describe_below(FileTree& tree, InodeNumber directory, const std::string& prefix, json& found) {
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
inline void expect_tree(FileTree& tree, InodeNumber root, const json& expected) {
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
    platform_keys_ = std::make_unique<PlatformKeys>(posix_env(), home());
    key_vaults_ = std::make_unique<LocalKeyVaults>(posix_env(), home(), nullptr);
    registry_ = std::make_unique<KeyVaultRegistry>(posix_env(), home(), *key_vaults_);
    identities_ = std::make_unique<IdentityStore>(posix_env(), home());
    resolver_ = std::make_unique<MachineKeyVaults>(*registry_, *identities_);
    const auto glance = glance_at_vault(posix_env(), vault_path());
    ASSERT_OK(glance);
    ASSERT_OK(state_->register_vault({glance->header.id, vault_path(), kFrozenKeyVault, kFrozenKey}));
  }

  // The first programs of version 1 wrote no patches and knew no escrow key: those have examples of their own.
  [[nodiscard]] static stdfs::path example() {
    const char* folder = "v1";
    if (std::string_view(GetParam()).starts_with("patches")) folder = "v1-patches";
    if (std::string_view(GetParam()).starts_with("epochs")) folder = "v1-epochs";
    if (GetParam() == "killed" || GetParam() == "closed") folder = "v2";
    if (GetParam() == "escrow") folder = "v1-escrow";
    if (std::string_view(GetParam()).starts_with("escrow-")) folder = "v1-escrow-double";
    return stdfs::path(VAULTFS_SOURCE_DIR) / "tests/frozen" / folder;
  }
  [[nodiscard]] stdfs::path home() const { return scratch_ / "example/home"; }
  [[nodiscard]] stdfs::path vault_path() const { return scratch_ / "example" / GetParam(); }
  [[nodiscard]] Vault::Machine machine() { return {posix_env(), *state_, *platform_keys_, *resolver_}; }

  [[nodiscard]] Result<std::unique_ptr<VaultEngine>> open(bool read_only) {
    VaultEngine::Options options;
    options.vault.path = vault_path();
    options.vault.read_only = read_only;
    options.background = false;
    options.manual_commit = true;
    options.tree.flush_seconds = 0;
    options.tree.write_buffer_bytes = 16U << 20;
    return VaultEngine::open(machine(), options);
  }

  // The points of expected.json are there, each holding what it held.
  void expect_points(VaultEngine& engine) {
    std::size_t seen = 0;
    for (const PointInfo& point : engine.vault().catalogue().points()) {
      if (!expected_["points"].contains(point.id())) continue;
      SCOPED_TRACE(point.id());
      InodeNumber root;
      const auto tree = engine.open_point(point, root);
      ASSERT_OK(tree);
      expect_tree(**tree, root, expected_["points"][point.id()]);
      ++seen;
    }
    EXPECT_EQ(seen, expected_["points"].size());
  }
  void expect_working_tree(VaultEngine& engine) {
    if (expected_.contains("tree")) expect_tree(engine.tree(), kRootInode, expected_["tree"]);
  }
  // Of the example itself: a chunk in the first segment, which the first point refers to.
  [[nodiscard]] bool is_known(const Damage& damage) const {
    return expected_.contains("damaged_chunks") &&
           (damage.file == "segments/0000000000000001.seg" || damage.file == "points/0000000000000001.point");
  }
  void expect_no_other_damage(Vault* vault) {
    const auto report = verify_vault(posix_env(), vault_path(), vault, nullptr);
    ASSERT_OK(report);
    EXPECT_EQ(report->authenticated, vault != nullptr);
    EXPECT_GT(report->counts.records, 0U);
    for (const Damage& damage : report->damage) {
      if (is_known(damage)) continue;
      ADD_FAILURE() << damage.file << ": " << error_name(damage.error.code) << ": " << damage.error.message;
    }
  }

  ScratchDirectory scratch_;
  json expected_;
  std::unique_ptr<MachineState> state_;
  std::unique_ptr<PlatformKeys> platform_keys_;
  std::unique_ptr<LocalKeyVaults> key_vaults_;
  std::unique_ptr<KeyVaultRegistry> registry_;
  std::unique_ptr<IdentityStore> identities_;
  std::unique_ptr<MachineKeyVaults> resolver_;
};

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

// A vault's name as that of a test.
inline std::string frozen_name(const testing::TestParamInfo<std::string>& instance) {
  std::string name = instance.param;
  std::replace(name.begin(), name.end(), '-', '_');
  return name;
}

}  // namespace vaultfs
