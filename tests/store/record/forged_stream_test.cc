// Streams by somebody who has the keys and seals what he likes: every rule of their form holds for itself.
#include <functional>

#include "base/byte_codec.h"
#include "crypto/hash.h"
#include "store/record/record.h"
#include "store/record/stream.h"
#include "tests/store/store_fixture.h"
#include "tests/support/units.h"

namespace vaultfs {
namespace {

// A checkpoint's file, record by record.
class ForgedStream {
 public:
  explicit ForgedStream(const EpochKeys& keys, ContainerKind kind = ContainerKind::checkpoint) : keys_(keys) {
    ContainerHeader header;
    auto cipher = ContainerCipher::create(posix_env(), keys, kind, ContainerNumber(3), header);
    EXPECT_TRUE(cipher.ok());
    cipher_ = std::move(*cipher);
    file_ = header.encode();
    kind_ = kind;
  }
  ForgedStream& part(std::uint64_t sequence, const Bytes& content) {
    return record(RecordType::stream_part, sequence, content);
  }
  ForgedStream& end(std::uint64_t sequence, std::uint64_t parts, std::uint64_t length, const Digest& digest) {
    ByteWriter writer;
    writer.u64(parts);
    writer.u64(length);
    writer.id(digest);
    return record(RecordType::stream_end, sequence, to_bytes(writer.view()));
  }
  ForgedStream& inventory(const Bytes& content) {
    RecordDraft draft;
    draft.type = RecordType::clear_inventory;
    EXPECT_TRUE(encode_clear_record(draft, content, file_).ok());
    return *this;
  }
  [[nodiscard]] ErrorCode code() const {
    const auto opened = open_stream(keys_, kind_, ContainerNumber(3), file_, ErrorCode::DamagedCheckpoint);
    return opened.ok() ? ErrorCode::Internal : opened.code();
  }

 private:
  ForgedStream& record(RecordType type, std::uint64_t sequence, const Bytes& content) {
    RecordDraft draft;
    draft.type = type;
    draft.sequence = sequence;
    draft.nonce_base = nonce_;
    nonce_ += frame_count_of(content.size(), draft.frame_log2);
    EXPECT_TRUE(seal_record(*cipher_, draft, content, file_).ok());
    return *this;
  }
  const EpochKeys& keys_;
  ContainerKind kind_ = ContainerKind::checkpoint;
  std::unique_ptr<ContainerCipher> cipher_;
  Bytes file_;
  std::uint64_t nonce_ = 0;
};

class ForgedStreamTest : public testing::Test {
 protected:
  ForgedStreamTest() : keys_(test_vault_id(), Suite::aes_gcm) { fill_keys(keys_); }
  EpochKeys keys_;
  const Bytes full_ = random_content(kMiB, 1);
  const Bytes short_ = random_content(900, 2);
};

TEST_F(ForgedStreamTest, TheRightOneOpens) {
  const Digest digest = sha256({full_, short_});
  EXPECT_EQ(ForgedStream(keys_).part(1, full_).part(2, short_).end(3, 2, kMiB + 900, digest).code(),
            ErrorCode::Internal);
}

TEST_F(ForgedStreamTest, TheEndFitsTheContent) {
  const Digest digest = sha256(short_);
  EXPECT_EQ(ForgedStream(keys_).part(1, short_).end(2, 1, 900, digest).code(), ErrorCode::Internal);
  EXPECT_EQ(ForgedStream(keys_).part(1, short_).end(2, 1, 900, sha256(full_)).code(), ErrorCode::DamagedCheckpoint);
  EXPECT_EQ(ForgedStream(keys_).part(1, short_).end(2, 1, 901, digest).code(), ErrorCode::DamagedCheckpoint);
  EXPECT_EQ(ForgedStream(keys_).part(1, short_).end(2, 2, 900, digest).code(), ErrorCode::DamagedCheckpoint);
  EXPECT_EQ(ForgedStream(keys_).part(1, short_).end(3, 1, 900, digest).code(), ErrorCode::DamagedCheckpoint);
}

TEST_F(ForgedStreamTest, PartsAreNumberedAndFullButTheLast) {
  const Digest digest = sha256({full_, short_});
  const Digest reversed = sha256({short_, full_});
  EXPECT_EQ(ForgedStream(keys_).part(2, full_).part(1, short_).end(3, 2, kMiB + 900, digest).code(),
            ErrorCode::DamagedCheckpoint);
  EXPECT_EQ(ForgedStream(keys_).part(1, full_).part(1, short_).end(3, 2, kMiB + 900, digest).code(),
            ErrorCode::DamagedCheckpoint);
  EXPECT_EQ(ForgedStream(keys_).part(1, short_).part(2, full_).end(3, 2, kMiB + 900, reversed).code(),
            ErrorCode::DamagedCheckpoint);
  const Bytes long_part = random_content(kMiB + 1, 3);
  EXPECT_EQ(ForgedStream(keys_).part(1, long_part).end(2, 1, kMiB + 1, sha256(long_part)).code(),
            ErrorCode::DamagedCheckpoint);
}

// A whole one of the same number, by the same keys, is not the one that somebody names by digest and length.
TEST_F(ForgedStreamTest, IsTheOneThatWasNamed) {
  SimEnv env;
  const auto seal = [&](const Bytes& content) {
    return seal_stream(env, keys_, ContainerKind::checkpoint, ContainerNumber(3), content).value();
  };
  const Bytes named = seal(short_);
  env.write("/file", seal(random_content(900, 3)));
  const auto read = [&](const ExpectedFile& expected) {
    const auto file = env.open("/file", OpenMode::read_only);
    const auto opened = read_stream(keys_, ContainerKind::checkpoint, ContainerNumber(3), **file,
                                    ErrorCode::DamagedCheckpoint, expected);
    return opened.ok() ? ErrorCode::Internal : opened.code();
  };
  EXPECT_EQ(read({}), ErrorCode::Internal);
  EXPECT_EQ(read({named.size(), std::nullopt}), ErrorCode::Internal);
  EXPECT_EQ(read({named.size() + 8, std::nullopt}), ErrorCode::DamagedCheckpoint);
  EXPECT_EQ(read({std::nullopt, sha256(named)}), ErrorCode::DamagedCheckpoint);
  EXPECT_EQ(read({named.size(), sha256(named)}), ErrorCode::DamagedCheckpoint);
  env.write("/file", named);
  EXPECT_EQ(read({named.size(), sha256(named)}), ErrorCode::Internal);
}

// What is clear is authenticated by nobody: it stands only where something else vouches for it.
TEST_F(ForgedStreamTest, OnlyAManifestHasAnInventory) {
  const Digest digest = sha256(short_);
  const auto with_inventory = [&](ContainerKind kind) {
    return ForgedStream(keys_, kind).inventory(full_).part(1, short_).end(2, 1, 900, digest).code();
  };
  EXPECT_EQ(with_inventory(ContainerKind::manifest), ErrorCode::Internal);
  EXPECT_EQ(with_inventory(ContainerKind::checkpoint), ErrorCode::DamagedCheckpoint);
  EXPECT_EQ(with_inventory(ContainerKind::index), ErrorCode::DamagedCheckpoint);
}

}  // namespace
}  // namespace vaultfs
