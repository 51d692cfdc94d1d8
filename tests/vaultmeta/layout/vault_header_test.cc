#include "vaultmeta/layout/vault_header.h"

#include <gtest/gtest.h>

#include "base/byte_codec.h"
#include "crypto/hash.h"

namespace vaultfs {
namespace {

VaultHeader sample_header() {
  VaultHeader header;
  header.id.data()[0] = std::byte{1};
  header.created = UnixNanos{1'700'000'000'000'000'000};
  header.suite = Suite::aes_gcm_in_xchacha;
  header.region = "westeurope";
  header.root_fingerprint.data()[31] = std::byte{9};
  header.infrastructure_key_id[4] = std::byte{7};
  return header;
}

TEST(VaultHeaderTest, ComesBackAsWritten) {
  const VaultHeader header = sample_header();
  const auto back = VaultHeader::decode(header.encode());
  ASSERT_TRUE(back.ok());
  EXPECT_EQ(back->id, header.id);
  EXPECT_EQ(back->created, header.created);
  EXPECT_EQ(back->suite, header.suite);
  EXPECT_EQ(back->region, header.region);
  EXPECT_EQ(back->root_fingerprint, header.root_fingerprint);
  EXPECT_EQ(back->infrastructure_key_id, header.infrastructure_key_id);
}

TEST(VaultHeaderTest, EveryFlippedBitAndCutIsFound) {
  const Bytes good = sample_header().encode();
  for (std::size_t bit = 0; bit < good.size() * 8; ++bit) {
    Bytes bad = good;
    bad[bit / 8] ^= static_cast<std::byte>(1U << (bit % 8));
    const ErrorCode expected = bit < 64 ? ErrorCode::NotAVault : ErrorCode::DamagedHeader;
    ASSERT_EQ(VaultHeader::decode(bad).code(), expected) << bit;
  }
  for (std::size_t size = 0; size < good.size(); ++size) {
    ASSERT_FALSE(VaultHeader::decode(ByteView(good).first(size)).ok()) << size;
  }
}

TEST(VaultHeaderTest, ANewerFormatIsNamedWithBothNumbers) {
  Bytes bytes = sample_header().encode();
  bytes.resize(bytes.size() - Digest::kSize);
  bytes[8] = std::byte{2};
  const Digest digest = sha256(bytes);
  bytes.insert(bytes.end(), digest.view().begin(), digest.view().end());
  const auto newer = VaultHeader::decode(bytes);
  ASSERT_EQ(newer.code(), ErrorCode::UnsupportedFormat);
  EXPECT_NE(newer.error().message.find("version 2"), std::string::npos);
  EXPECT_NE(newer.error().message.find("version 1"), std::string::npos);
}

TEST(VaultHeaderTest, SuiteAndInfrastructureKeyBelongTogether) {
  VaultHeader header = sample_header();
  header.suite = Suite::aes_gcm;
  EXPECT_EQ(VaultHeader::decode(header.encode()).code(), ErrorCode::DamagedHeader);
  header.infrastructure_key_id = {};
  EXPECT_TRUE(VaultHeader::decode(header.encode()).ok());
  header.region = std::string(65, 'r');
  EXPECT_EQ(VaultHeader::decode(header.encode()).code(), ErrorCode::DamagedHeader);
}

TEST(VaultHeaderTest, TheFingerprintDependsOnKeyAndVault) {
  const SecretBuffer key = std::move(SecretBuffer::random(32)).value();
  const SecretBuffer other = std::move(SecretBuffer::random(32)).value();
  const VaultId vault = sample_header().id;
  EXPECT_EQ(root_fingerprint(key, vault).value(), root_fingerprint(key, vault).value());
  EXPECT_NE(root_fingerprint(key, vault).value(), root_fingerprint(other, vault).value());
  EXPECT_NE(root_fingerprint(key, vault).value(), root_fingerprint(key, VaultId()).value());
}

}  // namespace
}  // namespace vaultfs
