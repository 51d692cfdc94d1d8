#include <cstdlib>

#include "store/record/container.h"
#include "store/record/record.h"
#include "tests/fuzz/fuzz_keys.h"

// A container file: its header, then its records one after another, each opened whole and by frames.
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace vaultfs;
  const ByteView file = fuzz_input(data, size);
  const auto header = ContainerHeader::decode(file);
  if (!header.ok()) return 0;
  if (!bytes_equal(header->encode(), file.first(ContainerHeader::kEncodedBytes))) std::abort();
  const auto cipher = ContainerCipher::open(fuzz_keys(), *header, header->kind, header->number);
  for (std::size_t at = ContainerHeader::kEncodedBytes; at < file.size();) {
    const auto record = RecordHeader::decode(file.subspan(at));
    if (!record.ok()) {
      at += 8;
      continue;
    }
    Bytes encoded(RecordHeader::kEncodedBytes);
    record->encode(encoded);
    if (!bytes_equal(encoded, file.subspan(at, encoded.size()))) std::abort();
    const ByteView rest = file.subspan(at);
    const bool whole = record->stored_bytes() <= rest.size();
    if (whole && cipher.ok()) {
      const ByteView stored = rest.first(static_cast<std::size_t>(record->stored_bytes()));
      const auto opened = open_record(**cipher, *record, stored);
      if (opened.ok() && opened->size() != record->plaintext_bytes) std::abort();
      const std::size_t table_bytes = std::size_t{4} * record->frame_count;
      const auto table = FrameTable::decode(*record, stored.subspan(RecordHeader::kEncodedBytes, table_bytes),
                                            (*cipher)->overhead_bytes());
      for (std::uint32_t i = 0; table.ok() && i < record->frame_count; ++i) {
        const FrameTable::Frame& frame = table->frames[i];
        Bytes out(record->plaintext_bytes_of(i));
        const Status status =
            open_frame(**cipher, *record, *table, i, stored.subspan(frame.offset, frame.sealed_bytes), out);
        if (opened.ok() && !status.ok()) std::abort();
      }
    }
    at += whole ? static_cast<std::size_t>(record->stored_bytes()) : 8;
  }
  return 0;
}
