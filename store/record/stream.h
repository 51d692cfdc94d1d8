#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "base/bytes.h"
#include "base/files/env.h"
#include "base/ids.h"
#include "base/result.h"
#include "store/record/container.h"

namespace vaultfs {

// docs/format.md, section 2.3: one byte string sealed into one container.

// Seals `content` (may be empty) into the bytes of a container file. `inventory`, if given, becomes a clear record of
// type 34 right after the header.
[[nodiscard]] Result<Bytes> seal_stream(Env& env, const EpochKeys& keys, ContainerKind kind, ContainerNumber number,
                                        ByteView content, std::optional<ByteView> inventory = std::nullopt);

struct OpenedStream {
  Bytes content;
  std::optional<Bytes> inventory;  // clear: the caller compares it with a digest from the content
  EpochNumber epoch;
  std::uint16_t version = 0;  // the container's
  std::uint64_t file_bytes = 0;
  Digest file_digest;  // SHA-256 of the file, of the very bytes that were opened
};

// What an authentic place tells of a stream's file before it is read.
struct ExpectedFile {
  std::optional<std::uint64_t> bytes;
  std::optional<Digest> digest;
};

// `damaged` is the code for whatever is wrong with the form, e.g. DamagedManifest; AuthenticationFailed and
// KeyCommitmentMismatch, EpochClosed and KeyRevoked keep their own.
[[nodiscard]] Result<OpenedStream> open_stream(const EpochKeys& keys, ContainerKind kind, ContainerNumber number,
                                               ByteView file, ErrorCode damaged);

// The same of a file that is read record by record: what is held at a time is what was authentic so far and one record
// more, whatever the file's length, and nothing is read behind the first record that is not authentic. A file of
// another length than the expected one is not read at all. One that does not have the expected length or digest is
// `damaged`. Errors of reading keep their own code.
[[nodiscard]] Result<OpenedStream> read_stream(const EpochKeys& keys, ContainerKind kind, ContainerNumber number,
                                               File& file, ErrorCode damaged, const ExpectedFile& expected = {});

}  // namespace vaultfs
