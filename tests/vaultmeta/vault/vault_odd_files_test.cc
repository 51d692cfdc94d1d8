// What a vault's directory may hold in the place of what belongs there: whatever it is, it is told as damage of the
// vault, never as a mistake of the caller's or of the machine's.
#include <gtest/gtest.h>

#include <functional>

#include "tests/vaultmeta/vault/vault_world.h"
#include "vaultmeta/layout/vault_layout.h"

namespace vaultfs {
namespace {

class OddVault : public testing::Test {
 protected:
  void SetUp() override {
    ASSERT_OK(world_.create());
    ASSERT_OK(world_.open());
    ASSERT_OK(world_.back_up("vm1", "a"));
    ASSERT_OK(world_.close());
    ASSERT_OK(world_.open());
    ASSERT_OK(world_.back_up("vm2", "b"));
    ASSERT_OK(world_.close());
    files_ = world_.files();
    home_ = world_.files("/home");
  }

  void mend() {
    world_.close_without_a_word();
    world_.env.remove("/vault");
    for (const VaultFolder& folder : kVaultFolders) world_.env.make_directories(Env::Path("/vault") / folder.name);
    world_.put_back(files_);
    world_.put_back(home_, "/home");
    world_.start_machine("/home");
  }

  // Every way in, each upon the odd state anew.
  void expect_only_integrity_errors(const std::string& what, const std::function<void()>& break_it) {
    const std::vector<std::pair<std::string, std::function<Status()>>> ways{
        {"open", [&] { return world_.open(); }},
        {"open read-only", [&] { return world_.open_read_only(); }},
        {"open for points", [&] { return world_.open_for_points(); }},
        {"verify",
         [&]() -> Status {
           VAULTFS_RETURN_IF_ERROR(world_.open_read_only());
           VAULTFS_RETURN_IF_ERROR(verify_vault(world_.env, "/vault", world_.vault.get(), nullptr));
           return ok_status();
         }},
        {"verify without keys",
         [&]() -> Status {
           VAULTFS_RETURN_IF_ERROR(verify_vault(world_.env, "/vault", nullptr, nullptr));
           return ok_status();
         }},
    };
    for (const auto& [name, go] : ways) {
      mend();
      break_it();
      const Status status = go();
      EXPECT_TRUE(status.ok() || is_integrity_error(status.code()))
          << what << ", " << name << ": " << error_name(status.code()) << ": " << status.error().message;
    }
  }

  VaultWorld world_;
  VaultWorld::Files files_;
  VaultWorld::Files home_;
};

TEST_F(OddVault, FoldersThatAreMissingOrFiles) {
  for (const VaultFolder& folder : kVaultFolders) {
    const Env::Path path = Env::Path("/vault") / folder.name;
    expect_only_integrity_errors(path.string() + " is missing", [&] { world_.env.remove(path); });
    expect_only_integrity_errors(path.string() + " is a file", [&] {
      world_.env.remove(path);
      world_.env.write(path, bytes_of("a file"));
    });
  }
}

TEST_F(OddVault, FilesThatAreMissingFoldersEmptyOrTooLong) {
  for (const auto& [path, bytes] : files_) {
    if (path.filename() == VaultHeader::kFileName) continue;
    expect_only_integrity_errors(path.string() + " is missing", [&] { world_.env.remove(path); });
    expect_only_integrity_errors(path.string() + " is a folder", [&] {
      world_.env.remove(path);
      world_.env.make_directories(path);
    });
    expect_only_integrity_errors(path.string() + " is empty", [&] { world_.env.write(path, {}); });
    expect_only_integrity_errors(path.string() + " is too long", [&, &bytes = bytes] {
      Bytes longer = bytes;
      longer.resize(longer.size() + 200'000);
      world_.env.write(path, longer);
    });
  }
}

}  // namespace
}  // namespace vaultfs
