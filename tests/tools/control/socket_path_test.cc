#include "tools/control/socket_path.h"

#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <string>
#include <vector>

#include "tests/support/assert_ok.h"
#include "tests/tools/control/control_fixture.h"
#include "tests/tools/control/raw_socket.h"

namespace vaultfs {
namespace {

using SocketPath = ControlTest;

TEST_F(SocketPath, IsTheSameByEveryWayToTheVaultAndAnotherForAnotherVault) {
  const auto name_at = [](const std::filesystem::path& path) { return control_socket_name(path).value().name; };
  std::filesystem::create_directory_symlink(vault(), scratch_ / "link");
  EXPECT_EQ(name_at(scratch_ / "link"), socket_.filename());
  EXPECT_EQ(name_at(scratch_ / "vault/../vault/."), socket_.filename());
  std::filesystem::create_directory(scratch_ / "second");
  std::ofstream(scratch_ / "second/vault.lock") << "1\n";
  EXPECT_NE(name_at(scratch_ / "second"), socket_.filename());
  EXPECT_EQ(control_socket_name(vault())->vault_owner, ::geteuid());
  EXPECT_LT(socket_.string().size(), sizeof(sockaddr_un::sun_path));
}

TEST_F(SocketPath, OfWhatIsOpenStaysTheSameWhenAnotherDirectoryTakesItsPlace) {
  VaultDirectory opened(posix_env(), vault());
  ASSERT_OK(opened.open());
  EXPECT_EQ(control_socket_name(opened)->name, socket_.filename());
  std::filesystem::rename(vault(), scratch_ / "away");
  std::filesystem::create_directory(vault());
  std::ofstream(vault() / "vault.lock") << "1\n";
  EXPECT_EQ(control_socket_name(opened)->name, socket_.filename());
  EXPECT_NE(control_socket_name(vault())->name, socket_.filename());
  std::filesystem::create_hard_link(scratch_ / "away/vault.lock", scratch_ / "away/second-name");
  EXPECT_EQ(control_socket_name(opened).code(), ErrorCode::ForeignFile);
}

TEST_F(SocketPath, NamesWhatIsNoVault) {
  EXPECT_EQ(control_socket_name(scratch_ / "missing").code(), ErrorCode::VaultNotFound);
  EXPECT_EQ(control_socket_name(scratch_.path()).code(), ErrorCode::NotAVault);
  EXPECT_EQ(connect_to_owner(scratch_.path()).code(), ErrorCode::NotAVault);
}

TEST_F(SocketPath, RuntimeDirectoryIsPrivate) {
  struct stat st {};
  ASSERT_EQ(::stat((scratch_ / "run").c_str(), &st), 0);
  EXPECT_EQ(st.st_mode & 07777U, 0700U);
  EXPECT_TRUE(is_private_to(scratch_ / "run", ::geteuid()));
  EXPECT_FALSE(is_private_to(scratch_ / "run", ::geteuid() + 1));
  ::chmod((scratch_ / "run").c_str(), 0777);
  EXPECT_FALSE(is_private_to(scratch_ / "run", ::geteuid()));
  const auto usable = make_runtime_directories();
  if (usable.ok()) {
    EXPECT_EQ(std::ranges::count(*usable, scratch_ / "run"), 0) << "others may write there";
  }
  std::filesystem::create_directory(scratch_ / "elsewhere");
  ::chmod((scratch_ / "elsewhere").c_str(), 0700);
  std::filesystem::create_directory_symlink(scratch_ / "elsewhere", scratch_ / "link");
  EXPECT_FALSE(is_private_to(scratch_ / "link", ::geteuid())) << "a symbolic link was followed";
}

TEST_F(SocketPath, TheEnvironmentTakesNoPlaceAway) {
  const auto standard_places = [](uid_t user) {
    std::vector<std::filesystem::path> places = runtime_directories(user);
    const char* chosen = std::getenv("VAULTFS_RUNTIME_DIR");
    if (chosen != nullptr) std::erase(places, std::filesystem::path(chosen));
    return places;
  };
  const std::vector<std::filesystem::path> before = standard_places(::geteuid());
  EXPECT_EQ(runtime_directories(::geteuid()).front(), scratch_ / "run");
  for (const char* variable : {"XDG_RUNTIME_DIR", "HOME", "XDG_DATA_HOME", "TMPDIR"}) {
    const char* const was = std::getenv(variable);
    const std::string kept = was == nullptr ? "" : was;
    ::setenv(variable, (scratch_ / "other").c_str(), 1);
    EXPECT_EQ(standard_places(::geteuid()), before) << variable;
    ::unsetenv(variable);
    EXPECT_EQ(standard_places(::geteuid()), before) << "no " << variable;
    if (was != nullptr) ::setenv(variable, kept.c_str(), 1);
  }
  ::setenv("VAULTFS_RUNTIME_DIR", "relative", 1);
  EXPECT_EQ(runtime_directories(::geteuid()), before) << "in whatever directory the program was started";
  ::unsetenv("VAULTFS_RUNTIME_DIR");
  EXPECT_EQ(runtime_directories(::geteuid()), before);
  EXPECT_EQ(runtime_directories(0), std::vector<std::filesystem::path>{"/run/vaultfs"});
}

TEST_F(SocketPath, AClientFindsTheOwnerInAnyOfItsPlaces) {
  const auto server = start(echo);
  EXPECT_TRUE(ask("x").ok());
  // The other place, as without this variable.
  ::setenv("VAULTFS_RUNTIME_DIR", (scratch_ / "nothing").c_str(), 1);
  EXPECT_FALSE(connect_to_owner(vault()).value().has_value());
  ::setenv("VAULTFS_RUNTIME_DIR", (scratch_ / "run").c_str(), 1);
  std::filesystem::create_directory(scratch_ / "run2");
  ::chmod((scratch_ / "run2").c_str(), 0700);
  const auto both =
      ControlServer::start({scratch_ / std::string(200, 'x'), scratch_ / "run2" / socket_.filename()}, echo);
  ASSERT_TRUE(both.ok()) << "one place is enough: " << both.error().message;
  ::setenv("VAULTFS_RUNTIME_DIR", (scratch_ / "run2").c_str(), 1);
  EXPECT_TRUE(ask("x").ok());
}

}  // namespace
}  // namespace vaultfs
