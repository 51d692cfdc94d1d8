// The file changes between any two looks at it: whatever is handed out was checked, in the same memory.
#include <atomic>
#include <random>

#include "tests/store/index/patch_fixture.h"
#include "tests/support/env_wrapper.h"
#include "tests/support/forger.h"

namespace vaultfs {
namespace {

// Counts what is read of segments. From `flicker` on, every reading of one looks at random into what was written or
// into what somebody put in its place.
class FlickeringEnv final : public EnvWrapper {
 public:
  using EnvWrapper::EnvWrapper;
  Result<std::unique_ptr<File>> open(const Path& path, OpenMode mode) override {
    VAULTFS_ASSIGN_OR_RETURN(auto file, EnvWrapper::open(path, mode));
    if (path.extension() != ".seg") return file;
    std::unique_ptr<File> wrapped = std::make_unique<Flickering>(*this, std::move(file));
    return wrapped;
  }
  std::size_t read_bytes = 0;
  std::size_t reads = 0;
  std::optional<Bytes> flicker;

 private:
  class Flickering final : public FileWrapper {
   public:
    Flickering(FlickeringEnv& env, std::unique_ptr<File> inner) : FileWrapper(std::move(inner)), env_(env) {}
    Result<std::size_t> read_at(std::uint64_t offset, MutableByteView out) override {
      ++env_.reads;
      env_.read_bytes += out.size();
      const auto read = FileWrapper::read_at(offset, out);
      if (!read.ok() || !env_.flicker || env_.random_() % 2 == 0) return read;
      std::copy_n(env_.flicker->begin() + static_cast<std::ptrdiff_t>(offset), *read, out.begin());
      return read;
    }

   private:
    FlickeringEnv& env_;
  };
  std::mt19937_64 random_{1};
};

class ClosedEpochRaceTest : public testing::Test {
 protected:
  ClosedEpochRaceTest() : env_(vault_.env), blobs_(make_directory_blob_store(env_, "/vault")) {
    EXPECT_TRUE(vault_.open().ok());
  }
  void reopen() {
    vault_.store.reset();
    auto opened = SegmentStore::open(env_, "/vault", *blobs_, vault_.keys, vault_.options, vault_.recovery);
    ASSERT_TRUE(opened.ok());
    vault_.store = std::move(*opened);
    env_.reads = 0;
    env_.read_bytes = 0;
  }

  TestVault vault_;
  FlickeringEnv env_;
  std::unique_ptr<BlobStore> blobs_;
};

TEST_F(ClosedEpochRaceTest, AFirstTouchReadsOneRecordAndALaterOneItsFrames) {
  const ChunkId id = vault_.must_put(random_content(kMiB, 1));
  ASSERT_TRUE(vault_.close_and_save().ok());
  fill_keys(vault_.keys, 2, ContainerNumber(9));
  reopen();
  Bytes out(4096);
  ASSERT_TRUE(vault_.store->read(id, 500'000, out).ok());
  EXPECT_LT(env_.read_bytes, kMiB + kMiB / 64);
  env_.read_bytes = env_.reads = 0;
  for (std::uint32_t offset = 0; offset < kMiB; offset += 50'000) {
    ASSERT_TRUE(vault_.store->read(id, offset, MutableByteView(out).first(100)).ok());
  }
  EXPECT_EQ(env_.reads, 21U);
  EXPECT_LT(env_.read_bytes, 22 * 2 * 8300U);
  // In sequence: nothing but that.
  reopen();
  Bytes all(kMiB);
  ASSERT_EQ(*vault_.store->read_content(id, all), kMiB);
  EXPECT_LT(env_.read_bytes, kMiB + kMiB / 64);
}

TEST_F(ClosedEpochRaceTest, NothingIsHandedOutThatWasNotChecked) {
  const Bytes base = random_content(kMiB, 1);
  const Bytes over = random_content(kMiB, 2);
  PatchPages pages;
  for (std::uint32_t page = 0; page < kPatchPages; page += 7) pages.set(page);
  const ChunkId base_id = vault_.must_put(base);
  const auto patch = vault_.store->put_patch({base_id, kMiB, pages, over, kPatchPages});
  ASSERT_TRUE(patch.ok() && patch->has_value());
  Bytes patched = base;
  for (std::uint32_t page = 0; page < kPatchPages; page += 7) {
    std::copy_n(over.begin() + page * kPage, kPage, patched.begin() + page * kPage);
  }
  const Bytes map_page = random_content(300'000, 3);
  const ChunkId map_id = vault_.must_put(map_page, RecordType::map_page);
  ASSERT_TRUE(vault_.close_and_save().ok());
  fill_keys(vault_.keys, 2, ContainerNumber(9));
  const std::string file = "/vault/" + closed_segment_name(ContainerNumber(1));
  Forger forger(vault_.env.read(file), vault_.keys, ContainerNumber(1));
  for (const ChunkId& id : {base_id, (*patch)->id, map_id}) {
    Bytes content = forger.content_of(id);
    for (std::size_t i = 5000; i < content.size(); i += 300) content[i] ^= std::byte{0x55};
    ASSERT_TRUE(forger.forge(id, content));
  }
  std::mt19937_64 random(7);
  std::size_t good = 0;
  std::size_t bad = 0;
  const auto judge = [&](const Status& status, ByteView out, ByteView truth) {
    ++(status.ok() ? good : bad);
    if (status.ok()) {
      EXPECT_TRUE(bytes_equal(out, truth));
    } else {
      EXPECT_TRUE(is_named_damage(status.code())) << status.error().message;
    }
  };
  for (int opening = 0; opening < 40; ++opening) {
    env_.flicker.reset();
    reopen();
    env_.flicker = forger.file();
    for (int round = 0; round < 30; ++round) {
      const bool of_patch = random() % 2 == 0;
      const ChunkId& id = of_patch ? (*patch)->id : base_id;
      const ByteView truth = of_patch ? patched : base;
      const auto offset = static_cast<std::uint32_t>(random() % kMiB);
      Bytes out(std::min<std::size_t>(kMiB - offset, 1 + random() % (round % 2 == 0 ? 5000 : kMiB)));
      judge(vault_.store->read(id, offset, out), out, truth.subspan(offset, out.size()));
      const auto piece = vault_.store->read_piece(id, offset, out);
      judge(piece.ok() ? ok_status() : Status(piece.error()), out, truth.subspan(offset, out.size()));
      Bytes all(kMiB);
      const auto content = vault_.store->read_content(id, all);
      judge(content.ok() ? ok_status() : Status(content.error()), all, truth);
      const auto verified = vault_.store->read_verified(RecordType::map_page, map_id);
      judge(verified.ok() ? ok_status() : Status(verified.error()), verified.ok() ? *verified : Bytes(), map_page);
      const auto length = vault_.store->length(id);
      EXPECT_TRUE(!length.ok() || *length == kMiB);
    }
  }
  EXPECT_GT(good, 100U);
  EXPECT_GT(bad, 100U);
}

}  // namespace
}  // namespace vaultfs
