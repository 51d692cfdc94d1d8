#include "vaultmeta/heads/head.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <functional>
#include <string>

#include "base/byte_codec.h"
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
  head.checkpoint_bytes = 77;
  head.checkpoint_digest.mutable_view()[2] = std::byte{3};
  head.journal = ContainerNumber(5);
  head.journal_header.mutable_view()[4] = std::byte{5};
  head.journal_bytes = 4096;
  head.journal_digest.mutable_view()[5] = std::byte{6};
  head.journal_lsn = Lsn(600);
  head.points_lsn = Lsn(590);
  head.points.mutable_view()[6] = std::byte{7};
  head.activity_entries = 7;
  head.activity_chain.mutable_view()[3] = std::byte{4};
  head.activity_file = ContainerNumber(9);
  head.highest_segment = ContainerNumber(8);
  head.epoch = EpochNumber(2);
  return head;
}

Bytes file_of(const Head& head) {
  Digest mac;
  std::fill_n(mac.data(), Digest::kSize, std::byte{0x5a});
  return Head::file_of(head.encode(), head.format, mac);
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

void check_head_form(const Bytes& file) {
  check_stored_form(file, [](ByteView bytes) -> std::optional<Bytes> {
    const auto stored = Head::decode(bytes);
    if (!stored.ok()) {
      EXPECT_TRUE(stored.code() == ErrorCode::DamagedHead || stored.code() == ErrorCode::UnsupportedFormat);
      return std::nullopt;
    }
    EXPECT_EQ(stored->body, stored->head.encode());
    EXPECT_EQ(stored->file_digest, sha256(bytes));
    return Head::file_of(stored->body, stored->head.format, stored->mac);
  });
}

TEST(Head, StoredForm) {
  const Bytes file = file_of(a_head(9));
  EXPECT_EQ(file.size(), Head::kFormat2Bytes);
  check_head_form(file);
}

TEST(Head, StoredFormOfTheFirstFormat) {
  Head head = a_head(9);
  head.format = Head::kFormat1;
  const Bytes file = file_of(head);
  EXPECT_EQ(file.size(), Head::kFormat1Bytes);
  check_head_form(file);
}

// The file with other bytes before its last digest, and that digest made anew: nobody needs a key for it.
Bytes with_fresh_digest(Bytes file) {
  file.resize(file.size() - Digest::kSize);
  append(file, sha256(file).view());
  return file;
}

TEST(Head, NamesTheVersionThatItDoesNotKnow) {
  Bytes file = file_of(a_head(1));
  file[8] = std::byte{3};
  EXPECT_EQ(Head::decode(file).code(), ErrorCode::DamagedHead) << "damage is no newer version";
  const auto stored = Head::decode(with_fresh_digest(file));
  ASSERT_FALSE(stored.ok());
  EXPECT_EQ(stored.code(), ErrorCode::UnsupportedFormat);
  EXPECT_NE(stored.error().message.find("version 3"), std::string::npos);
}

TEST(Head, NamesTheFeatureThatItDoesNotKnow) {
  Head head = a_head(1);
  head.features.incompatible = 1ULL << 5U;
  const auto refused = Head::decode(file_of(head));
  ASSERT_FALSE(refused.ok());
  EXPECT_EQ(refused.code(), ErrorCode::UnsupportedFormat);
  EXPECT_NE(refused.error().message.find("feature 5"), std::string::npos) << refused.error().message;
  head.features = {3, 4, 0};
  const auto read = Head::decode(file_of(head));
  ASSERT_TRUE(read.ok());
  EXPECT_EQ(read->head.features, head.features);
}

// Between the last fixed field and the MAC stand optional fields, which a program that does not know them passes over.
TEST(Head, PassesOverOptionalFields) {
  const auto with_fields = [](std::initializer_list<std::uint16_t> tags) {
    ByteWriter fields;
    for (const std::uint16_t tag : tags) {
      fields.u16(tag);
      fields.text("later");
    }
    Bytes body = a_head(2).encode();
    append(body, fields.view());
    Bytes file = Head::file_of(body, Head::kFormat2, Digest{});
    for (unsigned i = 0; i < 4; ++i) file[10 + i] = static_cast<std::byte>((file.size() >> (8U * i)) & 0xffU);
    return with_fresh_digest(file);
  };
  const auto stored = Head::decode(with_fields({6, 7}));
  ASSERT_TRUE(stored.ok()) << stored.error().message;
  EXPECT_EQ(stored->head.generation, Generation(2));
  EXPECT_GT(stored->body.size(), a_head(2).encode().size()) << "the MAC is over them too";
  EXPECT_EQ(Head::decode(with_fields({7, 6})).code(), ErrorCode::DamagedHead) << "out of order";
  EXPECT_EQ(Head::decode(with_fields({1})).code(), ErrorCode::DamagedHead) << "the packs of heads have a form";
}

TEST(Head, NamesThePacksOfOlderHeads) {
  Head head = a_head(5);
  EXPECT_EQ(Head::decode(file_of(head))->head.packs, PackedHeads{});
  head.packs.last = Generation(2048);
  head.packs.digest.data()[3] = std::byte{9};
  const Bytes file = file_of(head);
  const auto stored = Head::decode(file);
  ASSERT_TRUE(stored.ok()) << stored.error().message;
  EXPECT_EQ(stored->head.packs, head.packs);
  EXPECT_EQ(file.size(), Head::kFormat2Bytes + 2 + 4 + 40);
}

// Whoever has the root key and the keys of closed epochs can make a head of such an epoch that names the newest one as
// its predecessor.
TEST(ChooseHead, FormatEpochAndIncarnationNeverFall) {
  const auto chain_ending_in = [](const std::function<void(Head&)>& change) {
    auto chain = a_chain(3);
    Head head = a_head(4);
    head.predecessor = chain.front().file_digest;
    change(head);
    chain.insert(chain.begin(), Head::decode(file_of(head)).value());
    return chain;
  };
  const auto outcome = [](const std::vector<Head::Signed>& chain, std::uint64_t pinned) {
    const Digest digest = pinned == 0 ? Digest{} : chain[chain.size() - pinned].file_digest;
    const auto chosen = choose_head(chain, Generation(pinned), digest);
    return chosen.ok() ? ErrorCode::Internal : chosen.code();
  };
  for (const std::uint64_t pinned : {0, 2, 3}) {
    EXPECT_EQ(outcome(chain_ending_in([](Head&) {}), pinned), ErrorCode::Internal);
    EXPECT_EQ(outcome(chain_ending_in([](Head& head) { head.epoch = EpochNumber(1); }), pinned),
              ErrorCode::DamagedHead);
    EXPECT_EQ(outcome(chain_ending_in([](Head& head) { head.format = Head::kFormat1; }), pinned),
              ErrorCode::DamagedHead);
    EXPECT_EQ(outcome(chain_ending_in([](Head& head) { head.epoch = EpochNumber(3); }), pinned), ErrorCode::Internal);
  }
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
