#pragma once

namespace vaultfs {

// Whether AES-256-GCM and the hashes of leaves are computed by Intel's multi-buffer library (Debian's libipsec-mb)
// instead of OpenSSL. True if vaultfs was built with it, the processor has AVX-512, VAES and VPCLMULQDQ (without them
// it is no faster), the library was built to wipe what it leaves in registers and on the stack, and a check against
// OpenSSL at the first call agreed. The environment variable VAULTFS_IPSEC_MB=off says no. The answer never changes
// within a process. Thread-safe.
[[nodiscard]] bool ipsec_mb_usable() noexcept;

}  // namespace vaultfs
