#include "crypto/hash.h"

#include <gtest/gtest.h>
#include <sodium.h>

#include <atomic>
#include <thread>
#include <vector>

#include "crypto/chunk_id.h"
#include "crypto/ipsec_mb.h"
#include "crypto/leaf_hash.h"
#include "tests/crypto/test_bytes.h"

namespace vaultfs {
namespace {

using testing_crypto::counting;
using testing_crypto::hex;
using testing_crypto::raw;
using testing_crypto::raw_out;
using testing_crypto::secret;

// NIST, "Examples with Intermediate Values" for FIPS 180-4, and the million of FIPS 180-2 appendix B.3.
TEST(Sha256, KnownAnswers) {
  EXPECT_EQ(to_hex(sha256(ByteView{}).view()), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
  EXPECT_EQ(to_hex(sha256(bytes_of("abc")).view()), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
  EXPECT_EQ(to_hex(sha256(bytes_of("abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq")).view()),
            "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1");
  const Bytes million(1'000'000, std::byte{'a'});
  EXPECT_EQ(to_hex(sha256(million).view()), "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0");
}

TEST(Sha256, PartsAreOneMessageAndAgreeWithLibsodium) {
  const Bytes text = counting(70'000, 5);
  const ByteView all = text;
  for (const std::size_t cut : {0U, 1U, 63U, 64U, 65U, 32768U, 70000U}) {
    Bytes theirs(32);
    crypto_hash_sha256(raw_out(theirs), raw(text), text.size());
    EXPECT_EQ(to_hex(sha256({all.first(cut), ByteView{}, all.subspan(cut)}).view()), to_hex(theirs)) << cut;
  }
}

// RFC 4231 sections 4.2 to 4.8 (4.6, the truncated one, compares its 128 bits).
TEST(HmacSha256, Rfc4231) {
  const std::string aa20(40, 'a'), dd50(100, 'd'), cd50 = [] {
    std::string text;
    for (int i = 0; i < 50; ++i) text += "cd";
    return text;
  }();
  const std::string aa131(262, 'a');
  const struct {
    std::string key, data, mac;
  } vectors[] = {
      {"0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b", to_hex(bytes_of("Hi There")),
       "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7"},
      {to_hex(bytes_of("Jefe")), to_hex(bytes_of("what do ya want for nothing?")),
       "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"},
      {aa20, dd50, "773ea91e36800e46854db8ebd09181a72959098b3ef8c122d9635514ced565fe"},
      {"0102030405060708090a0b0c0d0e0f10111213141516171819", cd50,
       "82558a389a443c0ea4cc819899f2083a85f0faa3e578f8077a2e3ff46729665b"},
      {"0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c", to_hex(bytes_of("Test With Truncation")),
       "a3b6167473100ee06e0c796c2955552b"},
      {aa131, to_hex(bytes_of("Test Using Larger Than Block-Size Key - Hash Key First")),
       "60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54"},
      {aa131,
       to_hex(bytes_of("This is a test using a larger than block-size key and a larger than block-size data. The key "
                       "needs to be hashed before being used by the HMAC algorithm.")),
       "9b09ffa71b942fcb27635fbcd5b0e944bfdc63644f0713938a7f51535c3a35e2"},
  };
  for (const auto& v : vectors) {
    const Digest mac = hmac_sha256(hex(v.key), {hex(v.data)});
    EXPECT_EQ(to_hex(mac.view()).substr(0, v.mac.size()), v.mac);
  }
}

TEST(HmacSha256, AgreesWithLibsodiumForEveryKeyAroundTheBlock) {
  const Bytes text = counting(300, 1);
  const Bytes key_material = counting(130, 77);
  for (std::size_t key_bytes = 0; key_bytes <= 130; ++key_bytes) {
    const ByteView key = ByteView(key_material).first(key_bytes);
    crypto_auth_hmacsha256_state state;
    Bytes theirs(32);
    crypto_auth_hmacsha256_init(&state, raw(key), key.size());
    crypto_auth_hmacsha256_update(&state, raw(text), text.size());
    crypto_auth_hmacsha256_final(&state, raw_out(theirs));
    const Digest ours = hmac_sha256(key, {ByteView(text).first(100), ByteView(text).subspan(100)});
    ASSERT_EQ(to_hex(ours.view()), to_hex(theirs)) << key_bytes;
  }
}

// RFC 5869 appendices A.1 to A.3.
TEST(HkdfSha256, Rfc5869) {
  const auto a1 =
      hkdf_sha256(hex("0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b"), counting(13), counting(10, 0xf0), 42);
  ASSERT_TRUE(a1.ok());
  EXPECT_EQ(to_hex(a1->view()), "3cb25f25faacd57a90434f64d0362f2a2d2d0a90cf1a5a4c5db02d56ecc4c5bf34007208d5b887185865");
  const auto a2 = hkdf_sha256(counting(80), counting(80, 0x60), counting(80, 0xb0), 82);
  ASSERT_TRUE(a2.ok());
  EXPECT_EQ(
      to_hex(a2->view()),
      "b11e398dc80327a1c8e7f78c596a49344f012eda2d4efad8a050cc4c19afa97c59045a99cac7827271cb41c65e590e09da3275600c2f0"
      "9b8367793a9aca3db71cc30c58179ec3e87c14c01d5c1f3434f1d87");
  const auto a3 = hkdf_sha256(hex("0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b"), {}, {}, 42);
  ASSERT_TRUE(a3.ok());
  EXPECT_EQ(to_hex(a3->view()), "8da4e775a563c18f715f802a063c5a31b8a11f5c5ee1879ec3454e5f3c738d2d9d201395faa4b61a96c8");
}

TEST(HkdfSha256, SizesHaveLimitsAndShareAPrefix) {
  EXPECT_EQ(hkdf_sha256(counting(32), {}, {}, 0).code(), ErrorCode::InvalidArgument);
  EXPECT_EQ(hkdf_sha256(counting(32), {}, {}, 8161).code(), ErrorCode::InvalidArgument);
  const auto longest = hkdf_sha256(counting(32), {}, {}, 8160);
  ASSERT_TRUE(longest.ok());
  for (const std::size_t size : {1U, 31U, 32U, 33U, 64U}) {
    const auto shorter = hkdf_sha256(counting(32), {}, {}, size);
    ASSERT_TRUE(shorter.ok());
    EXPECT_TRUE(bytes_equal(shorter->view(), longest->view().first(size))) << size;
  }
}

Bytes chunk_content(std::size_t size) {
  Bytes bytes(size);
  for (std::size_t i = 0; i < size; ++i) bytes[i] = static_cast<std::byte>((i * 31 + (i >> 8U)) & 0xffU);
  return bytes;
}

// The multi-buffer library takes 16 messages at once: numbers of leaves around that, and last leaves of odd lengths.
TEST(LeafHash, ImplementationsAgree) {
  if (!ipsec_mb_usable()) GTEST_SKIP() << "no multi-buffer library, or a processor that it does not help";
  for (const std::size_t leaves : {0U, 1U, 2U, 7U, 8U, 15U, 16U, 17U, 24U, 31U, 32U, 33U}) {
    for (const std::size_t more : {0U, 1U, 55U, 56U, 63U, 64U, 65U, 32767U}) {
      const Bytes content = chunk_content(leaves * kLeafBytes + more);
      Bytes ours(leaf_digests_bytes(content.size())), theirs(ours.size());
      ipsec_mb_hash_leaves(content, ours);
      openssl_hash_leaves(content, theirs);
      ASSERT_EQ(ours, theirs) << leaves << " leaves and " << more;
      hash_leaves(content, ours);  // some by the one, the rest by the other
      ASSERT_EQ(ours, theirs) << leaves << " leaves and " << more;
    }
  }
}

TEST(LeafHash, ManyThreadsAtOnce) {
  const Bytes content = chunk_content((1U << 20U) - 5);
  Bytes expected(leaf_digests_bytes(content.size()));
  openssl_hash_leaves(content, expected);
  std::atomic<int> wrong{0};
  std::vector<std::thread> threads;
  for (int id = 0; id < 8; ++id) {
    threads.emplace_back([&] {
      for (int round = 0; round < 5; ++round) {
        Bytes digests(expected.size());
        hash_leaves(content, digests);
        if (digests != expected) ++wrong;
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(wrong.load(), 0);
}

// The expected ids were computed by Python's hashlib and hmac from the definition alone.
TEST(ChunkId, IndependentlyComputedValues) {
  const SecretBuffer key = secret(counting(32));
  const struct {
    std::size_t size;
    const char* id;
  } vectors[] = {
      {0, "84aabe28e21bd6530aebb632d667ce34a309d8c5053292f7621491a01c6aed28"},
      {1, "6a22adeb1e41a5df8f63b76ef2e5356ec0bb50088877a5d2b95bc1ea7c40315d"},
      {32767, "bc44fa01132ba20d49d27db3c4000342e5ae1feaee3e2e86454283362c3a5407"},
      {32768, "15ec280103946e588420d457d92522cdf78666c8e9c79608b21edaec0dadb8ea"},
      {32769, "8615cde87415ddc604066b2b0924c47df3b6a0bd2169f8bac7a024c5b0fe3d25"},
      {100000, "54296546c9c4ec0b064f94deaa1b62b90a078fd90164547bbad0eb91a1d56503"},
      {1U << 20U, "a4b698fd7aad341a71984dddc513f6fe4394685a409aaa10df38b46ba641d308"},
  };
  for (const auto& v : vectors) {
    EXPECT_EQ(to_hex(chunk_id(key, 1, chunk_content(v.size)).view()), v.id) << v.size;
  }
  EXPECT_EQ(to_hex(chunk_id(key, 2, chunk_content(1)).view()),
            "bd4cb45a468cbb11a894d41791e8de90e944d6109a1c3a365404fc7d30a54dc6");
}

TEST(ChunkId, DependsOnTheKey) {
  const Bytes content = chunk_content(1000);
  EXPECT_NE(chunk_id(secret(counting(32)), 1, content), chunk_id(secret(counting(32, 1)), 1, content));
}

TEST(ChunkId, ThreadsDontDisturbEachOther) {
  const SecretBuffer key = secret(counting(32));
  const Bytes content = chunk_content(1U << 20U);
  const ChunkId expected = chunk_id(key, 1, content);
  std::vector<ChunkId> ids(8);
  std::vector<std::thread> threads;
  for (ChunkId& id : ids) {
    threads.emplace_back([&] {
      for (int i = 0; i < 3; ++i) id = chunk_id(key, 1, content);
    });
  }
  for (std::thread& thread : threads) thread.join();
  for (const ChunkId& id : ids) EXPECT_EQ(id, expected);
}

}  // namespace
}  // namespace vaultfs
