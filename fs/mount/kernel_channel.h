#pragma once

#include <fuse_lowlevel.h>

namespace vaultfs {

// What the kernel's protocol can do and libfuse 3.14 does not know, added to the messages on their way: mapping files
// that are open for direct I/O, privileges that the daemon takes away itself (without a question per write, and with an
// access list), files without a name, and parallel direct writes. Where the kernel does not offer one of them, it stays
// off. And the memory in which requests arrive is wiped by wipe_plaintext_memory(); SIGURG is used for that.
//
// Call once, between fuse_session_mount and the loop. False if libfuse does not let us.
[[nodiscard]] bool attach_kernel_channel(fuse_session* session);

// Of the request that the calling thread serves: the caller has no CAP_FSETID, so that its change of content or size
// takes the set-id bits.
[[nodiscard]] bool request_drops_set_id();

// Of the request that the calling thread serves: the caller is not in the file's group, so that an access list takes
// the set-gid bit.
[[nodiscard]] bool request_drops_set_gid();

// Lets the kernel send several writes of this file at once, if the reply to the request in hand opens it.
void allow_parallel_writes();

}  // namespace vaultfs
