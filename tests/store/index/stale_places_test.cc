// Places that somebody remembers of a record while it moves, is lost, or is another one: what he does by them harms no
// other record.
#include <atomic>
#include <chrono>
#include <functional>
#include <thread>

#include "store/index/segment_format.h"
#include "store/segment/file/segment_reader.h"
#include "tests/store/index/patch_fixture.h"
#include "tests/support/env_wrapper.h"

namespace vaultfs {
namespace {

ChunkPlace place_in(std::uint64_t segment, std::uint64_t offset = 160) {
  return {ContainerNumber(segment), offset, 4'200, 4'000, RecordType::chunk};
}

TEST(StaleIndexPlaceTest, OnlyTheRecordThatWasMeantIsErasedOrMarked) {
  const ChunkId id = test_chunk_id(RecordType::chunk, bytes_of("a"));
  ChunkIndex index;
  index.insert(id, place_in(2));
  index.erase_if_at(id, place_in(1));
  ASSERT_TRUE(index.find(id)) << "it has been stored anew elsewhere";
  EXPECT_FALSE(index.mark_damaged(id, place_in(1)));
  EXPECT_FALSE(index.find(id)->damaged);
  EXPECT_FALSE(index.mark_damaged(id, place_in(2, 5'000)));
  EXPECT_FALSE(index.find(id)->damaged);
  EXPECT_TRUE(index.mark_damaged(id, place_in(2)));
  EXPECT_TRUE(index.find(id)->damaged);
  index.mark_sound(ChunkIndex::key_of(id), place_in(1));
  EXPECT_TRUE(index.find(id)->damaged);
  index.erase_if_at(id, place_in(2));
  EXPECT_FALSE(index.find(id));
}

// What lay in a segment that was away counts as stored again when the file is back, by an index of the time between.
TEST(StaleIndexPlaceTest, AMissingSegmentIsNoLastingDamage) {
  TestVault vault;
  ASSERT_EQ(message(vault.open()), "");
  const ChunkId id = vault.must_put(random_content(3000, 1));
  const Env::Path path = "/vault/" + closed_segment_name(ContainerNumber(1));
  ASSERT_EQ(message(vault.close_and_save()), "");
  const Bytes file = vault.env.read(path);
  vault.env.remove(path);
  ASSERT_EQ(message(vault.open()), "");
  EXPECT_FALSE(vault.store->contains(id));
  ASSERT_EQ(message(vault.close_and_save()), "");
  vault.env.write(path, file);
  ASSERT_EQ(message(vault.open()), "");
  EXPECT_TRUE(vault.store->contains(id));
  EXPECT_TRUE(vault.get(id).ok());
}

// The frame table of one record is none of another that somebody says stands there, too.
TEST(StaleMapTest, AnotherRecordAtTheSamePlaceIsAMismatch) {
  TestVault vault;
  ASSERT_EQ(message(vault.open()), "");
  const Bytes content = random_content(100'000, 1);
  const ChunkId id = vault.must_put(content);
  ASSERT_EQ(message(vault.store->close_segment()), "");
  const ChunkPlace place = *vault.store->place_of(ChunkIndex::key_of(id));
  RecordMapCache maps;
  std::shared_ptr<File> file = *vault.env.open("/vault/" + closed_segment_name(place.segment), OpenMode::read_only);
  const auto reader = SegmentReader::open({file, place.segment, "a segment", maps}, vault.keys);
  ASSERT_TRUE(reader.ok());
  Bytes part(100);
  ASSERT_EQ(message((*reader)->read(id, place, 70'000, part)), "");
  const ChunkId other = test_chunk_id(RecordType::chunk, bytes_of("another"));
  EXPECT_EQ((*reader)->read(other, place, 70'000, part).code(), ErrorCode::ChunkMismatch);
  ChunkPlace shorter = place;
  shorter.plaintext_bytes -= 1;
  EXPECT_EQ((*reader)->read(id, shorter, 70'000, part).code(), ErrorCode::DamagedRecord);
}

// A hook before each reading of a closed segment.
class HookedEnv final : public EnvWrapper {
 public:
  using EnvWrapper::EnvWrapper;
  Result<std::unique_ptr<File>> open(const Path& path, OpenMode mode) override {
    VAULTFS_ASSIGN_OR_RETURN(auto file, EnvWrapper::open(path, mode));
    if (path.extension() != ".seg") return file;
    return std::unique_ptr<File>(std::make_unique<HookedFile>(*this, std::move(file), path));
  }
  std::function<void(const Path&)> before_read;

 private:
  class HookedFile final : public FileWrapper {
   public:
    HookedFile(HookedEnv& env, std::unique_ptr<File> inner, Path path)
        : FileWrapper(std::move(inner)), env_(env), path_(std::move(path)) {}
    Result<std::size_t> read_at(std::uint64_t offset, MutableByteView out) override {
      if (env_.before_read) env_.before_read(path_);
      return FileWrapper::read_at(offset, out);
    }

   private:
    HookedEnv& env_;
    const Path path_;
  };
};

// A read meets damage and looks for another record; meanwhile the content is stored anew, which is better than what it
// finds.
TEST(StaleReadTest, DoesNotPutAnOldRecordBeforeANewerOne) {
  TestVault vault;
  HookedEnv env(vault.env);
  const auto blobs = make_directory_blob_store(env, "/vault");
  auto store = SegmentStore::open(env, "/vault", *blobs, vault.keys, vault.options, vault.recovery);
  ASSERT_TRUE(store.ok());
  const Bytes content = random_content(50'000, 1);
  const ChunkId id = (*store)->put(RecordType::chunk, content)->id;
  ASSERT_EQ(message((*store)->close_segment()), "");
  const ContainerNumber first = *(*store)->segment_of(id);
  fill_keys(vault.keys, 2, ContainerNumber(9));
  {
    const UseGate::Use use = (*store)->use();
    ASSERT_TRUE((*store)->reencrypt(id, EpochNumber(2)).ok());
    ASSERT_EQ(message((*store)->sync_reencrypted()), "");
  }
  ASSERT_EQ(message((*store)->close_segment()), "");
  const ContainerNumber second = *(*store)->segment_of(id);
  ASSERT_NE(first, second);
  vault.env.flip_bit("/vault/" + closed_segment_name(second), 8 * 20'000);
  bool stored_anew = false;
  env.before_read = [&](const Env::Path& path) {
    if (path != Env::Path("/vault/" + closed_segment_name(first)) || std::exchange(stored_anew, true)) return;
    EXPECT_TRUE((*store)->put(RecordType::chunk, content)->stored);
  };
  Bytes out(content.size());
  ASSERT_EQ(message((*store)->read(id, 0, out)), "");
  EXPECT_EQ(out, content);
  ASSERT_TRUE(stored_anew);
  EXPECT_GT(*(*store)->segment_of(id), second);
}

class StalePatchTest : public PatchStoreTest {
 protected:
  // A chunk, and a patch over one page of it, in a closed segment.
  void store_patch() {
    base = random_content(kMiB, 1);
    base_id = vault_.must_put(base);
    content = base;
    std::fill_n(content.begin() + 8192, 4096, std::byte{7});
    patch = must_put(base_id, content, pages_of({2}));
    ASSERT_EQ(message(vault_.store->close_segment()), "");
  }
  Bytes base;
  ChunkId base_id;
  Bytes content;  // what the patch makes of it
  ChunkId patch;
};
INSTANTIATE_TEST_SUITE_P(Suites, StalePatchTest, testing::Values(Suite::aes_gcm));

TEST_P(StalePatchTest, IsHealedByItsOwnContentOnly) {
  ASSERT_NO_FATAL_FAILURE(store_patch());
  const ChunkPlace place = *vault_.store->place_of(ChunkIndex::key_of(patch));
  vault_.env.flip_bit("/vault/" + closed_segment_name(place.segment), 8 * (place.offset + place.stored_bytes - 40));
  EXPECT_FALSE(vault_.get(patch).ok());
  const UseGate::Use use = vault_.store->use();
  const auto by_another = vault_.store->heal_patch(patch, base);
  ASSERT_TRUE(by_another.ok());
  EXPECT_FALSE(*by_another);
  EXPECT_FALSE(vault_.store->contains(patch));
  const auto by_its_own = vault_.store->heal_patch(patch, content);
  ASSERT_TRUE(by_its_own.ok());
  EXPECT_TRUE(*by_its_own);
  EXPECT_EQ(*vault_.get(patch), content);
}

TEST_P(StalePatchTest, IsReencryptedWithWhatItLiesOver) {
  ASSERT_NO_FATAL_FAILURE(store_patch());
  fill_keys(vault_.keys, 2, ContainerNumber(9));
  const UseGate::Use use = vault_.store->use();
  const auto renewed = vault_.store->reencrypt(patch, EpochNumber(2));
  ASSERT_TRUE(renewed.ok());
  EXPECT_EQ(renewed->records, 2U);
  for (const ChunkId& id : {patch, base_id}) {
    EXPECT_EQ(*vault_.store->epoch_of(*vault_.store->segment_of(id)), EpochNumber(2));
  }
}

// An epoch ends while a segment of it is just being made: it is closed with the others, or it could never be.
TEST(ClosingRaceTest, ASegmentThatIsJustBeingMadeIsWaitedFor) {
  TestVault vault;
  ASSERT_EQ(message(vault.open()), "");
  std::atomic<bool> making{false};
  std::atomic<bool> go_on{false};
  vault.env.set_observer([&](SimStep step, const Env::Path& path) {
    if (step != SimStep::create || path.extension() != ".open" || making.exchange(true)) return;
    while (!go_on) std::this_thread::sleep_for(std::chrono::milliseconds(1));
  });
  std::jthread putting([&] { vault.must_put(random_content(3000, 1)); });
  while (!making) std::this_thread::sleep_for(std::chrono::milliseconds(1));
  fill_keys(vault.keys, 2);
  std::atomic<bool> closed{false};
  std::jthread closing([&] {
    EXPECT_EQ(message(vault.store->close_all_segments()), "");
    closed = true;
  });
  std::this_thread::sleep_for(std::chrono::milliseconds(50));
  EXPECT_FALSE(closed);
  go_on = true;
  closing.join();
  putting.join();
  vault.env.set_observer({});
}

// What was durable in a segment that a failed sync ended is durable elsewhere before that goes.
TEST(ClosingRaceTest, WhatIsMovedOutOfAnEpochIsDurableFirst) {
  TestVault vault;
  ASSERT_EQ(message(vault.open()), "");
  const Bytes content = random_content(3000, 1);
  const ChunkId id = vault.must_put(content);
  ASSERT_EQ(message(vault.store->sync()), "");
  vault.must_put(random_content(3000, 2));
  vault.env.fail_next_sync(1);
  EXPECT_EQ(vault.store->sync().code(), ErrorCode::IoError);
  fill_keys(vault.keys, 2);
  ASSERT_EQ(message(vault.store->close_all_segments()), "");
  vault.store.reset();
  vault.env.crash(1, CrashMode::drop_all_unsynced);
  ASSERT_EQ(message(vault.open()), "");
  const auto got = vault.get(id);
  ASSERT_TRUE(got.ok()) << got.error().message;
  EXPECT_EQ(*got, content);
}

}  // namespace
}  // namespace vaultfs
