// Patches under a closed epoch: pages, header and base are what the id says.
#include "tests/store/segment/closed_epoch_fixture.h"

namespace vaultfs {
namespace {

class ClosedEpochPatchTest : public ClosedEpochTest {};

INSTANTIATE_TEST_SUITE_P(Suites, ClosedEpochPatchTest, testing::Values(Suite::aes_gcm, Suite::aes_gcm_in_xchacha));

TEST_P(ClosedEpochPatchTest, ForgedPatchIsRefused) {
  const Bytes base = random_content(kMiB, 1);
  const Bytes content = random_content(kMiB, 2);
  const Bytes secret = random_content(kMiB, 3);
  const PatchPages pages = pages_of({0, 7, 8});
  const ChunkId base_id = vault_.must_put(base);
  const ChunkId secret_id = vault_.must_put(secret);
  ASSERT_TRUE(vault_.store->close_segment().ok());
  const std::uint64_t segment = vault_.store->next_segment().value;
  const ChunkId id = must_put(base_id, content, pages);
  close_epoch_and_reopen();
  const Bytes intact = vault_.env.read(seg(segment));
  const Bytes plaintext = Forger(intact, vault_.keys, ContainerNumber(segment)).content_of(id);
  const auto header = PatchHeader::decode_whole(plaintext);
  ASSERT_TRUE(header.ok());
  // Other pages; another base, another length, other pages by the header alone.
  std::vector<Bytes> forged(4, plaintext);
  forged[0][PatchHeader::kEncodedBytes + 4096 + 5] ^= std::byte{1};
  for (std::size_t i = 1; i < forged.size(); ++i) {
    PatchHeader other = *header;
    if (i == 1) other.base = secret_id;
    if (i == 2) other.length = 60'000;
    if (i == 3) other.pages = pages_of({0, 7, 9});
    std::ranges::copy(other.encode(), forged[i].begin());
  }
  for (std::size_t i = 0; i < forged.size(); ++i) {
    SCOPED_TRACE(i);
    plant(segment, {{id, RecordType::patch, forged[i]}});
    forget_index();
    must_open();
    EXPECT_TRUE(refuses(vault_.store->base_segment_of(id)));
    EXPECT_TRUE(refuses(put(id, content, pages_of({4})))) << "nothing is built upon it";
    expect_refused(id, i == 2 ? 60'000 : kMiB);
    // The same after a look at it: only the bytes of before count.
    vault_.env.write(seg(segment), intact);
    forget_index();
    must_open();
    ASSERT_TRUE(read(id, 7 * kPage, 10).ok());
    EXPECT_EQ(*vault_.store->base_segment_of(id), ContainerNumber(1));
    Forger forger(intact, vault_.keys, ContainerNumber(segment));
    if (!forger.forge(id, forged[i])) continue;  // by chance its header compresses to another length
    vault_.env.write(seg(segment), forger.file());
    EXPECT_EQ((*vault_.store->patch_of(id))->base, base_id) << "known by its id";
    if (i == 0) {
      EXPECT_TRUE(refuses(read(id, 7 * kPage, 2 * kPage)));
    }
    Bytes out(kMiB);
    const Status all = vault_.store->read(id, 0, out);
    EXPECT_TRUE(!all.ok() || out == laid(base, content, pages));
  }
  vault_.env.write(seg(segment), intact);
  must_open();
  expect_content(id, laid(base, content, pages));
  // Its base.
  forge(1, base_id, secret);
  must_open();
  EXPECT_TRUE(read(id, 7 * kPage, 2 * kPage).ok()) << "that is the patch's own";
  EXPECT_TRUE(refuses(read(id, 6 * kPage, 2 * kPage)));
  EXPECT_TRUE(refuses(read(id, 0, kMiB)));
}

// What an index file says of a patch's base was sealed under the epoch that is closed now.
TEST_P(ClosedEpochPatchTest, BasesToldByAnOldIndexAreNotBelieved) {
  const Bytes base = random_content(kMiB, 1);
  const Bytes content = random_content(kMiB, 2);
  const ChunkId base_id = vault_.must_put(base);
  ASSERT_TRUE(vault_.store->close_segment().ok());
  const ChunkId id = must_put(base_id, content, pages_of({3}));
  close_epoch_and_reopen(/*with_index=*/true);
  // Some other base makes a header that compresses as well.
  bool forged = false;
  for (std::uint64_t n = 0; n < 100 && !forged; ++n) {
    const PatchHeader other{test_chunk_id(RecordType::chunk, random_content(100, n)), kMiB, pages_of({3})};
    Forger forger(vault_.env.read(seg(2)), vault_.keys, ContainerNumber(2));
    forged = forger.forge(id, plaintext_of(other, to_bytes(ByteView(content).subspan(3 * kPage, kPage))));
    vault_.env.write(seg(2), forger.file());
  }
  ASSERT_TRUE(forged);
  EXPECT_TRUE(refuses(vault_.store->base_segment_of(id)));
  EXPECT_TRUE(refuses(vault_.store->retain(id)));
}

// A page of zeros has to lie over what the base truly has there, whatever length somebody tells of it.
TEST_P(ClosedEpochPatchTest, ALengthThatSomebodyTellsHidesNoZeros) {
  const Bytes base = random_content(kMiB, 1);
  const ChunkId base_id = vault_.must_put(base);
  close_epoch_and_reopen();
  const Bytes intact = vault_.env.read(seg(1));
  plant(1, {{base_id, RecordType::chunk, to_bytes(ByteView(base).first(2 * kPage))}});
  forget_index();
  must_open();
  const ChunkId id = must_put(base_id, Bytes(kMiB), pages_of({7}));
  ASSERT_FALSE(id.is_zero());
  EXPECT_NE(id, base_id);
  const auto patch = vault_.store->patch_of(id);
  ASSERT_TRUE(patch.ok() && patch->has_value());
  EXPECT_TRUE((*patch)->pages.test(7));
  ASSERT_TRUE(vault_.close_and_save().ok());
  vault_.env.write(seg(1), intact);
  forget_index();
  must_open();
  expect_content(id, laid(base, Bytes(kMiB), pages_of({7})));
}

}  // namespace
}  // namespace vaultfs
