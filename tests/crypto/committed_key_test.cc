#include "crypto/committed_key.h"

#include <gtest/gtest.h>

#include "crypto/envelope.h"
#include "crypto/hash.h"
#include "tests/crypto/test_bytes.h"

namespace vaultfs {
namespace {

using testing_crypto::counting;
using testing_crypto::hex;
using testing_crypto::secret;

constexpr std::string_view kLabel = "vaultfs test";

// Computed by Python's `cryptography` package (HKDF, AESGCM) from the definition in the header.
constexpr const char* kDerivedKey = "8d3c5dc2c9daa33399f8ef7efcf609d3f28792e460eafe37226da0403bd6e897";
constexpr const char* kDerivedCommitment = "9bd207c68d26fc2909151284ebb15909cb5e2036523b38a66f663540d80763ef";
constexpr const char* kBox =
    "808182838485868788898a8b8c8d8e8f909192939495969798999a9b9c9d9e9f2945084886c97b68ec64f45259476661e8f270a7804f890572"
    "54"
    "e8c42c213ff34a55104781bdf5012dd55d3f3d590bf9f1aba84e553bd5ee5a4aa7a5b05c";

TEST(CommittedKey, IndependentlyComputedValue) {
  auto derived = derive_committed_key(secret(counting(32)), counting(32, 0x80), kLabel, bytes_of("context"));
  ASSERT_TRUE(derived.ok());
  EXPECT_EQ(to_hex(derived->key.view()), kDerivedKey);
  EXPECT_EQ(to_hex(derived->commitment.view()), kDerivedCommitment);
}

TEST(CommittedKey, EveryInputMatters) {
  const SecretBuffer key = secret(counting(32));
  const Bytes salt = counting(32, 0x80);
  auto base = derive_committed_key(key, salt, "label", bytes_of("context"));
  ASSERT_TRUE(base.ok());
  const auto differs = [&](Result<CommittedKey> other) {
    return other.ok() && other->commitment != base->commitment && !bytes_equal(other->key.view(), base->key.view());
  };
  EXPECT_TRUE(differs(derive_committed_key(secret(counting(32, 1)), salt, "label", bytes_of("context"))));
  EXPECT_TRUE(differs(derive_committed_key(key, counting(32, 0x81), "label", bytes_of("context"))));
  EXPECT_TRUE(differs(derive_committed_key(key, salt, "labe", bytes_of("lcontext"))));
  EXPECT_TRUE(differs(derive_committed_key(key, salt, "labelc", bytes_of("ontext"))));
  EXPECT_TRUE(differs(derive_committed_key(key, salt, "label", {})));
}

TEST(CommittedKey, RefusesInputsOfOtherShapes) {
  const SecretBuffer key = secret(counting(32));
  const Bytes salt = counting(32);
  EXPECT_EQ(derive_committed_key(secret(counting(31)), salt, kLabel, {}).code(), ErrorCode::InvalidArgument);
  EXPECT_EQ(derive_committed_key(key, counting(16), kLabel, {}).code(), ErrorCode::InvalidArgument);
  EXPECT_EQ(derive_committed_key(key, salt, "", {}).code(), ErrorCode::InvalidArgument);
  EXPECT_EQ(derive_committed_key(key, salt, std::string_view("a\0b", 3), {}).code(), ErrorCode::InvalidArgument);
}

TEST(CheckedKey, RefusesEveryFlippedBitOfTheCommitment) {
  const SecretBuffer input = secret(counting(32));
  const Bytes salt = counting(32, 0x80);
  Digest commitment;
  const Bytes expected = hex(kDerivedCommitment);
  std::copy(expected.begin(), expected.end(), commitment.data());
  auto key = derive_checked_key(input, salt, kLabel, bytes_of("context"), commitment);
  ASSERT_TRUE(key.ok());
  EXPECT_EQ(to_hex(key->view()), kDerivedKey);
  for (std::size_t bit = 0; bit < 256; ++bit) {
    Digest changed = commitment;
    changed.mutable_view()[bit / 8] ^= static_cast<std::byte>(1U << (bit % 8));
    ASSERT_EQ(derive_checked_key(input, salt, kLabel, bytes_of("context"), changed).code(),
              ErrorCode::KeyCommitmentMismatch);
  }
}

TEST(SealedBox, OpensAnIndependentlyMadeBox) {
  auto opened = open_box(secret(counting(32)), kLabel, bytes_of("aad"), hex(kBox));
  ASSERT_TRUE(opened.ok());
  EXPECT_EQ(text_of(opened->view()), "a small secret");
}

TEST(SealedBox, RoundTripsAndNeverRepeats) {
  const SecretBuffer key = secret(counting(32));
  for (const std::size_t size : {0U, 1U, 32U, 5000U}) {
    const Bytes content = counting(size);
    auto one = seal_box(key, kLabel, bytes_of("aad"), content), two = seal_box(key, kLabel, bytes_of("aad"), content);
    ASSERT_TRUE(one.ok() && two.ok());
    EXPECT_EQ(one->size(), size + kSealedBoxOverheadBytes);
    EXPECT_NE(*one, *two);
    auto opened = open_box(key, kLabel, bytes_of("aad"), *one);
    ASSERT_TRUE(opened.ok());
    EXPECT_TRUE(bytes_equal(opened->view(), content));
  }
}

TEST(SealedBox, WrongKeyAndWrongLabelAreNamed) {
  EXPECT_EQ(open_box(secret(counting(32, 1)), kLabel, bytes_of("aad"), hex(kBox)).code(), ErrorCode::WrongKey);
  EXPECT_EQ(open_box(secret(counting(32)), "another label", bytes_of("aad"), hex(kBox)).code(), ErrorCode::WrongKey);
  EXPECT_EQ(open_box(secret(counting(32)), kLabel, bytes_of("aae"), hex(kBox)).code(), ErrorCode::AuthenticationFailed);
}

TEST(SealedBox, EveryFlippedBitIsRefusedByName) {
  const SecretBuffer key = secret(counting(32));
  Bytes box = hex(kBox);
  for (std::size_t bit = 0; bit < box.size() * 8; ++bit) {
    box[bit / 8] ^= static_cast<std::byte>(1U << (bit % 8));
    const auto opened = open_box(key, kLabel, bytes_of("aad"), box);
    ASSERT_FALSE(opened.ok()) << bit;
    // A changed salt or commitment looks like another key; a changed ciphertext or tag doesn't.
    ASSERT_EQ(opened.code(), bit / 8 < 64 ? ErrorCode::WrongKey : ErrorCode::AuthenticationFailed) << bit;
    box[bit / 8] ^= static_cast<std::byte>(1U << (bit % 8));
  }
}

TEST(SealedBox, EveryTruncationAndExtensionIsRefused) {
  const SecretBuffer key = secret(counting(32));
  Bytes box = hex(kBox);
  for (std::size_t size = 0; size < box.size(); ++size) {
    ASSERT_EQ(open_box(key, kLabel, bytes_of("aad"), ByteView(box).first(size)).code(), ErrorCode::AuthenticationFailed)
        << size;
  }
  box.push_back(std::byte{0});
  EXPECT_EQ(open_box(key, kLabel, bytes_of("aad"), box).code(), ErrorCode::AuthenticationFailed);
}

TEST(Envelope, HasTheDocumentedForm) {
  auto envelope = encode_envelope(secret(counting(32)), bytes_of("vault 1, slot 2"));
  ASSERT_TRUE(envelope.ok());
  EXPECT_EQ(to_hex(envelope->view()), "01" + to_hex(counting(32)) + to_hex(sha256(bytes_of("vault 1, slot 2")).view()));
  auto key = decode_envelope(*envelope, bytes_of("vault 1, slot 2"));
  ASSERT_TRUE(key.ok());
  EXPECT_TRUE(bytes_equal(key->view(), counting(32)));
}

TEST(Envelope, IsBoundToItsContext) {
  auto envelope = encode_envelope(secret(counting(32)), bytes_of("vault 1"));
  ASSERT_TRUE(envelope.ok());
  for (const std::string_view context : {"", "vault 2", "vault 1 "}) {
    EXPECT_EQ(decode_envelope(*envelope, bytes_of(context)).code(), ErrorCode::AuthenticationFailed) << context;
  }
}

TEST(Envelope, RefusesOtherShapes) {
  auto envelope = encode_envelope(secret(counting(32)), bytes_of("c"));
  ASSERT_TRUE(envelope.ok());
  for (std::size_t size = 0; size < kEnvelopeBytes; ++size) {
    ASSERT_EQ(decode_envelope(secret(envelope->view().first(size)), bytes_of("c")).code(),
              ErrorCode::AuthenticationFailed);
  }
  Bytes longer = to_bytes(envelope->view());
  longer.push_back(std::byte{0});
  EXPECT_EQ(decode_envelope(secret(longer), bytes_of("c")).code(), ErrorCode::AuthenticationFailed);
  for (std::size_t byte = 0; byte < kEnvelopeBytes; ++byte) {
    if (byte >= 1 && byte < 33) continue;  // the key itself, which RSA-OAEP and the keyring's MAC protect
    Bytes changed = to_bytes(envelope->view());
    changed[byte] ^= std::byte{0x10};
    ASSERT_EQ(decode_envelope(secret(changed), bytes_of("c")).code(), ErrorCode::AuthenticationFailed) << byte;
  }
  EXPECT_EQ(encode_envelope(secret(counting(16)), bytes_of("c")).code(), ErrorCode::InvalidArgument);
}

}  // namespace
}  // namespace vaultfs
