// What a sync of an open segment covers: every put before it, and none that is still on its way to the file.
#include "store/segment/file/segment_writer.h"

#include <atomic>
#include <chrono>
#include <thread>

#include "store/index/segment_format.h"
#include "store/record/record.h"
#include "store/segment/segment_verifier.h"
#include "tests/store/store_fixture.h"
#include "tests/support/env_wrapper.h"

namespace vaultfs {
namespace {

// A put in its steps, so that a test can stand between them.
struct PutUnderWay {
  SegmentWriter::Admission admission;
  SegmentEntry entry;
  Bytes sealed;
};

class SegmentWriterTest : public testing::Test {
 protected:
  void SetUp() override { start(); }

  void start() {
    writer_.reset();
    vault_ = std::make_unique<TestVault>();
    index_ = std::make_unique<ChunkIndex>();
    auto made = SegmentWriter::create(vault_->env, "/vault", vault_->keys, ContainerNumber(1), 1 << 20, *index_);
    ASSERT_TRUE(made.ok()) << made.error().message;
    writer_ = std::move(*made);
  }

  PutUnderWay begin(std::uint64_t seed) {
    const Bytes content = random_content(5'000, seed);
    auto admission = writer_->admit(frame_count_of(content.size(), kDefaultFrameLog2),
                                    max_stored_bytes(content.size(), kDefaultFrameLog2, kAeadTagBytes));
    EXPECT_TRUE(admission.ok() && admission->has_value());
    PutUnderWay put{**admission, {}, {}};
    put.entry.id = test_chunk_id(RecordType::chunk, content);
    put.entry.plaintext_bytes = static_cast<std::uint32_t>(content.size());
    RecordDraft draft;
    draft.id = put.entry.id;
    draft.nonce_base = put.admission.nonce_base;
    EXPECT_TRUE(seal_record(*put.admission.cipher, draft, content, put.sealed).ok());
    put.entry.stored_bytes = static_cast<std::uint32_t>(put.sealed.size());
    return put;
  }
  Status finish(const PutUnderWay& put) { return writer_->write(put.admission, put.entry, put.sealed); }

  // What a power loss leaves of the put.
  [[nodiscard]] bool is_durable(const PutUnderWay& put) const {
    vault_->env.crash(1, CrashMode::drop_all_unsynced);
    const auto place = index_->find(put.entry.id);
    if (!place) return false;
    const Bytes file = vault_->env.read("/vault/" + open_segment_name(ContainerNumber(1)));
    return file.size() >= place->offset + put.sealed.size() &&
           bytes_equal(ByteView(file).subspan(place->offset, put.sealed.size()), put.sealed);
  }

  std::unique_ptr<TestVault> vault_;
  std::unique_ptr<ChunkIndex> index_;
  std::shared_ptr<SegmentWriter> writer_;
};

TEST_F(SegmentWriterTest, ASyncWaitsForPutsThatBeganBefore) {
  const PutUnderWay put = begin(1);
  std::atomic<bool> synced{false};
  std::jthread syncing([&] {
    EXPECT_EQ(message(writer_->sync()), "");
    synced = true;
  });
  std::this_thread::sleep_for(std::chrono::milliseconds(50));
  EXPECT_FALSE(synced) << "the record is not even written";
  ASSERT_EQ(message(finish(put)), "");
  syncing.join();
  EXPECT_TRUE(is_durable(put));
}

TEST_F(SegmentWriterTest, ASyncGoesOnWhenThePutItWaitsForIsCancelled) {
  const PutUnderWay put = begin(1);
  std::atomic<bool> synced{false};
  std::jthread syncing([&] {
    EXPECT_EQ(message(writer_->sync()), "");
    synced = true;
  });
  std::this_thread::sleep_for(std::chrono::milliseconds(50));
  EXPECT_FALSE(synced);
  writer_->cancel(put.admission);
  for (int look = 0; look < 5'000 && !synced; ++look) std::this_thread::sleep_for(std::chrono::milliseconds(1));
  EXPECT_TRUE(synced) << "nobody told it";
  ASSERT_EQ(message(finish(begin(2))), "");  // wakes it in any case
}

// A put that begins while a sync waits for others is none of those: its own sync has to do something.
TEST_F(SegmentWriterTest, ASyncDoesNotCoverAPutInFlight) {
  for (int pause = 5; pause < 2000; pause *= 3) {
    start();
    const PutUnderWay first = begin(1);
    std::atomic<bool> synced{false};
    std::jthread syncing([&] {
      EXPECT_EQ(message(writer_->sync()), "");
      synced = true;
    });
    // Until it waits for the first put. There is no telling; if it was slower, it waits for the second one too.
    std::this_thread::sleep_for(std::chrono::milliseconds(pause));
    const PutUnderWay second = begin(2);
    ASSERT_EQ(message(finish(first)), "");
    for (int look = 0; look < pause && !synced; ++look) std::this_thread::sleep_for(std::chrono::milliseconds(1));
    const bool was_waiting = synced;
    ASSERT_EQ(message(finish(second)), "");
    syncing.join();
    ASSERT_EQ(message(writer_->sync()), "");
    EXPECT_TRUE(is_durable(second));
    if (was_waiting) return;
  }
}

TEST_F(SegmentWriterTest, AClosedSegmentTellsOfPutsThatWereUnderWay) {
  const PutUnderWay first = begin(1);
  const PutUnderWay second = begin(2);
  ASSERT_EQ(message(finish(first)), "");
  writer_->detach();
  std::atomic<bool> closed{false};
  std::jthread closing([&] {
    EXPECT_TRUE(writer_->close(*vault_->blobs).ok());
    closed = true;
  });
  std::this_thread::sleep_for(std::chrono::milliseconds(50));
  EXPECT_FALSE(closed) << "a record is still on its way";
  ASSERT_EQ(message(finish(second)), "");
  closing.join();
  writer_.reset();
  ASSERT_EQ(message(vault_->open()), "");
  EXPECT_TRUE(vault_->recovery.damaged.empty());
  EXPECT_TRUE(vault_->get(first.entry.id).ok());
  EXPECT_TRUE(vault_->get(second.entry.id).ok());
}

// Others wrote behind it meanwhile: what it takes back is not theirs.
TEST_F(SegmentWriterTest, AFailedWriteInTheMiddleTakesNothingOfOthers) {
  const PutUnderWay first = begin(1);
  const PutUnderWay failing = begin(2);
  const PutUnderWay behind = begin(3);
  ASSERT_EQ(message(finish(first)), "");
  // Between the failing write and its end another one takes the room behind.
  bool nested = false;
  vault_->env.set_observer([&](SimStep step, const Env::Path&) {
    if (step != SimStep::write || std::exchange(nested, true)) return;
    EXPECT_EQ(message(finish(behind)), "");
    vault_->env.fail_next_write(1, ErrorCode::IoError);
  });
  EXPECT_EQ(finish(failing).code(), ErrorCode::IoError);
  vault_->env.set_observer({});
  ASSERT_TRUE(nested);
  // A part of it did get there.
  const auto place = index_->find(first.entry.id);
  ASSERT_TRUE(place);
  const Bytes part(900, std::byte{0x5a});
  ASSERT_EQ(message(writer_->file()->write_at(place->offset + place->stored_bytes, part)), "");
  const PutUnderWay last = begin(4);
  ASSERT_EQ(message(finish(last)), "");
  writer_->detach();
  ASSERT_TRUE(writer_->close(*vault_->blobs).ok());
  writer_.reset();
  ASSERT_EQ(message(vault_->open()), "");
  EXPECT_TRUE(vault_->recovery.damaged.empty());
  for (const PutUnderWay* put : {&first, &behind, &last}) EXPECT_TRUE(vault_->get(put->entry.id).ok());
  EXPECT_FALSE(vault_->store->contains(failing.entry.id));
  // Nor does verify find anything between the records.
  const std::string name = closed_segment_name(ContainerNumber(1));
  const auto file = vault_->env.open("/vault/" + name, OpenMode::read_only);
  ASSERT_TRUE(file.ok());
  VerifyCounts counts;
  std::vector<Damage> damage;
  ASSERT_EQ(message(verify_container(**file, name, &vault_->keys, false, counts, damage)), "");
  EXPECT_TRUE(damage.empty()) << damage.front().error.message;
}

// It was not covered by the sync that failed, and no later one will make it durable.
TEST_F(SegmentWriterTest, APutThatEndsAfterAFailedSyncFailsToo) {
  ASSERT_EQ(message(finish(begin(1))), "");
  std::optional<PutUnderWay> late;
  vault_->env.set_observer([&](SimStep step, const Env::Path&) {
    if (step == SimStep::sync && !late) late = begin(2);
  });
  vault_->env.fail_next_sync(1);
  EXPECT_EQ(writer_->sync().code(), ErrorCode::IoError);
  vault_->env.set_observer({});
  ASSERT_TRUE(late);
  EXPECT_EQ(finish(*late).code(), ErrorCode::IoError);
  EXPECT_FALSE(index_->find(late->entry.id));
  EXPECT_EQ(writer_->sync().code(), ErrorCode::IoError) << "a failed sync is never retried into success";
}

TEST_F(SegmentWriterTest, TakesNoMoreRecordsThanAReaderBelieves) {
  for (std::uint32_t record = 0; record < kMaxSegmentRecords; ++record) {
    const auto admission = writer_->admit(1, 8);
    ASSERT_TRUE(admission.ok() && admission->has_value()) << record;
  }
  const auto admission = writer_->admit(1, 8);
  ASSERT_TRUE(admission.ok());
  EXPECT_FALSE(admission->has_value());
}

// Its directory can't be synced for once.
class FailingDirectoryEnv final : public EnvWrapper {
 public:
  using EnvWrapper::EnvWrapper;
  Status sync_directory(const Path& directory) override {
    if (std::exchange(failing, false)) return Error{ErrorCode::IoError, "no"};
    return EnvWrapper::sync_directory(directory);
  }
  bool failing = false;
};

TEST_F(SegmentWriterTest, ASegmentThatWasHalfRenamedIsMadeDurableByTheNextClose) {
  writer_.reset();
  FailingDirectoryEnv env(vault_->env);
  const auto blobs = make_directory_blob_store(env, "/vault");
  auto made = SegmentWriter::create(env, "/vault", vault_->keys, ContainerNumber(2), 1 << 20, *index_);
  ASSERT_TRUE(made.ok());
  writer_ = std::move(*made);
  ASSERT_EQ(message(finish(begin(1))), "");
  writer_->detach();
  env.failing = true;
  EXPECT_EQ(writer_->close(*blobs).code(), ErrorCode::IoError);
  ASSERT_TRUE(writer_->close(*blobs).ok());
  vault_->env.crash(1, CrashMode::drop_all_unsynced);
  EXPECT_TRUE(vault_->env.exists("/vault/" + closed_segment_name(ContainerNumber(2))));
}

// What could not be closed for want of room may still be synced.
TEST(SegmentSyncTest, CoversSegmentsThatAreFullAndNotClosed) {
  TestVault vault;
  ASSERT_EQ(message(vault.open()), "");
  const ChunkId id = vault.must_put(random_content(50'000, 1));
  vault.env.fail_next_write(1, ErrorCode::NoSpace);
  EXPECT_EQ(vault.store->close_segment().code(), ErrorCode::NoSpace);
  vault.must_put(random_content(50'000, 2));
  ASSERT_EQ(message(vault.store->sync()), "");
  vault.store.reset();
  vault.env.crash(1, CrashMode::drop_all_unsynced);
  ASSERT_EQ(message(vault.open()), "");
  EXPECT_TRUE(vault.get(id).ok());
}

}  // namespace
}  // namespace vaultfs
