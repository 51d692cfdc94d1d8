#include "store/record/record.h"

#include <map>

#include "store/record/frame_compression.h"
#include "tests/store/store_fixture.h"

namespace vaultfs {
namespace {

class RecordTest : public testing::TestWithParam<Suite> {
 protected:
  RecordTest() : keys_(test_vault_id(), GetParam()) {
    fill_keys(keys_);
    cipher_ = make(ContainerNumber(1));
  }
  std::unique_ptr<ContainerCipher> make(ContainerNumber number) {
    ContainerHeader header;
    return std::move(ContainerCipher::create(env_, keys_, ContainerKind::segment, number, header)).value();
  }
  Bytes seal(ByteView content, std::uint8_t frame_log2 = kDefaultFrameLog2, std::uint64_t nonce = 0) {
    RecordDraft draft;
    draft.id = test_chunk_id(RecordType::chunk, content);
    draft.frame_log2 = frame_log2;
    draft.nonce_base = nonce;
    Bytes out;
    EXPECT_TRUE(seal_record(*cipher_, draft, content, out).ok());
    return out;
  }
  Result<Bytes> reopen(ByteView stored) { return reopen(*cipher_, stored); }
  static Result<Bytes> reopen(const ContainerCipher& cipher, ByteView stored) {
    VAULTFS_ASSIGN_OR_RETURN(const RecordHeader header, RecordHeader::decode(stored));
    return open_record(cipher, header, stored);
  }
  SimEnv env_;
  EpochKeys keys_;
  std::unique_ptr<ContainerCipher> cipher_;
};

INSTANTIATE_TEST_SUITE_P(Suites, RecordTest, testing::Values(Suite::aes_gcm, Suite::aes_gcm_in_xchacha));

TEST_P(RecordTest, AllSizesAroundBoundariesRoundTrip) {
  std::vector<std::size_t> sizes{1, 2, 7, 8, 63, 64, 65, 511, 512};
  for (const std::size_t edge : {4096U, 32768U, 65536U, 131072U, 1048576U}) {
    for (const int delta : {-1, 0, 1}) sizes.push_back(edge + static_cast<std::size_t>(delta));
  }
  for (const std::size_t size : sizes) {
    for (const bool compressible : {false, true}) {
      const Bytes content = compressible ? text_content(size, size) : random_content(size, size);
      const Bytes stored = seal(content);
      ASSERT_EQ(stored.size() % 8, 0U);
      ASSERT_LE(stored.size(), max_stored_bytes(size, kDefaultFrameLog2, cipher_->overhead_bytes()));
      const auto opened = reopen(stored);
      ASSERT_TRUE(opened.ok()) << size << ": " << opened.error().message;
      ASSERT_EQ(*opened, content);
    }
  }
}

TEST_P(RecordTest, OtherFrameSizesAndTheLargestRecordRoundTrip) {
  for (const std::uint8_t log2 : {kMinFrameLog2, kMaxFrameLog2}) {
    const Bytes content = text_content(300'001, log2);
    EXPECT_EQ(*reopen(seal(content, log2)), content);
  }
  const Bytes largest = random_content(kMaxRecordBytes, 3);
  EXPECT_EQ(*reopen(seal(largest)), largest);
  Bytes out;
  EXPECT_EQ(seal_record(*cipher_, {}, Bytes(kMaxRecordBytes + 1), out).code(), ErrorCode::InvalidArgument);
  EXPECT_EQ(seal_record(*cipher_, {}, {}, out).code(), ErrorCode::InvalidArgument);
  EXPECT_TRUE(out.empty());
}

TEST_P(RecordTest, PiecesMakeTheRecordOfTheirWhole) {
  constexpr std::uint8_t kFrameLog2 = 12;
  for (const bool compressible : {false, true}) {
    const Bytes content = compressible ? text_content(50'000, 5) : random_content(50'000, 5);
    // Of each length, with empty ones between them; at frames' edges, inside, and over several of them.
    for (const std::size_t length : {std::size_t{1}, std::size_t{4095}, std::size_t{4096}, std::size_t{4097},
                                     std::size_t{12'345}, std::size_t{49'999}, content.size()}) {
      std::vector<ByteView> pieces{ByteView()};
      for (std::size_t at = 0; at < content.size(); at += length) {
        pieces.push_back(ByteView(content).subspan(at, std::min(length, content.size() - at)));
        pieces.emplace_back();
      }
      RecordDraft draft;
      draft.id = test_chunk_id(RecordType::chunk, content);
      draft.frame_log2 = kFrameLog2;
      Bytes stored(max_stored_bytes(content.size(), kFrameLog2, cipher_->overhead_bytes()));
      const auto size = seal_pieces_into(*cipher_, draft, pieces, stored);
      ASSERT_TRUE(size.ok()) << length;
      stored.resize(*size);
      EXPECT_EQ(stored.size(), seal(content, kFrameLog2).size()) << length;
      const auto opened = reopen(stored);
      ASSERT_TRUE(opened.ok()) << length << ": " << opened.error().message;
      EXPECT_EQ(*opened, content) << length;
    }
  }
  const std::vector<ByteView> nothing(3);
  Bytes out(1000);
  EXPECT_EQ(seal_pieces_into(*cipher_, {}, nothing, out).code(), ErrorCode::InvalidArgument);
}

TEST_P(RecordTest, CompressesWhatPaysAndOnlyThat) {
  const Bytes text = text_content(1 << 20, 1);
  EXPECT_LT(seal(text).size(), text.size() / 3);
  const Bytes noise = random_content(1 << 20, 2);
  EXPECT_GE(seal(noise).size(), noise.size());
  // Half of each frame is noise: still worth it.
  Bytes mixed = noise;
  for (std::size_t at = 0; at < mixed.size(); at += 8192) {
    std::fill_n(mixed.begin() + static_cast<std::ptrdiff_t>(at), 4096, std::byte{0});
  }
  EXPECT_LT(seal(mixed).size(), mixed.size() * 6 / 10);
  std::size_t tried = 0;
  for (std::uint64_t seed = 0; seed < 2000; ++seed) tried += may_compress(random_content(65536, seed)) ? 1U : 0U;
  EXPECT_EQ(tried, 0U);
}

// What random reads open: large frames only where they save something.
TEST(FrameSizeTest, IsLargeWhereSomethingCompressesAndSmallWhereNothingDoes) {
  Bytes content = random_content(1 << 20, 3);
  EXPECT_EQ(frame_log2_for(content, Compression::automatic), kPlainFrameLog2);
  const Bytes text = text_content(1 << 17, 4);
  std::copy(text.begin(), text.end(), content.begin() + (3 << 18));
  EXPECT_EQ(frame_log2_for(content, Compression::automatic), kCompressibleFrameLog2);
  // Content that is only skewed a little: every other byte below 128.
  for (std::size_t at = 0; at < content.size(); at += 2) content[at] &= std::byte{0x7f};
  EXPECT_EQ(frame_log2_for(content, Compression::automatic), kCompressibleFrameLog2);
  EXPECT_EQ(frame_log2_for(content, Compression::fast), kFastFrameLog2);
  EXPECT_EQ(frame_log2_for(content, Compression::ordered), kOrderedFrameLog2);
  EXPECT_EQ(frame_log2_for(content, Compression::ordered_fast), kOrderedFrameLog2);
  for (const Compression any : {Compression::fast, Compression::ordered, Compression::ordered_fast}) {
    EXPECT_EQ(frame_log2_for(random_content(1 << 20, 3), any), kPlainFrameLog2);
  }
  EXPECT_EQ(frame_log2_for(text_content(1 << 16, 5), Compression::automatic), kDefaultFrameLog2);
  EXPECT_EQ(frame_log2_for(random_content(20, 6), Compression::automatic), kDefaultFrameLog2);
}

TEST(FrameCompressionTest, EveryWayAndSizeInTurnGivesBackTheFrame) {
  // One context of zstd does all of them, one after another.
  const Bytes text = text_content(1 << 20, 8);
  std::map<Compression, std::size_t> sizes;
  for (const std::size_t size : {std::size_t{100}, std::size_t{4096}, std::size_t{128} << 10U,
                                 (std::size_t{128} << 10U) + 1, std::size_t{512} << 10U, std::size_t{1} << 20U}) {
    for (const Compression way :
         {Compression::automatic, Compression::ordered_fast, Compression::ordered, Compression::fast}) {
      const ByteView frame = ByteView(text).first(size);
      Bytes out(size);
      const std::size_t compressed = compress_frame(frame, out, way);
      ASSERT_GT(compressed, 0U) << size;
      Bytes back(size);
      ASSERT_TRUE(decompress_frame(ByteView(out).first(compressed), back).ok()) << size;
      EXPECT_TRUE(std::equal(back.begin(), back.end(), frame.begin())) << size;
      sizes[way] = compressed;
    }
  }
  EXPECT_LT(sizes[Compression::automatic], sizes[Compression::fast]);
  EXPECT_EQ(sizes[Compression::automatic], sizes[Compression::ordered]);
}

TEST_P(RecordTest, EveryBitFlipIsAnErrorNeverOtherBytes) {
  const Bytes content = text_content(10'000, 5);
  const Bytes good = seal(content, kMinFrameLog2);
  for (std::size_t bit = 0; bit < good.size() * 8; ++bit) {
    Bytes bad = good;
    bad[bit / 8] ^= static_cast<std::byte>(1U << (bit % 8));
    const auto opened = reopen(bad);
    ASSERT_FALSE(opened.ok()) << "bit " << bit;
    ASSERT_EQ(opened.code(), ErrorCode::DamagedRecord);
  }
  for (std::size_t size = 0; size < good.size(); ++size) ASSERT_FALSE(reopen(ByteView(good).first(size)).ok());
}

// The checksum is no defence: an attacker computes it anew. Then the AEAD must notice.
TEST_P(RecordTest, ChangesBelowTheChecksumFailAuthentication) {
  const Bytes content = text_content(9'000, 6);
  const Bytes good = seal(content, kMinFrameLog2);
  const RecordHeader header = *RecordHeader::decode(good);
  const std::size_t table_end = RecordHeader::kEncodedBytes + std::size_t{4} * header.frame_count;
  const FrameTable table = *FrameTable::decode(
      header, ByteView(good).subspan(RecordHeader::kEncodedBytes, table_end - RecordHeader::kEncodedBytes),
      cipher_->overhead_bytes());
  Bytes out(header.plaintext_bytes_of(1));
  const ByteView frame = ByteView(good).subspan(table.frames[1].offset, table.frames[1].sealed_bytes);
  ASSERT_TRUE(open_frame(*cipher_, header, table, 1, frame, out).ok());
  EXPECT_TRUE(bytes_equal(out, ByteView(content).subspan(4096, 4096)));

  std::vector<RecordHeader> changes(6, header);
  changes[0].id.mutable_view()[0] ^= std::byte{1};
  changes[1].type = RecordType::map_page;
  changes[2].nonce_base += 1;
  changes[3].salt[0] ^= std::byte{1};
  changes[4].salt[15] ^= std::byte{1};
  changes[5].plaintext_bytes -= 1;
  for (const RecordHeader& changed : changes) {
    EXPECT_EQ(open_frame(*cipher_, changed, table, 1, frame, out).code(), ErrorCode::AuthenticationFailed);
  }
  FrameTable other_table = table;
  other_table.frames[1].entry ^= 0x80000000U;  // claims to be stored as it is
  Bytes claimed(table.frames[1].sealed_bytes);
  EXPECT_EQ(open_frame(*make(ContainerNumber(2)), header, table, 1, frame, out).code(),
            ErrorCode::AuthenticationFailed);
  // A frame in another frame's place, of the same length.
  const Bytes noise = random_content(3 * 4096, 7);
  const Bytes sealed_noise = seal(noise, kMinFrameLog2, 100);
  const RecordHeader noise_header = *RecordHeader::decode(sealed_noise);
  const FrameTable noise_table = *FrameTable::decode(
      noise_header, ByteView(sealed_noise).subspan(RecordHeader::kEncodedBytes, 12), cipher_->overhead_bytes());
  const ByteView third =
      ByteView(sealed_noise).subspan(noise_table.frames[2].offset, noise_table.frames[2].sealed_bytes);
  EXPECT_EQ(open_frame(*cipher_, noise_header, noise_table, 1, third, out).code(), ErrorCode::AuthenticationFailed);
}

TEST_P(RecordTest, SameContentTwiceNeverGivesTheSameBytes) {
  const Bytes content = random_content(5000, 8);
  const Bytes first = seal(content, kDefaultFrameLog2, 0);
  const Bytes second = seal(content, kDefaultFrameLog2, 1);
  EXPECT_FALSE(bytes_equal(ByteView(first).subspan(RecordHeader::kEncodedBytes + 4, 5000),
                           ByteView(second).subspan(RecordHeader::kEncodedBytes + 4, 5000)));
}

TEST_P(RecordTest, HeaderFieldsOutOfRangeAreRefusedBehindAGoodChecksum) {
  RecordHeader good;
  good.plaintext_bytes = 10;
  good.frame_count = 1;
  good.payload_bytes = 4 + 10 + 16;
  const auto decodes = [](const RecordHeader& header) {
    Bytes bytes(RecordHeader::kEncodedBytes);
    header.encode(bytes);
    return RecordHeader::decode(bytes).ok();
  };
  ASSERT_TRUE(decodes(good));
  std::vector<RecordHeader> bad(13, good);
  bad[0].type = static_cast<RecordType>(0);
  bad[1].type = static_cast<RecordType>(99);
  bad[2].clear = true;
  bad[3].frame_log2 = kMinFrameLog2 - 1;
  bad[4].frame_log2 = kMaxFrameLog2 + 1;
  bad[5].plaintext_bytes = 0;
  bad[6].plaintext_bytes = kMaxRecordBytes + 1;
  bad[7].frame_count = 2;
  bad[8].payload_bytes = 4;
  bad[9].payload_bytes = 0xffffffffU;
  bad[10].nonce_base = ~std::uint64_t{0};
  // A chunk has its salt where these lie in others.
  bad[11].type = bad[12].type = RecordType::segment_footer;
  bad[11].sequence = 1;
  bad[12].synced_lsn = 1;
  for (std::size_t i = 0; i < bad.size(); ++i) EXPECT_FALSE(decodes(bad[i])) << i;
  RecordHeader footer = good;
  footer.type = RecordType::segment_footer;
  EXPECT_TRUE(decodes(footer));
  footer.salt[3] = std::byte{1};
  EXPECT_TRUE(decodes(footer));
}

TEST_P(RecordTest, ClearRecordCarriesItsPayload) {
  RecordDraft draft;
  draft.type = RecordType::clear_inventory;
  const Bytes inventory = text_content(777, 1);
  Bytes stored;
  ASSERT_TRUE(encode_clear_record(draft, inventory, stored).ok());
  EXPECT_EQ(*reopen(stored), inventory);
  // It burns no nonce, so there is one way only to write it.
  RecordHeader numbered = RecordHeader::decode(ByteView(stored).first(RecordHeader::kEncodedBytes)).value();
  numbered.nonce_base = 1;
  Bytes header(RecordHeader::kEncodedBytes);
  numbered.encode(header);
  EXPECT_EQ(RecordHeader::decode(header).code(), ErrorCode::DamagedRecord);
  numbered.nonce_base = 0;
  numbered.salt[0] = std::byte{1};
  numbered.encode(header);
  EXPECT_EQ(RecordHeader::decode(header).code(), ErrorCode::DamagedRecord);
  // Content that nobody sealed must not pass for a chunk.
  draft.type = RecordType::chunk;
  stored.clear();
  ASSERT_TRUE(encode_clear_record(draft, inventory, stored).ok());
  EXPECT_EQ(reopen(stored).code(), ErrorCode::DamagedRecord);
}

}  // namespace
}  // namespace vaultfs
