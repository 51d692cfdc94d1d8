// What a vault makes durable before it relies on it, and what it does not take for its own.
#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <optional>
#include <string>
#include <thread>

#include "crypto/hash.h"
#include "tests/support/assert_ok.h"
#include "tests/vaultmeta/vault/vault_world.h"
#include "vaultmeta/heads/head.h"
#include "vaultmeta/heads/head_files.h"
#include "vaultmeta/heads/head_pack.h"
#include "vaultmeta/layout/vault_layout.h"

namespace vaultfs {
namespace {

class VaultGuards : public ::testing::Test {
 protected:
  void SetUp() override {
    ASSERT_OK(world_.create());
    ASSERT_OK(world_.open());
  }
  static Env::Path path_of(const VaultFolder& folder, std::uint64_t number) {
    return Env::Path("/vault") / folder.file(number);
  }
  void power_loss() {
    world_.close_without_a_word();
    world_.env.crash(1, CrashMode::drop_all_unsynced);
  }
  VaultWorld world_;
};

// A tree packs what is dirty while it is encoded: no entry of the journal cites that.
TEST_F(VaultGuards, ACheckpointSyncsTheSegmentsThatItCites) {
  std::optional<ChunkId> cited;
  ASSERT_OK(world_.vault->checkpoint([&](const std::function<void()>& cut) -> Result<Bytes> {
    cut();
    VAULTFS_ASSIGN_OR_RETURN(const PutOutcome put,
                             world_.vault->segments().put(RecordType::chunk, bytes_of("a packed page")));
    cited = put.id;
    return world_.tree.encode();
  }));
  power_loss();
  ASSERT_OK(world_.open());
  EXPECT_TRUE(world_.vault->segments().read_verified(RecordType::chunk, *cited).ok());
}

// Where a segment is lost, its number is lost with it: what a point needs of it is never looked for in another one.
TEST_F(VaultGuards, NumbersOfLostSegmentsAreNotGivenAgain) {
  ASSERT_OK(world_.back_up("vm1", "one"));
  ASSERT_OK(world_.close());
  const auto segments = world_.env.files("/vault/segments");
  ASSERT_FALSE(segments.empty());
  const Env::Path last = segments.back();
  for (const Env::Path& file : segments) world_.env.remove(file);
  for (const Env::Path& file : world_.env.files("/vault/index")) world_.env.remove(file);
  ASSERT_OK(world_.open());
  ASSERT_OK(world_.store("two"));
  ASSERT_OK(world_.vault->segments().close_segment());
  const auto now = world_.env.files("/vault/segments");
  ASSERT_FALSE(now.empty());
  EXPECT_GT(now.front().filename(), last.filename());
}

// Somebody takes the newest checkpoint away and puts the journals of before back. A reader that knows how new the vault
// is takes no older state for that, unless he is told to.
TEST_F(VaultGuards, AReaderWithAPinTakesNoStateBeforeIt) {
  ASSERT_OK(world_.back_up("vm1", "one"));
  ASSERT_OK(world_.vault->write_head());
  const VaultWorld::Files before = world_.files();
  ASSERT_OK(world_.write("acknowledged"));
  ASSERT_OK(world_.checkpoint());
  world_.close_without_a_word();
  for (const Env::Path& file : world_.env.files("/vault/checkpoints")) world_.env.remove(file);
  for (const auto& [path, bytes] : before) {
    if (!world_.env.exists(path)) world_.env.write(path, bytes);
  }
  const Status opened = world_.open_read_only();
  ASSERT_FALSE(opened.ok()) << "a rollback that nobody accepted: " << world_.tree.texts.size() << " texts";
  EXPECT_TRUE(is_integrity_error(opened.code())) << error_name(opened.code());
  ASSERT_OK(world_.open_read_only(true));
  EXPECT_EQ(world_.tree.texts, Texts{"vm1=one"});
}

// What is not the vault's own is not its to remove, however low its number.
TEST_F(VaultGuards, FilesOfOthersStay) {
  ASSERT_OK(world_.write("one"));
  ASSERT_OK(world_.checkpoint());
  ASSERT_OK(world_.checkpoint());
  const Env::Path journal = path_of(kJournalFiles, 1);
  const Env::Path checkpoint = path_of(kCheckpointFiles, 1);
  ASSERT_FALSE(world_.env.exists(journal));
  ASSERT_FALSE(world_.env.exists(checkpoint));
  const Bytes theirs = to_bytes(bytes_of("somebody's file"));
  world_.env.write(journal, theirs);
  world_.env.write(checkpoint, theirs);
  ASSERT_OK(world_.checkpoint());
  EXPECT_TRUE(world_.env.exists(journal));
  EXPECT_TRUE(world_.env.exists(checkpoint));
}

// A head in the place of the next one, by somebody who has the root key and the data key of an epoch that is closed:
// it continues the owner's, and is not his.
TEST_F(VaultGuards, AHeadOfAnOldEpochInTheWayIsSetAside) {
  const auto old_epoch = world_.vault->custody().status().current_epoch;
  ASSERT_OK(world_.vault->custody().new_epoch());
  ASSERT_OK(world_.vault->write_head());
  const auto heads = read_heads(*make_directory_blob_store(world_.env, "/vault"), world_.vault->custody());
  ASSERT_OK(heads);
  const Head::Signed& newest = heads->newest_first.front();
  Head forged = newest.head;
  forged.generation = forged.generation.next();
  forged.predecessor = newest.file_digest;
  forged.epoch = old_epoch;
  const auto mac = head_mac(world_.vault->custody(), forged, forged.encode());
  ASSERT_OK(mac);
  const Env::Path path = path_of(kHeadFiles, forged.generation.value);
  const Bytes file = Head::file_of(forged.encode(), forged.format, *mac);
  world_.env.write(path, file);
  ASSERT_OK(world_.write("one"));
  ASSERT_OK(world_.vault->journal().commit());
  ASSERT_OK(world_.vault->write_head());
  ASSERT_TRUE(world_.env.exists(path));
  EXPECT_NE(world_.env.read(path), file);
  Env::Path aside = path;
  aside += ".strange";
  EXPECT_TRUE(world_.env.exists(aside));
  world_.close_without_a_word();
  ASSERT_OK(world_.open());
  EXPECT_EQ(world_.tree.texts, Texts{"one"});
}

// A head vouches for the points: what it says of them is durable before it.
TEST_F(VaultGuards, AHeadWaitsForTheEntriesOfThePointsThatItNames) {
  std::jthread heading;
  std::atomic<bool> begun{false};
  world_.env.set_observer([&](SimStep step, const Env::Path& path) {
    if (step != SimStep::write || path.extension() != ".journal" || begun.exchange(true)) return;
    const std::size_t before = world_.env.files("/vault/heads").size();
    heading = std::jthread([&] { EXPECT_TRUE(world_.vault->write_head().ok()); });
    std::this_thread::sleep_for(std::chrono::milliseconds(50));
    EXPECT_EQ(world_.env.files("/vault/heads").size(), before) << "the entries are not even written";
  });
  ASSERT_OK(world_.back_up("vm1", "one"));
  ASSERT_TRUE(begun);
  heading.join();
  world_.env.set_observer({});
}

// Digests of heads that are not kept are in packs. As long as there is no room for one, the heads stay.
TEST_F(VaultGuards, HeadsStayUntilAPackIsNamed) {
  world_.env.set_observer([&](SimStep step, const Env::Path& path) {
    if (step == SimStep::write && path.string().find(std::string(kHeadPackExtension)) != std::string::npos) {
      world_.env.fail_next_write(1, ErrorCode::NoSpace);
    }
  });
  const Env::Path first = world_.env.files("/vault/heads").front();
  for (int i = 0; i < 1030; ++i) ASSERT_OK(world_.vault->write_head());
  EXPECT_TRUE(world_.env.exists(first));
  world_.env.set_observer({});
  for (int i = 0; i < 3; ++i) ASSERT_OK(world_.vault->write_head());
  EXPECT_FALSE(world_.env.exists(first));
}

}  // namespace
}  // namespace vaultfs
