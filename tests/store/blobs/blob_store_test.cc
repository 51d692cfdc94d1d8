#include "store/blobs/blob_store.h"

#include "tests/store/store_fixture.h"

namespace vaultfs {
namespace {

class BlobStoreTest : public testing::Test {
 protected:
  BlobStoreTest() {
    env_.make_directories("/v/points");
    env_.make_directories("/v/segments");
    blobs_ = make_directory_blob_store(env_, "/v");
  }
  SimEnv env_;
  std::unique_ptr<BlobStore> blobs_;
};

TEST_F(BlobStoreTest, StoresOnceAndForGood) {
  const Bytes a = text_content(1000, 1);
  ASSERT_TRUE(blobs_->put("points/a", a).ok());
  EXPECT_EQ(blobs_->put("points/a", text_content(10, 2)).code(), ErrorCode::AlreadyExists);
  env_.crash(1, CrashMode::drop_all_unsynced);
  EXPECT_EQ(*blobs_->get("points/a", 1000), a);
  EXPECT_EQ(blobs_->get("points/a", 999).code(), ErrorCode::ForeignFile);
  EXPECT_EQ(blobs_->get("points/b", 999).code(), ErrorCode::NotFound);
  EXPECT_EQ(blobs_->open("points/b").code(), ErrorCode::NotFound);
  Bytes part(10);
  EXPECT_EQ(*(*blobs_->open("points/a"))->read_at(5, part), 10U);
  EXPECT_TRUE(bytes_equal(part, ByteView(a).subspan(5, 10)));
  ASSERT_TRUE(blobs_->remove("points/a").ok());
  EXPECT_TRUE(blobs_->remove("points/a").ok());
  env_.crash(1, CrashMode::drop_all_unsynced);
  EXPECT_EQ(blobs_->get("points/a", 1000).code(), ErrorCode::NotFound);
}

TEST_F(BlobStoreTest, RefusesNamesThatCouldLeaveTheRoot) {
  for (const std::string name : {"", ".", "..", "/", "/a", "a/", "../a", "points/..", "points/.", "a/b/c", "a.tmp"}) {
    EXPECT_EQ(blobs_->put(name, {}).code(), ErrorCode::InvalidName) << name;
    EXPECT_EQ(blobs_->get(name, 1).code(), ErrorCode::InvalidName) << name;
    EXPECT_EQ(blobs_->remove(name).code(), ErrorCode::InvalidName) << name;
  }
  EXPECT_EQ(blobs_->put(std::string("points/a\0b", 10), {}).code(), ErrorCode::InvalidName);
}

TEST_F(BlobStoreTest, CrashedPutIsWholeOrAbsentAtEveryStep) {
  const Bytes content = random_content(5000, 1);
  for (std::uint64_t n = 0;; ++n) {
    bool completed = false;
    for (std::uint64_t seed = 0; seed < 5; ++seed) {
      SimEnv env(seed + 1);
      env.make_directories("/v/points");
      const auto blobs = make_directory_blob_store(env, "/v");
      env.fail_after(n);
      completed = blobs->put("points/a", content).ok();
      env.crash(seed, CrashMode::random);
      const auto got = blobs->get("points/a", 10'000);
      if (got.ok()) {
        ASSERT_EQ(*got, content);
      } else {
        ASSERT_FALSE(completed);
        ASSERT_EQ(got.code(), ErrorCode::NotFound);
      }
      const auto names = blobs->list("points");
      ASSERT_TRUE(names.ok());
      for (const std::string& name : *names) ASSERT_EQ(name, "a");
    }
    if (completed) {
      EXPECT_GE(n, 4U);
      break;
    }
  }
}

TEST_F(BlobStoreTest, FailedPutLeavesNothingThatTakesSpace) {
  env_.set_free_bytes(1000);
  EXPECT_EQ(blobs_->put("points/a", random_content(5000, 1)).code(), ErrorCode::NoSpace);
  EXPECT_TRUE(env_.files("/v").empty());
}

TEST_F(BlobStoreTest, AdoptsASyncedFile) {
  env_.write("/v/segments/x.open", text_content(10, 1));
  ASSERT_TRUE(blobs_->adopt("/v/segments/x.open", "segments/x.seg").ok());
  env_.crash(1, CrashMode::drop_all_unsynced);
  EXPECT_FALSE(env_.exists("/v/segments/x.open"));
  EXPECT_EQ(*blobs_->get("segments/x.seg", 10), text_content(10, 1));
  env_.write("/v/segments/y.open", text_content(10, 2));
  EXPECT_EQ(blobs_->adopt("/v/segments/y.open", "segments/x.seg").code(), ErrorCode::AlreadyExists);
  EXPECT_EQ(*blobs_->get("segments/x.seg", 10), text_content(10, 1));
}

TEST_F(BlobStoreTest, AdoptsAFileOfAnotherFolder) {
  env_.write("/v/points/x.open", text_content(10, 1));
  ASSERT_TRUE(blobs_->adopt("/v/points/x.open", "segments/x.seg").ok());
  env_.crash(1, CrashMode::drop_all_unsynced);
  EXPECT_FALSE(env_.exists("/v/points/x.open"));
  EXPECT_EQ(*blobs_->get("segments/x.seg", 10), text_content(10, 1));
}

TEST_F(BlobStoreTest, WhatIsSetAsideStaysThere) {
  env_.write("/v/points/a", text_content(10, 1));
  ASSERT_TRUE(blobs_->set_aside("points/a").ok());
  env_.crash(1, CrashMode::drop_all_unsynced);
  EXPECT_FALSE(env_.exists("/v/points/a"));
  EXPECT_EQ(env_.read("/v/points/a.strange"), text_content(10, 1));
}

TEST_F(BlobStoreTest, NumberedNames) {
  EXPECT_EQ(numbered_name(42, "seg"), "000000000000002a.seg");
  EXPECT_EQ(number_of("000000000000002a.seg", "seg"), 42U);
  EXPECT_EQ(number_of(numbered_name(~std::uint64_t{0}, "x"), "x"), ~std::uint64_t{0});
  for (const char* name : {"000000000000002A.seg", "00000000000002a.seg", "000000000000002a.open", "000000000000002a",
                           "0000000000000000.seg", "000000000000002g.seg", " 00000000000002a.seg", ""}) {
    EXPECT_FALSE(number_of(name, "seg")) << name;
  }
}

}  // namespace
}  // namespace vaultfs
