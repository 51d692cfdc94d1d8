#pragma once

#include <filesystem>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "fs/tree/working_tree.h"
#include "tests/support/assert_ok.h"
#include "tests/support/fake_key_vault.h"
#include "tests/support/sim_env.h"
#include "vaultmeta/vault/vault.h"

namespace vaultfs {

// Remembers what the tree told.
class RecordingObserver final : public ChangeObserver {
 public:
  Status before_change(const std::string& item) override {
    const std::lock_guard lock(mutex_);
    ++changes_[item];
    if (refuse_.has_value()) return *refuse_;
    return ok_status();
  }
  void write_failed(const std::string& item, const Error& error) override {
    if (on_failure) on_failure();
    const std::lock_guard lock(mutex_);
    failures_.emplace_back(item, error.code);
  }
  [[nodiscard]] std::size_t changes(const std::string& item) {
    const std::lock_guard lock(mutex_);
    return changes_[item];
  }
  [[nodiscard]] std::vector<std::pair<std::string, ErrorCode>> failures() {
    const std::lock_guard lock(mutex_);
    return failures_;
  }
  void refuse(std::optional<Error> error) {
    const std::lock_guard lock(mutex_);
    refuse_ = std::move(error);
  }
  std::function<void()> on_failure;  // called by write_failed, without a lock

 private:
  std::mutex mutex_;  // guards all below
  std::map<std::string, std::size_t> changes_;
  std::vector<std::pair<std::string, ErrorCode>> failures_;
  std::optional<Error> refuse_;
};

// A tree at work over a vault of the platform's keys; opened and crashed at will. The machine around it starts anew
// with each opening.
class TreeUnderTest {
 public:
  static constexpr const char* kPath = "/vault";

  // Makes the vault.
  [[nodiscard]] static Status create(Env& env, const std::filesystem::path& path = kPath) {
    Machine machine;
    VAULTFS_RETURN_IF_ERROR(machine.start(env, path));
    VaultCreateOptions options;
    options.path = path;
    options.no_recovery = true;
    const auto created = Vault::create(machine.of(env), options);
    return created.ok() ? ok_status() : Status(created.error());
  }

  explicit TreeUnderTest(Env& env, WorkingTree::Options options = small_options()) : env_(env), options_(options) {}
  ~TreeUnderTest() { drop(); }

  static WorkingTree::Options small_options() {
    WorkingTree::Options options;
    options.flush_seconds = 0;
    options.store_workers = 2;
    options.frame_cache_bytes = 8U << 20;
    return options;
  }

  [[nodiscard]] Status open(bool read_only = false) {
    drop();
    VAULTFS_RETURN_IF_ERROR(machine_.start(env_, path));
    tree_ = WorkingTree::create(options_);
    VaultOpenOptions options;
    options.path = path;
    options.read_only = read_only;
    VAULTFS_ASSIGN_OR_RETURN(vault_, Vault::open(machine_.of(env_), options, *tree_));
    tree_->start(*vault_, observer);
    return ok_status();
  }
  // Ends without flushing anything, as a killed process does.
  void drop() {
    tree_.reset();
    vault_.reset();
  }
  [[nodiscard]] Status close() {
    Status status = tree_->stop();
    if (status.ok()) status = vault_->close();
    drop();
    return status;
  }

  WorkingTree& operator*() { return *tree_; }
  WorkingTree* operator->() { return tree_.get(); }
  [[nodiscard]] Vault& vault() { return *vault_; }

  RecordingObserver observer;
  std::filesystem::path path = kPath;

 private:
  // What a machine has besides the vault; beside the vault's directory.
  struct Machine {
    FakeResolver resolver;  // nobody is asked
    std::unique_ptr<MachineState> state;
    std::unique_ptr<PlatformKeys> platform_keys;

    [[nodiscard]] Status start(Env& env, const std::filesystem::path& vault) {
      const std::filesystem::path home = vault.parent_path() / "home";
      VAULTFS_ASSIGN_OR_RETURN(state, MachineState::open(env, home));
      platform_keys = std::make_unique<PlatformKeys>(env, home);
      return ok_status();
    }
    [[nodiscard]] Vault::Machine of(Env& env) { return {env, *state, *platform_keys, resolver}; }
  };

  Env& env_;
  WorkingTree::Options options_;
  Machine machine_;
  std::unique_ptr<Vault> vault_;
  std::unique_ptr<WorkingTree> tree_;
};

[[nodiscard]] inline std::string message_of(const Status& status) {
  return status.ok() ? "ok" : std::string(error_name(status.code())) + ": " + status.error().message;
}

// Bytes that compress badly and differ by seed.
[[nodiscard]] inline Bytes noise(std::size_t size, std::uint64_t seed) {
  Bytes bytes(size);
  std::uint64_t state = seed * 0x9e3779b97f4a7c15ULL + 1;
  for (std::byte& byte : bytes) {
    state ^= state << 13U;
    state ^= state >> 7U;
    state ^= state << 17U;
    byte = static_cast<std::byte>(state >> 24U);
  }
  return bytes;
}

[[nodiscard]] inline Result<Bytes> read_all(FileTree& tree, InodeNumber inode) {
  VAULTFS_ASSIGN_OR_RETURN(const Attributes attributes, tree.attributes(inode));
  Bytes bytes(attributes.size);
  VAULTFS_ASSIGN_OR_RETURN(const std::size_t got, tree.read(inode, 0, bytes));
  if (got != bytes.size()) return Error{ErrorCode::IoError, "a short read"};
  return bytes;
}

}  // namespace vaultfs
