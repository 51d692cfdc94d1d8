// Single promises of a engine, on a simulated disk: how it ends, and what it leaves when the keys go.
#include <gtest/gtest.h>

#include <chrono>
#include <thread>

#include "fs/engine/vault_engine.h"
#include "tests/support/units.h"
#include "tests/vaultmeta/vault/vault_world.h"

namespace vaultfs {
namespace {

class EngineGuardsTest : public testing::Test {
 protected:
  void SetUp() override {
    world.kv->add_version("kek");
    ASSERT_OK(world.create(VaultWorld::customer_managed_options()));
  }
  static VaultEngine::Options options() {
    VaultEngine::Options options;
    options.vault.path = "/vault";
    options.background = false;
    options.manual_commit = true;
    options.tree.flush_seconds = 0;
    return options;
  }
  Status open(const VaultEngine::Options& options) {
    VAULTFS_ASSIGN_OR_RETURN(engine, VaultEngine::open(world.machine(), options));
    return ok_status();
  }
  InodeNumber make_file() {
    const auto directory = engine->tree().make_directory(kRootInode, "vm", 0755, {});
    EXPECT_TRUE(directory.ok());
    return engine->tree().make_node(directory->number, "disk", InodeType::file, 0644, 0, {})->number;
  }
  // As after a power cut.
  Status crash_and_open() {
    engine.reset();
    world.env.crash(1, CrashMode::drop_all_unsynced);
    world.start_machine("/home");
    return open(options());
  }
  [[nodiscard]] Result<Bytes> content() {
    VAULTFS_ASSIGN_OR_RETURN(const Attributes directory, engine->tree().lookup(kRootInode, "vm"));
    VAULTFS_ASSIGN_OR_RETURN(const Attributes file, engine->tree().lookup(directory.number, "disk"));
    Bytes out(file.size);
    VAULTFS_RETURN_IF_ERROR(engine->tree().read(file.number, 0, out));
    return out;
  }

  VaultWorld world;
  std::unique_ptr<VaultEngine> engine;
};

TEST_F(EngineGuardsTest, AClosedVaultHasACheckpointOfItsEnd) {
  ASSERT_OK(open(options()));
  const InodeNumber file = make_file();
  const Bytes written(5000, std::byte{7});
  ASSERT_OK(engine->tree().write(file, 0, 0, written));
  const std::vector<Env::Path> before = world.env.files("/vault/checkpoints");
  ASSERT_OK(engine->close());
  EXPECT_NE(world.env.files("/vault/checkpoints"), before);
  ASSERT_OK(crash_and_open());
  const auto read = content();
  ASSERT_OK(read);
  EXPECT_EQ(*read, written);
}

TEST_F(EngineGuardsTest, ACloseThatFailsSaysSo) {
  ASSERT_OK(open(options()));
  const InodeNumber file = make_file();
  ASSERT_OK(engine->tree().write(file, 0, 0, Bytes(5000, std::byte{7})));
  world.env.fail_after(0);
  EXPECT_FALSE(engine->close().ok());
}

// Also how long the file has become, which is written last.
TEST_F(EngineGuardsTest, WhatWasAcknowledgedIsDurableWhenTheKeysGo) {
  VaultEngine::Options timed = options();
  timed.background = true;
  ASSERT_OK(open(timed));
  const InodeNumber file = make_file();
  const Bytes written(70'000, std::byte{7});
  ASSERT_OK(engine->tree().write(file, 0, 0, written));
  world.kv->deny = true;
  EXPECT_FALSE(engine->refresh().ok());
  world.env.sim_clock().advance_seconds(301);
  for (int i = 0; i < 1000 && engine->vault().custody().status().access != KeyAccess::sealed; ++i) {
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  }
  ASSERT_EQ(engine->vault().custody().status().access, KeyAccess::sealed);
  ASSERT_OK(engine->close());
  world.kv->deny = false;
  ASSERT_OK(crash_and_open());
  const auto read = content();
  ASSERT_OK(read);
  EXPECT_EQ(*read, written);
}

}  // namespace
}  // namespace vaultfs
