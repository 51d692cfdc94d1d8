#include "crypto/passphrase.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <string>

#include "crypto/memory/base64.h"
#include "tests/crypto/test_bytes.h"

namespace vaultfs {
namespace {

using testing_crypto::counting;
using testing_crypto::hex;
using testing_crypto::secret;

constexpr std::string_view kPassphraseLabel = "vaultfs test";
constexpr std::string_view kWords = "correct horse battery staple";
constexpr Argon2Cost kCheap{.memory_kib = 64, .passes = 1};

// Made by Python's `cryptography` package (OpenSSL's Argon2id, HKDF, AESGCM): 8 MiB, 3 passes.
constexpr const char* kPassphraseBox =
    "0020000003000000404142434445464748494a4b4c4d4e4f808182838485868788898a8b8c8d8e8f909192939495969798999a9b9c9d9e9fe1"
    "b3"
    "f3ac735487eeea3105f4af2a04dc5196b360bc89adfd269b3a126d62e5a4861198d75829297e209f1a1b7cf11bdb85f42fd2111b1898256583"
    "89"
    "0388";

// A verifier published in libsodium's test suite (pwhash_argon2id): m=4096, t=19, p=1, 32 bytes.
TEST(Argon2id, LibsodiumsPublishedVector) {
  Bytes expected;
  ASSERT_TRUE(from_base64("ltB/ue1kPtBMBGfsysMpPigE6hiNEKZ9vs8vLNVDQGA=", expected));
  auto key = stretch_passphrase(secret("^T5H$JYt39n%K*j:W]!1s?vg!:jGi]Ax?..l7[p0v:1jHTpla9;]bUN;?bWyCbtqg "),
                                bytes_of(">A 16-bytes salt"), {.memory_kib = 4096, .passes = 19});
  ASSERT_TRUE(key.ok());
  EXPECT_EQ(to_hex(key->view()), to_hex(expected));
}

TEST(Argon2id, AgreesWithOpenssls) {
  auto key = stretch_passphrase(secret(kWords), counting(16, 0x40), {.memory_kib = 8192, .passes = 3});
  ASSERT_TRUE(key.ok());
  EXPECT_EQ(to_hex(key->view()), "9dcd177e2d524c87b2a1d4dc9d6b35eeecbb472efbd2e5f4fdc87e99e77c100f");
}

TEST(Argon2id, RefusesCostsOutOfTheLimits) {
  for (const Argon2Cost cost : {Argon2Cost{7, 1}, Argon2Cost{0, 1}, Argon2Cost{4U * 1024 * 1024 + 1, 1},
                                Argon2Cost{64, 0}, Argon2Cost{64, 65}, Argon2Cost{0xffffffff, 0xffffffff}}) {
    EXPECT_EQ(stretch_passphrase(secret(kWords), counting(16), cost).code(), ErrorCode::InvalidArgument);
    EXPECT_EQ(seal_with_passphrase(secret(kWords), kPassphraseLabel, {}, counting(3), cost).code(),
              ErrorCode::InvalidArgument);
  }
  EXPECT_EQ(stretch_passphrase(secret(kWords), counting(15), kCheap).code(), ErrorCode::InvalidArgument);
}

TEST(PassphraseBox, OpensAnIndependentlyMadeBox) {
  auto opened = open_with_passphrase(secret(kWords), kPassphraseLabel, bytes_of("aad"), hex(kPassphraseBox));
  ASSERT_TRUE(opened.ok());
  EXPECT_EQ(text_of(opened->view()), "a small secret");
}

TEST(PassphraseBox, RoundTripStoresTheCost) {
  auto box = seal_with_passphrase(secret(kWords), kPassphraseLabel, bytes_of("aad"), counting(32), kCheap);
  ASSERT_TRUE(box.ok());
  EXPECT_EQ(to_hex(ByteView(*box).first(8)), "4000000001000000");
  auto opened = open_with_passphrase(secret(kWords), kPassphraseLabel, bytes_of("aad"), *box);
  ASSERT_TRUE(opened.ok());
  EXPECT_TRUE(bytes_equal(opened->view(), counting(32)));
}

TEST(PassphraseBox, WrongPassphraseIsNamed) {
  auto box = seal_with_passphrase(secret(kWords), kPassphraseLabel, bytes_of("aad"), counting(32), kCheap);
  ASSERT_TRUE(box.ok());
  EXPECT_EQ(open_with_passphrase(secret("correct horse battery stapl"), kPassphraseLabel, bytes_of("aad"), *box).code(),
            ErrorCode::WrongPassphrase);
  EXPECT_EQ(open_with_passphrase(secret(""), kPassphraseLabel, bytes_of("aad"), *box).code(),
            ErrorCode::PassphraseRequired);
  EXPECT_EQ(open_with_passphrase(secret(kWords), kPassphraseLabel, bytes_of("other"), *box).code(),
            ErrorCode::AuthenticationFailed);
  EXPECT_EQ(seal_with_passphrase(secret(""), kPassphraseLabel, {}, counting(3), kCheap).code(),
            ErrorCode::PassphraseRequired);
}

TEST(PassphraseBox, EveryFlippedBitIsRefusedByName) {
  auto box = seal_with_passphrase(secret(kWords), kPassphraseLabel, bytes_of("aad"), counting(5), kCheap);
  ASSERT_TRUE(box.ok());
  const SecretBuffer passphrase = secret(kWords);
  for (std::size_t bit = 0; bit < box->size() * 8; ++bit) {
    // Costs of more than 32 MiB are legal: trying them here would only take time.
    if (bit >= 15 && bit <= 22) continue;
    (*box)[bit / 8] ^= static_cast<std::byte>(1U << (bit % 8));
    const auto opened = open_with_passphrase(passphrase, kPassphraseLabel, bytes_of("aad"), *box);
    ASSERT_FALSE(opened.ok()) << bit;
    // A cost beyond the limits (or of nothing) is damage; salt, cost or commitment changed look like another
    // passphrase.
    const bool refused_cost = bit == 6 || (bit > 22 && bit < 32) || bit == 32 || (bit > 37 && bit < 64);
    const bool like_another = bit / 8 < 24 + 64 && !refused_cost;
    ASSERT_EQ(opened.code(), like_another ? ErrorCode::WrongPassphrase : ErrorCode::AuthenticationFailed) << bit;
    (*box)[bit / 8] ^= static_cast<std::byte>(1U << (bit % 8));
  }
}

TEST(PassphraseBox, EveryTruncationIsRefused) {
  auto box = seal_with_passphrase(secret(kWords), kPassphraseLabel, {}, counting(5), kCheap);
  ASSERT_TRUE(box.ok());
  for (std::size_t size = 0; size < box->size(); ++size) {
    ASSERT_EQ(open_with_passphrase(secret(kWords), kPassphraseLabel, {}, ByteView(*box).first(size)).code(),
              ErrorCode::AuthenticationFailed)
        << size;
  }
}

Result<SecretBuffer> read_from_pipe(const std::string& text) {
  int ends[2];
  EXPECT_EQ(::pipe(ends), 0);
  EXPECT_EQ(::write(ends[1], text.data(), text.size()), static_cast<ssize_t>(text.size()));
  ::close(ends[1]);
  auto passphrase = read_passphrase(ends[0]);
  ::close(ends[0]);
  return passphrase;
}

TEST(ReadPassphrase, StripsOneNewlineAndHasLimits) {
  const auto reads = [](const std::string& text, const std::string& expected) {
    auto passphrase = read_from_pipe(text);
    return passphrase.ok() && text_of(passphrase->view()) == expected;
  };
  EXPECT_TRUE(reads("secret", "secret"));
  EXPECT_TRUE(reads("secret\n", "secret"));
  EXPECT_TRUE(reads("secret\n\n", "secret\n"));
  EXPECT_TRUE(reads("two\nlines\n", "two\nlines"));
  const std::string longest(1024, 'x');
  EXPECT_TRUE(reads(longest, longest));
  EXPECT_TRUE(reads(longest + "\n", longest));
  EXPECT_EQ(read_from_pipe("").code(), ErrorCode::PassphraseRequired);
  EXPECT_EQ(read_from_pipe("\n").code(), ErrorCode::PassphraseRequired);
  EXPECT_EQ(read_from_pipe(longest + "x").code(), ErrorCode::InvalidArgument);
  EXPECT_EQ(read_from_pipe(longest + "x\n").code(), ErrorCode::InvalidArgument);
  EXPECT_EQ(read_from_pipe(longest + "\n\n").code(), ErrorCode::InvalidArgument);
  EXPECT_EQ(read_from_pipe(longest + longest).code(), ErrorCode::InvalidArgument);
  EXPECT_EQ(read_passphrase(-1).code(), ErrorCode::IoError);
}

TEST(NewPassphrase, WhatNobodyCouldTypeAgainIsRefused) {
  const auto good = [](std::string_view text) { return check_new_passphrase(std::as_bytes(std::span(text))).ok(); };
  EXPECT_TRUE(good("correct horse battery staple"));
  EXPECT_TRUE(
      good(" gr\xc3\xbc\xc3\x9f"
           "e\t"));
  EXPECT_FALSE(good("secret\r"));
  EXPECT_FALSE(good("\xef\xbb\xbfsecret"));
  EXPECT_FALSE(good("one\ntwo"));
  EXPECT_FALSE(good("secret\n"));
  EXPECT_FALSE(good(std::string_view("a\0b", 3)));
}

}  // namespace
}  // namespace vaultfs
