#pragma once

#include <algorithm>

#include "store/segment/file/segment_writer.h"
#include "tests/store/index/patch_fixture.h"
#include "tests/support/forger.h"

namespace vaultfs {

template <typename T>
bool refuses(const Result<T>& result) {
  return !result.ok() && is_named_damage(result.code());
}

// A store whose first epoch ends, and whose segments somebody with that epoch's key rewrites.
class ClosedEpochTest : public PatchStoreTest {
 protected:
  // Epoch 1 ends here; what is stored from now on is under epoch 2.
  void close_epoch() {
    ASSERT_TRUE(vault_.store->close_segment().ok());
    fill_keys(vault_.keys, 2, ContainerNumber(9));
  }
  // The same, with everything that the process knew forgotten.
  void close_epoch_and_reopen(bool with_index = true) {
    ASSERT_TRUE(vault_.close_and_save().ok());
    fill_keys(vault_.keys, 2, ContainerNumber(9));
    if (!with_index) forget_index();
    must_open();
  }
  void forget_index() {
    vault_.env.remove("/vault/index");
    vault_.env.make_directories("/vault/index");
  }
  void forge(std::uint64_t segment, const ChunkId& id, ByteView content, std::size_t nth = 0) {
    Forger forger(vault_.env.read(seg(segment)), vault_.keys, ContainerNumber(segment));
    ASSERT_TRUE(forger.forge(id, content, nth));
    vault_.env.write(seg(segment), forger.file());
  }
  // Writes a whole segment under the old key, with a header that was there: records, footer, trailer.
  struct Planted {
    ChunkId id;
    RecordType type;
    Bytes plaintext;
  };
  void plant(std::uint64_t segment, const std::vector<Planted>& records, std::size_t hidden = ~std::size_t{0}) {
    const Bytes before = vault_.env.read(seg(segment));
    const Forger forger(before, vault_.keys, ContainerNumber(segment));
    Bytes file = to_bytes(ByteView(before).first(ContainerHeader::kEncodedBytes));
    std::vector<SegmentEntry> entries;
    std::uint64_t nonce = 0;
    for (const Planted& record : records) {
      RecordDraft draft;
      draft.type = record.type;
      draft.frame_log2 = record.type == RecordType::patch ? kPatchFrameLog2 : kDefaultFrameLog2;
      draft.id = record.id;
      draft.nonce_base = nonce;
      nonce += frame_count_of(record.plaintext.size(), draft.frame_log2);
      const std::uint64_t offset = file.size();
      ASSERT_TRUE(seal_record(forger.cipher(), draft, record.plaintext, file).ok());
      if (entries.size() == hidden) {
        hidden = ~std::size_t{0};
        continue;
      }
      entries.push_back({record.id, record.type, offset, static_cast<std::uint32_t>(file.size() - offset),
                         static_cast<std::uint32_t>(record.plaintext.size())});
    }
    vault_.env.write(seg(segment), file);
    const auto opened = vault_.env.open(seg(segment), OpenMode::read_write);
    ASSERT_TRUE(write_segment_end(**opened, forger.cipher(), nonce, entries, records.size(), file.size()).ok());
  }
  Result<Bytes> piece(const ChunkId& id, std::uint32_t offset, std::size_t size) {
    Bytes out(size, std::byte{0xee});
    VAULTFS_ASSIGN_OR_RETURN(const std::uint32_t frame, vault_.store->read_piece(id, offset, out));
    EXPECT_EQ(frame, 0U);
    return out;
  }
  // No way of reading it gives anything.
  void expect_refused(const ChunkId& id, std::uint32_t size = kMiB) {
    EXPECT_TRUE(refuses(read(id, 0, size))) << "as a whole";
    EXPECT_TRUE(refuses(read(id, 5000, 100))) << "in part";
    Bytes out(size);
    EXPECT_TRUE(refuses(vault_.store->read_piece(id, 4096, MutableByteView(out).first(4096))));
    EXPECT_TRUE(refuses(vault_.store->read_content(id, out)));
    EXPECT_TRUE(refuses(vault_.store->length(id)));
    EXPECT_TRUE(refuses(vault_.store->patch_of(id)));
    EXPECT_TRUE(refuses(vault_.store->read_verified(RecordType::chunk, id)));
    EXPECT_FALSE(vault_.store->contains(id)) << "the next put stores it anew";
  }
};

}  // namespace vaultfs
