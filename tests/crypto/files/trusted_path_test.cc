#include "crypto/files/trusted_path.h"

#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <fstream>

#include "tests/crypto/keyvault/outcome.h"
#include "tests/crypto/keyvault/pkcs11/pkcs11_fixture.h"
#include "tests/support/scratch_directory.h"

namespace vaultfs {
namespace {

// A folder that nobody else may write, nor any above it: what lies in /tmp never passes.
class TrustedPathTest : public ::testing::Test {
 protected:
  void SetUp() override {
    std::string pattern = std::string(VAULTFS_SCRATCH_PARENT) + "/trusted-XXXXXX";
    ASSERT_NE(::mkdtemp(pattern.data()), nullptr);
    folder_ = pattern;
    std::filesystem::create_directory(folder_ / "lib");
    std::ofstream(folder_ / "lib" / "module.so") << "code";
    ::chmod((folder_ / "lib").c_str(), 0755);
    ::chmod((folder_ / "lib" / "module.so").c_str(), 0644);
    if (!resolve_trusted_path(file(), "").ok()) GTEST_SKIP() << VAULTFS_SCRATCH_PARENT << " can be written by others";
  }
  void TearDown() override {
    std::error_code ignored;
    std::filesystem::remove_all(folder_, ignored);
  }
  [[nodiscard]] std::filesystem::path file() const { return folder_ / "lib" / "module.so"; }

  std::filesystem::path folder_;
};

TEST_F(TrustedPathTest, FollowsLinks) {
  std::filesystem::create_symlink("lib/../lib/./module.so", folder_ / "link.so");
  std::filesystem::create_directory_symlink(folder_ / "lib", folder_ / "other");
  EXPECT_EQ(value_of(resolve_trusted_path(folder_ / "link.so", "")), std::filesystem::canonical(file()));
  EXPECT_EQ(value_of(resolve_trusted_path(folder_ / "other" / "module.so", "")), std::filesystem::canonical(file()));
}

TEST_F(TrustedPathTest, RefusesWhatOthersMayWrite) {
  for (const mode_t mode : {0775U, 0757U, 01777U}) {
    ::chmod((folder_ / "lib").c_str(), mode);
    EXPECT_TRUE(fails(resolve_trusted_path(file(), "do harm"), ErrorCode::PermissionDenied, "who could do harm"));
  }
  ::chmod((folder_ / "lib").c_str(), 0755);
  for (const mode_t mode : {0664U, 0646U}) {
    ::chmod(file().c_str(), mode);
    EXPECT_TRUE(fails(resolve_trusted_path(file(), ""), ErrorCode::PermissionDenied, "module.so can be written"));
  }
  ::chmod(file().c_str(), 0644);
  ::chmod(folder_.c_str(), 0777);  // not the folder of the file, but one above
  EXPECT_TRUE(fails(resolve_trusted_path(file(), ""), ErrorCode::PermissionDenied, folder_.string()));
  ::chmod(folder_.c_str(), 0755);
  EXPECT_TRUE(resolve_trusted_path(file(), "").ok());
}

TEST_F(TrustedPathTest, RefusesALinkThatOthersMayReplace) {
  std::filesystem::create_directory(folder_ / "open");
  ::chmod((folder_ / "open").c_str(), 0777);
  std::filesystem::create_symlink(file(), folder_ / "open" / "link.so");
  EXPECT_TRUE(fails(resolve_trusted_path(folder_ / "open" / "link.so", ""), ErrorCode::PermissionDenied, "open"));
  std::filesystem::create_directory_symlink(folder_ / "lib", folder_ / "open" / "lib");
  EXPECT_TRUE(
      fails(resolve_trusted_path(folder_ / "open" / "lib" / "module.so", ""), ErrorCode::PermissionDenied, "open"));
}

TEST_F(TrustedPathTest, RefusesWhatBelongsToOthers) {
  if (::geteuid() != 0) GTEST_SKIP() << "only root can give a file away";
  ASSERT_EQ(::chown(file().c_str(), 65534, 65534), 0);
  EXPECT_TRUE(fails(resolve_trusted_path(file(), ""), ErrorCode::PermissionDenied, "belongs to user 65534"));
  ASSERT_EQ(::chown(file().c_str(), 0, 0), 0);
  ASSERT_EQ(::chown((folder_ / "lib").c_str(), 65534, 65534), 0);
  EXPECT_TRUE(fails(resolve_trusted_path(file(), ""), ErrorCode::PermissionDenied, "belongs to user 65534"));
}

TEST_F(TrustedPathTest, NamesWhatIsNoFile) {
  EXPECT_TRUE(fails(resolve_trusted_path(folder_ / "none.so", ""), ErrorCode::NotFound));
  EXPECT_TRUE(fails(resolve_trusted_path(file() / "below", ""), ErrorCode::NotFound));
  EXPECT_TRUE(fails(resolve_trusted_path(folder_ / "lib", ""), ErrorCode::InvalidArgument));
  EXPECT_TRUE(fails(resolve_trusted_path("lib/module.so", ""), ErrorCode::InvalidArgument));
  std::filesystem::create_symlink("circle", folder_ / "circle");
  EXPECT_TRUE(fails(resolve_trusted_path(folder_ / "circle", ""), ErrorCode::InvalidArgument, "circles"));
}

TEST(Pkcs11ModulePathTest, ThePackagedModulePassesAndACopyThatOthersMayReplaceDoesNot) {
  EXPECT_TRUE(resolve_trusted_path(kSoftHsmModule, "").ok());
  SoftToken token;
  std::filesystem::copy_file(kSoftHsmModule, token.path("copy.so"));
  std::filesystem::permissions(token.path("copy.so"), static_cast<std::filesystem::perms>(0666));
  const auto vault = token.open(token.options(token.path("copy.so").string()));
  EXPECT_TRUE(fails(vault->list_keys(), ErrorCode::PermissionDenied, "who could run their own code"));
  EXPECT_TRUE(token.open()->list_keys().ok());
}

}  // namespace
}  // namespace vaultfs
