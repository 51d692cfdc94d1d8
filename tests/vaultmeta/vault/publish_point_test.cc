// A point is published while something else stores its content anew.
#include <algorithm>

#include "tests/vaultmeta/vault/vault_world.h"

namespace vaultfs {
namespace {

// As a re-encryption does beside a commit: between the closing of the segments and the inventory a chunk of the point
// comes to lie in an open one.
TEST(PublishPoint, WhatIsReencryptedMeanwhileIsClosedOnceMore) {
  VaultWorld world;
  ASSERT_OK(world.create());
  ASSERT_OK(world.open());
  ASSERT_OK(world.back_up("vm1", "content"));
  ASSERT_OK(world.vault->custody().new_epoch());
  SegmentStore& segments = world.vault->segments();
  const auto manifest = world.store("content");
  ASSERT_OK(manifest);
  const ChunkId id = manifest->inodes.at(1).chunks.at(0);
  // Of another item, so that there is an open segment to be closed.
  ASSERT_OK(segments.put(RecordType::chunk, bytes_of("something else")));
  const EpochNumber newest = *world.vault->keys().current();
  bool renewed = false;
  world.env.set_observer([&](SimStep step, const Env::Path& path) {
    if (renewed || step != SimStep::sync_directory || path.filename() != "segments") return;
    renewed = true;
    const UseGate::Use use = segments.use();
    const auto outcome = segments.reencrypt(id, newest);
    ASSERT_OK(outcome);
    EXPECT_EQ(outcome->records, 1U);
  });
  const auto point = world.back_up("vm1", "content");
  world.env.set_observer({});
  ASSERT_OK(point);
  EXPECT_TRUE(renewed);
  const auto published = world.vault->load_manifest(*point);
  ASSERT_OK(published);
  const auto lies_in = segments.segment_of(id);
  ASSERT_OK(lies_in);
  EXPECT_TRUE(std::ranges::any_of(published->inventory, [&](const auto& needed) { return needed.number == *lies_in; }));
  ASSERT_OK(world.close());
}

}  // namespace
}  // namespace vaultfs
