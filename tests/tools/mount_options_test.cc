#include "tools/mount_options.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <string>
#include <vector>

namespace vaultfs {
namespace {

// The command with these words behind "/vault /mnt".
Result<MountCommand> parse(std::vector<std::string> words) {
  words.insert(words.begin(), {"/vault", "/mnt"});
  return parse_mount_command(words);
}

MountCommand parsed(const std::string& options) {
  auto command = parse({"-o", options});
  EXPECT_TRUE(command.ok()) << options << ": " << (command.ok() ? "" : command.error().message);
  return command.ok() ? std::move(*command) : MountCommand{};
}

void expect_usage(const std::vector<std::string>& words, const std::string& named) {
  const auto command = parse(words);
  ASSERT_FALSE(command.ok()) << named << " was taken";
  EXPECT_EQ(command.code(), ErrorCode::Usage) << named;
  EXPECT_NE(command.error().message.find(named), std::string::npos)
      << "the message does not name " << named << ": " << command.error().message;
}

TEST(MountOptions, DefaultsAreThoseOfTheUsage) {
  const MountCommand command = parsed("");
  EXPECT_EQ(command.engine.settle_seconds, 10U);
  EXPECT_EQ(command.engine.max_job_seconds, 24U * 3600);
  EXPECT_EQ(command.engine.tree.write_buffer_bytes, 128ULL << 20);
  EXPECT_EQ(command.engine.tree.frame_cache_bytes, 64ULL << 20);
  EXPECT_EQ(command.engine.vault.lock_wait_seconds, 0);
  EXPECT_FALSE(command.engine.manual_commit);
  EXPECT_FALSE(command.mount.writeback_cache);
  EXPECT_FALSE(command.mount.read_only || command.engine.vault.read_only);
  EXPECT_FALSE(command.mount.allow_other || command.mount.nonempty || command.foreground);
  EXPECT_TRUE(command.engine.background);
  EXPECT_TRUE(command.log_file.empty());
}

TEST(MountOptions, EachOptionDoesItsOwn) {
  EXPECT_EQ(parsed("settle=90").engine.settle_seconds, 90U);
  EXPECT_TRUE(parsed("sync").mount.synchronous && parsed("dirsync").mount.synchronous);
  EXPECT_FALSE(parsed("sync,async").mount.synchronous);
  EXPECT_EQ(parsed("max-job=15m").engine.max_job_seconds, 900U);
  EXPECT_TRUE(parsed("commit=manual").engine.manual_commit);
  EXPECT_FALSE(parsed("commit=manual,commit=auto").engine.manual_commit);
  EXPECT_TRUE(parsed("cache=writeback").mount.writeback_cache);
  EXPECT_FALSE(parsed("cache=writeback,cache=direct").mount.writeback_cache);
  EXPECT_EQ(parsed("compression=fast").engine.vault.compression, Compression::fast);
  EXPECT_EQ(parsed("compression=fast,compression=default").engine.vault.compression, Compression::automatic);
  EXPECT_EQ(parsed("write-buffer=8M").engine.tree.write_buffer_bytes, 8ULL << 20);
  EXPECT_EQ(parsed("read-cache=0").engine.tree.frame_cache_bytes, 0U);
  EXPECT_EQ(parsed("workers=3").engine.tree.store_workers, 3U);
  EXPECT_EQ(parsed("wait=2h").engine.vault.lock_wait_seconds, 7200);
  EXPECT_EQ(parsed("passphrase-file=/p").machine.passphrase_file, "/p");
  EXPECT_EQ(parsed("passphrase-fd=7").machine.passphrase_fd, 7);
  EXPECT_EQ(parsed("home=/h").machine.home, "/h");
  EXPECT_EQ(parsed("log=/l").log_file, "/l");
  EXPECT_TRUE(parsed("allow_other").mount.allow_other);
  EXPECT_TRUE(parsed("nonempty").mount.nonempty);
  const MountCommand read_only = parsed("ro");
  EXPECT_TRUE(read_only.mount.read_only && read_only.engine.vault.read_only);
  const MountCommand writable = parsed("ro,rw");
  EXPECT_FALSE(writable.mount.read_only || writable.engine.vault.read_only) << "the last word counts";
  EXPECT_TRUE(parsed("cache=writeback").engine.tree.caller_keeps_times);
  EXPECT_FALSE(parsed("cache=direct").engine.tree.caller_keeps_times);
  EXPECT_TRUE(parsed("ro,accept-older").engine.vault.accept_older);
  EXPECT_TRUE(parsed("unverified,ro").engine.vault.allow_unverified);
}

TEST(MountOptions, KernelOptionsAreHandedOnInOrder) {
  const std::vector<std::string> all{"nodev", "dev", "nosuid", "suid", "noexec", "exec", "noatime"};
  EXPECT_EQ(parsed("nodev,dev,nosuid,suid,noexec,exec,noatime").mount.kernel_options, all);
}

// mount(8), fstab and systemd write these; a file system that refuses them can't be mounted at boot.
TEST(MountOptions, WhatIsMeantForOthersIsPassedOver) {
  for (const char* option : {"defaults",
                             "rw",
                             "auto",
                             "noauto",
                             "user",
                             "nouser",
                             "users",
                             "owner",
                             "group",
                             "_netdev",
                             "nofail",
                             "relatime",
                             "async",
                             "x-systemd.automount",
                             "x-systemd.device-timeout=10",
                             "comment=backup",
                             "uhelper=udisks2",
                             "lazytime",
                             "nodiratime",
                             "strictatime",
                             "default_permissions",
                             "X-mount.mkdir",
                             "user=joe",
                             ""}) {
    const MountCommand command = parsed(option);
    EXPECT_TRUE(command.mount.kernel_options.empty()) << option;
    EXPECT_FALSE(command.mount.read_only) << option;
  }
}

TEST(MountOptions, BadValuesAreUsageErrorsThatNameTheOption) {
  for (const std::string bad : {"settle=",
                                "settle=0",
                                "settle=0s",
                                "remount",
                                "settle=x",
                                "settle=-1",
                                "settle=10d",
                                "settle=1.5",
                                "settle= 10",
                                "settle=10 ",
                                "settle=367h0",
                                "settle=99999999999999999999",
                                "settle=8785h",
                                "max-job=0",
                                "max-job=",
                                "wait=soon",
                                "commit=",
                                "commit=never",
                                "cache=",
                                "cache=off",
                                "compression=",
                                "compression=best",
                                "write-buffer=",
                                "write-buffer=4M",
                                "write-buffer=8388607",
                                "write-buffer=8m",
                                "write-buffer=-8M",
                                "write-buffer=1T",
                                "write-buffer=18446744073709551615G",
                                "read-cache=many",
                                "workers=0",
                                "workers=257",
                                "workers=two",
                                "passphrase-fd=",
                                "passphrase-fd=-1",
                                "passphrase-fd=seven",
                                "passphrase-fd=99999999999"}) {
    expect_usage({"-o", bad}, bad);
  }
}

TEST(MountOptions, UnknownOnesAreUsageErrorsThatNameThem) {
  for (const std::string bad : {"bogus", "bogus=1", "RO", "settle", "commit", "log", "readonly=1", "ro=1", "=", "=x"}) {
    expect_usage({"-o", bad}, bad);
  }
  expect_usage({"-o", "settle=5,bogus,ro"}, "bogus");
  expect_usage({"-x"}, "-x");
  expect_usage({"--mystery"}, "--mystery");
  expect_usage({"-o"}, "-o");
}

TEST(MountOptions, WordsInEveryOrderThatMountAndPeopleUse) {
  for (const std::vector<std::string>& words :
       std::vector<std::vector<std::string>>{{"/vault", "/mnt", "-o", "ro", "-f"},
                                             {"-f", "-oro", "/vault", "/mnt"},
                                             {"/vault", "-o", "ro", "/mnt", "--foreground"},
                                             {"-o", "defaults,,ro,", "/vault/", "-f", "/x/../mnt"}}) {
    const auto command = parse_mount_command(words);
    ASSERT_TRUE(command.ok()) << command.error().message;
    EXPECT_TRUE(command->mount.read_only);
    EXPECT_TRUE(command->foreground);
    EXPECT_EQ(command->mount_point, "/mnt");
    EXPECT_EQ(command->vault.filename().empty() ? command->vault.parent_path() : command->vault, "/vault");
    EXPECT_EQ(command->engine.vault.path, command->vault);
    EXPECT_EQ(command->mount.mount_point, command->mount_point);
  }
}

TEST(MountOptions, RelativePathsBecomeAbsolute) {
  const auto command = parse_mount_command({"vault", "mnt", "-o", "log=l,home=h,passphrase-file=p"});
  ASSERT_TRUE(command.ok());
  const std::filesystem::path here = std::filesystem::current_path();
  EXPECT_EQ(command->vault, here / "vault");
  EXPECT_EQ(command->mount_point, here / "mnt");
  EXPECT_EQ(command->log_file, here / "l");
  EXPECT_EQ(command->machine.home, here / "h");
  EXPECT_EQ(command->machine.passphrase_file, here / "p");
}

TEST(MountOptions, TwoPathsAndNoMore) {
  for (const std::vector<std::string>& words :
       std::vector<std::vector<std::string>>{{}, {"/vault"}, {"/a", "/b", "/c"}, {"", "/mnt"}, {"/vault", ""}}) {
    EXPECT_EQ(parse_mount_command(words).code(), ErrorCode::Usage);
  }
}

// What weakens the checks of an opening must never be combined with writing.
TEST(MountOptions, WeakenedOpeningsAreReadOnly) {
  expect_usage({"-o", "accept-older"}, "accept-older");
  expect_usage({"-o", "unverified"}, "unverified");
  EXPECT_TRUE(parse({"-o", "unverified", "-o", "ro"}).ok()) << "the order must not matter";
}

TEST(MountOptions, DurationsAndSizes) {
  unsigned seconds = 0;
  EXPECT_TRUE(parse_duration_seconds("90", seconds) && seconds == 90);
  EXPECT_TRUE(parse_duration_seconds("90s", seconds) && seconds == 90);
  EXPECT_TRUE(parse_duration_seconds("15m", seconds) && seconds == 900);
  EXPECT_TRUE(parse_duration_seconds("8784h", seconds) && seconds == 366U * 24 * 3600);
  for (const char* bad : {"", "s", "h", "8785h", "31622401", "+5", "-5", "5x", "0x10"}) {
    EXPECT_FALSE(parse_duration_seconds(bad, seconds)) << bad;
  }
  std::uint64_t bytes = 0;
  EXPECT_TRUE(parse_byte_size("512", bytes) && bytes == 512);
  EXPECT_TRUE(parse_byte_size("64K", bytes) && bytes == 65536);
  EXPECT_TRUE(parse_byte_size("1G", bytes) && bytes == 1ULL << 30);
  EXPECT_TRUE(parse_byte_size("1048576G", bytes) && bytes == 1ULL << 50);
  for (const char* bad : {"", "K", "1048577G", "1.5G", "-1", "1KB", "1k", " 1"}) {
    EXPECT_FALSE(parse_byte_size(bad, bytes)) << bad;
  }
}

}  // namespace
}  // namespace vaultfs
