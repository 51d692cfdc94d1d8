// Files as long as a disk, with little or nothing in them, under the names of a vault's own: what they cost is a matter
// of what is authentic in them.

#include "crypto/hash.h"
#include "store/journal/journal_reader.h"
#include "store/record/record_scanner.h"
#include "store/record/stream.h"
#include "store/segment/file/segment_recovery.h"
#include "store/segment/segment_verifier.h"
#include "tests/store/store_fixture.h"
#include "tests/support/scratch_directory.h"
#include "tests/support/units.h"

namespace vaultfs {
namespace {

constexpr std::uint64_t kSparseBytes = std::uint64_t{1024} * 1024 * kMiB;

// Counts what is read of a file.
class CountedFile final : public File {
 public:
  explicit CountedFile(std::unique_ptr<File> file) : file_(std::move(file)) {}
  Result<std::size_t> read_at(std::uint64_t offset, MutableByteView out) override {
    largest = std::max<std::uint64_t>(largest, out.size());
    auto read = file_->read_at(offset, out);
    if (read.ok()) bytes += *read;
    return read;
  }
  Status write_at(std::uint64_t offset, ByteView content) override { return file_->write_at(offset, content); }
  Status sync() override { return file_->sync(); }
  Status truncate(std::uint64_t size) override { return file_->truncate(size); }
  Result<std::uint64_t> size() override { return file_->size(); }
  Result<FileInfo> info() override { return file_->info(); }

  std::uint64_t bytes = 0;    // read
  std::uint64_t largest = 0;  // bytes asked for at once

 private:
  std::unique_ptr<File> file_;
};

class SparseFilesTest : public testing::Test {
 protected:
  SparseFilesTest() : keys_(test_vault_id(), Suite::aes_gcm) {
    fill_keys(keys_);
    std::filesystem::create_directories(scratch_ / "segments");
    blobs_ = make_directory_blob_store(env_, scratch_.path());
  }
  // `content` at the beginning of a file of that length.
  std::unique_ptr<CountedFile> sparse(const std::string& name, ByteView content, std::uint64_t size) {
    auto file = env_.open(scratch_ / name, OpenMode::create_exclusive);
    EXPECT_TRUE(file.ok());
    EXPECT_TRUE((*file)->write_at(0, content).ok());
    EXPECT_TRUE((*file)->truncate(size).ok());
    return std::make_unique<CountedFile>(std::move(file).value());
  }
  Bytes stream(ContainerKind kind, ByteView content) {
    auto file = seal_stream(env_, keys_, kind, ContainerNumber(3), content);
    EXPECT_TRUE(file.ok());
    return std::move(file).value();
  }
  // A container's header and one record of a chunk.
  Bytes segment(bool with_record) {
    ContainerHeader header;
    const auto cipher = ContainerCipher::create(env_, keys_, ContainerKind::segment, ContainerNumber(3), header);
    EXPECT_TRUE(cipher.ok());
    Bytes file = header.encode();
    if (!with_record) return file;
    RecordDraft draft;
    const Bytes content = random_content(5000, 1);
    draft.id = test_chunk_id(RecordType::chunk, content);
    EXPECT_TRUE(seal_record(**cipher, draft, content, file).ok());
    return file;
  }

  ScratchDirectory scratch_;
  Env& env_ = posix_env();
  EpochKeys keys_;
  std::unique_ptr<BlobStore> blobs_;
};

TEST_F(SparseFilesTest, AStreamOfAnotherLengthIsNotRead) {
  const Bytes good = stream(ContainerKind::checkpoint, random_content(5000, 1));
  const auto file = sparse("long", good, kSparseBytes);
  const auto opened = read_stream(keys_, ContainerKind::checkpoint, ContainerNumber(3), *file,
                                  ErrorCode::DamagedCheckpoint, {good.size(), sha256(good)});
  EXPECT_EQ(opened.code(), ErrorCode::DamagedCheckpoint);
  EXPECT_EQ(file->bytes, 0U);
}

TEST_F(SparseFilesTest, AStreamIsReadUpToTheFirstRecordThatIsNotAuthentic) {
  const Bytes content = random_content(3 * kMiB, 1);
  const Bytes good = stream(ContainerKind::index, content);
  std::vector<Bytes> starts{Bytes{}, Bytes(good.begin(), good.begin() + ContainerHeader::kEncodedBytes), good};
  starts.push_back(good);
  starts.back()[ContainerHeader::kEncodedBytes + 500] ^= std::byte{1};
  for (std::size_t i = 0; i < starts.size(); ++i) {
    const auto file = sparse("long" + std::to_string(i), starts[i], kSparseBytes);
    EXPECT_EQ(read_stream(keys_, ContainerKind::index, ContainerNumber(3), *file, ErrorCode::DamagedSegment).code(),
              ErrorCode::DamagedSegment)
        << i;
    EXPECT_LE(file->bytes, i == 2 ? good.size() : 2 * kMiB) << i;
    EXPECT_LE(file->largest, 2 * kMiB) << i;
  }
}

TEST_F(SparseFilesTest, AStreamIsHeldAgainstItsDigest) {
  const Bytes good = stream(ContainerKind::manifest, random_content(5000, 1));
  const Bytes other = stream(ContainerKind::manifest, random_content(5000, 2));
  ASSERT_EQ(good.size(), other.size());
  const ExpectedFile expected{good.size(), sha256(good)};
  const auto open = [&](const std::string& name, ByteView content) {
    const auto file = sparse(name, content, content.size());
    return read_stream(keys_, ContainerKind::manifest, ContainerNumber(3), *file, ErrorCode::DamagedManifest, expected);
  };
  const auto opened = open("good", good);
  ASSERT_TRUE(opened.ok()) << opened.error().message;
  EXPECT_EQ(opened->file_bytes, good.size());
  EXPECT_EQ(opened->file_digest, sha256(good));
  // Authentic, and yet not the one.
  EXPECT_EQ(open("other", other).code(), ErrorCode::DamagedManifest);
  Bytes bad = good;
  bad[ContainerHeader::kEncodedBytes + 500] ^= std::byte{1};
  EXPECT_EQ(open("bad", bad).code(), ErrorCode::DamagedManifest);
}

TEST_F(SparseFilesTest, AnOpenSegmentIsNotReadBeyondTheLengthOfASegment) {
  for (const bool with_record : {false, true}) {
    const auto file = sparse(with_record ? "b" : "a", segment(with_record), kSparseBytes);
    const auto contents = load_open_segment(*file, keys_, ContainerNumber(3));
    ASSERT_TRUE(contents.ok()) << contents.error().message;
    EXPECT_EQ(contents->entries.size(), with_record ? 1U : 0U);
    ASSERT_TRUE(contents->damage.has_value());
    EXPECT_EQ(contents->damage->code, ErrorCode::DamagedSegment);
    EXPECT_LE(file->bytes, kMaxSegmentFileBytes + 16 * kMiB);
    EXPECT_LE(file->largest, 17 * kMiB);
  }
}

TEST_F(SparseFilesTest, AnOpenSegmentWithoutAHeaderIsNotReadAtAll) {
  const auto file = sparse("segments/0000000000000003.open", Bytes{}, kSparseBytes);
  const auto contents = load_open_segment(*file, keys_, ContainerNumber(3));
  ASSERT_TRUE(contents.ok());
  ASSERT_TRUE(contents->damage.has_value());
  EXPECT_LE(file->bytes, 4096U);
  SegmentContents recovered;
  const auto end = recover_open_segment(env_, scratch_.path(), *blobs_, keys_, ContainerNumber(3), recovered);
  ASSERT_TRUE(end.ok());
  EXPECT_EQ(*end, OpenSegmentEnd::left_open);
  EXPECT_TRUE(recovered.damage.has_value());
}

TEST_F(SparseFilesTest, RecoveryClosesWhatItsOwnerWroteAndNamesTheRest) {
  const auto file = sparse("segments/0000000000000003.open", segment(true), kSparseBytes);
  SegmentContents contents;
  const auto end = recover_open_segment(env_, scratch_.path(), *blobs_, keys_, ContainerNumber(3), contents);
  ASSERT_TRUE(end.ok()) << end.error().message;
  EXPECT_EQ(*end, OpenSegmentEnd::closed);
  EXPECT_EQ(contents.entries.size(), 1U);
  EXPECT_TRUE(contents.damage.has_value());
  EXPECT_LT(contents.file_bytes, kMiB);
  const auto closed = blobs_->open(closed_segment_name(ContainerNumber(3)));
  ASSERT_TRUE(closed.ok());
  const auto again = load_closed_segment(**closed, keys_, ContainerNumber(3));
  ASSERT_TRUE(again.ok());
  EXPECT_EQ(again->entries.size(), 1U);
  EXPECT_FALSE(again->damage.has_value());
}

TEST_F(SparseFilesTest, ASegmentIsNotFullOfRecords) {
  // Whole in form, and nobody's: each costs its reader a key, and a line.
  Bytes bytes = segment(true);
  const std::size_t record = ContainerHeader::kEncodedBytes;
  const Bytes forged = [&] {
    RecordDraft draft;
    draft.type = RecordType::chunk;
    EpochKeys other(test_vault_id(), Suite::aes_gcm);
    fill_keys(other, 1, std::nullopt, 0x77);
    ContainerHeader header;
    const auto cipher = ContainerCipher::create(env_, other, ContainerKind::segment, ContainerNumber(3), header);
    Bytes out;
    EXPECT_TRUE(cipher.ok() && seal_record(**cipher, draft, bytes_of("x"), out).ok());
    return out;
  }();
  ASSERT_GT(bytes.size(), record);
  bytes.reserve(bytes.size() + forged.size() * (kMaxSegmentRecords + 100));
  for (std::uint32_t i = 0; i < kMaxSegmentRecords + 100; ++i) append(bytes, forged);
  const auto file = sparse("full", bytes, bytes.size());
  const auto contents = load_open_segment(*file, keys_, ContainerNumber(3));
  ASSERT_TRUE(contents.ok());
  EXPECT_EQ(contents->entries.size(), 1U);
  ASSERT_TRUE(contents->damage.has_value());
  EXPECT_EQ(contents->damage->message, "the file has more records than any segment");
  VerifyCounts counts;
  std::vector<Damage> damage;
  const std::string name = "segments/0000000000000003.open";
  ASSERT_TRUE(verify_container(*file, name, &keys_, true, counts, damage, {}).ok());
  EXPECT_EQ(damage.size(), 101U);
  EXPECT_EQ(damage.back().error.message, std::to_string(kMaxSegmentRecords) + " more places in this file are damaged");
}

TEST_F(SparseFilesTest, AFootersLengthIsNotBelieved) {
  // The trailer, which is clear, says that 30 MiB of footer stand before it.
  const Bytes start = segment(true);
  const std::uint64_t end = start.size() + 30 * kMiB;
  const auto file = sparse("segments/0000000000000003.seg", start, end + SegmentTrailer::kEncodedBytes);
  SegmentTrailer trailer;
  trailer.footer_offset = start.size();
  trailer.record_count = 1;
  ASSERT_TRUE(file->write_at(end, trailer.encode()).ok());
  EXPECT_EQ(load_segment_footer(*file, keys_, ContainerNumber(3)).code(), ErrorCode::DamagedRecord);
  EXPECT_LE(file->largest, 4096U);
}

TEST_F(SparseFilesTest, AScannerGivesUp) {
  // Records whose checksums are right keep nobody going: what is counted is all that lies between them.
  const Bytes start = segment(true);
  const Bytes record(start.begin() + ContainerHeader::kEncodedBytes, start.end());
  const auto file = sparse("spread", start, kSparseBytes);
  constexpr std::uint64_t kStep = 100 * kMiB;
  for (std::uint64_t i = 1; i < 100; ++i) ASSERT_TRUE(file->write_at(i * kStep, record).ok());
  RecordScanner scanner(*file, ContainerHeader::kEncodedBytes, kSparseBytes);
  std::size_t records = 0;
  for (;;) {
    const auto found = scanner.next();
    ASSERT_TRUE(found.ok());
    if (!found->has_value()) break;
    ++records;
  }
  EXPECT_EQ(records, 3U);
  EXPECT_TRUE(scanner.gave_up());
  EXPECT_FALSE(scanner.gap_is_zero());
  EXPECT_LE(file->bytes, kMaxPassedOverBytes + 32 * kMiB);
}

TEST_F(SparseFilesTest, BytesBeforeARecord) {
  Bytes bytes(100);
  EXPECT_EQ(bytes_before_record(bytes), 100U);
  EXPECT_EQ(bytes_before_record(ByteView(bytes).first(3)), 3U);
  EXPECT_EQ(bytes_before_record({}), 0U);
  const auto put = [&](std::size_t at) { std::ranges::copy(bytes_of("VREC"), bytes.begin() + static_cast<int>(at)); };
  put(20);  // not where a record can begin
  EXPECT_EQ(bytes_before_record(bytes), 100U);
  put(40);
  EXPECT_EQ(bytes_before_record(bytes), 40U);
  // Cut off by the end of what is seen.
  EXPECT_EQ(bytes_before_record(ByteView(bytes).first(42)), 40U);
  EXPECT_EQ(bytes_before_record(ByteView(bytes).first(40)), 40U);
  put(0);  // known to be none
  EXPECT_EQ(bytes_before_record(bytes), 40U);
  put(8);
  EXPECT_EQ(bytes_before_record(bytes), 8U);
}

TEST_F(SparseFilesTest, AClosedSegmentAndVerifyAreBoundedToo) {
  const auto file = sparse("segments/0000000000000003.seg", segment(true), kSparseBytes);
  const auto contents = load_closed_segment(*file, keys_, ContainerNumber(3));
  ASSERT_TRUE(contents.ok());
  EXPECT_TRUE(contents->damage.has_value());
  EXPECT_EQ(contents->entries.size(), 1U);
  EXPECT_LE(file->bytes, kMaxSegmentFileBytes + 16 * kMiB);
  const Bytes checkpoint = stream(ContainerKind::checkpoint, random_content(5000, 1));
  for (const Bytes& start : {segment(true), Bytes{}, checkpoint}) {
    for (const bool open : {false, true}) {
      const std::string name = "segments/0000000000000003." + std::string(open ? "open" : "seg");
      if (open && start == checkpoint) continue;
      std::filesystem::remove(scratch_ / name);
      const auto long_file = sparse(name, start, kSparseBytes);
      VerifyCounts counts;
      std::vector<Damage> damage;
      ASSERT_TRUE(verify_container(*long_file, name, &keys_, open, counts, damage, {}).ok());
      EXPECT_FALSE(damage.empty()) << name;
      EXPECT_LE(long_file->bytes, kMaxPassedOverBytes + 32 * kMiB) << name;
    }
  }
}

}  // namespace
}  // namespace vaultfs
