#include "vaultmeta/points/inode_record.h"

#include <gtest/gtest.h>

#include "tests/vaultmeta/stored_form_checks.h"

namespace vaultfs {
namespace {

ChunkId an_id(std::uint8_t fill) {
  ChunkId id;
  for (std::byte& byte : id.mutable_view()) byte = static_cast<std::byte>(fill);
  return id;
}

InodeRecord an_inode(InodeType type) {
  InodeRecord inode;
  inode.number = InodeNumber(77);
  inode.type = type;
  inode.mode = 04755;
  inode.uid = 1000;
  inode.gid = 100;
  inode.link_count = 2;
  inode.atime = UnixNanos{-5};
  inode.mtime = UnixNanos{1'700'000'000'000'000'001};
  inode.ctime = UnixNanos{3};
  inode.attributes = {{"security.x", Bytes{std::byte{1}, std::byte{2}}}, {"user.a", Bytes{}}};
  return inode;
}

InodeRecord a_file(std::uint64_t size, std::size_t chunks, std::size_t pages) {
  InodeRecord inode = an_inode(InodeType::file);
  inode.size = size;
  for (std::size_t i = 0; i < chunks; ++i) inode.chunks.push_back(i % 2 == 1 ? ChunkId{} : an_id(0x11));
  for (std::size_t i = 0; i < pages; ++i) inode.pages.push_back(an_id(0x22));
  return inode;
}

Bytes encoded(const InodeRecord& inode) {
  ByteWriter writer;
  inode.encode(writer);
  return std::move(writer).take();
}

std::optional<Bytes> recode(ByteView bytes) {
  ByteReader reader(bytes);
  const InodeRecord inode = InodeRecord::decode(reader);
  if (!reader.finish(ErrorCode::DamagedManifest, "inode").ok()) return std::nullopt;
  return encoded(inode);
}

TEST(InodeRecord, StoredFormOfEachType) {
  InodeRecord directory = an_inode(InodeType::directory);
  directory.entries = {{"a", InodeNumber(78)}, {"b\xff", InodeNumber(79)}};
  InodeRecord link = an_inode(InodeType::symlink);
  link.target = "../x";
  InodeRecord device = an_inode(InodeType::block_device);
  device.rdev = 0x801;
  for (const InodeRecord& inode :
       {a_file(0, 0, 0), a_file(3 * kChunkBytes - 1, 3, 0), a_file(kMapPageSpanBytes + 1, 0, 2), directory, link,
        device, an_inode(InodeType::fifo), an_inode(InodeType::socket), an_inode(InodeType::character_device)}) {
    SCOPED_TRACE(static_cast<int>(inode.type));
    check_stored_form(encoded(inode), recode);
  }
}

TEST(InodeRecord, DecodesEveryField) {
  InodeRecord inode = a_file(2 * kChunkBytes, 2, 0);
  const Bytes bytes = encoded(inode);
  ByteReader reader(bytes);
  const InodeRecord read = InodeRecord::decode(reader);
  ASSERT_FALSE(reader.failed());
  EXPECT_EQ(read.number, inode.number);
  EXPECT_EQ(read.mode, inode.mode);
  EXPECT_EQ(read.uid, inode.uid);
  EXPECT_EQ(read.gid, inode.gid);
  EXPECT_EQ(read.link_count, inode.link_count);
  EXPECT_EQ(read.size, inode.size);
  EXPECT_EQ(read.atime, inode.atime);
  EXPECT_EQ(read.mtime, inode.mtime);
  EXPECT_EQ(read.ctime, inode.ctime);
  EXPECT_EQ(read.chunks, inode.chunks);
  EXPECT_EQ(read.attributes, inode.attributes);
}

TEST(InodeRecord, RefusesFieldsOutOfRange) {
  const auto refused = [](const InodeRecord& inode) { return !recode(encoded(inode)).has_value(); };
  InodeRecord inode = a_file(kChunkBytes, 1, 0);
  ASSERT_FALSE(refused(inode));
  inode.number = InodeNumber(0);
  EXPECT_TRUE(refused(inode));
  inode = a_file(kChunkBytes, 1, 0);
  inode.mode = 0100644;
  EXPECT_TRUE(refused(inode));
  EXPECT_TRUE(refused(a_file(kChunkBytes + 1, 1, 0)));        // a chunk too few
  EXPECT_TRUE(refused(a_file(kChunkBytes, 2, 0)));            // one too many
  EXPECT_TRUE(refused(a_file(9ULL * kChunkBytes, 9, 0)));     // chunks listed beyond 8 MiB
  EXPECT_TRUE(refused(a_file(kMapPageSpanBytes + 1, 0, 1)));  // a page too few
  EXPECT_FALSE(refused(a_file(kChunkBytes, 0, 1)));           // a large file that was cut may keep its pages
  inode = a_file(kChunkBytes, 1, 0);
  inode.size = kMaxFileBytes + 1;
  EXPECT_TRUE(refused(inode));

  InodeRecord directory = an_inode(InodeType::directory);
  for (const char* name : {"", ".", "..", "a/b"}) {
    directory.entries = {{name, InodeNumber(5)}};
    EXPECT_TRUE(refused(directory)) << name;
  }
  directory.entries = {{std::string("a\0b", 3), InodeNumber(5)}};
  EXPECT_TRUE(refused(directory));
  directory.entries = {{std::string(256, 'a'), InodeNumber(5)}};
  EXPECT_TRUE(refused(directory));
  directory.entries = {{"a", InodeNumber(0)}};
  EXPECT_TRUE(refused(directory));
  directory.entries = {{"b", InodeNumber(5)}, {"a", InodeNumber(6)}};
  EXPECT_TRUE(refused(directory));
  directory.entries = {{"a", InodeNumber(5)}, {"a", InodeNumber(6)}};
  EXPECT_TRUE(refused(directory));

  InodeRecord link = an_inode(InodeType::symlink);
  EXPECT_TRUE(refused(link));
  link.target = std::string(4096, 'x');
  EXPECT_TRUE(refused(link));
  InodeRecord pipe = an_inode(InodeType::fifo);
  pipe.attributes = {{"b", {}}, {"a", {}}};
  EXPECT_TRUE(refused(pipe));
  pipe.attributes = {{"a", Bytes(kMaxAttributeValueBytes + 1)}};
  EXPECT_TRUE(refused(pipe));
}

TEST(InodeRecord, ADamagedCountReservesNothing) {
  Bytes bytes = encoded(a_file(kChunkBytes, 1, 0));
  // The count of chunk ids follows the fixed part and the form.
  for (std::size_t i = 66; i < 70; ++i) bytes[i] = std::byte{0xff};
  EXPECT_FALSE(recode(bytes).has_value());
}

TEST(MapPage, StoredForm) {
  MapPage page;
  page.entries.assign(3, ChunkId{});
  EXPECT_TRUE(page.all_holes());
  page.entries[2] = an_id(7);
  EXPECT_FALSE(page.all_holes());
  const Bytes bytes = page.encode();
  ASSERT_EQ(bytes.size(), MapPage::kEncodedBytes);
  const auto read = MapPage::decode(bytes);
  ASSERT_TRUE(read.ok());
  ASSERT_EQ(read->entries.size(), kEntriesPerMapPage);
  EXPECT_EQ(read->entries[2], an_id(7));
  EXPECT_TRUE(read->entries[3].is_zero());
  EXPECT_EQ(read->encode(), bytes);
  EXPECT_EQ(MapPage::decode(ByteView(bytes).first(bytes.size() - 1)).code(), ErrorCode::DamagedRecord);
  EXPECT_EQ(MapPage::decode({}).code(), ErrorCode::DamagedRecord);
}

}  // namespace
}  // namespace vaultfs
