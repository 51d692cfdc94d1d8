#include <gtest/gtest.h>
#include <sys/resource.h>
#include <sys/stat.h>

#include <csignal>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <memory>

#include "tests/support/scratch_directory.h"
#include "tools/vaultctl/key/key_arguments.h"

namespace vaultfs {
namespace {

// For a while this process makes no file longer than that, as on a disk that fills up.
class ShortFiles {
 public:
  explicit ShortFiles(rlim_t bytes) {
    std::signal(SIGXFSZ, SIG_IGN);
    ::getrlimit(RLIMIT_FSIZE, &before_);
    rlimit limit = before_;
    limit.rlim_cur = bytes;
    ::setrlimit(RLIMIT_FSIZE, &limit);
  }
  ~ShortFiles() {
    ::setrlimit(RLIMIT_FSIZE, &before_);
    std::signal(SIGXFSZ, SIG_DFL);
  }
  ShortFiles(const ShortFiles&) = delete;
  ShortFiles& operator=(const ShortFiles&) = delete;

 private:
  rlimit before_{};
};

class KeyExportTest : public testing::Test {
 protected:
  void SetUp() override {
    context_.machine_options.home = scratch_ / "home";
    auto machine = context_.machine();
    ASSERT_TRUE(machine.ok()) << machine.error().message;
    ASSERT_TRUE((*machine)->key_vaults().create("office", {}, nullptr).ok());
    auto key_vault = (*machine)->key_vaults().open("office");
    ASSERT_TRUE(key_vault.ok());
    key_vault_ = std::move(*key_vault);
    ASSERT_TRUE(key_vault_->create_key("backup", {2048, std::nullopt, std::nullopt}).ok());
    const std::filesystem::path passphrase = scratch_ / "passphrase";
    std::ofstream(passphrase) << "correct horse battery staple\n";
    ::chmod(passphrase.c_str(), 0600);
    arguments_.key = "office/backup";
    arguments_.file = scratch_ / "key.pem";
    arguments_.passphrase_file = passphrase;
  }
  [[nodiscard]] bool is_noted() const { return key_vault_->exports("backup")->front().exported.has_value(); }

  ScratchDirectory scratch_;
  CommandContext context_;
  std::unique_ptr<LocalKeyVault> key_vault_;
  KeyArguments arguments_;
};

TEST_F(KeyExportTest, IsForItsOwnerAloneAndReplacesNothing) {
  ASSERT_TRUE(key_export(context_, arguments_).ok());
  struct stat st {};
  ASSERT_EQ(::stat(arguments_.file.c_str(), &st), 0);
  EXPECT_EQ(st.st_mode & 07777U, 0600U);
  EXPECT_TRUE(is_noted());
  EXPECT_EQ(key_export(context_, arguments_).code(), ErrorCode::AlreadyExists);
}

// Half a key is none: it would pass for a copy, and stand in the way of the next try.
TEST_F(KeyExportTest, HalfAnExportIsRemovedAndNotNoted) {
  {
    const ShortFiles limit(1024);  // the audit log's first record has room, an encrypted key has not
    ASSERT_FALSE(key_export(context_, arguments_).ok());
  }
  EXPECT_FALSE(std::filesystem::exists(arguments_.file));
  EXPECT_FALSE(is_noted());
  ASSERT_TRUE(key_export(context_, arguments_).ok());
}

}  // namespace
}  // namespace vaultfs
