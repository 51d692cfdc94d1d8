#include "base/byte_codec.h"

#include <gtest/gtest.h>

#include <limits>

namespace vaultfs {
namespace {

using TestId = ByteId<struct TestIdTag, 4>;

Bytes sample() {
  ByteWriter writer;
  writer.u8(0x12);
  writer.u16(0x3456);
  writer.u32(0x789abcde);
  writer.u64(0x0123456789abcdef);
  writer.i64(-2);
  writer.boolean(true);
  writer.text("name");
  writer.id(TestId({std::byte{1}, std::byte{2}, std::byte{3}, std::byte{4}}));
  writer.raw(bytes_of("tail"));
  return std::move(writer).take();
}

TEST(ByteWriter, IsLittleEndianAndPacked) {
  EXPECT_EQ(to_hex(sample()), "125634debc9a78efcdab8967452301feffffffffffffff01040000006e616d65010203047461696c");
}

TEST(ByteReader, ReadsBackWhatWasWritten) {
  const Bytes bytes = sample();
  ByteReader reader(bytes);
  EXPECT_EQ(reader.u8(), 0x12);
  EXPECT_EQ(reader.u16(), 0x3456);
  EXPECT_EQ(reader.u32(), 0x789abcdeU);
  EXPECT_EQ(reader.u64(), 0x0123456789abcdefULL);
  EXPECT_EQ(reader.i64(), -2);
  EXPECT_TRUE(reader.boolean());
  EXPECT_EQ(reader.text(10), "name");
  EXPECT_EQ(to_hex(reader.id<TestId>().view()), "01020304");
  EXPECT_EQ(reader.remaining(), 4U);
  EXPECT_EQ(reader.finish(ErrorCode::DamagedHeader, "sample").code(), ErrorCode::DamagedHeader) << "bytes are left";
  EXPECT_EQ(text_of(reader.raw(4)), "tail");
  EXPECT_TRUE(reader.finish(ErrorCode::DamagedHeader, "sample").ok());
}

TEST(ByteReader, EveryTruncationFailsOnceAndForAll) {
  const Bytes bytes = sample();
  for (std::size_t size = 0; size < bytes.size(); ++size) {
    ByteReader reader(ByteView(bytes).first(size));
    reader.u8();
    reader.u16();
    reader.u32();
    reader.u64();
    reader.i64();
    reader.boolean();
    reader.text(10);
    reader.id<TestId>();
    reader.raw(4);
    EXPECT_TRUE(reader.failed()) << size;
    EXPECT_EQ(reader.u64(), 0U);
    EXPECT_TRUE(reader.raw(1).empty());
    EXPECT_EQ(reader.remaining(), 0U);
    EXPECT_EQ(reader.finish(ErrorCode::DamagedHeader, "sample").code(), ErrorCode::DamagedHeader);
  }
}

TEST(ByteReader, AShortReadTakesNothing) {
  ByteReader reader(bytes_of("ab"));
  EXPECT_EQ(reader.u32(), 0U);
  EXPECT_TRUE(reader.failed());
  EXPECT_EQ(reader.u8(), 0U) << "what is left is not read as something else";
}

TEST(ByteReader, BooleanIsZeroOrOne) {
  for (unsigned value = 0; value < 256; ++value) {
    const std::byte byte = static_cast<std::byte>(value);
    ByteReader reader(ByteView(&byte, 1));
    EXPECT_EQ(reader.boolean(), value == 1);
    EXPECT_EQ(reader.failed(), value > 1) << value;
  }
}

TEST(ByteReader, BlobObeysItsLimit) {
  ByteWriter writer;
  writer.blob(bytes_of("12345"));
  const Bytes bytes = std::move(writer).take();
  ByteReader fits(bytes);
  EXPECT_EQ(text_of(fits.blob(5)), "12345");
  EXPECT_FALSE(fits.failed());
  ByteReader over(bytes);
  EXPECT_TRUE(over.blob(4).empty());
  EXPECT_TRUE(over.failed());
  ByteWriter lying;
  lying.u32(0xffffffff);
  ByteReader short_of(lying.view());
  EXPECT_TRUE(short_of.blob(std::numeric_limits<std::size_t>::max()).empty());
  EXPECT_TRUE(short_of.failed());
}

TEST(ByteReader, CountIsBoundedByWhatIsLeft) {
  const auto read = [](std::uint32_t count, std::size_t left, std::size_t element) {
    ByteWriter writer;
    writer.u32(count);
    writer.raw(Bytes(left));
    ByteReader reader(writer.view());
    const std::uint32_t value = reader.count(element);
    return reader.failed() ? std::string("refused") : std::to_string(value);
  };
  EXPECT_EQ(read(3, 30, 10), "3");
  EXPECT_EQ(read(3, 29, 10), "refused");
  EXPECT_EQ(read(0xffffffff, 100, 1), "refused");
  EXPECT_EQ(read(0xffffffff, 100, 0x100000001), "refused");
  EXPECT_EQ(read(0, 0, 10), "0");
}

}  // namespace
}  // namespace vaultfs
