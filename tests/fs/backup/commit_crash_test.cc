// What a point has, the working tree has from then on, too: a power loss right after a commit takes nothing of it.
#include "fs/engine/vault_engine.h"
#include "tests/support/units.h"
#include "tests/vaultmeta/vault/vault_world.h"

namespace vaultfs {
namespace {

class CommitCrashTest : public testing::TestWithParam<CrashMode> {
 protected:
  void SetUp() override { ASSERT_TRUE(world_.create().ok()); }
  void TearDown() override { engine_.reset(); }

  void open_again() {
    VaultEngine::Options options;
    options.vault.path = "/vault";
    options.background = false;
    options.tree.flush_seconds = 0;
    options.tree.store_workers = 1;
    world_.start_machine("/home");
    auto engine = VaultEngine::open(world_.machine(), options);
    ASSERT_OK(engine);
    engine_ = std::move(*engine);
  }
  void lose_power() {
    world_.env.crash(1, GetParam());
    engine_.reset();
    ASSERT_NO_FATAL_FAILURE(open_again());
  }
  InodeNumber file(const std::string& name) {
    auto item = engine_->tree().lookup(kRootInode, "vm");
    if (!item.ok()) item = engine_->tree().make_directory(kRootInode, "vm", 0755, {});
    auto found = engine_->tree().lookup(item->number, name);
    if (!found.ok()) found = engine_->tree().make_node(item->number, name, InodeType::file, 0644, 0, {});
    return found.ok() ? found->number : InodeNumber{};
  }
  void expect_content(const std::string& name, const Bytes& wanted) {
    const auto attributes = engine_->tree().attributes(file(name));
    ASSERT_OK(attributes);
    Bytes seen(attributes->size);
    ASSERT_OK(engine_->tree().read(file(name), 0, seen));
    EXPECT_EQ(seen, wanted) << name << " has " << seen.size() << " bytes";
  }

  VaultWorld world_;
  std::unique_ptr<VaultEngine> engine_;
};

INSTANTIATE_TEST_SUITE_P(Modes, CommitCrashTest,
                         testing::Values(CrashMode::drop_all_unsynced, CrashMode::keep_all, CrashMode::random));

TEST_P(CommitCrashTest, TheTreeHasWhatThePointHas) {
  ASSERT_NO_FATAL_FAILURE(open_again());
  const Bytes small(5000, std::byte{7});
  const Bytes large(kMiB + 3000, std::byte{9});
  ASSERT_OK(engine_->tree().write(file("small"), 0, 0, small));
  ASSERT_OK(engine_->tree().write(file("large"), 0, 0, large));
  ASSERT_OK(engine_->tree().truncate(file("hole"), 70'000));
  const auto first = engine_->commit("vm");
  ASSERT_OK(first);
  ASSERT_TRUE(first->point.has_value());
  ASSERT_NO_FATAL_FAILURE(lose_power());
  ASSERT_NO_FATAL_FAILURE(expect_content("small", small));
  ASSERT_NO_FATAL_FAILURE(expect_content("large", large));
  ASSERT_NO_FATAL_FAILURE(expect_content("hole", Bytes(70'000)));
  // So there is indeed no change.
  const auto again = engine_->commit("vm");
  ASSERT_OK(again);
  EXPECT_FALSE(again->point.has_value());
  ASSERT_OK(engine_->close());
}

}  // namespace
}  // namespace vaultfs
