#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "base/bytes.h"
#include "base/ids.h"
#include "base/result.h"
#include "store/blob_store.h"
#include "store/container.h"

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
};
// `damaged` is the code for whatever is wrong with the form, e.g. DamagedManifest; AuthenticationFailed and
// KeyCommitmentMismatch, EpochClosed and KeyRevoked keep their own.
[[nodiscard]] Result<OpenedStream> open_stream(const EpochKeys& keys, ContainerKind kind, ContainerNumber number,
                                               ByteView file, ErrorCode damaged);

}  // namespace vaultfs
