// What the crypto room holds of plaintext on the ordinary heap, and wipes before it frees it.
#include <gtest/gtest.h>

#include <algorithm>
#include <string>

#include "crypto/chunk_id.h"
#include "crypto/hash.h"
#include "crypto/memory/plaintext_memory.h"
#include "tests/crypto/keyvault/freed_heap.h"

namespace vaultfs {
namespace {

// Unkeyed hashes of plaintext confirm a guess of it.
TEST(WipedHeapTest, LeafHashesDoNotStay) {
  const Bytes content(3 * kLeafBytes, std::byte{0x42});
  const auto key = SecretBuffer::random(32);
  ASSERT_TRUE(key.ok());
  const Digest leaf = sha256(ByteView(content).first(kLeafBytes));
  const FreedHeapWatch watch{std::string(text_of(leaf.view()))};
  const ChunkId id = chunk_id(*key, 1, content);
  EXPECT_FALSE(id.is_zero());
  EXPECT_EQ(FreedHeapWatch::sightings(), 0);
}

TEST(WipedHeapTest, ScratchesOfPlaintextLeaveNone) {
  const std::string text = "plaintext that is longer than a string object";
  const FreedHeapWatch watch(text);
  {
    PlaintextScratch scratch;
    {
      const auto use = scratch.use(1000);
      std::ranges::copy(bytes_of(text), use.bytes().begin());
    }
    static_cast<void>(scratch.use(100'000));  // grows
    const auto use = scratch.use(100'000);
    std::ranges::copy(bytes_of(text), use.bytes().begin());
  }
  EXPECT_EQ(FreedHeapWatch::sightings(), 0);
}

}  // namespace
}  // namespace vaultfs
