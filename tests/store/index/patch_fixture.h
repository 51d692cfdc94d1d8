#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <optional>
#include <string>
#include <vector>

#include "store/index/patch.h"
#include "store/segment/segment_verifier.h"
#include "tests/store/store_fixture.h"
#include "tests/support/units.h"

namespace vaultfs {

inline constexpr std::uint32_t kPage = kPatchPageBytes;

inline PatchPages pages_of(std::initializer_list<std::uint32_t> pages) {
  PatchPages out;
  for (const std::uint32_t page : pages) out.set(page);
  return out;
}

inline Bytes plaintext_of(const PatchHeader& header, const Bytes& pages) {
  Bytes out = header.encode();
  out.insert(out.end(), pages.begin(), pages.end());
  return out;
}

// A store of its own for each test, in either suite.
class PatchStoreTest : public testing::TestWithParam<Suite> {
 protected:
  PatchStoreTest() : vault_(GetParam()) { must_open(); }
  void must_open() {
    const Status opened = vault_.open();
    ASSERT_TRUE(opened.ok()) << message(opened);
  }
  static std::string seg(std::uint64_t n) { return "/vault/" + closed_segment_name(ContainerNumber(n)); }

  // Puts pages of `content` over `base`.
  Result<std::optional<PutOutcome>> put(const ChunkId& base, const Bytes& content, const PatchPages& pages,
                                        std::uint32_t max_pages = kPatchPages) {
    return vault_.store->put_patch({base, static_cast<std::uint32_t>(content.size()), pages, content, max_pages});
  }
  ChunkId must_put(const ChunkId& base, const Bytes& content, const PatchPages& pages) {
    const auto outcome = put(base, content, pages);
    EXPECT_TRUE(outcome.ok()) << outcome.error().message;
    return outcome.ok() && outcome->has_value() ? (*outcome)->id : ChunkId();
  }
  // What the result of such a put must be.
  static Bytes laid(const Bytes& base, const Bytes& content, const PatchPages& pages) {
    Bytes out(content.size());
    std::copy_n(base.begin(), std::min(base.size(), out.size()), out.begin());
    for (std::uint32_t page = 0; page * kPage < out.size(); ++page) {
      const std::size_t end = std::min<std::size_t>((page + 1) * kPage, out.size());
      if (pages.test(page))
        std::copy(content.begin() + page * kPage, content.begin() + end, out.begin() + page * kPage);
    }
    return out;
  }
  void expect_content(const ChunkId& id, const Bytes& content) {
    ASSERT_EQ(*vault_.store->length(id), content.size());
    for (const std::uint64_t offset :
         {std::uint64_t{0}, std::uint64_t{1}, std::uint64_t{4095}, std::uint64_t{4096}, std::uint64_t{12'300},
          std::uint64_t{65'535}, std::uint64_t{300'001}, kMiB - 4096, kMiB - 1}) {
      for (const std::uint64_t size :
           {std::uint64_t{1}, std::uint64_t{4096}, std::uint64_t{8193}, std::uint64_t{70'000}, kMiB}) {
        if (offset >= content.size()) continue;
        Bytes out(std::min<std::size_t>(size, content.size() - offset), std::byte{0xee});
        const Status read = vault_.store->read(id, offset, out);
        ASSERT_TRUE(read.ok()) << read.error().message;
        ASSERT_TRUE(bytes_equal(out, ByteView(content).subspan(offset, out.size()))) << offset << " " << size;
      }
    }
    Bytes beyond(1);
    EXPECT_EQ(vault_.store->read(id, static_cast<std::uint32_t>(content.size()), beyond).code(), ErrorCode::OutOfRange);
    const auto verified = vault_.store->read_verified(RecordType::chunk, id);
    ASSERT_TRUE(verified.ok()) << verified.error().message;
    EXPECT_TRUE(*verified == content);
  }
  Status read(const ChunkId& id, std::uint32_t offset, std::uint32_t size) {
    Bytes out(size);
    return vault_.store->read(id, offset, out);
  }

  std::vector<Damage> verify(std::uint64_t number) {
    std::vector<Damage> damage;
    VerifyCounts counts;
    const auto file = vault_.env.open(seg(number), OpenMode::read_only);
    EXPECT_TRUE(
        verify_container(**file, closed_segment_name(ContainerNumber(number)), &vault_.keys, false, counts, damage)
            .ok());
    return damage;
  }

  TestVault vault_;
};

}  // namespace vaultfs
