#include <algorithm>
#include <fstream>
#include <numeric>
#include <sstream>

#include "crypto/committed_key.h"
#include "crypto/hash.h"
#include "store/index/segment_format.h"
#include "store/record/record.h"
#include "store/segment/file/segment_writer.h"
#include "tests/store/store_fixture.h"
#include "tests/support/env_wrapper.h"

namespace vaultfs {
namespace {

Bytes counting_from(std::uint8_t first, std::size_t size) {
  Bytes out(size);
  for (std::size_t i = 0; i < size; ++i) out[i] = static_cast<std::byte>(first + i);
  return out;
}

SecretBuffer counting_secret(std::uint8_t first) {
  return std::move(SecretBuffer::copy_of(counting_from(first, 32))).value();
}

// A disk whose next random bytes are the example's salts: the container's, then those of its records.
class SaltEnv final : public EnvWrapper {
 public:
  explicit SaltEnv(Env& disk) : EnvWrapper(disk) {}
  void fill_random(MutableByteView out) override {
    const Bytes salt = counting_from(next_, out.size());
    std::copy(salt.begin(), salt.end(), out.begin());
    next_ = next_ == 0x40 ? 0x80 : static_cast<std::uint8_t>(next_ + out.size());
  }

 private:
  std::uint8_t next_ = 0x40;
};

class FormatExampleTest : public testing::Test {
 protected:
  FormatExampleTest() : keys_(VaultId(vault_id()), Suite::aes_gcm) {
    std::map<EpochNumber, EpochKeys::Epoch> epochs;
    epochs[EpochNumber(1)] = {counting_secret(0x00), std::nullopt};
    keys_.set(std::move(epochs), counting_secret(0x20), SecretBuffer());
  }
  void SetUp() override {
    std::ifstream page(VAULTFS_SOURCE_DIR "/docs/format.md");
    ASSERT_TRUE(page) << "docs/format.md is not where the sources are";
    std::string line;
    bool in_example = false;
    std::string name;
    std::map<std::string, std::string> hex;
    while (std::getline(page, line)) {
      if (line.starts_with("## ")) in_example = line.ends_with("Worked example");
      if (!in_example || !line.starts_with("    ")) continue;
      std::istringstream words(line);
      std::string first;
      std::string second;
      words >> first >> second;
      if (!second.empty()) name = first;
      hex[name] += second.empty() ? first : second;
    }
    for (const auto& [part, digits] : hex) ASSERT_TRUE(from_hex(digits, parts_[part])) << part;
    ASSERT_EQ(parts_.size(), 11U);
  }
  // The example's file; with "v1-" that of format version 1.
  Bytes file(const std::string& prefix = "") {
    Bytes out;
    for (const char* part : {"header", "record", "footer", "trailer"}) {
      const Bytes& bytes = parts_.at(prefix + part);
      out.insert(out.end(), bytes.begin(), bytes.end());
    }
    return out;
  }
  void expect_content(ByteView stored) {
    disk_.write("/vault/segments/0000000000000001.seg", stored);
    const auto blobs = make_directory_blob_store(disk_, "/vault");
    SegmentRecovery recovery;
    SegmentStore::Options options;
    options.read_only = true;
    const auto store = SegmentStore::open(disk_, "/vault", *blobs, keys_, options, recovery);
    ASSERT_TRUE(store.ok());
    EXPECT_TRUE(recovery.damaged.empty());
    ChunkId id;
    ASSERT_EQ(parts_["chunk-id"].size(), ChunkId::kSize);
    std::copy(parts_["chunk-id"].begin(), parts_["chunk-id"].end(), id.data());
    const auto content = (*store)->read_verified(RecordType::chunk, id);
    ASSERT_TRUE(content.ok()) << content.error().message;
    EXPECT_EQ(text_of(*content), kContent);
  }
  static std::array<std::byte, 16> vault_id() {
    std::array<std::byte, 16> id{};
    const Bytes bytes = counting_from(0x60, id.size());
    std::copy(bytes.begin(), bytes.end(), id.begin());
    return id;
  }

  static constexpr std::string_view kContent = "vaultfs keeps disk images as sealed chunks.\n";
  SimEnv disk_;
  EpochKeys keys_;
  std::map<std::string, Bytes> parts_;
};

TEST_F(FormatExampleTest, TheCodeReadsThePage) { expect_content(file()); }

TEST_F(FormatExampleTest, TheCodeReadsVersion1) { expect_content(file("v1-")); }

TEST_F(FormatExampleTest, TheCodeWritesThePage) {
  SaltEnv env(disk_);
  ContainerHeader header;
  const auto cipher = ContainerCipher::create(env, keys_, ContainerKind::segment, ContainerNumber(1), header);
  ASSERT_TRUE(cipher.ok());
  EXPECT_EQ(to_hex(header.encode()), to_hex(parts_["header"]));
  const auto key = derive_committed_key(counting_secret(0), header.salt, "vaultfs/1 container key", header.context());
  EXPECT_EQ(to_hex(key->key.view()), to_hex(parts_["container-key"]));
  Bytes record_key(32);
  hkdf_expand_sha256(key->key.view(), {bytes_of("vaultfs/2 record key"), Bytes(1), counting_from(0x80, 16)},
                     record_key);
  EXPECT_EQ(to_hex(record_key), to_hex(parts_["record-key"]));

  disk_.make_directories("/vault/segments");
  disk_.make_directories("/vault/index");
  SaltEnv again(disk_);
  const auto blobs = make_directory_blob_store(again, "/vault");
  SegmentRecovery recovery;
  auto store = SegmentStore::open(again, "/vault", *blobs, keys_, {}, recovery);
  ASSERT_TRUE(store.ok());
  ASSERT_TRUE((*store)->put(RecordType::chunk, bytes_of(kContent)).ok());
  ASSERT_TRUE((*store)->close_segment().ok());
  EXPECT_EQ(to_hex(disk_.read("/vault/segments/0000000000000001.seg")), to_hex(file()));
}

}  // namespace
}  // namespace vaultfs
