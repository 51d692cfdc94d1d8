#include "store/record/stream.h"

#include <set>

#include "store/record/record.h"
#include "tests/store/store_fixture.h"
#include "tests/support/units.h"

namespace vaultfs {
namespace {

class StreamTest : public testing::TestWithParam<Suite> {
 protected:
  StreamTest() : keys_(test_vault_id(), GetParam()) { fill_keys(keys_); }
  Bytes seal(ByteView content, std::optional<ByteView> inventory = std::nullopt, std::uint64_t number = 3) {
    auto file = seal_stream(env_, keys_, ContainerKind::manifest, ContainerNumber(number), content, inventory);
    EXPECT_TRUE(file.ok());
    return std::move(file).value();
  }
  Result<OpenedStream> open(ByteView file, std::uint64_t number = 3) {
    return open_stream(keys_, ContainerKind::manifest, ContainerNumber(number), file, ErrorCode::DamagedManifest);
  }
  // Offsets of the records in a stream's file.
  static std::vector<std::pair<std::size_t, std::size_t>> records(ByteView file) {
    std::vector<std::pair<std::size_t, std::size_t>> out;
    for (std::size_t at = ContainerHeader::kEncodedBytes; at < file.size();) {
      const auto header = RecordHeader::decode(file.subspan(at));
      out.emplace_back(at, header->stored_bytes());
      at += header->stored_bytes();
    }
    return out;
  }
  SimEnv env_;
  EpochKeys keys_;
};

INSTANTIATE_TEST_SUITE_P(Suites, StreamTest, testing::Values(Suite::aes_gcm, Suite::aes_gcm_in_xchacha));

TEST_P(StreamTest, RoundTrips) {
  for (const std::size_t size : {std::size_t{0}, std::size_t{1}, kMiB - 1, kMiB, kMiB + 1, 3 * kMiB}) {
    const Bytes content = random_content(size, size + 1);
    const auto opened = open(seal(content));
    ASSERT_TRUE(opened.ok()) << size << ": " << opened.error().message;
    EXPECT_EQ(opened->content, content);
    EXPECT_FALSE(opened->inventory);
    EXPECT_EQ(opened->epoch, EpochNumber(1));
  }
  const Bytes inventory = text_content(100, 1);
  const auto opened = open(seal(text_content(5000, 2), inventory));
  ASSERT_TRUE(opened.ok());
  EXPECT_EQ(opened->inventory, inventory);
}

TEST_P(StreamTest, EveryBitFlipAndCutIsNoticed) {
  const Bytes good = seal(text_content(600, 1), text_content(40, 2));
  for (std::size_t bit = 0; bit < good.size() * 8; ++bit) {
    Bytes bad = good;
    bad[bit / 8] ^= static_cast<std::byte>(1U << (bit % 8));
    const auto opened = open(bad);
    ASSERT_FALSE(opened.ok()) << "bit " << bit;
    ASSERT_TRUE(is_named_damage(opened.code()));
  }
  for (std::size_t size = 0; size < good.size(); ++size) {
    ASSERT_EQ(open(ByteView(good).first(size)).code(), ErrorCode::DamagedManifest) << size;
  }
  Bytes longer = good;
  longer.resize(longer.size() + 8);
  EXPECT_EQ(open(longer).code(), ErrorCode::DamagedManifest);
}

TEST_P(StreamTest, PartsMustBeAllThereOnceAndInOrder) {
  const Bytes file = seal(random_content(3 * kMiB, 1));
  const auto parts = records(file);
  ASSERT_EQ(parts.size(), 4U);
  const auto assemble = [&](const std::vector<std::size_t>& order) {
    Bytes out(file.begin(), file.begin() + ContainerHeader::kEncodedBytes);
    for (const std::size_t i : order) {
      const ByteView part = ByteView(file).subspan(parts[i].first, parts[i].second);
      out.insert(out.end(), part.begin(), part.end());
    }
    return out;
  };
  ASSERT_TRUE(open(assemble({0, 1, 2, 3})).ok());
  for (const auto& order : std::vector<std::vector<std::size_t>>{
           {1, 0, 2, 3}, {0, 2, 3}, {0, 1, 3}, {0, 1, 1, 2, 3}, {0, 1, 2}, {0, 1, 2, 3, 3}, {3}, {3, 0, 1, 2}, {}}) {
    EXPECT_EQ(open(assemble(order)).code(), ErrorCode::DamagedManifest);
  }
}

TEST_P(StreamTest, BelongsToItsNumberKindAndVault) {
  const Bytes file = seal(text_content(10, 1));
  EXPECT_EQ(open(file, 4).code(), ErrorCode::DamagedManifest);
  EXPECT_EQ(
      open_stream(keys_, ContainerKind::checkpoint, ContainerNumber(3), file, ErrorCode::DamagedCheckpoint).code(),
      ErrorCode::DamagedCheckpoint);
  EpochKeys other(test_vault_id(), GetParam());
  fill_keys(other, 1, std::nullopt, 0x70);
  EXPECT_EQ(open_stream(other, ContainerKind::manifest, ContainerNumber(3), file, ErrorCode::DamagedManifest).code(),
            ErrorCode::KeyCommitmentMismatch);
  keys_.wipe();
  EXPECT_EQ(open(file).code(), ErrorCode::KeyRevoked);
}

// A record of another container of the same vault, same kind and place.
TEST_P(StreamTest, RecordsOfAnotherContainerDoNotFit) {
  const Bytes a = seal(text_content(600, 1));
  const Bytes b = seal(text_content(600, 2));
  Bytes mixed(a.begin(), a.begin() + ContainerHeader::kEncodedBytes);
  mixed.insert(mixed.end(), b.begin() + ContainerHeader::kEncodedBytes, b.end());
  EXPECT_EQ(open(mixed).code(), ErrorCode::AuthenticationFailed);
}

TEST_P(StreamTest, NoTwoFramesShareANonce) {
  const Bytes file = seal(random_content(3 * kMiB + 5, 1), text_content(50, 2));
  std::set<std::uint64_t> nonces;
  std::size_t frames = 0;
  for (const auto& [offset, size] : records(file)) {
    const auto header = RecordHeader::decode(ByteView(file).subspan(offset));
    for (std::uint32_t i = 0; i < header->frame_count; ++i) nonces.insert(header->nonce_base + i);
    frames += header->frame_count;
  }
  EXPECT_GT(frames, 40U);
  EXPECT_EQ(nonces.size(), frames);
}

}  // namespace
}  // namespace vaultfs
