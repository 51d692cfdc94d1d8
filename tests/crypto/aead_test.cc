#include "crypto/aead.h"

#include <gtest/gtest.h>
#include <openssl/evp.h>
#include <sodium.h>

#include <atomic>
#include <thread>

#include "crypto/aes_gcm.h"
#include "crypto/ipsec_mb.h"
#include "tests/crypto/test_bytes.h"

namespace vaultfs {
namespace {

using testing_crypto::counting;
using testing_crypto::hex;
using testing_crypto::raw;
using testing_crypto::raw_out;
using testing_crypto::secret;

using Maker = Result<std::unique_ptr<Aead>> (*)(const SecretBuffer&);

struct Vector {
  const char* name;
  Maker make;
  const char* key;
  const char* nonce;
  const char* aad;
  const char* plaintext;
  const char* ciphertext;
  const char* tag;
};

constexpr const char* kGcmPlain =
    "d9313225f88406e5a55909c5aff5269a86a7a9531534f7da2e4c303d8a318a721c3c0c95956809532fcf0e2449a6b525b16aedf5aa0de657ba"
    "63"
    "7b391aafd255";
constexpr const char* kGcmCipher =
    "522dc1f099567d07f47f37a32a84427d643a8cdcbfe5c0c97598a2bd2555d1aa8cb08e48590dbb3da7b08b1056828838c5f61e6393ba7a0abc"
    "c9"
    "f662898015ad";
constexpr const char* kGcmKey = "feffe9928665731c6d6a8f9467308308feffe9928665731c6d6a8f9467308308";
constexpr const char* kZeroKey = "0000000000000000000000000000000000000000000000000000000000000000";

// Test cases 13 to 16 of McGrew and Viega, "The Galois/Counter Mode of Operation (GCM)", appendix B (submitted to
// NIST); XChaCha20-Poly1305 of draft-irtf-cfrg-xchacha-03, appendix A.3.1.
const Vector kVectors[] = {
    {"Gcm13", make_aes_256_gcm, kZeroKey, "000000000000000000000000", "", "", "", "530f8afbc74536b9a963b4f1c4cb738b"},
    {"Gcm14", make_aes_256_gcm, kZeroKey, "000000000000000000000000", "", "00000000000000000000000000000000",
     "cea7403d4d606b6e074ec5d3baf39d18", "d0d1c8a799996bf0265b98b5d48ab919"},
    {"Gcm15", make_aes_256_gcm, kGcmKey, "cafebabefacedbaddecaf888", "", kGcmPlain, kGcmCipher,
     "b094dac5d93471bdec1a502270e3cc6c"},
    {"Gcm16", make_aes_256_gcm, kGcmKey, "cafebabefacedbaddecaf888", "feedfacedeadbeeffeedfacedeadbeefabaddad2",
     "d9313225f88406e5a55909c5aff5269a86a7a9531534f7da2e4c303d8a318a721c3c0c95956809532fcf0e2449a6b525b16aedf5aa0de657"
     "ba637b39",
     "522dc1f099567d07f47f37a32a84427d643a8cdcbfe5c0c97598a2bd2555d1aa8cb08e48590dbb3da7b08b1056828838c5f61e6393ba7a0a"
     "bcc9f662",
     "76fc6ece0f4e1768cddf8853bb2d551b"},
    {"Gcm13Openssl", make_openssl_aes_256_gcm, kZeroKey, "000000000000000000000000", "", "", "",
     "530f8afbc74536b9a963b4f1c4cb738b"},
    {"Gcm15Openssl", make_openssl_aes_256_gcm, kGcmKey, "cafebabefacedbaddecaf888", "", kGcmPlain, kGcmCipher,
     "b094dac5d93471bdec1a502270e3cc6c"},
    {"XChaChaA31", make_xchacha20_poly1305, "808182838485868788898a8b8c8d8e8f909192939495969798999a9b9c9d9e9f",
     "404142434445464748494a4b4c4d4e4f5051525354555657", "50515253c0c1c2c3c4c5c6c7",
     "4c616469657320616e642047656e746c656d656e206f662074686520636c617373206f66202739393a204966204920636f756c64206f6666"
     "657220796f75206f6e6c79206f6e652074697020666f7220746865206675747572652c2073756e73637265656e20776f756c642062652069"
     "742e",
     "bd6d179d3e83d43b9576579493c0e939572a1700252bfaccbed2902c21396cbb731c7f1b0b4aa6440bf3a82f4eda7e39ae64c6708c54c216"
     "cb96b72e1213b4522f8c9ba40db5d945b11b69b982c1bb9e3f3fac2bc369488f76b2383565d3fff921f9664c97637da9768812f615c68b13"
     "b52e",
     "c0875924c1c7987947deafd8780acf49"},
};

class AeadVectors : public testing::TestWithParam<Vector> {};

TEST_P(AeadVectors, SealsAndOpensTheKnownAnswer) {
  const Vector& v = GetParam();
  auto aead = v.make(secret(hex(v.key)));
  ASSERT_TRUE(aead.ok());
  const Bytes nonce = hex(v.nonce), aad = hex(v.aad), plaintext = hex(v.plaintext);
  ASSERT_EQ((*aead)->nonce_bytes(), nonce.size());
  Bytes sealed(plaintext.size() + kAeadTagBytes);
  ASSERT_TRUE((*aead)->seal(nonce, aad, plaintext, sealed).ok());
  EXPECT_EQ(to_hex(sealed), std::string(v.ciphertext) + v.tag);
  Bytes opened(plaintext.size());
  ASSERT_TRUE((*aead)->open(nonce, aad, sealed, opened).ok());
  EXPECT_EQ(opened, plaintext);
}

TEST_P(AeadVectors, RefusesEveryFlippedBitAndWipesTheOutput) {
  const Vector& v = GetParam();
  auto aead = v.make(secret(hex(v.key)));
  ASSERT_TRUE(aead.ok());
  Bytes nonce = hex(v.nonce), aad = hex(v.aad);
  Bytes sealed = hex(std::string(v.ciphertext) + v.tag);
  for (Bytes* part : {&nonce, &aad, &sealed}) {
    for (std::size_t bit = 0; bit < part->size() * 8; ++bit) {
      std::byte& changed = (*part)[bit / 8];
      changed ^= static_cast<std::byte>(1U << (bit % 8));
      Bytes opened(sealed.size() - kAeadTagBytes, std::byte{0xee});
      const Status status = (*aead)->open(nonce, aad, sealed, opened);
      ASSERT_FALSE(status.ok()) << "bit " << bit;
      ASSERT_EQ(status.code(), ErrorCode::AuthenticationFailed);
      ASSERT_TRUE(is_all_zero(opened)) << "bit " << bit;
      changed ^= static_cast<std::byte>(1U << (bit % 8));
    }
  }
  // And the same object still opens what is as it was.
  Bytes opened(sealed.size() - kAeadTagBytes);
  EXPECT_TRUE((*aead)->open(nonce, aad, sealed, opened).ok());
}

TEST_P(AeadVectors, AnotherKeyIsRefused) {
  const Vector& v = GetParam();
  Bytes key = hex(v.key);
  key[31] ^= std::byte{1};
  auto aead = v.make(secret(key));
  ASSERT_TRUE(aead.ok());
  const Bytes sealed = hex(std::string(v.ciphertext) + v.tag);
  Bytes opened(sealed.size() - kAeadTagBytes);
  EXPECT_EQ((*aead)->open(hex(v.nonce), hex(v.aad), sealed, opened).code(), ErrorCode::AuthenticationFailed);
}

INSTANTIATE_TEST_SUITE_P(Standards, AeadVectors, testing::ValuesIn(kVectors),
                         [](const auto& test) { return std::string(test.param.name); });

TEST(Aead, KeysOfOtherSizesAreRefused) {
  for (const std::size_t size : {0U, 16U, 31U, 33U, 64U}) {
    EXPECT_EQ(make_aes_256_gcm(secret(counting(size))).code(), ErrorCode::InvalidArgument) << size;
    EXPECT_EQ(make_xchacha20_poly1305(secret(counting(size))).code(), ErrorCode::InvalidArgument) << size;
  }
}

TEST(Aead, KeyIsCopied) {
  for (const Maker make : {Maker{make_aes_256_gcm}, Maker{make_xchacha20_poly1305}}) {
    SecretBuffer key = secret(counting(32));
    auto aead = make(key);
    auto same = make(key);
    ASSERT_TRUE(aead.ok() && same.ok());
    wipe(key.mutable_view());
    key.reset();
    const Bytes nonce((*aead)->nonce_bytes()), text = counting(100);
    Bytes sealed(text.size() + kAeadTagBytes), opened(text.size());
    ASSERT_TRUE((*aead)->seal(nonce, {}, text, sealed).ok());
    EXPECT_TRUE((*same)->open(nonce, {}, sealed, opened).ok());
    EXPECT_EQ(opened, text);
  }
}

TEST(AeadDeathTest, BrokenContractAborts) {
  testing::FLAGS_gtest_death_test_style = "threadsafe";
  auto aead = make_aes_256_gcm(secret(counting(32)));
  ASSERT_TRUE(aead.ok());
  Bytes text(32), out(48), nonce(12);
  EXPECT_DEATH((void)(*aead)->seal(ByteView(nonce).first(11), {}, text, out), "");
  EXPECT_DEATH((void)(*aead)->seal(nonce, {}, text, MutableByteView(out).first(47)), "");
  EXPECT_DEATH((void)(*aead)->seal(nonce, {}, ByteView(out).first(32), out), "");
  EXPECT_DEATH((void)(*aead)->open(nonce, {}, ByteView(out).first(15), {}), "");
}

TEST(Aead, AesGcmAgreesWithLibsodium) {
  if (sodium_init() < 0 || crypto_aead_aes256gcm_is_available() == 0) GTEST_SKIP() << "no AES instructions";
  const Bytes key = counting(32, 7), nonce = counting(12, 90), aad = counting(45, 3);
  auto aead = make_aes_256_gcm(secret(key));
  ASSERT_TRUE(aead.ok());
  for (const std::size_t size : {0U, 1U, 15U, 16U, 17U, 1000U, 32768U, 65536U, 65537U}) {
    const Bytes text = counting(size, 11);
    Bytes ours(size + kAeadTagBytes), theirs(size + kAeadTagBytes);
    ASSERT_TRUE((*aead)->seal(nonce, aad, text, ours).ok());
    ASSERT_EQ(crypto_aead_aes256gcm_encrypt(raw_out(theirs), nullptr, raw(text), size, raw(aad), aad.size(), nullptr,
                                            raw(nonce), raw(key)),
              0);
    EXPECT_EQ(ours, theirs) << size;
  }
}

// Whatever one implementation seals, the other opens, at lengths around blocks and in what the vector code takes at
// once.
TEST(Aead, ImplementationsOfAesGcmAgree) {
  if (!ipsec_mb_usable()) GTEST_SKIP() << "no multi-buffer library, or a processor that it does not help";
  const SecretBuffer key = secret(counting(32, 5));
  const auto fast = make_ipsec_mb_aes_256_gcm(key);
  const auto reference = make_openssl_aes_256_gcm(key);
  ASSERT_TRUE(fast.ok() && reference.ok());
  for (std::size_t size = 0; size < 1200; size += size < 300 ? 1 : 47) {
    const Bytes nonce = counting(12, static_cast<std::uint8_t>(size)), aad = counting(size % 131, 9),
                text = counting(size, 3);
    Bytes ours(size + kAeadTagBytes), theirs(size + kAeadTagBytes), opened(size);
    ASSERT_TRUE((*fast)->seal(nonce, aad, text, ours).ok());
    ASSERT_TRUE((*reference)->seal(nonce, aad, text, theirs).ok());
    ASSERT_EQ(ours, theirs) << size;
    ASSERT_TRUE((*fast)->open(nonce, aad, theirs, opened).ok());
    ASSERT_EQ(opened, text) << size;
  }
  for (const std::size_t size :
       {std::size_t{32768}, std::size_t{262'144}, std::size_t{262'145}, std::size_t{1'048'583}}) {
    const Bytes nonce = counting(12, 1), text = counting(size, 3);
    Bytes ours(size + kAeadTagBytes), theirs(size + kAeadTagBytes);
    ASSERT_TRUE((*fast)->seal(nonce, {}, text, ours).ok());
    ASSERT_TRUE((*reference)->seal(nonce, {}, text, theirs).ok());
    EXPECT_TRUE(ours == theirs) << size;
  }
}

// draft-irtf-cfrg-xchacha section 2.3: ChaCha20-Poly1305 (here OpenSSL's) under HChaCha20(key, nonce[0..16]) with the
// nonce 0000 ‖ nonce[16..24].
TEST(Aead, XChaChaAgreesWithOpensslChaCha) {
  const Bytes key = counting(32, 7), nonce = counting(24, 90), aad = counting(45, 3);
  Bytes subkey(32), short_nonce(12);
  ASSERT_EQ(crypto_core_hchacha20(raw_out(subkey), raw(nonce), raw(key), nullptr), 0);
  std::copy(nonce.begin() + 16, nonce.end(), short_nonce.begin() + 4);
  auto aead = make_xchacha20_poly1305(secret(key));
  ASSERT_TRUE(aead.ok());
  for (const std::size_t size : {1U, 63U, 64U, 65U, 32768U, 65537U}) {
    const Bytes text = counting(size, 11);
    Bytes ours(size + kAeadTagBytes), theirs(size + kAeadTagBytes);
    ASSERT_TRUE((*aead)->seal(nonce, aad, text, ours).ok());
    const std::unique_ptr<EVP_CIPHER_CTX, decltype(&EVP_CIPHER_CTX_free)> c(EVP_CIPHER_CTX_new(), EVP_CIPHER_CTX_free);
    int n = 0;
    ASSERT_EQ(EVP_EncryptInit_ex(c.get(), EVP_chacha20_poly1305(), nullptr, raw(subkey), raw(short_nonce)), 1);
    ASSERT_EQ(EVP_EncryptUpdate(c.get(), nullptr, &n, raw(aad), static_cast<int>(aad.size())), 1);
    ASSERT_EQ(EVP_EncryptUpdate(c.get(), raw_out(theirs), &n, raw(text), static_cast<int>(size)), 1);
    ASSERT_EQ(EVP_EncryptFinal_ex(c.get(), raw_out(theirs) + size, &n), 1);
    ASSERT_EQ(EVP_CIPHER_CTX_ctrl(c.get(), EVP_CTRL_AEAD_GET_TAG, 16, theirs.data() + size), 1);
    EXPECT_EQ(ours, theirs) << size;
  }
}

// Eight threads over one object; each seals with nonces of its own, opens, and meets failures in between.
TEST(Aead, OneObjectServesManyThreads) {
  for (const Maker make : {Maker{make_aes_256_gcm}, Maker{make_openssl_aes_256_gcm}, Maker{make_xchacha20_poly1305}}) {
    auto aead = make(secret(counting(32)));
    auto reference = make(secret(counting(32)));
    ASSERT_TRUE(aead.ok() && reference.ok());
    std::atomic<int> wrong{0};
    const auto work = [&](unsigned id) {
      const Bytes text = counting(4096 + id, id);
      Bytes nonce((*aead)->nonce_bytes()), sealed(text.size() + kAeadTagBytes), opened(text.size());
      nonce[0] = static_cast<std::byte>(id);
      for (unsigned round = 0; round < 200; ++round) {
        nonce[1] = static_cast<std::byte>(round);
        if (!(*aead)->seal(nonce, text, text, sealed).ok()) ++wrong;
        if (!(*aead)->open(nonce, text, sealed, opened).ok() || opened != text) ++wrong;
        sealed[round] ^= std::byte{4};
        if ((*aead)->open(nonce, text, sealed, opened).ok()) ++wrong;
      }
      // What was sealed in the crowd is what a lone object opens.
      if (!(*aead)->seal(nonce, {}, text, sealed).ok()) ++wrong;
      if (!(*reference)->open(nonce, {}, sealed, opened).ok() || opened != text) ++wrong;
    };
    std::vector<std::thread> threads;
    for (unsigned id = 0; id < 8; ++id) threads.emplace_back(work, id);
    for (std::thread& thread : threads) thread.join();
    EXPECT_EQ(wrong.load(), 0);
  }
}

}  // namespace
}  // namespace vaultfs
