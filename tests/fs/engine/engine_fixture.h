#pragma once

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <memory>
#include <optional>
#include <random>
#include <string>
#include <vector>

#include "fs/engine/vault_engine.h"
#include "tests/support/assert_ok.h"
#include "tests/support/env_wrapper.h"
#include "tests/support/scratch_directory.h"
#include "tests/support/sim_env.h"
#include "vaultmeta/keys/machine_key_vaults.h"
#include "vaultmeta/machine/local_key_vaults.h"
#include "vaultmeta/vault/vault.h"

namespace vaultfs {

// The real disk with a clock that moves only when a test says so.
class ClockedEnv final : public EnvWrapper {
 public:
  ClockedEnv() : EnvWrapper(posix_env()) {}
  const Clock& clock() const override { return clock_; }
  SimClock& sim_clock() { return clock_; }
  Result<std::unique_ptr<Env>> hold_directory(const Path& path) override {
    VAULTFS_ASSIGN_OR_RETURN(auto held, posix_env().hold_directory(path));
    return std::unique_ptr<Env>(std::make_unique<Directory>(std::move(held), clock_));
  }

 private:
  class Directory final : public EnvWrapper {
   public:
    Directory(std::unique_ptr<Env> held, const Clock& clock)
        : EnvWrapper(*held), held_(std::move(held)), clock_(clock) {}
    const Clock& clock() const override { return clock_; }

   private:
    std::unique_ptr<Env> held_;
    const Clock& clock_;
  };
  SimClock clock_;
};

// A machine with a local key vault "kv", its key "backup", and a vault under that key.
class VaultEngineTest : public testing::Test {
 protected:
  void SetUp() override {
    auto state = MachineState::open(env_, scratch_ / "home");
    ASSERT_TRUE(state.ok()) << state.error().message;
    state_ = std::move(*state);
    platform_keys_ = std::make_unique<PlatformKeys>(env_, scratch_ / "home");
    key_vaults_ = std::make_unique<LocalKeyVaults>(env_, scratch_ / "home", nullptr);
    ASSERT_TRUE(key_vaults_->create("kv", {}, nullptr).ok());
    auto opened = key_vaults_->open("kv");
    ASSERT_TRUE(opened.ok());
    key_vault_ = std::move(*opened);
    auto key = key_vault_->create_key("backup", {2048, std::nullopt, std::nullopt});
    ASSERT_TRUE(key.ok()) << key.error().message;
    first_version_ = key->id;
    registry_ = std::make_unique<KeyVaultRegistry>(env_, scratch_ / "home", *key_vaults_);
    identities_ = std::make_unique<IdentityStore>(env_, scratch_ / "home");
    resolver_ = std::make_unique<MachineKeyVaults>(*registry_, *identities_);
    VaultCreateOptions options;
    options.path = vault_path();
    options.key = KeyRef{"kv", "backup", std::nullopt};
    const auto created = Vault::create(machine(), options);
    ASSERT_TRUE(created.ok()) << created.error().message;
  }

  [[nodiscard]] Vault::Machine machine() { return {env_, *state_, *platform_keys_, *resolver_}; }
  [[nodiscard]] std::filesystem::path vault_path() const { return scratch_ / "vault"; }

  // Without timers unless a test asks for them: what is due happens when the test says so.
  [[nodiscard]] VaultEngine::Options session_options() const {
    VaultEngine::Options options;
    options.vault.path = vault_path();
    options.background = false;
    options.tree.flush_seconds = 0;
    options.tree.write_buffer_bytes = 16U << 20;
    return options;
  }
  [[nodiscard]] std::unique_ptr<VaultEngine> open_session(const VaultEngine::Options& options) {
    auto engine = VaultEngine::open(machine(), options);
    if (!engine.ok()) {
      ADD_FAILURE() << error_name(engine.code()) << ": " << engine.error().message;
      return nullptr;
    }
    return std::move(*engine);
  }
  [[nodiscard]] std::unique_ptr<VaultEngine> open_session() { return open_session(session_options()); }

  // A new version of the key; its id.
  std::string rotate_key() {
    env_.sim_clock().advance_seconds(60);  // so that no refresh of before counts as recent
    auto version = key_vault_->rotate_key("backup", {}, true);
    EXPECT_TRUE(version.ok());
    return version.ok() ? version->id : "";
  }

  static VersionRole role_of(VaultEngine& engine, const std::string& version) {
    const EncryptionStatus status = engine.vault().custody().status();
    for (auto at = status.versions.rbegin(); at != status.versions.rend(); ++at) {
      if (at->version == version) return at->role;
    }
    ADD_FAILURE() << "the vault does not know version " << version;
    return VersionRole::retired;
  }

  ScratchDirectory scratch_;
  ClockedEnv env_;
  std::unique_ptr<MachineState> state_;
  std::unique_ptr<PlatformKeys> platform_keys_;
  std::unique_ptr<LocalKeyVaults> key_vaults_;
  std::unique_ptr<LocalKeyVault> key_vault_;
  std::unique_ptr<KeyVaultRegistry> registry_;
  std::unique_ptr<IdentityStore> identities_;
  std::unique_ptr<MachineKeyVaults> resolver_;
  std::string first_version_;
};

// Bytes that no compressor shrinks and no other seed repeats.
inline Bytes random_bytes(std::uint64_t seed, std::size_t size) {
  std::mt19937_64 random(seed);
  Bytes out(size);
  for (std::size_t at = 0; at < size; at += sizeof(std::uint64_t)) {
    const std::uint64_t value = random();
    std::memcpy(out.data() + at, &value, std::min(sizeof value, size - at));
  }
  return out;
}

inline void write_file(const std::filesystem::path& path, ByteView bytes) {
  std::ofstream file(path, std::ios::binary | std::ios::trunc);
  const std::string_view text = text_of(bytes);
  file.write(text.data(), static_cast<std::streamsize>(text.size()));
  ASSERT_TRUE(file.good()) << path;
}

// Replaces bytes of an existing file, or adds them behind a hole.
inline void patch_file(const std::filesystem::path& path, std::uint64_t offset, ByteView bytes) {
  std::fstream file(path, std::ios::binary | std::ios::in | std::ios::out);
  file.seekp(static_cast<std::streamoff>(offset));
  const std::string_view text = text_of(bytes);
  file.write(text.data(), static_cast<std::streamsize>(text.size()));
  file.flush();
  ASSERT_TRUE(file.good()) << path;
}

inline Bytes file_bytes(const std::filesystem::path& path) {
  std::ifstream file(path, std::ios::binary);
  EXPECT_TRUE(file.good()) << path;
  const std::string text((std::istreambuf_iterator<char>(file)), std::istreambuf_iterator<char>());
  return to_bytes(bytes_of(text));
}

inline Bytes tree_bytes(FileTree& tree, InodeNumber inode) {
  const auto attributes = tree.attributes(inode);
  EXPECT_TRUE(attributes.ok());
  Bytes out(attributes.ok() ? attributes->size : 0);
  const auto read = tree.read(inode, 0, out);
  EXPECT_TRUE(read.ok()) << (read.ok() ? "" : read.error().message);
  EXPECT_EQ(read.ok() ? *read : 0, out.size());
  return out;
}

// Makes ITEM/NAME (and the item) through the working tree if missing and gives its inode.
inline InodeNumber tree_file(WorkingTree& tree, const std::string& item, const std::string& name) {
  auto directory = tree.lookup(kRootInode, item);
  if (!directory.ok()) directory = tree.make_directory(kRootInode, item, 0755, {});
  EXPECT_TRUE(directory.ok()) << (directory.ok() ? "" : directory.error().message);
  if (!directory.ok()) return {};
  auto file = tree.lookup(directory->number, name);
  if (!file.ok()) file = tree.make_node(directory->number, name, InodeType::file, 0644, 0, {});
  EXPECT_TRUE(file.ok()) << (file.ok() ? "" : file.error().message);
  return file.ok() ? file->number : InodeNumber{};
}

// Opens, writes, closes.
inline void tree_write(WorkingTree& tree, InodeNumber inode, std::uint64_t offset, ByteView bytes) {
  const auto handle = tree.open(inode, true);
  ASSERT_OK(handle);
  ASSERT_OK(tree.write(inode, *handle, offset, bytes));
  tree.release(*handle);
}

}  // namespace vaultfs
