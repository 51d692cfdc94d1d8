#include "vaultmeta/machine/platform_keys.h"

#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>

#include "base/byte_codec.h"
#include "crypto/files/private_file.h"
#include "crypto/files/trusted_file.h"
#include "crypto/hash.h"
#include "crypto/keyvault/pkcs11/pin.h"
#include "tests/crypto/keyvault/outcome.h"
#include "tests/support/child_process.h"
#include "tests/support/env_wrapper.h"
#include "tests/support/scratch_directory.h"
#include "tests/support/sim_env.h"

namespace vaultfs {
namespace {

class PlatformKeysTest : public ::testing::Test {
 protected:
  static Env::Path path_of(const PlatformKeyId& id) { return "/home/platform-keys/" + to_hex(id.view()) + ".key"; }

  SimEnv env_;
  PlatformKeys store_{env_, "/home"};
};

TEST_F(PlatformKeysTest, LoadsWhatItCreated) {
  const PlatformKeyId first = value_of(store_.create());
  const PlatformKeyId second = value_of(store_.create());
  EXPECT_NE(first, second);
  const SecretBuffer key = value_of(store_.load(first));
  EXPECT_EQ(key.size(), 32U);
  EXPECT_FALSE(is_all_zero(key.view()));
  EXPECT_FALSE(bytes_equal(key.view(), value_of(store_.load(second)).view()));
  EXPECT_TRUE(bytes_equal(key.view(), value_of(PlatformKeys(env_, "/home").load(first)).view()));
}

TEST_F(PlatformKeysTest, FileHasTheDocumentedBytes) {
  const PlatformKeyId id = value_of(store_.create());
  ByteWriter expected;
  expected.raw(bytes_of("VPLK"));
  expected.u16(1);
  expected.id(id);
  expected.raw(value_of(store_.load(id)).view());
  const Digest checksum = sha256(expected.view());
  expected.id(checksum);
  EXPECT_EQ(env_.read(path_of(id)), std::move(expected).take());
}

TEST_F(PlatformKeysTest, MissingKeySaysWhatToDo) {
  const PlatformKeyId id = random_id<PlatformKeyId>(env_);
  EXPECT_TRUE(fails(store_.load(id), ErrorCode::PlatformKeyMissing, "vaultctl vault recover"));
  EXPECT_TRUE(fails(store_.remove(id), ErrorCode::PlatformKeyMissing));
  const PlatformKeyId made = value_of(store_.create());
  succeed(store_.remove(made));
  EXPECT_TRUE(fails(store_.load(made), ErrorCode::PlatformKeyMissing));
  env_.crash(1, CrashMode::random);
  EXPECT_TRUE(fails(store_.load(made), ErrorCode::PlatformKeyMissing));
}

TEST_F(PlatformKeysTest, InstallsOnceAndNeverOverwrites) {
  const PlatformKeyId id = random_id<PlatformKeyId>(env_);
  const SecretBuffer key = secret(std::string(32, 'k'));
  succeed(store_.install(id, key));
  succeed(store_.install(id, key));
  EXPECT_TRUE(fails(store_.install(id, secret(std::string(32, 'x'))), ErrorCode::RefusedOverwrite));
  EXPECT_TRUE(bytes_equal(value_of(store_.load(id)).view(), key.view()));
  EXPECT_TRUE(fails(store_.install(random_id<PlatformKeyId>(env_), secret("short")), ErrorCode::InvalidArgument));
  env_.cut(path_of(id), 10);
  EXPECT_TRUE(fails(store_.install(id, key), ErrorCode::RefusedOverwrite));
  EXPECT_EQ(env_.read(path_of(id)).size(), 10U);
}

TEST_F(PlatformKeysTest, EveryFlippedBitAndEveryTruncationIsNoticed) {
  const PlatformKeyId id = value_of(store_.create());
  const Bytes whole = env_.read(path_of(id));
  for (std::uint64_t bit = 0; bit < whole.size() * 8; ++bit) {
    env_.flip_bit(path_of(id), bit);
    EXPECT_TRUE(fails(store_.load(id), ErrorCode::DamagedMachineState, ".key")) << "bit " << bit;
    env_.flip_bit(path_of(id), bit);
  }
  for (std::size_t size = 0; size < whole.size(); ++size) {
    env_.write(path_of(id), ByteView(whole).first(size));
    EXPECT_TRUE(fails(store_.load(id), ErrorCode::DamagedMachineState)) << size;
  }
  env_.write(path_of(id), whole);
  EXPECT_TRUE(store_.load(id).ok());
  const PlatformKeyId other = value_of(store_.create());
  env_.copy(path_of(id), path_of(other));
  EXPECT_TRUE(fails(store_.load(other), ErrorCode::DamagedMachineState, "another key"));
}

TEST_F(PlatformKeysTest, NewerFormatIsNotCalledDamaged) {
  const PlatformKeyId id = value_of(store_.create());
  Bytes file = env_.read(path_of(id));
  file[4] = std::byte{2};
  const Digest checksum = sha256(ByteView(file).first(54));
  std::ranges::copy(checksum.view(), file.begin() + 54);
  env_.write(path_of(id), file);
  EXPECT_TRUE(fails(store_.load(id), ErrorCode::UnsupportedFormat));
}

// Whatever is created or installed is there after a power loss, and at every crash in between it is whole or absent.
TEST_F(PlatformKeysTest, CrashAtEveryStepLeavesWholeKeysOnly) {
  for (std::uint64_t step = 0;; ++step) {
    SimEnv env(step + 1);
    PlatformKeys store(env, "/home");
    const PlatformKeyId old = value_of(store.create());
    const Bytes old_key = to_bytes(value_of(store.load(old)).view());
    const PlatformKeyId id = random_id<PlatformKeyId>(env);
    env.fail_after(step);
    const bool done = store.install(id, secret(std::string(32, 'k'))).ok();
    env.crash(step, CrashMode::random);
    EXPECT_TRUE(bytes_equal(value_of(store.load(old)).view(), old_key)) << step;
    const auto loaded = store.load(id);
    if (done || loaded.ok()) {
      EXPECT_EQ(text_of(value_of(store.load(id))), std::string(32, 'k')) << step;
    } else {
      EXPECT_TRUE(fails(loaded, ErrorCode::PlatformKeyMissing)) << step;
    }
    succeed(store.install(id, secret(std::string(32, 'k'))));
    for (const auto& path : env.files("/home")) EXPECT_NE(path.extension(), ".tmp") << path;
    if (done) break;
    ASSERT_LT(step, 100U);
  }
}

TEST(PlatformKeysOnDisk, FilesArePrivateAndOpenOnesAreRefused) {
  const ScratchDirectory scratch;
  PlatformKeys store(posix_env(), scratch / "home");
  const PlatformKeyId id = value_of(store.create());
  const auto directory = scratch / "home" / "platform-keys";
  const auto path = directory / (to_hex(id.view()) + ".key");
  EXPECT_EQ(value_of(posix_env().info(directory)).mode, 0700U);
  EXPECT_EQ(value_of(posix_env().info(path)).mode, 0600U);
  for (const unsigned mode : {0640U, 0604U, 0644U, 0620U, 0602U, 0610U, 0601U}) {
    std::filesystem::permissions(path, static_cast<std::filesystem::perms>(mode));
    EXPECT_TRUE(fails(store.load(id), ErrorCode::PermissionDenied, "chmod 600")) << std::oct << mode;
  }
  std::filesystem::permissions(path, static_cast<std::filesystem::perms>(0400));
  EXPECT_TRUE(store.load(id).ok());
}

TEST(PlatformKeysOnDisk, ProcessesThatInstallOneIdAgreeOnOneKey) {
  if (const auto given = child_arguments(); !given.empty()) {
    PlatformKeys store(posix_env(), given[0]);
    const char c = given[2][0];
    Bytes named;
    PlatformKeyId id;
    if (!from_hex(given[1], named) || named.size() != PlatformKeyId::kSize) ::_exit(1);
    std::ranges::copy(named, id.data());
    const Status status = store.install(id, secret(std::string(32, c)));
    ::_exit(status.ok() ? c : status.code() == ErrorCode::RefusedOverwrite ? 0 : 1);
  }
  const ScratchDirectory scratch;
  PlatformKeys store(posix_env(), scratch / "home");
  const PlatformKeyId id = random_id<PlatformKeyId>(posix_env());
  std::vector<pid_t> children;
  for (char c = 'a'; c < 'e'; ++c) {
    children.push_back(start_child({(scratch / "home").string(), to_hex(id.view()), std::string(1, c)}));
  }
  std::string winners;
  for (const pid_t child : children) {
    const int code = wait_for_child(child);
    ASSERT_TRUE(code == 0 || (code >= 'a' && code < 'e')) << code;
    if (code != 0) winners += static_cast<char>(code);
  }
  ASSERT_EQ(winners.size(), 1U);
  EXPECT_EQ(text_of(value_of(store.load(id))), std::string(32, winners[0]));
}

TEST(PlatformKeysOnDisk, FilesOfOthersAreRefused) {
  if (::geteuid() != 0) GTEST_SKIP() << "only root can give a file away";
  const ScratchDirectory scratch;
  PlatformKeys store(posix_env(), scratch / "home");
  const PlatformKeyId id = value_of(store.create());
  const auto path = scratch / "home" / "platform-keys" / (to_hex(id.view()) + ".key");
  ASSERT_EQ(::chown(path.c_str(), 65534, 0), 0);
  EXPECT_EQ(value_of(posix_env().info(path)).owner, 65534U);
  EXPECT_TRUE(fails(store.load(id), ErrorCode::PermissionDenied, "belongs to user 65534"));
  ASSERT_EQ(::chown(path.c_str(), 0, 65534), 0);
  EXPECT_TRUE(store.load(id).ok());
}

// Who may write the directory swaps another file in for the moment in which a file is opened.
class SwappingEnv final : public EnvWrapper {
 public:
  SwappingEnv(const ScratchDirectory& scratch, Path target)
      : EnvWrapper(posix_env()), target_(std::move(target)), other_(scratch / "other"), aside_(scratch / "aside") {}
  Result<std::unique_ptr<File>> open(const Path& path, OpenMode mode) override {
    if (path != target_) return EnvWrapper::open(path, mode);
    std::filesystem::rename(target_, aside_);
    std::filesystem::rename(other_, target_);
    auto file = EnvWrapper::open(path, mode);
    std::filesystem::rename(target_, other_);
    std::filesystem::rename(aside_, target_);
    return file;
  }

 private:
  const Path target_, other_, aside_;
};

TEST(FilesOnDisk, WhatIsCheckedIsTheFileThatWasOpened) {
  const ScratchDirectory scratch;
  const auto target = scratch / "target";
  const auto write = [](const std::filesystem::path& path, std::string_view text, unsigned mode) {
    succeed(write_file_durably(posix_env(), path, bytes_of(text)));
    std::filesystem::permissions(path, static_cast<std::filesystem::perms>(mode));
  };
  write(target, "the owner's", 0600);
  write(scratch / "other", "somebody else's", 0666);
  SwappingEnv env(scratch, target);
  EXPECT_TRUE(fails(read_private_file(env, target, 100), ErrorCode::PermissionDenied, "chmod 600"));
  EXPECT_TRUE(fails(read_trusted_file(env, target, 100, "do harm"), ErrorCode::PermissionDenied, "do harm"));
  EXPECT_TRUE(fails(read_pkcs11_pin(env, target), ErrorCode::PermissionDenied, "the PIN file"));
  EXPECT_TRUE(fails(read_key_file(env, target, {'a', 'b', 'c', 'd'}, std::nullopt), ErrorCode::PermissionDenied));
  // The other way round: an honest file is opened, and looking at its name afterwards tells of another one.
  write(scratch / "other", "the owner's", 0600);
  write(target, "somebody else's", 0666);
  EXPECT_EQ(text_of(value_of(read_private_file(env, target, 100)).view()), "the owner's");
  EXPECT_EQ(text_of(ByteView(value_of(read_trusted_file(env, target, 100, "do harm")))), "the owner's");
}

TEST(FilesOnDisk, WhatIsNoRegularFileIsRefused) {
  const ScratchDirectory scratch;
  ASSERT_EQ(::mkfifo((scratch / "fifo").c_str(), 0600), 0);
  ASSERT_EQ(::mkdir((scratch / "directory").c_str(), 0700), 0);
  for (const char* const name : {"fifo", "directory"}) {
    EXPECT_TRUE(fails(read_private_file(posix_env(), scratch / name, 100), ErrorCode::DamagedMachineState, name));
    EXPECT_TRUE(fails(read_trusted_file(posix_env(), scratch / name, 100, "do harm"), ErrorCode::DamagedMachineState));
  }
  EXPECT_TRUE(fails(read_private_file(posix_env(), scratch / "none", 100), ErrorCode::NotFound, "does not exist"));
  EXPECT_TRUE(fails(read_private_file(posix_env(), scratch / "fifo/x", 100), ErrorCode::NotFound));
}

}  // namespace
}  // namespace vaultfs
