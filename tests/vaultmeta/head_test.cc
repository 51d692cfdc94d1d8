#include "vaultmeta/head.h"

#include <gtest/gtest.h>

#include "crypto/hash.h"
#include "tests/vaultmeta/stored_form_checks.h"

namespace vaultfs {
namespace {

Head a_head(std::uint64_t generation) {
  Head head;
  head.vault.mutable_view()[0] = std::byte{1};
  head.generation = Generation(generation);
  head.written = UnixNanos{17};
  head.keyring_generation = Generation(3);
  head.keyring.mutable_view()[1] = std::byte{2};
  head.checkpoint = ContainerNumber(4);
  head.checkpoint_digest.mutable_view()[2] = std::byte{3};
  head.journal = ContainerNumber(5);
  head.journal_lsn = Lsn(600);
  head.activity_entries = 7;
  head.activity_chain.mutable_view()[3] = std::byte{4};
  head.highest_segment = ContainerNumber(8);
  head.epoch = EpochNumber(2);
  return head;
}

Bytes file_of(const Head& head) {
  Bytes file = head.encode();
  file.insert(file.end(), 32, std::byte{0x5a});
  return file;
}

// Heads 1 to `count`, each naming the one before; newest first.
std::vector<Head::Signed> a_chain(std::uint64_t count) {
  std::vector<Head::Signed> chain;
  Digest predecessor;
  for (std::uint64_t generation = 1; generation <= count; ++generation) {
    Head head = a_head(generation);
    head.predecessor = predecessor;
    auto stored = Head::decode(file_of(head));
    EXPECT_TRUE(stored.ok());
    predecessor = stored->file_digest;
    chain.insert(chain.begin(), std::move(*stored));
  }
  return chain;
}

TEST(Head, StoredForm) {
  const Bytes file = file_of(a_head(9));
  EXPECT_EQ(file.size(), Head::kFileBytes);
  check_stored_form(file, [](ByteView bytes) -> std::optional<Bytes> {
    const auto stored = Head::decode(bytes);
    if (!stored.ok()) {
      EXPECT_TRUE(stored.code() == ErrorCode::DamagedHead || stored.code() == ErrorCode::UnsupportedFormat);
      return std::nullopt;
    }
    Bytes again = stored->head.encode();
    again.insert(again.end(), stored->mac.view().begin(), stored->mac.view().end());
    EXPECT_EQ(stored->file_digest, sha256(bytes));
    return again;
  });
}

TEST(Head, NamesTheVersionThatItDoesNotKnow) {
  Bytes file = file_of(a_head(1));
  file[8] = std::byte{2};
  const auto stored = Head::decode(file);
  ASSERT_FALSE(stored.ok());
  EXPECT_EQ(stored.code(), ErrorCode::UnsupportedFormat);
  EXPECT_NE(stored.error().message.find("version 2"), std::string::npos);
}

TEST(ChooseHead, TakesTheNewestThatContinuesThePinnedOne) {
  const auto chain = a_chain(5);
  for (std::uint64_t pinned = 1; pinned <= 5; ++pinned) {
    const auto chosen = choose_head(chain, Generation(pinned), chain[5 - pinned].file_digest);
    ASSERT_TRUE(chosen.ok()) << pinned;
    EXPECT_EQ(chosen->head.generation, Generation(5));
  }
  EXPECT_EQ(choose_head(chain, Generation(0), Digest{})->head.generation, Generation(5));
}

TEST(ChooseHead, ThePinnedFileItselfIsNotNeeded) {
  auto chain = a_chain(3);
  const Digest pinned = chain[1].file_digest;
  chain.erase(chain.begin() + 1, chain.end());
  EXPECT_TRUE(choose_head(chain, Generation(2), pinned).ok());
}

TEST(ChooseHead, FindsARollback) {
  auto chain = a_chain(5);
  const Digest newest = chain[0].file_digest;
  const std::vector<Head::Signed> older(chain.begin() + 1, chain.end());
  EXPECT_EQ(choose_head(older, Generation(5), newest).code(), ErrorCode::RollbackDetected);
  EXPECT_EQ(choose_head({}, Generation(5), newest).code(), ErrorCode::RollbackDetected);
  EXPECT_EQ(choose_head({}, Generation(0), Digest{}).code(), ErrorCode::DamagedHead);
  // The same generation with another history.
  EXPECT_EQ(choose_head(chain, Generation(5), older[0].file_digest).code(), ErrorCode::RollbackDetected);
  EXPECT_EQ(choose_head(chain, Generation(3), newest).code(), ErrorCode::RollbackDetected);
  // A gap between the pin and the newest head.
  const Digest second = chain[3].file_digest;
  chain.erase(chain.begin() + 1);
  EXPECT_EQ(choose_head(chain, Generation(2), second).code(), ErrorCode::RollbackDetected);
}

TEST(Head, AHistoryThatIsCutOffIsToldFromOneThatWasChanged) {
  std::vector<Head::Signed> kept = a_chain(9);
  kept.resize(4);  // 9 to 6
  EXPECT_EQ(choose_head(kept, Generation(3), Digest{}).code(), ErrorCode::RollbackDetected);
  EXPECT_TRUE(history_is_cut_off(kept, Generation(3), 1));
  EXPECT_TRUE(history_is_cut_off(kept, Generation(4), 1));
  EXPECT_FALSE(history_is_cut_off(kept, Generation(5), 1)) << "head 6 names it";
  EXPECT_FALSE(history_is_cut_off(kept, Generation(6), 1));
  EXPECT_FALSE(history_is_cut_off(kept, Generation(12), 1)) << "older than the pin";
  EXPECT_FALSE(history_is_cut_off(kept, Generation(3), 2)) << "another incarnation";
  EXPECT_FALSE(history_is_cut_off(kept, Generation(0), 1));
  EXPECT_FALSE(history_is_cut_off({}, Generation(3), 1));
  // A head is missing in the midst: whoever prunes does not do that.
  std::vector<Head::Signed> hole = kept;
  hole.erase(hole.begin() + 1);
  EXPECT_FALSE(history_is_cut_off(hole, Generation(3), 1));
  std::vector<Head::Signed> older_left = a_chain(9);
  older_left.erase(older_left.begin() + 3, older_left.begin() + 7);  // 9, 8, 7 and 2, 1
  EXPECT_FALSE(history_is_cut_off(older_left, Generation(3), 1));
  std::vector<Head::Signed> other = kept;
  other[2].file_digest = Digest{};
  EXPECT_FALSE(history_is_cut_off(other, Generation(3), 1));
}

}  // namespace
}  // namespace vaultfs
