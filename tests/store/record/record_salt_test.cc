#include <algorithm>
#include <set>

#include "crypto/committed_key.h"
#include "store/journal/journal_file.h"
#include "store/record/checksum.h"
#include "store/record/record.h"
#include "store/record/stream.h"
#include "tests/store/store_fixture.h"

namespace vaultfs {
namespace {

constexpr std::size_t kIdSaltAt = 16;     // in a record with a ChunkId
constexpr std::size_t kOtherSaltAt = 32;  // in any other one

class RecordSaltTest : public testing::TestWithParam<Suite> {
 protected:
  RecordSaltTest() : keys_(test_vault_id(), GetParam()) { fill_keys(keys_); }
  void SetUp() override {
    ASSERT_TRUE(ContainerCipher::create(env_, keys_, ContainerKind::segment, ContainerNumber(1), header_).ok());
  }
  // The container's cipher as a machine has it that goes on from a snapshot: all is as it was, but for the randomness
  // that comes from now on.
  std::unique_ptr<ContainerCipher> resumed(Env& env) const {
    return std::move(ContainerCipher::open(keys_, header_, header_.kind, header_.number, env)).value();
  }
  // A container that a program of version 1 made, with other ciphers for the same keys.
  std::unique_ptr<ContainerCipher> version_1() {
    header_.version = 1;
    const auto key =
        derive_committed_key(test_secret(0x11), header_.salt, "vaultfs/1 container key", header_.context());
    header_.commitment = key->commitment;
    if (GetParam() == Suite::aes_gcm_in_xchacha) {
      const auto outer =
          derive_committed_key(test_secret(0xf1), header_.salt, "vaultfs/1 infrastructure key", header_.context());
      header_.outer_commitment = outer->commitment;
    }
    header_ = ContainerHeader::decode(header_.encode()).value();
    return resumed(env_);
  }
  static Bytes seal(const ContainerCipher& cipher, ByteView content, RecordType type = RecordType::chunk) {
    RecordDraft draft;
    draft.type = type;
    if (type == RecordType::chunk) draft.id = test_chunk_id(type, bytes_of("the same id in all"));
    draft.nonce_base = 7;
    draft.compression = Compression::off;
    Bytes out;
    EXPECT_TRUE(seal_record(cipher, draft, content, out).ok());
    return out;
  }
  static ByteView ciphertext(ByteView stored, std::size_t size) {
    return stored.subspan(RecordHeader::kEncodedBytes + 4, size);
  }
  static Bytes exclusive_or(ByteView a, ByteView b) {
    Bytes out(a.size());
    for (std::size_t i = 0; i < out.size(); ++i) out[i] = a[i] ^ b[i];
    return out;
  }
  static Result<Bytes> reopen(const ContainerCipher& cipher, ByteView stored) {
    VAULTFS_ASSIGN_OR_RETURN(const RecordHeader header, RecordHeader::decode(stored));
    return open_record(cipher, header, stored);
  }
  // The record with another salt, its checksums made anew.
  static Bytes with_salt(Bytes stored, const RecordSalt& salt) {
    RecordHeader header = RecordHeader::decode(stored).value();
    header.salt = salt;
    header.encode(MutableByteView(stored).first(RecordHeader::kEncodedBytes));
    const std::size_t covered = RecordHeader::kEncodedBytes + header.payload_bytes;
    const auto sum = checksum128(ByteView(stored).first(covered));
    std::copy(sum.begin(), sum.end(), stored.begin() + static_cast<std::ptrdiff_t>(covered));
    return stored;
  }

  SimEnv env_;
  EpochKeys keys_;
  ContainerHeader header_;
};

INSTANTIATE_TEST_SUITE_P(Suites, RecordSaltTest, testing::Values(Suite::aes_gcm, Suite::aes_gcm_in_xchacha));

// With one key and one nonce, the two ciphertexts would differ by what the plaintexts differ by, and their tags would
// give GCM's authentication key away.
TEST_P(RecordSaltTest, TwoWritersOfOneSnapshotShareNoKeyStream) {
  SimEnv one(11);
  SimEnv two(12);
  const auto first = resumed(one);
  const auto second = resumed(two);
  constexpr std::size_t kSize = 1000;
  const Bytes a = random_content(kSize, 1);
  const Bytes b = random_content(kSize, 2);
  const Bytes sealed_a = seal(*first, a);
  const Bytes sealed_b = seal(*second, b);
  EXPECT_NE(exclusive_or(ciphertext(sealed_a, kSize), ciphertext(sealed_b, kSize)), exclusive_or(a, b));
  // The same content at the same place, too: not even that it is the same shows.
  const Bytes again = seal(*second, a);
  EXPECT_FALSE(bytes_equal(ciphertext(sealed_a, kSize), ciphertext(again, kSize)));
  // Whoever has the keys reads all of them.
  for (const auto* cipher : {first.get(), second.get()}) {
    EXPECT_EQ(*reopen(*cipher, sealed_a), a);
    EXPECT_EQ(*reopen(*cipher, sealed_b), b);
    EXPECT_EQ(*reopen(*cipher, again), a);
  }
}

// What the test above is for: where records have no salt, it would fail.
TEST_P(RecordSaltTest, WithoutSaltsTheyDo) {
  const auto first = version_1();
  const auto second = resumed(env_);
  constexpr std::size_t kSize = 1000;
  const Bytes a = random_content(kSize, 1);
  const Bytes b = random_content(kSize, 2);
  EXPECT_EQ(exclusive_or(ciphertext(seal(*first, a), kSize), ciphertext(seal(*second, b), kSize)), exclusive_or(a, b));
}

TEST_P(RecordSaltTest, EverySealedRecordHasAFreshOneInItsPlace) {
  const auto cipher = resumed(env_);
  std::set<RecordSalt> seen;
  for (const RecordType type :
       {RecordType::chunk, RecordType::segment_footer, RecordType::journal_entries, RecordType::stream_part}) {
    for (int i = 0; i < 3; ++i) {
      const Bytes stored = seal(*cipher, random_content(100, 1), type);
      const RecordHeader header = RecordHeader::decode(stored).value();
      const std::size_t at = type == RecordType::chunk ? kIdSaltAt : kOtherSaltAt;
      EXPECT_TRUE(bytes_equal(header.salt, ByteView(stored).subspan(at, header.salt.size())));
      EXPECT_TRUE(seen.insert(header.salt).second);
      EXPECT_TRUE(has_right_salt(header, 2));
      EXPECT_FALSE(has_right_salt(header, 1));
    }
  }
  EXPECT_FALSE(seen.contains(RecordSalt{}));
}

TEST_P(RecordSaltTest, EveryFileOfAVaultHasThem) {
  const Bytes manifest =
      seal_stream(env_, keys_, ContainerKind::manifest, ContainerNumber(1), bytes_of("content"), bytes_of("clear"))
          .value();
  env_.make_directories("/journal");
  const JournalContinues continues;
  ASSERT_TRUE(JournalFile::create(env_, "/journal", keys_, ContainerNumber(1), continues).ok());
  std::size_t sealed = 0;
  for (const Bytes& file : {manifest, env_.read("/journal/0000000000000001.journal")}) {
    EXPECT_EQ(ContainerHeader::decode(file)->version, 2U);
    for (std::size_t at = ContainerHeader::kEncodedBytes; at < file.size();) {
      const RecordHeader header = RecordHeader::decode(ByteView(file).subspan(at)).value();
      EXPECT_TRUE(has_right_salt(header, 2));
      EXPECT_EQ(header.clear, is_all_zero(header.salt));
      if (!header.clear) ++sealed;
      at += static_cast<std::size_t>(header.stored_bytes());
    }
  }
  EXPECT_EQ(sealed, 3U);
  EXPECT_EQ(
      open_stream(keys_, ContainerKind::manifest, ContainerNumber(1), manifest, ErrorCode::DamagedManifest)->version,
      2U);
}

TEST_P(RecordSaltTest, AChangedOneIsNoticed) {
  const auto cipher = resumed(env_);
  for (const RecordType type : {RecordType::chunk, RecordType::journal_entries}) {
    const Bytes good = seal(*cipher, random_content(100, 1), type);
    ASSERT_TRUE(reopen(*cipher, good).ok());
    EXPECT_EQ(reopen(*cipher, with_salt(good, {})).code(), ErrorCode::DamagedRecord);
    EXPECT_EQ(reopen(*cipher, with_salt(good, cipher->fresh_salt())).code(), ErrorCode::AuthenticationFailed);
  }
  // Behind the salt of a record without a ChunkId are zeros.
  Bytes bad = seal(*cipher, random_content(100, 1), RecordType::journal_entries);
  bad[kOtherSaltAt + 16] = std::byte{1};
  const auto sum = checksum64(ByteView(bad).first(80));
  for (std::size_t i = 0; i < 8; ++i) bad[80 + i] = static_cast<std::byte>((sum >> (8U * i)) & 0xffU);
  EXPECT_EQ(RecordHeader::decode(bad).code(), ErrorCode::DamagedRecord);
}

TEST_P(RecordSaltTest, AContainerOfVersion1GoesOnAsItWas) {
  const auto cipher = version_1();
  EXPECT_EQ(cipher->version(), 1U);
  const Bytes content = random_content(100, 1);
  for (const RecordType type : {RecordType::chunk, RecordType::segment_footer}) {
    // Recovery seals a footer into a segment that an older program began.
    const Bytes stored = seal(*cipher, content, type);
    EXPECT_TRUE(is_all_zero(RecordHeader::decode(stored)->salt));
    EXPECT_EQ(*reopen(*cipher, stored), content);
    RecordSalt salt{};
    salt[3] = std::byte{1};
    EXPECT_EQ(reopen(*cipher, with_salt(stored, salt)).code(), ErrorCode::DamagedRecord);
  }
}

}  // namespace
}  // namespace vaultfs
