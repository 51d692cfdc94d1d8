#include <gtest/gtest.h>

#include <mutex>
#include <thread>

#include "tests/support/scratch_directory.h"
#include "tools/api/request_handler.h"

namespace vaultfs {
namespace {

// A segment that went between the look and the read would pass for damage.
TEST(VerifyRequest, TheOwnerCompactsNothingMeanwhile) {
  const ScratchDirectory scratch;
  MachineOptions machine_options;
  machine_options.home = scratch / "home";
  auto machine = Machine::open(machine_options);
  ASSERT_TRUE(machine.ok()) << machine.error().message;
  VaultCreateOptions create;
  create.path = scratch / "vault";
  create.no_recovery = true;
  ASSERT_TRUE(Vault::create((*machine)->for_vault(), create).ok());
  VaultEngine::Options options;
  options.vault.path = create.path;
  options.background = false;
  auto engine = VaultEngine::open((*machine)->for_vault(), options);
  ASSERT_TRUE(engine.ok()) << engine.error().message;

  for (const bool keyless : {false, true}) {
    unsigned looks = 0;
    bool compaction_could_begin = false;
    const ProgressCallback progress = [&](const Progress&) {
      // As the compactor does, from a thread of its own.
      std::thread([&] {
        SharedMutex& long_uses = (*engine)->vault().segments().long_uses();
        const std::unique_lock alone(long_uses, std::try_to_lock);
        compaction_could_begin = compaction_could_begin || alone.owns_lock();
      }).join();
      ++looks;
      return true;
    };
    const RequestContext context{**engine, **machine, 0, {}, 0, progress};
    std::vector<FileDescriptor> no_files;
    const auto report = handle_request(context, "verify", {{"keyless", keyless}}, no_files);
    ASSERT_TRUE(report.ok()) << report.error().message;
    EXPECT_GT(looks, 0U);
    EXPECT_FALSE(compaction_could_begin) << "keyless: " << keyless;
  }
  SharedMutex& long_uses = (*engine)->vault().segments().long_uses();
  EXPECT_TRUE(std::unique_lock(long_uses, std::try_to_lock).owns_lock());
}

}  // namespace
}  // namespace vaultfs
