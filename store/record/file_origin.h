#pragma once

#include <cstdint>
#include <set>

#include "base/files/env.h"
#include "base/ids.h"
#include "base/result.h"
#include "store/record/container.h"
#include "store/record/epoch_keys.h"

namespace vaultfs {

// Whose a numbered file of a vault is. Anybody who writes to the storage can give a file any name: a number counts only
// if the file's header is authentic (docs/format.md, section 1).
struct FileOrigin {
  // The header is that of a container of this vault, kind and number, made with a DEK of the keyring. Nothing is said
  // of what follows the header.
  bool own = false;
  bool current_epoch = false;  // with the newest DEK: nobody has made it who has no more than an old key
  Error reason{ErrorCode::DamagedHeader, ""};  // why it is not own
};

// An error is KeyRevoked or MemoryLockFailed, which say nothing of the file; whatever else keeps it from being read is
// a reason.
[[nodiscard]] Result<FileOrigin> origin_of(Env& env, const Env::Path& path, const EpochKeys& keys, ContainerKind kind,
                                           ContainerNumber number);

// Files of one kind of which an opening tells: anybody can put a hundred thousand there.
inline constexpr std::size_t kMostFilesTold = 1000;

// What is told of a file that is passed over: it counts for nothing, and stays where it is.
[[nodiscard]] Error passed_over(const Error& reason);

// The lowest number above `above` that is not taken; where there is none, the lowest one of all.
[[nodiscard]] std::uint64_t free_number(std::uint64_t above, const std::set<std::uint64_t>& taken);

}  // namespace vaultfs
