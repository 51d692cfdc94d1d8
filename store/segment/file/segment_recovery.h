#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "base/files/env.h"
#include "base/ids.h"
#include "base/result.h"
#include "store/blobs/blob_store.h"
#include "store/index/chunk_index.h"
#include "store/index/segment_format.h"
#include "store/record/epoch_keys.h"

namespace vaultfs {

// What a stored segment file turned out to hold.
struct SegmentContents {
  std::vector<SegmentEntry> entries;  // what can be read
  std::uint64_t file_bytes = 0;
  std::optional<Error> damage;  // what could not
};

// Whether a failure to read a file says that nothing else can be read either, rather than that this file is damaged.
[[nodiscard]] constexpr bool ends_the_opening(ErrorCode code) noexcept {
  return code == ErrorCode::KeyRevoked || code == ErrorCode::MemoryLockFailed;
}

// A closed segment: its footer, or where that is damaged its records, each of them opened. An error is KeyRevoked or
// MemoryLockFailed; all else is in `damage`.
[[nodiscard]] Result<SegmentContents> load_closed_segment(File& file, const EpochKeys& keys, ContainerNumber number);

// What the footer of a closed segment lists, without looking for records where it can't be read.
[[nodiscard]] Result<std::vector<SegmentEntry>> load_segment_footer(File& file, const EpochKeys& keys,
                                                                    ContainerNumber number);

// An open segment where it lies, without writing: its valid records.
[[nodiscard]] Result<SegmentContents> load_open_segment(File& file, const EpochKeys& keys, ContainerNumber number);

// EpochClosed if the open segment's DEK epoch is closed: nothing is left open when an epoch ends, so that only who had
// its key then can have made the file. Whatever else is wrong with it is for others to tell.
[[nodiscard]] Status check_may_be_open(File& file, const EpochKeys& keys, ContainerNumber number);

// Puts what a segment lists into the index, where that has nothing better.
void add_entries(ChunkIndex& index, ContainerNumber number, const std::vector<SegmentEntry>& entries);

// Whether a file is what a crash leaves right after a segment's creation: no header that can be read, and no record.
// Errors are of reading.
[[nodiscard]] Result<bool> holds_neither_header_nor_record(File& file);

enum class OpenSegmentEnd : std::uint8_t {
  closed,     // has got its end and its final name
  removed,    // held nothing
  left_open,  // could not be closed (damage, full disk): what is readable is readable where it lies
};

// Closes what a crash left open: zeroes what is torn between the records, writes the end, syncs, adopts. For the owner.
// Running it again after a crash of its own gives the same result. Errors as for load_closed_segment.
[[nodiscard]] Result<OpenSegmentEnd> recover_open_segment(Env& env, const Env::Path& root, BlobStore& blobs,
                                                          const EpochKeys& keys, ContainerNumber number,
                                                          SegmentContents& contents);

}  // namespace vaultfs
