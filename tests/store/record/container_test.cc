#include "store/record/container.h"

#include "store/record/checksum.h"
#include "tests/store/store_fixture.h"

namespace vaultfs {
namespace {

class ContainerTest : public testing::TestWithParam<Suite> {
 protected:
  ContainerTest() : keys_(test_vault_id(), GetParam()) { fill_keys(keys_, 2); }
  std::unique_ptr<ContainerCipher> create(ContainerHeader& header, ContainerKind kind = ContainerKind::segment,
                                          std::uint64_t number = 7) {
    auto cipher = ContainerCipher::create(env_, keys_, kind, ContainerNumber(number), header);
    EXPECT_TRUE(cipher.ok());
    return std::move(cipher).value();
  }
  ErrorCode open_code(const ContainerHeader& header, const EpochKeys& keys) {
    const auto opened = ContainerCipher::open(keys, header, ContainerKind::segment, ContainerNumber(7));
    EXPECT_FALSE(opened.ok());
    return opened.ok() ? ErrorCode::Internal : opened.code();
  }
  SimEnv env_;
  EpochKeys keys_;
};

INSTANTIATE_TEST_SUITE_P(Suites, ContainerTest, testing::Values(Suite::aes_gcm, Suite::aes_gcm_in_xchacha));

TEST_P(ContainerTest, HeaderSurvivesEncoding) {
  ContainerHeader header;
  create(header);
  const Bytes encoded = header.encode();
  ASSERT_EQ(encoded.size(), ContainerHeader::kEncodedBytes);
  const auto decoded = ContainerHeader::decode(encoded);
  ASSERT_TRUE(decoded.ok());
  EXPECT_EQ(decoded->epoch, EpochNumber(2));
  EXPECT_EQ(decoded->number, ContainerNumber(7));
  EXPECT_EQ(decoded->encode(), encoded);
  EXPECT_EQ(decoded->outer_commitment.is_zero(), GetParam() == Suite::aes_gcm);
}

TEST_P(ContainerTest, EveryBitFlipAndCutOfTheHeaderIsNoticed) {
  ContainerHeader header;
  create(header);
  const Bytes good = header.encode();
  for (std::size_t bit = 0; bit < good.size() * 8; ++bit) {
    Bytes bad = good;
    bad[bit / 8] ^= static_cast<std::byte>(1U << (bit % 8));
    const auto decoded = ContainerHeader::decode(bad);
    ASSERT_FALSE(decoded.ok()) << "bit " << bit;
    ASSERT_EQ(decoded.code(), ErrorCode::DamagedHeader);
  }
  for (std::size_t size = 0; size < good.size(); ++size) {
    ASSERT_FALSE(ContainerHeader::decode(ByteView(good).first(size)).ok());
  }
}

TEST_P(ContainerTest, NewerFormatIsToldFromDamage) {
  ContainerHeader header;
  create(header);
  Bytes newer = header.encode();
  newer[8] = std::byte{3};
  const auto checksum = checksum128(ByteView(newer).first(144));
  std::copy(checksum.begin(), checksum.end(), newer.begin() + 144);
  EXPECT_EQ(ContainerHeader::decode(newer).code(), ErrorCode::UnsupportedFormat);
}

TEST_P(ContainerTest, OpensWhatWasSealedAndNothingElse) {
  ContainerHeader header;
  const auto sealing = create(header);
  const Bytes content = random_content(1000, 1);
  const Bytes tail(80, std::byte{9});
  Bytes sealed(content.size() + sealing->overhead_bytes());
  const RecordSalt salt = sealing->fresh_salt();
  ASSERT_TRUE(sealing->record(salt)->seal(5, tail, content, sealed).ok());
  const auto opening = ContainerCipher::open(keys_, header, ContainerKind::segment, ContainerNumber(7));
  ASSERT_TRUE(opening.ok());
  const auto record = (*opening)->record(salt);
  ASSERT_TRUE(record.ok());
  Bytes out(content.size());
  ASSERT_TRUE(record->open_frame(5, tail, sealed, out).ok());
  EXPECT_EQ(out, content);
  EXPECT_EQ(record->open_frame(6, tail, sealed, out).code(), ErrorCode::AuthenticationFailed);
  EXPECT_EQ(record->open_frame(5, ByteView(tail).first(79), sealed, out).code(), ErrorCode::AuthenticationFailed);
  const auto other = (*opening)->record((*opening)->fresh_salt());
  EXPECT_EQ(other->open_frame(5, tail, sealed, out).code(), ErrorCode::AuthenticationFailed);
  for (std::size_t at : {std::size_t{0}, content.size(), sealed.size() - 1}) {
    Bytes bad = sealed;
    bad[at] ^= std::byte{1};
    EXPECT_EQ(record->open_frame(5, tail, bad, out).code(), ErrorCode::AuthenticationFailed);
  }
}

TEST_P(ContainerTest, RefusesWhatIsNotExpected) {
  ContainerHeader header;
  create(header);
  ContainerHeader changed = header;
  changed.vault = test_vault_id(1);
  EXPECT_EQ(open_code(changed, keys_), ErrorCode::DamagedHeader);
  changed = header;
  changed.kind = ContainerKind::journal;
  EXPECT_EQ(open_code(changed, keys_), ErrorCode::DamagedHeader);
  changed = header;
  changed.number = ContainerNumber(8);
  EXPECT_EQ(open_code(changed, keys_), ErrorCode::DamagedHeader);
  changed = header;
  changed.suite = GetParam() == Suite::aes_gcm ? Suite::aes_gcm_in_xchacha : Suite::aes_gcm;
  EXPECT_EQ(open_code(changed, keys_), ErrorCode::DamagedHeader);
  changed = header;
  changed.epoch = EpochNumber(1);
  EXPECT_EQ(open_code(changed, keys_), ErrorCode::KeyCommitmentMismatch);
  changed = header;
  changed.salt[0] ^= std::byte{1};
  EXPECT_EQ(open_code(changed, keys_), ErrorCode::KeyCommitmentMismatch);
  changed = header;
  changed.epoch = EpochNumber(9);
  EXPECT_EQ(open_code(changed, keys_), ErrorCode::DamagedHeader);
  if (GetParam() == Suite::aes_gcm_in_xchacha) {
    changed = header;
    changed.outer_commitment.mutable_view()[0] ^= std::byte{1};
    EXPECT_EQ(open_code(changed, keys_), ErrorCode::KeyCommitmentMismatch);
  }
}

TEST_P(ContainerTest, AnotherKeyOrNoKeyIsNamed) {
  ContainerHeader header;
  create(header);
  EpochKeys other(test_vault_id(), GetParam());
  fill_keys(other, 2, std::nullopt, 0x60);
  EXPECT_EQ(open_code(header, other), ErrorCode::KeyCommitmentMismatch);
  keys_.wipe();
  EXPECT_EQ(open_code(header, keys_), ErrorCode::KeyRevoked);
  EXPECT_EQ(ContainerCipher::create(env_, keys_, ContainerKind::segment, ContainerNumber(8), header).code(),
            ErrorCode::KeyRevoked);
}

TEST_P(ContainerTest, ClosedEpochHasNoLaterSegment) {
  EpochKeys one(test_vault_id(), GetParam());
  fill_keys(one, 1);
  ContainerHeader header;
  ASSERT_TRUE(ContainerCipher::create(env_, one, ContainerKind::segment, ContainerNumber(7), header).ok());
  fill_keys(keys_, 2, ContainerNumber(7));
  EXPECT_TRUE(ContainerCipher::open(keys_, header, ContainerKind::segment, ContainerNumber(7)).ok());
  fill_keys(keys_, 2, ContainerNumber(6));
  EXPECT_EQ(open_code(header, keys_), ErrorCode::EpochClosed);
  // Journals have numbers of their own.
  ASSERT_TRUE(ContainerCipher::create(env_, one, ContainerKind::journal, ContainerNumber(7), header).ok());
  EXPECT_TRUE(ContainerCipher::open(keys_, header, ContainerKind::journal, ContainerNumber(7)).ok());
}

}  // namespace
}  // namespace vaultfs
