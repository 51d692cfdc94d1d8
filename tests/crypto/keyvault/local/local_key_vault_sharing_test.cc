// How a local key vault comes into being, what its passphrase protects, and what several processes may do to it at
// once.

#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <nlohmann/json.hpp>
#include <set>
#include <thread>

#include "crypto/memory/base64.h"
#include "tests/crypto/keyvault/local/local_fixture.h"
#include "tests/support/child_process.h"
#include "tests/support/scratch_directory.h"

namespace vaultfs {
namespace {

using nlohmann::json;

TEST(LocalKeyVaultCreation, FailureAtEveryStepLeavesNothingAndACrashIsClearedAway) {
  for (std::uint64_t step = 0;; ++step) {
    ASSERT_LT(step, 100U);
    SimEnv env(step + 1);
    env.fail_after(step);
    const bool created = LocalKeyVault::create(env, "/kv", "local", {}, nullptr).ok();
    env.crash(step, step % 2 == 0 ? CrashMode::keep_all : CrashMode::random);
    const auto vault = LocalKeyVault::open(env, "/kv", "local", nullptr);
    if (created) {
      EXPECT_TRUE(vault->properties().ok());
      EXPECT_TRUE(fails(LocalKeyVault::create(env, "/kv", "local", {}, nullptr), ErrorCode::KeyVaultExists));
      break;
    }
    if (!vault->properties().ok()) {
      EXPECT_TRUE(fails(vault->properties(), ErrorCode::KeyVaultUnavailable)) << step;
      // A directory that isn't even marked yet is left to its owner.
      if (env.exists("/kv") && !env.exists("/kv/lock")) succeed(env.remove_directory("/kv"));
      succeed(LocalKeyVault::create(env, "/kv", "local", {}, nullptr));
    }
    EXPECT_TRUE(vault->create_key("kek", small_key()).ok()) << step;
  }
  // Each single failed write, without a crash: nothing stays behind.
  for (std::uint64_t write = 1; write <= 2; ++write) {
    SimEnv env(write);
    std::uint64_t seen = 0;
    env.set_observer([&](SimStep kind, const Env::Path&) {
      if (kind == SimStep::write && ++seen == write) env.fail_next_write(1, ErrorCode::NoSpace);
    });
    EXPECT_TRUE(fails(LocalKeyVault::create(env, "/kv", "local", {}, nullptr), ErrorCode::NoSpace)) << write;
    EXPECT_FALSE(env.exists("/kv")) << write;
  }
}

// What a creation leaves that was killed before it had its lock.
TEST(LocalKeyVaultCreation, AnEmptyDirectoryIsAnUnfinishedOne) {
  SimEnv env;
  env.make_directories("/empty");
  succeed(LocalKeyVault::create(env, "/empty", "local", {}, nullptr));
  EXPECT_TRUE(fails(LocalKeyVault::create(env, "/empty", "local", {}, nullptr), ErrorCode::KeyVaultExists));
}

TEST(LocalKeyVaultCreation, WhatIsThereIsNeverTouched) {
  SimEnv env;
  env.write("/file", bytes_of("x"));
  EXPECT_TRUE(fails(LocalKeyVault::create(env, "/file", "local", {}, nullptr), ErrorCode::KeyVaultExists));
  env.write("/other/lock", {});
  env.write("/other/precious", bytes_of("x"));
  EXPECT_TRUE(fails(LocalKeyVault::create(env, "/other", "local", {}, nullptr), ErrorCode::KeyVaultExists));
  env.write("/keys-only/lock", {});
  env.write("/keys-only/keys/kek.json", bytes_of("x"));
  EXPECT_TRUE(fails(LocalKeyVault::create(env, "/keys-only", "local", {}, nullptr), ErrorCode::KeyVaultExists));
  EXPECT_EQ(env.files("/").size(), 5U);
  EXPECT_TRUE(fails(LocalKeyVault::create(env, "/no/parent", "local", {}, nullptr), ErrorCode::NotFound));
  LocalKeyVaultOptions options;
  options.region = "a\nb";
  EXPECT_TRUE(
      fails(LocalKeyVault::create(env, "/kv", "local", options, nullptr), ErrorCode::InvalidArgument, "region"));
  EXPECT_FALSE(env.exists("/kv"));
}

TEST(LocalKeyVaultPassphrase, ProtectsAndIsAskedForOnce) {
  SimEnv env;
  LocalKeyVaultOptions options;
  options.protection = LocalProtection::passphrase;
  EXPECT_TRUE(fails(LocalKeyVault::create(env, "/kv", "local", options, nullptr), ErrorCode::PassphraseRequired));
  EXPECT_FALSE(env.exists("/kv"));
  const SecretBuffer passphrase = secret("correct horse");
  EXPECT_TRUE(fails(LocalKeyVault::create(env, "/kv", "local", {}, &passphrase), ErrorCode::InvalidArgument));
  succeed(LocalKeyVault::create(env, "/kv", "local", options, &passphrase));
  EXPECT_FALSE(env.exists("/kv/machine.key"));

  int asked = 0;
  const auto vault = LocalKeyVault::open(env, "/kv", "local", [&]() -> Result<SecretBuffer> {
    ++asked;
    return secret("correct horse");
  });
  const std::string id = value_of(vault->create_key("kek", small_key())).id;
  const Bytes wrapped = value_of(vault->wrap("kek", id, bytes_of("content")));
  EXPECT_EQ(text_of(value_of(vault->unwrap("kek", id, kOaep, wrapped))), "content");
  EXPECT_EQ(text_of(value_of(vault->unwrap("kek", id, kOaep, wrapped))), "content");
  EXPECT_EQ(asked, 1);

  // Wrapping and listing need no private key and no passphrase.
  const auto silent = LocalKeyVault::open(env, "/kv", "local", nullptr);
  EXPECT_TRUE(silent->wrap("kek", id, bytes_of("x")).ok());
  EXPECT_TRUE(fails(silent->unwrap("kek", id, kOaep, wrapped), ErrorCode::PassphraseRequired));

  int asked_wrong = 0;
  const auto wrong = LocalKeyVault::open(env, "/kv", "local", [&]() -> Result<SecretBuffer> {
    ++asked_wrong;
    return secret("wrong");
  });
  EXPECT_TRUE(fails(wrong->unwrap("kek", id, kOaep, wrapped), ErrorCode::WrongPassphrase));
  // Nothing is ever sealed under a passphrase that isn't the key vault's.
  EXPECT_TRUE(fails(wrong->rotate_key("kek", small_key(), true), ErrorCode::WrongPassphrase));
  // It is told before a key is made, which takes seconds, and so before that finds that there is no such size.
  KeyOptions no_size = small_key();
  no_size.bits = 1000;
  EXPECT_TRUE(fails(wrong->create_key("other", no_size), ErrorCode::WrongPassphrase));
  EXPECT_EQ(asked_wrong, 1);

  json state = json::parse(text_of(ByteView(env.read("/kv/vault.json"))));
  Bytes box;
  ASSERT_TRUE(from_base64(state["passphrase_box"].get<std::string>(), box));
  box.back() ^= std::byte{1};
  state["passphrase_box"] = to_base64(box);
  env.write("/kv/vault.json", bytes_of(state.dump()));
  EXPECT_TRUE(fails(vault->unwrap("kek", id, kOaep, wrapped), ErrorCode::DamagedMachineState, "/kv/vault.json"));
  state["passphrase_box"] = "";
  env.write("/kv/vault.json", bytes_of(state.dump()));
  EXPECT_TRUE(fails(vault->unwrap("kek", id, kOaep, wrapped), ErrorCode::DamagedMachineState, "/kv/vault.json"));
}

TEST(LocalKeyVaultOnDisk, FilesArePrivateAndAnOpenMachineKeyIsRefused) {
  const ScratchDirectory scratch;
  const auto directory = scratch / "kv";
  succeed(LocalKeyVault::create(posix_env(), directory, "local", {}, nullptr));
  const auto vault = LocalKeyVault::open(posix_env(), directory, "local", nullptr);
  const std::string id = value_of(vault->create_key("kek", small_key())).id;
  const Bytes wrapped = value_of(vault->wrap("kek", id, bytes_of("content")));
  EXPECT_EQ(value_of(posix_env().info(directory)).mode, 0700U);
  for (const auto& file : {directory / "machine.key", directory / "vault.json", directory / "keys" / "kek.json"}) {
    EXPECT_EQ(value_of(posix_env().info(file)).mode, 0600U) << file;
  }
  std::filesystem::permissions(directory / "machine.key", static_cast<std::filesystem::perms>(0644));
  EXPECT_TRUE(fails(vault->unwrap("kek", id, kOaep, wrapped), ErrorCode::PermissionDenied, "chmod 600"));
  EXPECT_TRUE(fails(vault->rotate_key("kek", small_key(), true), ErrorCode::PermissionDenied));
  std::filesystem::permissions(directory / "machine.key", static_cast<std::filesystem::perms>(0600));
  EXPECT_TRUE(vault->unwrap("kek", id, kOaep, wrapped).ok());

  std::filesystem::rename(directory / "keys" / "kek.json", directory / "elsewhere");
  std::filesystem::create_directory(directory / "keys" / "kek.json");
  EXPECT_TRUE(fails(vault->list_versions("kek"), ErrorCode::DamagedMachineState, "kek.json"));
}

constexpr int kRotatingProcesses = 3;
constexpr int kRotatingThreads = 2;
constexpr int kRotations = 3;

// Each thread's rotations; how many failed.
int rotate_at_once(LocalKeyVault& shared) {
  std::atomic<int> failures = 0;
  std::vector<std::thread> threads;
  for (int thread = 0; thread < kRotatingThreads; ++thread) {
    threads.emplace_back([&] {
      for (int i = 0; i < kRotations; ++i) {
        if (!shared.rotate_key("kek", small_key(), true).ok()) ++failures;
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  return failures.load();
}

TEST(LocalKeyVaultOnDisk, ProcessesAndThreadsThatRotateAtOnceLoseNothing) {
  if (const auto given = child_arguments(); !given.empty()) {
    ::_exit(rotate_at_once(*LocalKeyVault::open(posix_env(), given[0], "local", nullptr)));
  }
  const ScratchDirectory scratch;
  const auto directory = scratch / "kv";
  succeed(LocalKeyVault::create(posix_env(), directory, "local", {}, nullptr));
  const auto open = [&] { return LocalKeyVault::open(posix_env(), directory, "local", nullptr); };
  value_of(open()->create_key("kek", small_key()));
  std::vector<pid_t> children;
  for (int process = 0; process < kRotatingProcesses; ++process) children.push_back(start_child({directory.string()}));
  // Meanwhile every look without a lock sees a whole file.
  for (int i = 0; i < 200; ++i) EXPECT_TRUE(open()->list_versions("kek").ok());
  for (const pid_t child : children) EXPECT_EQ(wait_for_child(child), 0);
  const auto versions = value_of(open()->list_versions("kek"));
  std::set<std::string> distinct;
  for (const KeyVersionInfo& version : versions) distinct.insert(version.id);
  EXPECT_EQ(distinct.size(), static_cast<std::size_t>(1 + kRotatingProcesses * kRotatingThreads * kRotations));
  EXPECT_TRUE(std::ranges::is_sorted(versions, {}, &KeyVersionInfo::created_unix_seconds));
}

TEST(LocalKeyVaultOnDisk, OneOfSeveralProcessesCreatesTheKeyVault) {
  if (const auto given = child_arguments(); !given.empty()) {
    const Status made = LocalKeyVault::create(posix_env(), given[0], "local", {}, nullptr);
    ::_exit(made.ok() ? 1 : made.code() == ErrorCode::KeyVaultExists ? 0 : 2);
  }
  const ScratchDirectory scratch;
  const auto directory = scratch / "kv";
  int created = 0;
  std::vector<pid_t> children;
  for (int process = 0; process < 3; ++process) children.push_back(start_child({directory.string()}));
  for (const pid_t child : children) {
    const int code = wait_for_child(child);
    ASSERT_TRUE(code == 0 || code == 1) << code;
    created += code;
  }
  EXPECT_EQ(created, 1);
  EXPECT_TRUE(LocalKeyVault::open(posix_env(), directory, "local", nullptr)->create_key("kek", small_key()).ok());
}

}  // namespace
}  // namespace vaultfs
