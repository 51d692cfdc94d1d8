// On the real disk: nothing in a vault is reached through a link, and what is no file of the vault's own is named.
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <filesystem>

#include "tests/fs/engine/engine_fixture.h"
#include "tests/support/assert_ok.h"

namespace vaultfs {
namespace {

namespace fs = std::filesystem;

class VaultLinksTest : public VaultEngineTest {
 protected:
  [[nodiscard]] Result<std::unique_ptr<VaultEngine>> try_open(bool read_only = false) {
    VaultEngine::Options options = session_options();
    options.vault.read_only = read_only;
    return VaultEngine::open(machine(), options);
  }
  [[nodiscard]] ErrorCode open_code(bool read_only = false) {
    auto engine = try_open(read_only);
    if (engine.ok()) {
      static_cast<void>((*engine)->close());
      return ErrorCode::Internal;
    }
    return engine.code();
  }
};

TEST_F(VaultLinksTest, ALockThatIsALinkIsNotTaken) {
  for (const char* name : {"vault.lock", "vault.hold"}) {
    fs::copy_file(vault_path() / name, scratch_ / "elsewhere", fs::copy_options::overwrite_existing);
    const auto before = fs::file_size(scratch_ / "elsewhere");
    fs::rename(vault_path() / name, scratch_ / "kept");
    fs::create_symlink(scratch_ / "elsewhere", vault_path() / name);
    EXPECT_EQ(open_code(), ErrorCode::ForeignFile) << name << ": symbolic link";
    fs::remove(vault_path() / name);
    fs::create_hard_link(scratch_ / "elsewhere", vault_path() / name);
    EXPECT_EQ(open_code(), ErrorCode::ForeignFile) << name << ": hard link";
    EXPECT_EQ(open_code(true), ErrorCode::Internal) << name << ": who only reads needs neither";
    fs::remove(vault_path() / name);
    ASSERT_EQ(::mkfifo((vault_path() / name).c_str(), 0600), 0);
    EXPECT_EQ(open_code(), ErrorCode::ForeignFile) << name << ": FIFO";
    fs::remove(vault_path() / name);
    fs::rename(scratch_ / "kept", vault_path() / name);
    EXPECT_EQ(fs::file_size(scratch_ / "elsewhere"), before);
  }
  EXPECT_EQ(open_code(), ErrorCode::Internal);
}

TEST_F(VaultLinksTest, AFolderOrHeaderThatIsALinkIsRefused) {
  for (const char* name : {"segments", "journal", "heads", "keyrings", "vault.header"}) {
    fs::rename(vault_path() / name, scratch_ / "moved");
    fs::create_symlink(scratch_ / "moved", vault_path() / name);
    EXPECT_EQ(open_code(), ErrorCode::ForeignFile) << name;
    EXPECT_EQ(open_code(true), ErrorCode::ForeignFile) << name;
    fs::remove(vault_path() / name);
    fs::rename(scratch_ / "moved", vault_path() / name);
  }
  EXPECT_EQ(open_code(), ErrorCode::Internal);
}

TEST_F(VaultLinksTest, AnUnfinishedSegmentWithAnotherNameIsNotFinished) {
  {
    const auto engine = open_session();
    ASSERT_TRUE(engine);
    ASSERT_OK(engine->vault().segments().put(RecordType::chunk, random_bytes(1, 100'000)));
    ASSERT_OK(engine->vault().segments().sync());
  }
  fs::path open_segment;
  for (const auto& entry : fs::directory_iterator(vault_path() / "segments")) {
    if (entry.path().extension() == ".open") open_segment = entry.path();
  }
  ASSERT_FALSE(open_segment.empty());
  fs::create_hard_link(open_segment, scratch_ / "elsewhere");
  const auto before = fs::file_size(scratch_ / "elsewhere");
  static_cast<void>(open_code());
  EXPECT_EQ(fs::file_size(scratch_ / "elsewhere"), before) << "written through a file with more names";
}

// The whole of a engine on the real disk while another directory has its path.
TEST_F(VaultLinksTest, AnOpenSessionGoesByItsDirectory) {
  const auto engine = open_session();
  ASSERT_TRUE(engine);
  fs::rename(vault_path(), scratch_ / "aside");
  fs::copy(scratch_ / "aside", vault_path(), fs::copy_options::recursive);
  const auto listing = [&] {
    std::map<std::string, std::uintmax_t> all;
    for (const auto& entry : fs::recursive_directory_iterator(vault_path())) {
      all[entry.path().string()] = entry.is_regular_file() ? entry.file_size() : 0;
    }
    return all;
  };
  const auto others = listing();
  { std::ofstream(scratch_ / "disk") << std::string(3'000'000, 'x'); }
  BackupRequest request;
  request.item = "vm";
  request.disks = {{"disk", scratch_ / "disk"}};
  ASSERT_OK(engine->backup(request, [](const Progress&) { return true; }));
  ASSERT_OK(engine->close());
  EXPECT_EQ(listing(), others);
}

}  // namespace
}  // namespace vaultfs
